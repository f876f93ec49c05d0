//! Stories: whole nodes over real HTTP and sockets, told as people live them, through public doors only.
//! Never a look inside a node, and never a wait for time to pass.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a story that cannot go on has failed")]

#[macro_use]
mod support;

mod bad_input;
mod balancer;
mod blocking;
mod budgets;
mod chatting;
mod codes;
mod contacts;
mod databases;
mod devices;
mod draining;
mod everything;
mod fleet;
mod guessing;
mod identities;
mod languages;
mod leases;
mod leaving;
mod links;
mod membership;
mod opening;
mod operations;
mod passwords;
mod presence;
mod privacy;
mod profiles;
mod program;
mod reading;
mod reports;
mod requests;
mod resuming;
mod second_factor;
mod sessions;
mod settings;
mod signing_in;
mod sockets;
mod staying;
mod storms;
mod tls;
mod tokens;
