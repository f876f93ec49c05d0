//! A client whose socket ends in this process: a real session, without a connection.
//! Never a check of its own: it keeps what it hears.

use super::*;
use actors::caller::{Caller, Dispatch, Identity};
use actors::conversation::Conversations;
use actors::hub::Socket;
use actors::presence::Presences;
use actors::protocol::{Door, json as read_json};
use actors::session::{Handshake, Incoming, SessionActor, SessionDeps};
use entities::session;
use futures_util::future::LocalBoxFuture;
use sea_orm::{ActiveModelTrait, IntoActiveModel};
use serde_json::value::RawValue;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Serves what these tests send.
struct ByName {
    conversations: Conversations,
    presences: Presences,
}

fn answered<T: serde::Serialize>(outcome: Outcome<T>) -> Outcome<Box<RawValue>> {
    outcome.map(|reply| serde_json::value::to_raw_value(&reply).unwrap())
}

impl Dispatch for ByName {
    fn call(&self, caller: Caller, name: &str, data: &RawValue) -> LocalBoxFuture<'static, Outcome<Box<RawValue>>> {
        let (conversations, presences) = (self.conversations.clone(), self.presences.clone());
        let (name, data) = (name.to_owned(), data.get().as_bytes().to_vec());
        Box::pin(async move {
            let user = caller.user()?;
            match name.as_str() {
                SendMessage::NAME => answered(conversations.send(user, read_json::read(&data)?).await),
                MarkRead::NAME => answered(conversations.mark_read(user, read_json::read(&data)?).await),
                WatchPresence::NAME => answered(presences.watch(&caller, read_json::read(&data)?).await),
                _ => Err(ErrorCode::RequestUnknownCommand.into()),
            }
        })
    }

    fn refused(&self, _: Door, _: ErrorCode) {}

    fn served(&self, _: &'static str, _: Door, _: std::time::Duration, _: Option<ErrorCode>) {}

    fn authenticate(&self, _: &str) -> Outcome<Identity> {
        Err(ErrorCode::AuthUnauthenticated.into())
    }
}

/// One device of somebody.
pub struct Client {
    pub socket: Rc<Socket>,
    pub user: UserId,
    pub session: SessionId,
    says: mpsc::UnboundedSender<Vec<Incoming>>,
    heard: RefCell<Vec<Value>>,
    /// Events with a `rev` since `ready`.
    numbered: Cell<u64>,
    commands: Cell<u64>,
}

/// A login.
pub async fn login(node: &Node, user: UserId) -> SessionId {
    use actors::clock::Clock;
    let id = SessionId::from_uuid(node.clock.uuid());
    let now = node.clock.now();
    let row = session::Model {
        id,
        user_id: user,
        device_id: None,
        device_name: None,
        platform: None,
        address: None,
        network: None,
        user_agent: None,
        created_at: now,
        last_seen_at: now,
        authenticated_at: None,
        revoked_at: None,
        revoke_reason: None,
    };
    row.into_active_model().insert(node.rows.db.write()).await.unwrap();
    id
}

/// What the sessions of a node share.
pub fn deps(node: &Node) -> Rc<SessionDeps> {
    Rc::new(SessionDeps {
        hub: node.hub.clone(),
        dispatch: Rc::new(ByName { conversations: node.conversations.clone(), presences: node.presences.clone() }),
        greeter: node.greeter.clone(),
        entries: node.entries.clone(),
        presences: node.presences.clone(),
        conversations: node.conversations.clone(),
        sockets: node.sockets.clone(),
        clock: node.clock.clone(),
        limits: node.limits.clone(),
    })
}

impl Client {
    /// Opens a socket and says hello; does not wait for the answer.
    pub fn begins(node: &Node, user: UserId, session: SessionId, hello: Value) -> Client {
        use actors::clock::Clock;
        let (says, incoming) = mpsc::unbounded_channel();
        let expires_at = node.clock.now().plus(Duration::from_secs(1 << 20));
        let identity = Some(Identity { user, session, expires_at });
        let handshake = Handshake { door: Door::Socket, identity, address: None, permit: None };
        let socket = SessionActor::begin(deps(node), handshake, |_| Box::new(UnboundedReceiverStream::new(incoming)));
        let client = Client {
            socket,
            user,
            session,
            says,
            heard: RefCell::default(),
            numbered: Cell::new(0),
            commands: Cell::new(0),
        };
        client.says(json!({ "cmd": "hello", "data": hello }));
        client
    }

    /// A device that is ready.
    pub async fn joins(node: &Node, user: UserId) -> Client {
        let client = Client::begins(node, user, login(node, user).await, json!({}));
        client.hears("ready").await;
        client
    }

    /// Sends a frame.
    pub fn says(&self, frame: Value) {
        let _ = self.says.send(vec![Incoming::Text(frame.to_string().into())]);
    }

    /// Sends a command and awaits its reply; what comes before is kept.
    pub async fn calls(&self, cmd: &str, data: Value) -> Value {
        let id = self.begins_command(cmd, data);
        self.replied(&id).await
    }

    /// Sends a command; gives its id.
    pub fn begins_command(&self, cmd: &str, data: Value) -> String {
        self.commands.set(self.commands.get() + 1);
        let id = format!("c{}", self.commands.get());
        self.says(json!({ "id": id, "cmd": cmd, "data": data }));
        id
    }

    pub async fn replied(&self, id: &str) -> Value {
        self.takes(&format!("the reply to {id}"), |frame| frame["re"] == id).await
    }

    /// Awaits an event of this name, and takes it.
    pub async fn hears(&self, event: &str) -> Value {
        self.takes(event, |frame| frame["event"] == event).await
    }

    async fn takes(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let happening = async {
            loop {
                let found = self.heard.borrow().iter().position(&fits);
                if let Some(at) = found {
                    return self.heard.borrow_mut().remove(at);
                }
                let Some(bytes) = poll_fn(|cx| self.socket.poll_frames(cx)).await else {
                    panic!("the socket ended; heard {:?}", self.heard.borrow())
                };
                self.keeps(&bytes);
            }
        };
        match tokio::time::timeout(super::PATIENCE, happening).await {
            Ok(frame) => frame,
            Err(_) => panic!("waited in vain for {what}; heard {:?}", self.heard.borrow()),
        }
    }

    fn keeps(&self, bytes: &[u8]) {
        for frame in ear::frames_of(bytes) {
            if frame["event"] == "ready" {
                self.numbered.set(0);
            } else if frame.get("event").is_some() && frame.get("rev").is_some() {
                self.numbered.set(self.numbered.get() + 1);
            }
            self.heard.borrow_mut().push(frame);
        }
    }

    /// Everything that is there by now, in order; what was taken before is not among it.
    pub fn heard(&self) -> Vec<Value> {
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        while let std::task::Poll::Ready(Some(bytes)) = self.socket.poll_frames(&cx) {
            self.keeps(&bytes);
        }
        self.heard.borrow().clone()
    }

    /// How many numbered events it has received since `ready`.
    pub fn numbered(&self) -> u64 {
        self.numbered.get()
    }

    /// Goes away as a broken connection does.
    pub fn goes(self) {
        self.socket.outbox.end();
    }
}
