//! Many clients at once, who talk, come and go while something breaks.
//! Never a fault: what breaks is not theirs to know.

mod client;
mod deed;
mod link;
mod memory;
pub mod plan;

use crate::chance::Chance;
use crate::fleet::Doors;
use crate::history::audit::{Audit, Heads};
use crate::history::{Ending, Id, Ledger, Row};
use crate::wait;
use actix_web::rt;
use client::Client;
use link::Link;
use plan::{Plan, Size};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What all clients have in common.
pub struct Crowd {
    plan: Plan,
    seed: u64,
    pace: u64,
    /// Whether they begin anything new.
    acting: Cell<bool>,
    /// Whether they go home.
    over: Cell<bool>,
    ledger: RefCell<Ledger>,
}

/// A crowd that is out.
pub struct Gathering {
    crowd: Rc<Crowd>,
    clients: Vec<Rc<Client>>,
}

/// Every row as it is told afresh, and by key.
type Rows = BTreeMap<String, Value>;

impl Crowd {
    /// How often a client looks whether it has something to do.
    fn turn(&self) -> Duration {
        Duration::from_millis((self.pace / 40).clamp(40, 250))
    }

    fn refuses(&self, what: String) {
        self.ledger.borrow_mut().refused.push(what);
    }
}

impl Gathering {
    /// Everybody comes, and waits: the first device of each by the balancer, the others to a node of their choice.
    pub async fn begins(size: Size, people: &[Value], doors: &Doors, seed: u64) -> Gathering {
        let nodes = &doors.nodes;
        let plan = Plan::make(size, people, nodes, &mut Chance::of(seed, 1)).await;
        let ledger = RefCell::default();
        let crowd =
            Rc::new(Crowd { plan, seed, pace: size.pace, acting: Cell::new(false), over: Cell::new(false), ledger });
        let device = |at: usize| {
            let (person, device) = (at / size.devices, at % size.devices);
            let doors = match device {
                0 => vec![doors.balancer],
                // So that devices of one user are at several nodes, which the balancer avoids.
                _ => (0..nodes.len()).map(|next| nodes[(person + device + next) % nodes.len()]).collect(),
            };
            let client = Client::new(&crowd, person, device, doors);
            rt::spawn(client.clone().lives());
            client
        };
        let clients = (0..size.people * size.devices).map(device).collect();
        Gathering { crowd, clients }
    }

    /// Lets them begin new things, or only finish what they have begun.
    pub fn acts(&self, acting: bool) {
        self.crowd.acting.set(acting);
    }

    /// Awaits that everybody has what there is; tells how long that took, or what was still missing.
    pub async fn agrees(&self, audit: &Audit, within: Duration) -> Result<Duration, String> {
        let begin = Instant::now();
        let agreed = wait::until(begin + within, async || {
            // Only then is it worth asking.
            self.clients.iter().all(|client| client.rests()).then_some(())?;
            let heads = audit.heads().await?;
            self.clients.iter().all(|client| client.lacks(&heads).is_none()).then_some(())
        });
        if agreed.await.is_some() {
            return Ok(begin.elapsed());
        }
        let Some(heads) = audit.heads().await else { return Err("the database does not answer".to_owned()) };
        let lacking = self.clients.iter().filter_map(|client| Some((client, client.lacks(&heads)?)));
        let lines = lacking.map(|(client, lacks)| format!("\n    {}: {lacks}", client.name));
        let lines: Vec<String> = lines.take(20).collect();
        Err(format!("not equal to the rows after {within:?}:{}", lines.concat()))
    }

    /// Everybody goes home; gives what they were told, and what they hold beside what is told afresh.
    pub async fn ends(self, heads: &Heads, door: SocketAddr) -> (Ledger, Vec<Ending>, BTreeMap<Id, Truth>) {
        self.crowd.over.set(true);
        let mut endings = Vec::new();
        let mut truth = BTreeMap::new();
        for (person, who) in self.crowd.plan.people.iter().enumerate() {
            let mut link = Link::opens(door, &who.token).await;
            for (conversation, visible_from) in &heads.users[&who.id].1 {
                let fresh = by_key(link.reads_all(conversation).await);
                if *visible_from == 1 {
                    truth.insert(conversation.clone(), fresh.values().map(as_truth).collect());
                }
                for client in self.clients.iter().filter(|client| client.person == person) {
                    let held = client.memory.borrow().chats.get(conversation).map(|chat| chat.rows.clone());
                    endings.push(Ending {
                        client: client.name.clone(),
                        conversation: conversation.clone(),
                        held: held.unwrap_or_default(),
                        fresh: fresh.clone(),
                        visible_from: *visible_from,
                    });
                }
            }
        }
        (self.crowd.ledger.take(), endings, truth)
    }
}

/// What can be read of a conversation, by row.
pub type Truth = BTreeMap<String, (i64, Row)>;

fn as_truth(item: &Value) -> (String, (i64, Row)) {
    let (rev, row) = Row::told(item);
    (row.key(), (rev, row))
}

fn by_key(items: Vec<Value>) -> Rows {
    let mut memory = memory::Chat::default();
    memory.merge(&items);
    memory.rows
}
