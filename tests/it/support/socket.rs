//! A well-behaved client's socket: it says hello, keeps what it hears, and answers heartbeats.
//! Never a state of its own beyond that: see `replica`.

use super::answer::Answer;
use super::wire::Wire;
use super::{Speaks, within};
use actix_web::rt::task::JoinHandle;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// How a socket answers heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// With the number of events that it heard.
    Truthful,
    /// With one more.
    Mistaken,
    /// Not at all.
    Silent,
}

/// An open socket that has heard `ready`.
#[derive(Clone)]
pub struct Socket {
    shared: Rc<Shared>,
    _reader: Rc<Reader>,
    /// The `data` of `ready`.
    pub ready: Value,
}

struct Shared {
    sink: Mutex<SplitSink<WebSocketStream<TcpStream>, Message>>,
    /// Every text frame since `ready`, in order.
    heard: RefCell<Vec<Value>>,
    /// Where the reply to each command is among them.
    replies: RefCell<HashMap<String, usize>>,
    /// Which of them a story has taken.
    taken: RefCell<BTreeSet<usize>>,
    /// Events with a `rev`.
    numbered: Cell<u64>,
    pings: Cell<u64>,
    closed: Cell<Option<u16>>,
    ended: Cell<bool>,
    manner: Cell<Manner>,
    commands: Cell<u64>,
    arrived: Notify,
}

/// Reads until the socket is dropped.
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Socket {
    /// Says hello on a wire and awaits `ready`.
    pub async fn begin(mut wire: Wire, hello: Value) -> Socket {
        let ready = wire.is_ready(hello).await;
        let (sink, stream) = wire.stream.split();
        let shared = Rc::new(Shared {
            sink: Mutex::new(sink),
            heard: RefCell::default(),
            replies: RefCell::default(),
            taken: RefCell::default(),
            numbered: Cell::new(0),
            pings: Cell::new(0),
            closed: Cell::new(None),
            ended: Cell::new(false),
            manner: Cell::new(Manner::Truthful),
            commands: Cell::new(0),
            arrived: Notify::new(),
        });
        let reader = actix_web::rt::spawn(read(shared.clone(), stream));
        Socket { shared, _reader: Rc::new(Reader(reader)), ready }
    }

    /// Answers heartbeats so from now on.
    pub fn answers(&self, manner: Manner) {
        self.shared.manner.set(manner);
    }

    /// Sends a command without awaiting its reply; gives the id that `reply` wants.
    pub async fn begins(&self, command: &str, data: Value) -> String {
        let id = format!("c{}", self.shared.commands.replace(self.shared.commands.get() + 1));
        self.says(json!({ "id": id, "cmd": command, "data": data })).await;
        id
    }

    /// Sends any frame.
    pub async fn says(&self, frame: Value) {
        self.shared.say(frame).await;
    }

    /// The reply to a command.
    pub async fn reply(&self, id: &str) -> Answer {
        let frame = self.reply_if_any(id).await;
        frame.unwrap_or_else(|| panic!("closed before the reply to {id}; {}", self.diary()))
    }

    /// The reply to a command; `None` if the connection ended first.
    pub async fn reply_if_any(&self, id: &str) -> Option<Answer> {
        let replied = || self.shared.replies.borrow().get(id).copied();
        let found = || replied().map(Some).or_else(|| self.shared.ended.get().then_some(None));
        let at = self.shared.until(&format!("the reply to {id}"), found).await?;
        let frame = self.shared.heard.borrow()[at].clone();
        let result = match frame.get("ok") {
            Some(ok) => Ok(ok.clone()),
            None => Err(frame["error"].clone()),
        };
        Some(Answer { status: None, result })
    }

    /// The first event of this name that was not taken yet.
    pub async fn hears(&self, event: &str) -> Value {
        self.takes(event, |frame| frame["event"] == event).await
    }

    /// The first event of this name that fits and was not taken yet.
    pub async fn hears_that(&self, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.takes(event, |frame| frame["event"] == event && fits(frame)).await
    }

    /// A message with this text, as it was told.
    pub async fn hears_said(&self, text: &str) -> Value {
        self.takes(&format!("{text:?} to be said"), |frame| {
            frame["event"] == "message.created" && frame["data"]["text"] == text
        })
        .await
    }

    /// Awaits that a text was told, as it was said or among what filled a gap.
    pub async fn hears_of(&self, text: &str) {
        let among = |items: &Value| items.as_array().is_some_and(|items| items.iter().any(|item| item["text"] == text));
        let fits = |frame: &Value| frame["data"]["text"] == text || among(&frame["data"]["items"]);
        self.takes(text, |frame| frame.get("rev").is_some() && fits(frame)).await;
    }

    /// The first frame that fits and was not taken yet.
    pub async fn takes(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let arrived = self.shared.arrived.notified();
                let found = self.shared.take(&fits);
                if let Some(frame) = found {
                    return frame;
                }
                if self.shared.ended.get() {
                    panic!("closed with {:?} while waiting for {what}; {}", self.shared.closed.get(), self.diary());
                }
                arrived.await;
            }
        };
        match tokio::time::timeout(super::PATIENCE, found).await {
            Ok(frame) => frame,
            Err(_) => panic!("waited in vain for {what}; {}", self.diary()),
        }
    }

    /// What was heard, a line each, beside a failure.
    fn diary(&self) -> String {
        let short = |frame: &Value| frame.to_string().chars().take(600).collect::<String>();
        let lines: Vec<String> = self.heard().iter().map(|frame| format!("\n    {}", short(frame))).collect();
        format!("heard:{}", lines.concat())
    }

    /// Everything heard since `ready`, taken or not.
    pub fn heard(&self) -> Vec<Value> {
        self.shared.heard.borrow().clone()
    }

    /// The events heard so far of a conversation, in order.
    pub fn heard_of(&self, conversation: impl ToString) -> Vec<Value> {
        let id = conversation.to_string();
        self.heard().into_iter().filter(|frame| frame["conversationId"] == *id).collect()
    }

    /// Whether an event of this name was heard so far.
    pub fn has_heard(&self, event: &str) -> bool {
        self.shared.heard.borrow().iter().any(|frame| frame["event"] == event)
    }

    /// Awaits so many WebSocket pings in all.
    pub async fn is_pinged(&self, times: u64) {
        self.shared.until("a ping", || (self.shared.pings.get() >= times).then_some(())).await;
    }

    /// How many events with a `rev` were heard.
    pub fn numbered(&self) -> u64 {
        self.shared.numbered.get()
    }

    /// Awaits the node's close; gives its code.
    pub async fn is_closed(&self) -> u16 {
        self.is_over().await;
        self.shared.closed.get().expect("a close code")
    }

    /// Whether the connection is still there, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.shared.ended.get()
    }

    /// Fails if the connection has ended, saying how.
    pub fn stays_open(&self) {
        assert!(self.is_open(), "closed with {:?}; {}", self.shared.closed.get(), self.diary());
    }

    /// Closes as clients do.
    pub async fn hangs_up(self) {
        let _ = self.shared.sink.lock().await.send(Message::Close(None)).await;
        self.is_over().await;
    }

    /// Awaits the end of the connection, however it comes.
    pub async fn is_over(&self) {
        self.shared.until("the connection to end", || self.shared.ended.get().then_some(())).await;
    }

    /// Awaits that the node has taken everything that this socket said so far.
    pub async fn is_served(&self) {
        self.calls("users.getProfile", json!({ "userId": "me" })).await.ok();
    }
}

impl Speaks for Socket {
    async fn calls(&self, command: &str, data: Value) -> Answer {
        let id = self.begins(command, data).await;
        self.reply(&id).await
    }
}

impl Shared {
    async fn until<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let happening = async {
            loop {
                let arrived = self.arrived.notified();
                if let Some(found) = found() {
                    return found;
                }
                arrived.await;
            }
        };
        within(happening, what).await
    }

    async fn say(&self, frame: Value) {
        // A socket that the node is closing takes nothing any more; the story will see that.
        let _ = self.sink.lock().await.send(Message::text(frame.to_string())).await;
    }

    fn take(&self, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        let mut taken = self.taken.borrow_mut();
        let heard = self.heard.borrow();
        let at = (0..heard.len()).find(|at| !taken.contains(at) && fits(&heard[*at]))?;
        taken.insert(at);
        Some(heard[at].clone())
    }

    async fn hear(&self, frame: Value) {
        if frame["event"] == "heartbeat" {
            let received = self.numbered.get() + u64::from(self.manner.get() == Manner::Mistaken);
            if self.manner.get() != Manner::Silent {
                let data = json!({ "nonce": frame["data"]["nonce"], "received": received });
                self.say(json!({ "cmd": "heartbeat", "data": data })).await;
            }
        } else if frame.get("event").is_some() && frame.get("rev").is_some() {
            self.numbered.set(self.numbered.get() + 1);
        }
        let mut heard = self.heard.borrow_mut();
        if let Some(id) = frame["re"].as_str() {
            self.replies.borrow_mut().insert(id.to_owned(), heard.len());
        }
        heard.push(frame);
    }
}

async fn read(shared: Rc<Shared>, mut stream: SplitStream<WebSocketStream<TcpStream>>) {
    while let Some(Ok(message)) = stream.next().await {
        match message {
            Message::Text(text) => shared.hear(serde_json::from_str(&text).unwrap()).await,
            Message::Ping(_) => shared.pings.set(shared.pings.get() + 1),
            Message::Close(frame) => shared.closed.set(frame.map(|frame| frame.code.into())),
            _ => {}
        }
        shared.arrived.notify_waiters();
    }
    shared.ended.set(true);
    shared.arrived.notify_waiters();
}
