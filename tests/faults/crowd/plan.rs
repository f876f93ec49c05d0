//! Who there is, and where they meet: rooms whose people stay, rooms to which guests come and go, and pairs.
//! Never what they do there.

use super::link::Link;
use crate::chance::Chance;
use crate::history::Id;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Somebody, with a sign-in.
#[derive(Clone)]
pub struct Person {
    pub id: Id,
    pub token: String,
}

/// A conversation.
#[derive(Clone)]
pub struct Place {
    pub id: Id,
    /// Who opened it, and stays.
    pub host: usize,
    /// Whom the host lets in and sends away.
    pub guests: Vec<usize>,
}

/// A crowd's people and places.
pub struct Plan {
    pub people: Vec<Person>,
    pub places: Vec<Place>,
}

/// How many of what there are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub people: usize,
    /// Sockets of each.
    pub devices: usize,
    /// Groups whose people stay.
    pub halls: usize,
    /// Groups with guests.
    pub inns: usize,
    pub pairs: usize,
    /// Members of a group.
    pub members: usize,
    /// Milliseconds between two things that a client does.
    pub pace: u64,
    /// How often nodes ask each socket whether it is there.
    pub heartbeat: &'static str,
}

impl Size {
    /// What a fault meets in the suite. A short heartbeat lets listeners notice within a short run.
    pub const SUITE: Size =
        Size { people: 15, devices: 3, halls: 4, inns: 3, pairs: 6, members: 8, pace: 300, heartbeat: "2s" };

    /// A whole town, all of it by the balancer.
    pub const TOWN: Size = Size {
        people: 3000,
        devices: 1,
        halls: 60,
        inns: 20,
        pairs: 1500,
        members: 20,
        pace: 10_000,
        heartbeat: "10s",
    };
}

impl Plan {
    /// Opens the places, at any of these doors.
    pub async fn make(size: Size, people: &[Value], doors: &[SocketAddr], chance: &mut Chance) -> Plan {
        let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
        let person = |line| Person { id: text(line, "userId"), token: text(line, "accessToken") };
        let mut plan = Plan { people: people.iter().map(person).collect(), places: Vec::new() };
        for at in 0..size.halls + size.inns + size.pairs {
            let mut present: Vec<usize> = (0..plan.people.len()).collect();
            let mut drawn = Vec::new();
            let wanted = if at < size.halls + size.inns { size.members } else { 2 };
            while drawn.len() < wanted {
                drawn.push(present.swap_remove(chance.below(present.len())));
            }
            let guests = if (size.halls..size.halls + size.inns).contains(&at) { drawn.split_off(5) } else { vec![] };
            let place = plan.open(&drawn, at >= size.halls + size.inns, doors[at % doors.len()]).await;
            plan.places.push(Place { id: place, host: drawn[0], guests });
        }
        plan
    }

    async fn open(&self, drawn: &[usize], pair: bool, door: SocketAddr) -> Id {
        let mut link = Link::opens(door, &self.people[drawn[0]].token).await;
        let others: Vec<&Id> = drawn[1..].iter().map(|at| &self.people[*at].id).collect();
        let data = match pair {
            true => json!({ "kind": "private", "participantIds": others }),
            false => json!({ "kind": "group", "name": "place", "participantIds": others }),
        };
        // Of two pairs with the same people there is one.
        link.asks("conversations.create", data).await["id"].as_str().unwrap().to_owned()
    }

    /// The place that somebody is host of, if they let guests in.
    pub fn inns_of(&self, person: usize) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(move |place| place.host == person && !place.guests.is_empty())
    }

    /// Whether somebody may find themselves outside of a place.
    pub fn is_guest(&self, person: usize, place: &str) -> bool {
        self.places.iter().any(|known| known.id == place && known.guests.contains(&person))
    }
}
