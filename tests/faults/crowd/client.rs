//! A client as the README tells one to be: it resumes, merges, repeats what got no answer, and comes back.
//! Never a shortcut past a public door.

use super::deed::{Deed, Doer};
use super::link::{Incoming, Link};
use super::memory::Memory;
use super::{Crowd, plan::Person};
use crate::chance::Chance;
use crate::history::audit::Heads;
use crate::history::{Heard, Id, Row};
use crate::wait;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A command that has no answer by then gets none on this connection.
const ANSWER: Duration = Duration::from_secs(3);
/// What a client has under way at most.
const OPEN: usize = 3;

/// A device of somebody, over all its connections.
pub struct Client {
    pub name: String,
    pub person: usize,
    pub device: usize,
    who: Person,
    /// Where it knocks, the nearest first.
    doors: Vec<SocketAddr>,
    crowd: Rc<Crowd>,
    pub memory: RefCell<Memory>,
    open: RefCell<Vec<Deed>>,
    chance: RefCell<Chance>,
    connected: Cell<bool>,
    comes_back: Cell<Option<Duration>>,
}

/// What a reply is to.
enum Asked {
    Deed(Deed),
    Page(Id),
    Own,
}

impl Client {
    pub fn new(crowd: &Rc<Crowd>, person: usize, device: usize, doors: Vec<SocketAddr>) -> Rc<Client> {
        let part = (person * 16 + device) as u64;
        Rc::new(Client {
            name: format!("device {device} of person {person}"),
            person,
            device,
            who: crowd.plan.people[person].clone(),
            doors,
            memory: RefCell::default(),
            open: RefCell::default(),
            chance: RefCell::new(Chance::of(crowd.seed, 1000 + part)),
            connected: Cell::new(false),
            comes_back: Cell::new(None),
            crowd: crowd.clone(),
        })
    }

    /// The user's id.
    pub fn user(&self) -> &Id {
        &self.who.id
    }

    fn doer(&self) -> Doer<'_> {
        Doer { plan: &self.crowd.plan, person: self.person, first_device: self.device == 0 }
    }

    /// Connects, and comes back until the crowd goes home.
    pub async fn lives(self: Rc<Self>) {
        let mut failures = 0;
        while !self.crowd.over.get() {
            let door = self.doors[failures as usize % self.doors.len()];
            let hello = self.memory.borrow().hello();
            if let Ok((link, ready)) = Link::open(door, &self.who.token, hello).await {
                failures = 0;
                self.connected.set(true);
                Connection::new(&self, link).runs(ready).await;
                self.connected.set(false);
                self.memory.borrow_mut().disconnects();
            }
            failures += 1;
            let wait = self.comes_back.take().unwrap_or_else(|| self.back_off(failures));
            wait::pause(wait).await;
        }
    }

    /// A pause that grows and varies.
    fn back_off(&self, tries: u32) -> Duration {
        let most = (50 << tries.min(4)) as u64;
        self.chance.borrow_mut().millis(most / 2..=most)
    }

    /// Whether it is connected, has nothing under way, and knows of nothing that it does not have.
    pub fn rests(&self) -> bool {
        self.connected.get()
            && self.open.borrow().is_empty()
            && !self.memory.borrow().chats.values().any(|chat| chat.is_behind())
    }

    /// What it still lacks to have nothing under way, and to know all that is there.
    pub fn lacks(&self, heads: &Heads) -> Option<String> {
        let (user_rev, theirs) = &heads.users[self.user()];
        let memory = self.memory.borrow();
        if !self.connected.get() {
            return Some("a connection".to_owned());
        }
        if let Some(deed) = self.open.borrow().first() {
            return Some(format!("an answer to {} {}", deed.command, deed.data));
        }
        if memory.user_rev != *user_rev {
            return Some(format!("its own changes: {} of {user_rev}", memory.user_rev));
        }
        let stray = memory.chats.iter().find(|(id, chat)| chat.member && !theirs.contains_key(*id));
        if let Some((id, _)) = stray {
            return Some(format!("the knowledge that it has left {id}"));
        }
        theirs.keys().find_map(|id| {
            let Some(chat) = memory.chats.get(id).filter(|chat| chat.member) else {
                return Some(format!("the knowledge that it is in {id}"));
            };
            let (position, last) = (chat.position, heads.last_rev[id]);
            (position != last).then(|| format!("changes of {id}: {position} of {last}"))
        })
    }
}

/// One connection of a client.
struct Connection<'a> {
    client: &'a Client,
    link: Link,
    asked: HashMap<String, Asked>,
    /// By when each command under way wants its answer.
    answers: Vec<(Instant, String)>,
    /// Conversations that could not be read on, and when to try again.
    again: Vec<(Instant, Id)>,
    numbered: u64,
    heard_at: Instant,
    silence: Duration,
    acts_at: Instant,
}

impl Connection<'_> {
    fn new(client: &Client, link: Link) -> Connection<'_> {
        let now = Instant::now();
        let (asked, answers, again) = (HashMap::new(), Vec::new(), Vec::new());
        Connection { client, link, asked, answers, again, numbered: 0, heard_at: now, silence: ANSWER, acts_at: now }
    }

    async fn runs(mut self, ready: Value) {
        // Two heartbeats that did not come, and a little: nobody is there any more.
        self.silence = Duration::from_secs(2 * ready["heartbeatSecs"].as_u64().unwrap_or(25) + 1);
        let behind = {
            let mut memory = self.client.memory.borrow_mut();
            memory.greets(&ready);
            memory.user_rev < ready["userRev"].as_i64().unwrap_or_default()
        };
        if behind && self.reads_own().await.is_none() {
            return;
        }
        let _ = self.goes_on().await;
        // What got no answer is said again on the next connection, with the same key.
        let unanswered = self.asked.into_values().filter_map(|asked| match asked {
            Asked::Deed(deed) => Some(deed.after(Duration::ZERO)),
            _ => None,
        });
        let mut open = self.client.open.borrow_mut();
        for deed in unanswered {
            if let Some(same) = open.iter_mut().find(|same| same.data == deed.data) {
                *same = deed;
            }
        }
    }

    /// Until the connection is over, or not worth keeping.
    async fn goes_on(&mut self) -> Option<()> {
        while !self.client.crowd.over.get() {
            self.catches_up().await?;
            tokio::select! {
                incoming = self.link.next() => match incoming {
                    Incoming::Frame(frame) => {
                        self.heard_at = Instant::now();
                        self.hears(frame).await?;
                    }
                    Incoming::Closed(code) => return self.is_closed(code),
                },
                () = wait::pause(self.client.crowd.turn()) => self.acts().await?,
            }
        }
        None
    }

    fn is_closed(&self, code: Option<u16>) -> Option<()> {
        let for_good = code.is_some_and(|code| !(4001..=4004).contains(&code) && !(1000..=1001).contains(&code));
        if for_good {
            self.client.crowd.refuses(format!("{} was closed with {code:?}", self.client.name));
        }
        None
    }

    /// Says what is due; leaves a connection that does not answer.
    async fn acts(&mut self) -> Option<()> {
        let (now, client) = (Instant::now(), self.client);
        let unanswered = self.answers.iter().any(|(by, id)| *by < now && self.asked.contains_key(id));
        if unanswered || self.heard_at + self.silence < now {
            return None;
        }
        self.answers.retain(|(by, _)| *by >= now);
        for (_, id) in self.again.extract_if(.., |(at, _)| *at <= now) {
            client.memory.borrow_mut().chats.entry(id).or_default().reading = false;
        }
        if client.crowd.acting.get() && now >= self.acts_at && client.open.borrow().len() < OPEN {
            let pace = client.crowd.pace;
            self.acts_at = now + client.chance.borrow_mut().millis(pace / 2..=pace * 3 / 2);
            let deed = client.doer().chooses(&client.memory.borrow(), &mut client.chance.borrow_mut());
            client.open.borrow_mut().extend(deed);
        }
        let under_way: Vec<Value> = self.asked.values().filter_map(Asked::data).collect();
        let due: Vec<Deed> = client
            .open
            .borrow()
            .iter()
            .filter(|deed| deed.due <= now && !under_way.contains(&deed.data))
            .cloned()
            .collect();
        for mut deed in due {
            if deed.tries > 0 {
                client.crowd.ledger.borrow_mut().repeated += 1;
            }
            deed.tries += 1;
            let (command, data) = (deed.command, deed.data.clone());
            self.asks(command, &data, Asked::Deed(deed)).await?;
        }
        Some(())
    }

    async fn asks(&mut self, command: &str, data: &Value, asked: Asked) -> Option<()> {
        let id = self.link.commands(command, data).await;
        // Also what could not be said is kept: it is said again.
        self.asked.insert(id.clone().unwrap_or_default(), asked);
        self.answers.push((Instant::now() + ANSWER, id.clone()?));
        Some(())
    }

    async fn reads_own(&mut self) -> Option<()> {
        let after = self.client.memory.borrow().user_rev;
        self.asks("users.changes", &json!({ "afterUserRev": after, "limit": 100 }), Asked::Own).await
    }

    /// Asks for what does not come by itself.
    async fn catches_up(&mut self) -> Option<()> {
        let behind: Vec<(Id, i64)> = {
            let mut memory = self.client.memory.borrow_mut();
            let behind = memory.chats.iter_mut().filter(|(_, chat)| chat.is_behind() && !chat.reading);
            behind
                .map(|(id, chat)| {
                    chat.reading = true;
                    (id.clone(), chat.position)
                })
                .collect()
        };
        for (id, after) in behind {
            let data = json!({ "conversationId": id, "afterRev": after, "limit": 100 });
            self.asks("messages.changes", &data, Asked::Page(id)).await?;
        }
        Some(())
    }

    async fn hears(&mut self, frame: Value) -> Option<()> {
        if let Some(id) = frame["re"].as_str() {
            let Some(asked) = self.asked.remove(id) else { return Some(()) };
            return self.is_answered(asked, frame).await;
        }
        match frame["event"].as_str() {
            Some("heartbeat") => {
                let data = json!({ "nonce": frame["data"]["nonce"], "received": self.numbered });
                self.link.says(json!({ "cmd": "heartbeat", "data": data })).await
            }
            Some("heads") => {
                self.client.memory.borrow_mut().stands(&frame["data"]["heads"], None);
                Some(())
            }
            Some("drain") => {
                let wait = Duration::from_millis(frame["data"]["reconnectAfterMs"].as_u64().unwrap_or_default());
                self.client.comes_back.set(Some(wait));
                Some(())
            }
            _ if frame.get("rev").is_some() => {
                self.hears_numbered(&frame);
                Some(())
            }
            // Also without a `userRev`, where the node found by itself that the user is in it again.
            Some("conversation.added" | "conversation.removed" | "conversation.mine" | "profile.updated") => {
                self.client.memory.borrow_mut().hears_own(&frame);
                Some(())
            }
            _ => Some(()),
        }
    }

    fn hears_numbered(&mut self, frame: &Value) {
        self.numbered += 1;
        let conversation = frame["conversationId"].as_str().unwrap_or_default().to_owned();
        let rev = frame["rev"].as_i64().unwrap_or_default();
        let from = frame["fromRev"].as_i64().unwrap_or(rev);
        let rows = match frame["data"]["items"].as_array() {
            Some(items) => items.iter().map(Row::told).collect(),
            None => vec![Row::told(&frame["data"])],
        };
        let order = self.client.memory.borrow_mut().hears(&conversation, from, rev, frame);
        let user = self.client.user().clone();
        self.client.crowd.ledger.borrow_mut().heard.push(Heard { user, conversation, from, rev, rows, order });
    }

    async fn is_answered(&mut self, asked: Asked, frame: Value) -> Option<()> {
        let (client, error) = (self.client, &frame["error"]);
        match asked {
            Asked::Own if error.is_null() => {
                let more = client.memory.borrow_mut().reads_own(&frame["ok"]);
                if more { self.reads_own().await } else { Some(()) }
            }
            Asked::Page(id) if error.is_null() => {
                let mut memory = client.memory.borrow_mut();
                memory.reads(&id, &frame["ok"]);
                memory.chats.entry(id).or_default().reading = false;
                Some(())
            }
            // It stays behind, and asks again, unless it has left meanwhile.
            Asked::Page(id) => {
                self.again.push((Instant::now() + client.back_off(1), id));
                Some(())
            }
            // What it did not learn here, the next hello will tell.
            Asked::Own => None,
            Asked::Deed(deed) => {
                self.is_settled(deed, &frame);
                Some(())
            }
        }
    }

    fn is_settled(&self, deed: Deed, frame: &Value) {
        let (client, error) = (self.client, &frame["error"]);
        let mut open = client.open.borrow_mut();
        let Some(at) = open.iter().position(|same| same.data == deed.data) else { return };
        if error["retryable"] == true {
            let asked = error["retryAfterMs"].as_u64().map(Duration::from_millis);
            let wait = asked.unwrap_or_default().max(client.back_off(deed.tries));
            open[at] = deed.after(wait);
            return;
        }
        let settled = open.remove(at);
        if !error.is_null() {
            if !client.doer().expects(&settled, error["code"].as_str().unwrap_or_default()) {
                client.crowd.refuses(format!("{}: {} {}: {frame}", client.name, settled.command, settled.data));
            }
            return;
        }
        let told = client.doer().is_told(&settled, &frame["ok"]);
        client.crowd.ledger.borrow_mut().acknowledged.extend(told);
        // Now and then an answer is lost on its way to somebody: they say it again.
        if settled.is_send() && client.chance.borrow_mut().percent(4) {
            open.push(settled.after(Duration::from_millis(200)));
        }
    }
}

impl Asked {
    fn data(&self) -> Option<Value> {
        match self {
            Asked::Deed(deed) => Some(deed.data.clone()),
            _ => None,
        }
    }
}
