//! What serves the node from outside: the real thing and its stand-in side by side, chosen by `provider = "..."`.
//! Never a trait: each sits with its caller.

pub mod redis;
pub mod sms;
