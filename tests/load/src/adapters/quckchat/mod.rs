//! QuckChat's own protocol: JSON frames over `/ws`, signed in with a bearer token and a `hello`.

mod ear;

use super::{Adapter, Login, Rooms, Target, To};
use crate::http;
use crate::people::{self, Person};
use crate::wire::{Client, Dial, text_frame};
use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use ear::QuckchatEar;
pub use ear::as_reply;
use serde::Deserialize;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;

const SETTING_UP_AT_ONCE: usize = 48;
const TRIES: usize = 20;

/// What adapters may be told.
#[derive(Default)]
pub struct Options {
    /// The WebSocket path.
    pub path: String,
    /// The output of `quckchat admin seed`.
    pub people: Option<PathBuf>,
    /// Conversations are read from here if it exists; otherwise made, and written here.
    pub rooms: Option<PathBuf>,
}

/// See the module.
pub struct Quckchat(Rc<Inner>);

struct Inner {
    path: String,
    people: Vec<Person>,
    rooms_file: Option<PathBuf>,
    /// Each user's conversation.
    conversations: RefCell<Vec<Option<String>>>,
    /// One's own messages count as deliveries.
    own_counts: Cell<bool>,
    /// What each user held when last online.
    known: RefCell<HashMap<usize, Known>>,
    queue_bytes: Cell<Option<u64>>,
    scratch: RefCell<Vec<u8>>,
}

#[derive(Default)]
struct Known {
    user_rev: Option<u64>,
    revs: HashMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heads {
    user_rev: Option<u64>,
    #[serde(default)]
    heads: Vec<Head>,
    #[serde(default)]
    more: bool,
    limits: Option<Limits>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    conversation_id: String,
    last_rev: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    queue_bytes: Option<u64>,
}

impl Quckchat {
    /// Reads the people; connects to nothing yet.
    pub fn new(options: Options) -> Result<Quckchat> {
        let people = options.people.context("quckchat needs --people, the output of `admin seed`")?;
        Ok(Quckchat(Rc::new(Inner {
            path: options.path,
            people: people::read(&people)?,
            rooms_file: options.rooms,
            conversations: RefCell::default(),
            own_counts: Cell::new(false),
            known: RefCell::default(),
            queue_bytes: Cell::new(None),
            scratch: RefCell::default(),
        })))
    }

    /// The user's conversation, once it is prepared.
    pub fn conversation(&self, user: usize) -> Option<String> {
        self.0.conversations.borrow().get(user)?.clone()
    }
}

#[async_trait(?Send)]
impl Adapter for Quckchat {
    async fn prepare(&self, target: Target, rooms: &Rooms) -> Result<()> {
        let inner = &self.0;
        inner.own_counts.set(matches!(rooms, Rooms::One(_)));
        let (Rooms::One(users) | Rooms::Pairs(users)) = rooms;
        let there = inner.people.len();
        ensure!(users.end <= there, "{} users are needed, {there} were seeded", users.end);
        if let Some(file) = inner.rooms_file.as_ref().filter(|file| file.exists()) {
            *inner.conversations.borrow_mut() = serde_json::from_slice(&std::fs::read(file)?)?;
            return Ok(());
        }
        inner.conversations.borrow_mut().resize(there, None);
        match rooms {
            Rooms::One(users) => inner.one_room(target, users.clone()).await?,
            Rooms::Pairs(users) => {
                let next = Rc::new(Cell::new(users.start));
                let mut workers = JoinSet::new();
                for _ in 0..SETTING_UP_AT_ONCE {
                    let (inner, next, end) = (inner.clone(), next.clone(), users.end);
                    workers.spawn_local(async move {
                        while next.get() + 1 < end {
                            let user = next.replace(next.get() + 2);
                            inner.pair(target, user).await?;
                        }
                        anyhow::Ok(())
                    });
                }
                while let Some(done) = workers.join_next().await {
                    done??;
                }
            }
        }
        if let Some(file) = &inner.rooms_file {
            std::fs::write(file, serde_json::to_vec(&*inner.conversations.borrow())?)?;
        }
        Ok(())
    }

    async fn login(&self, target: Target, user: usize) -> Result<Login> {
        let known = self.0.known.borrow().get(&user).map(|known| {
            let revs: Vec<(&String, &u64)> = known.revs.iter().collect();
            json!({"known": revs, "userRev": known.user_rev})
        });
        let (login, heads) = self.0.online(target, user, known.unwrap_or(json!({}))).await?;
        let mut all = self.0.known.borrow_mut();
        let known = all.entry(user).or_default();
        for page in heads {
            known.user_rev = page.user_rev.or(known.user_rev);
            known.revs.extend(page.heads.into_iter().map(|h| (h.conversation_id, h.last_rev)));
            if let Some(limits) = page.limits {
                self.0.queue_bytes.set(limits.queue_bytes);
            }
        }
        Ok(login)
    }

    fn message(&self, user: usize, _: To, id: u64, body: &str, out: &mut Vec<u8>) {
        let conversations = self.0.conversations.borrow();
        let conversation = conversations.get(user).and_then(Option::as_deref).unwrap_or("");
        let client_id = uuid::Uuid::now_v7();
        let mut text = self.0.scratch.borrow_mut();
        text.clear();
        // Nothing in these needs escaping.
        let _ = write!(
            text,
            r#"{{"id":"c{id}","cmd":"messages.send","data":{{"conversationId":"{conversation}","text":"{body}","clientId":"{client_id}"}}}}"#
        );
        text_frame(&text, out);
    }

    fn queue_bytes(&self) -> Option<u64> {
        self.0.queue_bytes.get()
    }
}

impl Inner {
    async fn one_room(&self, target: Target, users: std::ops::Range<usize>) -> Result<()> {
        let owner = &self.people[users.start];
        let others: Vec<_> = self.people[users.clone()][1..].iter().map(|p| &p.user_id).collect();
        let body = json!({"kind": "group", "name": "load", "participantIds": others});
        let path = "/api/v1/conversations";
        let dial = Dial { addr: target.addr, lane: 0, path, headers: "", recv_buffer: None };
        let (mut status, mut answer) = (0, Value::Null);
        for _ in 0..TRIES {
            (status, answer) = http::post(&dial, &owner.access_token, &body).await?;
            if status != 429 {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let id = answer["id"].as_str().with_context(|| format!("no group: {status} {answer}"))?;
        for user in users {
            self.conversations.borrow_mut()[user] = Some(id.to_owned());
        }
        Ok(())
    }

    async fn pair(&self, target: Target, user: usize) -> Result<()> {
        let peer = &self.people[user + 1].user_id;
        let create = json!({"id": "1", "cmd": "conversations.create",
            "data": {"kind": "private", "participantIds": [peer]}});
        let mut last = Value::Null;
        for _ in 0..TRIES {
            let (Login { mut client, .. }, _) = self.online(target, user, json!({})).await?;
            last = ask(&mut client, &create).await?;
            if let Some(id) = last["ok"]["id"].as_str() {
                for user in [user, user + 1] {
                    self.conversations.borrow_mut()[user] = Some(id.to_owned());
                }
                return Ok(());
            }
            if last["error"]["retryable"] != true {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        bail!("no conversation for user {user}: {last}")
    }

    /// Connects and says hello with `extra` fields; what `ready`, and `heads` after it, told.
    async fn online(&self, target: Target, user: usize, extra: Value) -> Result<(Login, Vec<Heads>)> {
        let person = self.people.get(user).with_context(|| format!("user {user} is not seeded"))?;
        let headers = format!("Authorization: Bearer {}\r\n", person.access_token);
        let (addr, recv_buffer) = (target.of(user), target.recv_buffer);
        let dial = Dial { addr, lane: user, path: &self.path, headers: &headers, recv_buffer };
        let mut client = Client::upgrade(&dial).await?;
        let mut data = json!({"client": {"name": "load", "version": "1", "platform": "rust"}});
        if let (Some(data), Value::Object(extra)) = (data.as_object_mut(), extra) {
            data.extend(extra.into_iter().filter(|(_, value)| !value.is_null()));
        }
        client.sender.send_text(json!({"cmd": "hello", "data": data}).to_string().as_bytes());
        let mut pages: Vec<Heads> = vec![];
        let mut others = vec![];
        while pages.last().is_none_or(|page| page.more) {
            let text = client.next_text().await?;
            let frame: Value = serde_json::from_slice(&text)?;
            match frame["event"].as_str() {
                Some("ready" | "heads") => pages.push(Heads::deserialize(&frame["data"])?),
                // It was told before `ready`, so it is in the heads and in no count.
                _ if pages.is_empty() => {
                    ensure!(frame["error"].is_null(), "hello was refused: {frame}");
                }
                _ => others.push(text),
            }
        }
        client.put_back(others);
        let ear = QuckchatEar::new(&person.user_id, self.own_counts.get());
        Ok((Login { client, ear: Box::new(ear) }, pages))
    }
}

/// Sends a command and waits for its reply, passing over everything else.
pub async fn ask(client: &mut Client, command: &Value) -> Result<Value> {
    client.sender.send_text(command.to_string().as_bytes());
    loop {
        let reply: Value = serde_json::from_slice(&client.next_text().await?)?;
        if reply["re"] == command["id"] {
            return Ok(reply);
        }
    }
}
