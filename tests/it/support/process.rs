//! The real program, as an operator runs it.
