//! Load for a chat server: the generator, the reference server it is held against, and the run that
//! compares the two. Loopback only, and bounded in time; it never touches a process it did not start.
//!
//! - [`wire`]: the client side of a WebSocket, as thin as a generator needs it. [`http`]: one REST call.
//! - [`adapters`]: a protocol each; what an incoming frame means.
//! - [`crowd`]: many signed-in clients and what they hear. [`stats`]: latency, memory, CPU.
//! - [`scenarios`]: what is driven and measured. [`generator`]: its command line.
//! - [`raw`]: the reference, one epoll loop without JSON or accounts.
//! - [`compare`]: reference and node in turn, and the table of ratios. [`fleet`]: two nodes against one.
//! - [`signin`]: what signing in costs, and what guessing comes to.

pub mod adapters;
pub mod compare;
pub mod crowd;
pub mod fleet;
pub mod generator;
pub mod http;
pub mod people;
pub mod raw;
pub mod scenarios;
pub mod signin;
pub mod stats;
pub mod wire;
