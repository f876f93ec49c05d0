//! SIGKILL under load: many pairs send at once, the node is killed, started again on the same data, and the
//! whole history read over the socket is held against what was acknowledged. Then what was not acknowledged
//! is sent again, with the same `clientId`s, and must be there once.

use super::ledger::{Findings, History, Ledger, Message, Sent, Stored};
use super::server::Bench;
use crate::adapters::{Adapter, Incoming, Login, Options, Quckchat, Rooms, Target, as_reply, ask};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const PAIRS: usize = 300;
/// Messages that each of them keeps under way.
const WINDOW: usize = 4;
const READING_AT_ONCE: usize = 32;
const LOAD: Duration = Duration::from_secs(2);
const GONE_WITHIN: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_secs(180);

/// How many users the test needs.
pub fn users() -> usize {
    PAIRS * 2
}

/// Kills a few times in a row; counts of what was lost, doubled or misnumbered.
pub fn run(bench: &Bench, data: &Path, people: &Path) -> Result<Value> {
    let options = Options { path: "/ws".into(), people: Some(people.to_owned()), rooms: None };
    let test = Rc::new(Test { node: Quckchat::new(options)?, ledger: RefCell::default() });
    let kills = if bench.quick() { 1 } else { 4 };
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let (mut found, mut again, mut lasted) = (Findings::default(), Findings::default(), 0.0);
    let mut resent = 0;
    for kill in 0..kills {
        let server = bench.start_node(data)?;
        let target = Target { addr: server.addr, second: None, recv_buffer: None };
        lasted += local.block_on(&rt, async {
            if kill == 0 {
                within(test.node.prepare(target, &Rooms::Pairs(0..users()))).await?;
            }
            let load = test.clone().load(target).await?;
            let begin = Instant::now();
            // Not always at the same point of whatever the node does in turns.
            let odd = u64::from(uuid::Uuid::now_v7().as_bytes()[15]) * 8;
            tokio::time::sleep(LOAD + Duration::from_millis(odd)).await;
            server.kill()?;
            let secs = begin.elapsed().as_secs_f64();
            load.gone().await?;
            anyhow::Ok(secs)
        })?;
        let server = bench.start_node(data)?;
        let target = Target { addr: server.addr, second: None, recv_buffer: None };
        local.block_on(&rt, async {
            let history = within(test.clone().history(target)).await?;
            found.worst(&test.ledger.borrow().compare(&history));
            resent += within(test.clone().send_again(target)).await?;
            let history = within(test.clone().history(target)).await?;
            again.worst(&test.ledger.borrow().compare(&history));
            anyhow::Ok(())
        })?;
        server.kill()?;
    }
    let ledger = test.ledger.borrow();
    let mut worst = found.clone();
    worst.worst(&again);
    let acknowledged = ledger.sent.iter().filter(|s| s.stored.is_some()).count() - resent;
    Ok(json!({"scenario": "kill", "kills": kills, "pairs": PAIRS, "sent": ledger.sent.len(),
        "acknowledged": acknowledged, "acknowledged_s": acknowledged as f64 / lasted,
        "announced": ledger.announced.len(), "refused": ledger.refused,
        "missing": worst.missing, "withdrawn": worst.withdrawn,
        "duplicated": worst.duplicated, "gaps": worst.gaps, "resent": resent, "after_kill": found.json(),
        "after_resend": again.json()}))
}

async fn within<T>(step: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(STEP, step).await.context("a step took too long")?
}

struct Test {
    node: Quckchat,
    ledger: RefCell<Ledger>,
}

/// A load under way.
struct Load {
    workers: JoinSet<()>,
}

impl Load {
    /// Waits until every connection has noticed that the node is gone.
    async fn gone(mut self) -> Result<()> {
        let all = async { while self.workers.join_next().await.is_some() {} };
        tokio::time::timeout(GONE_WITHIN, all).await.context("some connections outlived the node")
    }
}

impl Test {
    fn conversation(&self, user: usize) -> Result<String> {
        self.node.conversation(user).with_context(|| format!("user {user} has no conversation"))
    }

    /// Everybody online and sending.
    async fn load(self: Rc<Self>, target: Target) -> Result<Load> {
        let (mut joining, mut logins) = (JoinSet::new(), vec![]);
        let next = Rc::new(Cell::new(0));
        for _ in 0..READING_AT_ONCE {
            let (test, next) = (self.clone(), next.clone());
            joining.spawn_local(async move {
                let mut mine = vec![];
                while next.get() < users() {
                    let user = next.replace(next.get() + 1);
                    mine.push((user, test.node.login(target, user).await?));
                }
                anyhow::Ok(mine)
            });
        }
        while let Some(mine) = within(async { Ok(joining.join_next().await) }).await? {
            logins.extend(mine??);
        }
        let mut workers = JoinSet::new();
        for (user, login) in logins {
            workers.spawn_local(self.clone().send_until_gone(user, login));
        }
        Ok(Load { workers })
    }

    async fn send_until_gone(self: Rc<Self>, user: usize, login: Login) {
        let Login { mut client, mut ear } = login;
        for _ in 0..WINDOW {
            client.sender.send_text(&self.next_message(user));
        }
        while let Ok(text) = client.next_text().await {
            if let Incoming::Reply { text, .. } = ear.hear(&text) {
                client.sender.send_text(&text);
                continue;
            }
            let Ok(frame) = serde_json::from_slice::<Value>(&text) else {
                continue;
            };
            if let Some(ok) = as_reply(&text) {
                self.note_reply(ok, &frame);
                client.sender.send_text(&self.next_message(user));
            } else if frame["event"] == "message.created"
                && let (Some(conversation), Ok(message)) =
                    (frame["conversationId"].as_str(), Message::deserialize(&frame["data"]))
            {
                self.ledger.borrow_mut().announce(conversation, message);
            }
        }
    }

    /// The frame of a new message, noted in the ledger.
    fn next_message(&self, user: usize) -> Vec<u8> {
        let mut ledger = self.ledger.borrow_mut();
        let number = ledger.sent.len();
        ledger.sent.push(Sent {
            user,
            conversation: self.node.conversation(user).unwrap_or_default(),
            client_id: uuid::Uuid::now_v7().to_string(),
            text: format!("message {number} of user {user}, the only one that says so"),
            stored: None,
        });
        command(number, &ledger.sent[number]).to_string().into_bytes()
    }

    fn note_reply(&self, ok: bool, frame: &Value) {
        let mut ledger = self.ledger.borrow_mut();
        if !ok {
            ledger.refused += 1;
            return;
        }
        let number = frame["re"].as_str().and_then(|re| re.parse::<usize>().ok());
        let sent = number.and_then(|number| ledger.sent.get_mut(number));
        let message = Message::deserialize(&frame["ok"]["message"]);
        if let (Some(sent), Ok(message)) = (sent, message) {
            sent.stored = Some(Stored { id: message.id, seq: message.seq });
        }
    }

    /// Everything there is, read over the socket.
    async fn history(self: Rc<Self>, target: Target) -> Result<History> {
        let (next, mut readers) = (Rc::new(Cell::new(0)), JoinSet::new());
        for _ in 0..READING_AT_ONCE {
            let (test, next) = (self.clone(), next.clone());
            readers.spawn_local(async move {
                let mut mine = vec![];
                while next.get() < PAIRS {
                    let user = next.replace(next.get() + 1) * 2;
                    mine.push((test.conversation(user)?, test.read(target, user).await?));
                }
                anyhow::Ok(mine)
            });
        }
        let mut history = History::new();
        while let Some(mine) = readers.join_next().await {
            history.extend(mine??);
        }
        Ok(history)
    }

    async fn read(&self, target: Target, user: usize) -> Result<Vec<Message>> {
        let Login { mut client, .. } = self.node.login(target, user).await?;
        let conversation = self.conversation(user)?;
        let mut messages: Vec<Message> = vec![];
        loop {
            let after = messages.last().map_or(0, |message| message.seq);
            let reply = ask(
                &mut client,
                &json!({"id": "h", "cmd": "messages.getByConversation",
                "data": {"conversationId": conversation, "afterSeq": after, "limit": 100}}),
            )
            .await?;
            let Some(items) = reply["ok"]["items"].as_array() else { bail!("no history: {reply}") };
            if items.is_empty() {
                return Ok(messages);
            }
            for item in items {
                messages.push(Message::deserialize(item)?);
            }
            let last = messages.last().map_or(0, |message| message.seq);
            ensure!(last > after, "paging does not move on: {after} to {last}");
        }
    }

    /// Sends what was not acknowledged once more, as a client would; how many.
    async fn send_again(self: Rc<Self>, target: Target) -> Result<usize> {
        let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, sent) in self.ledger.borrow().sent.iter().enumerate() {
            if sent.stored.is_none() {
                open.entry(sent.user).or_default().push(number);
            }
        }
        let count = open.values().map(Vec::len).sum();
        let (open, mut senders) = (Rc::new(RefCell::new(open)), JoinSet::new());
        for _ in 0..READING_AT_ONCE {
            let (test, open) = (self.clone(), open.clone());
            senders.spawn_local(async move {
                loop {
                    let Some((user, numbers)) = open.borrow_mut().pop_first() else {
                        break;
                    };
                    let Login { mut client, .. } = test.node.login(target, user).await?;
                    for number in numbers {
                        let again = command(number, &test.ledger.borrow().sent[number]);
                        let reply = ask(&mut client, &again).await?;
                        ensure!(reply.get("ok").is_some(), "sent again and refused: {reply}");
                        test.note_reply(true, &reply);
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = senders.join_next().await {
            done??;
        }
        Ok(count)
    }
}

fn command(number: usize, sent: &Sent) -> Value {
    json!({"id": number.to_string(), "cmd": "messages.send", "data": {"conversationId": sent.conversation,
        "text": sent.text, "clientId": sent.client_id}})
}
