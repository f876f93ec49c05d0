//! Nodes from inside: the journal, the entries and the rooms, in situations that no client can bring about on purpose.
//! Never a door: what clients see at those is told in the node's own stories.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod support;

mod deciding;
mod delivering;
mod departing;
mod joining;
mod lanes;
mod leases;
mod presence;
mod reading;
mod rooms;
mod sights;
mod standing;
