//! The doors: what comes in by REST and by WebSocket, who may, how often, and how it is answered.
//! Never a rule of a domain: a door reads a command and hands it to the one wrapper.

pub mod connection;
pub mod dispatch;
pub mod doors;
pub mod error;
pub mod extract;
mod languages;
pub mod limits;
pub mod openapi;
pub mod query;
pub mod router;
pub mod socket;
pub mod tls;
pub mod transport;
