//! The words that a node speaks: commands, events, views and errors, as clients see them.
//! Never a rule and never a row: only shapes, their limits, and how they are written as JSON.

pub mod check;
pub mod command;
pub mod error;
pub mod event;
pub mod json;
pub mod view;

pub use command::{Access, Command, Door, Doors};
pub use error::{Error, ErrorCode, Fault, Outcome, Refusal};
