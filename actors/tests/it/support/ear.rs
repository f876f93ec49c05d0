//! A socket without a connection: what its queue holds is what a client would hear.
//! Never an answer.

use super::*;
use actors::hub::Socket;
use std::cell::RefCell;
use std::task::{Context, Poll, Waker};
use tokio::sync::mpsc;

/// What somebody hears on one node.
pub struct Ear {
    pub socket: Rc<Socket>,
    pub user: UserId,
    notices: RefCell<mpsc::UnboundedReceiver<Notice>>,
}

impl Ear {
    pub fn new(node: &Node, user: UserId) -> Ear {
        Ear::with_queue(node, user, 1 << 20)
    }

    /// With room for so many bytes.
    pub fn with_queue(node: &Node, user: UserId, bytes: usize) -> Ear {
        let (sender, notices) = mpsc::unbounded_channel();
        let socket = node.hub.socket(bytes, sender);
        socket.user.set(Some(user));
        Ear { socket, user, notices: RefCell::new(notices) }
    }

    /// Begins to listen to a conversation; what comes is held.
    pub async fn attaches(&self, conversation: ConversationId) {
        self.socket.attach(Topic::Conversation(conversation), self.user).await;
    }

    /// The snapshot was read at `rev`.
    pub fn releases(&self, conversation: ConversationId, rev: i64) {
        self.socket.release(Topic::Conversation(conversation), rev, 1);
    }

    /// Listens to a conversation from a `rev` on.
    pub async fn listens(&self, conversation: ConversationId, rev: i64) {
        self.attaches(conversation).await;
        self.releases(conversation, rev);
    }

    /// Listens to what is the user's own from a `userRev` on.
    pub async fn listens_to_own(&self, user_rev: i64) {
        self.socket.attach(Topic::User(self.user), self.user).await;
        self.socket.release(Topic::User(self.user), user_rev, 0);
    }

    /// Everything that waits in the queue.
    pub fn hears(&self) -> Vec<Value> {
        let cx = Context::from_waker(Waker::noop());
        let mut bytes = Vec::new();
        while let Poll::Ready(Some(frames)) = self.socket.poll_frames(&cx) {
            bytes.extend_from_slice(&frames);
        }
        frames_of(&bytes)
    }

    /// The numbers of what waits: (first, last) of each event.
    pub fn hears_numbers(&self) -> Vec<(i64, i64)> {
        self.hears().iter().map(numbers).collect()
    }

    /// What the session was told meanwhile.
    pub fn notices(&self) -> Vec<Notice> {
        let mut told = Vec::new();
        while let Ok(notice) = self.notices.borrow_mut().try_recv() {
            told.push(notice);
        }
        told
    }
}

/// The first and the last change that an event tells.
pub fn numbers(event: &Value) -> (i64, i64) {
    let rev = event["rev"].as_i64().unwrap_or_else(|| panic!("no rev: {event}"));
    (event["fromRev"].as_i64().unwrap_or(rev), rev)
}

/// The JSON of unmasked text frames; a close frame is its code.
pub fn frames_of(mut bytes: &[u8]) -> Vec<Value> {
    let mut frames = Vec::new();
    while let [kind, length, rest @ ..] = bytes {
        let (length, body) = match length {
            126 => (usize::from(u16::from_be_bytes(rest[..2].try_into().unwrap())), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            short => (usize::from(*short), rest),
        };
        let frame = match kind {
            0x81 => serde_json::from_slice(&body[..length]).unwrap(),
            0x88 => json!({ "closed": u16::from_be_bytes(body[..2].try_into().unwrap()) }),
            other => json!({ "opcode": other }),
        };
        frames.push(frame);
        bytes = &body[length..];
    }
    frames
}
