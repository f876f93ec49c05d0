//! What waits for one socket: bounded in bytes, drained by its connection.
//! Never waits for the client: who does not read loses first what may be lost, then the socket.

use crate::cluster::EphemeralKey;
use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};

/// The newest ephemeral frames kept for a slow client; further ones are lost.
const EPHEMERAL_KEPT: usize = 256;

/// Why the node closes a socket (the application's codes of RFC 6455, section 7.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The client has closed, or gone.
    Normal,
    /// Text that is not UTF-8 (RFC 6455, section 8.1).
    NotUtf8,
    /// Frames that are not WebSocket's.
    ProtocolError,
    /// The node is going away: reconnect and resume.
    Draining,
    /// The queue was full: reconnect and resume.
    TooSlow,
    /// The counts differ: reconnect and resume.
    OutOfStep,
    /// No answer to a heartbeat: reconnect and resume.
    NoHeartbeat,
    /// The first frame was no hello, or came too late.
    MalformedHello,
    /// No token, or one whose time is over.
    NotAuthenticated,
    /// The session was ended.
    SessionRevoked,
    /// The user has too many sockets.
    TooManySockets,
    /// A frame above the limit.
    FrameTooLarge,
    /// Far too many commands.
    TooManyCommands,
}

impl CloseCode {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        match self {
            CloseCode::Normal => 1000,
            CloseCode::ProtocolError => 1002,
            CloseCode::NotUtf8 => 1007,
            CloseCode::Draining => 4001,
            CloseCode::TooSlow => 4002,
            CloseCode::OutOfStep => 4003,
            CloseCode::NoHeartbeat => 4004,
            CloseCode::MalformedHello => 4400,
            CloseCode::NotAuthenticated => 4401,
            CloseCode::SessionRevoked => 4403,
            CloseCode::TooManySockets => 4409,
            CloseCode::FrameTooLarge => 4413,
            CloseCode::TooManyCommands => 4429,
        }
    }

    /// A few words for whoever debugs a client.
    pub fn reason(self) -> &'static str {
        match self {
            CloseCode::Normal => "",
            CloseCode::ProtocolError => "protocol error",
            CloseCode::NotUtf8 => "text is not UTF-8",
            CloseCode::Draining => "draining",
            CloseCode::TooSlow => "too slow",
            CloseCode::OutOfStep => "out of step",
            CloseCode::NoHeartbeat => "no heartbeat",
            CloseCode::MalformedHello => "malformed hello",
            CloseCode::NotAuthenticated => "not authenticated",
            CloseCode::SessionRevoked => "session revoked",
            CloseCode::TooManySockets => "too many sockets",
            CloseCode::FrameTooLarge => "frame too large",
            CloseCode::TooManyCommands => "too many commands",
        }
    }

    fn frame(self) -> Bytes {
        let reason = self.reason().as_bytes();
        let mut frame = vec![0x88, (2 + reason.len()) as u8];
        frame.extend_from_slice(&self.number().to_be_bytes());
        frame.extend_from_slice(reason);
        frame.into()
    }
}

/// The queue of one socket.
pub struct Outbox {
    queue: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    limit: usize,
    gauge: Gauge,
    waker: Cell<Option<Waker>>,
    resume: Cell<Option<Waker>>,
    late: RefCell<HashMap<EphemeralKey, Bytes>>,
    delivered: Cell<u64>,
    pushed: Cell<u64>,
    drained: Cell<u64>,
    closed: Cell<Option<CloseCode>>,
    ended: Cell<bool>,
}

impl Outbox {
    /// An empty queue for up to `limit` bytes; `gauge` counts the bytes of all.
    pub fn new(limit: usize, gauge: Gauge) -> Outbox {
        Outbox {
            queue: RefCell::default(),
            bytes: Cell::new(0),
            limit,
            gauge,
            waker: Cell::new(None),
            resume: Cell::new(None),
            late: RefCell::default(),
            delivered: Cell::new(0),
            pushed: Cell::new(0),
            drained: Cell::new(0),
            closed: Cell::new(None),
            ended: Cell::new(false),
        }
    }

    /// Queues whole frames, `numbered` of which count for the heartbeat. Too much: closes as too slow.
    pub fn push(&self, frames: Bytes, numbered: u64) {
        if self.closed.get().is_some() {
            return;
        }
        if self.bytes.get() + frames.len() > self.limit {
            self.close(CloseCode::TooSlow);
            return;
        }
        self.delivered.set(self.delivered.get() + numbered);
        self.enqueue(frames);
    }

    /// Queues a frame that may be dropped; the newest of its key comes again when the queue is empty.
    pub fn push_ephemeral(&self, frame: Bytes, key: Option<EphemeralKey>) {
        if self.closed.get().is_some() {
            return;
        }
        if !self.is_half_full() {
            // An older one of the same key would come after it.
            if let Some(key) = key {
                self.late.borrow_mut().remove(&key);
            }
            self.enqueue(frame);
        } else if let Some(key) = key {
            let mut late = self.late.borrow_mut();
            if late.len() < EPHEMERAL_KEPT || late.contains_key(&key) {
                late.insert(key, frame);
            }
        }
    }

    fn enqueue(&self, frames: Bytes) {
        self.bytes.set(self.bytes.get() + frames.len());
        self.gauge.inc_by(frames.len() as i64);
        self.pushed.set(self.pushed.get() + frames.len() as u64);
        self.queue.borrow_mut().push_back(frames);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Closes: what waits goes out first, unless the client is too slow for it.
    pub fn close(&self, code: CloseCode) {
        if self.closed.replace(Some(self.closed.get().unwrap_or(code))).is_some() {
            return;
        }
        if code == CloseCode::TooSlow {
            self.discard();
        }
        self.late.borrow_mut().clear();
        let frame = code.frame();
        self.bytes.set(self.bytes.get() + frame.len());
        self.gauge.inc_by(frame.len() as i64);
        self.queue.borrow_mut().push_back(frame);
        self.wake();
        if let Some(reader) = self.resume.take() {
            reader.wake();
        }
    }

    fn discard(&self) {
        self.gauge.dec_by(self.bytes.replace(0) as i64);
        *self.queue.borrow_mut() = VecDeque::new();
    }

    /// The connection has gone: nothing will be drained any more.
    pub fn end(&self) {
        self.ended.set(true);
        self.closed.set(self.closed.get().or(Some(CloseCode::Normal)));
        self.discard();
        if let Some(reader) = self.resume.take() {
            reader.wake();
        }
    }

    /// Whether the connection has gone.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Why it was closed, if it was.
    pub fn closed(&self) -> Option<CloseCode> {
        self.closed.get()
    }

    /// Whether commands of this socket should wait.
    pub fn is_half_full(&self) -> bool {
        self.bytes.get() * 2 > self.limit
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.get() == 0
    }

    /// Numbered frames queued so far.
    pub fn delivered(&self) -> u64 {
        self.delivered.get()
    }

    /// Counts numbered frames from here, as `ready` does.
    pub fn restart_count(&self) {
        self.delivered.set(0);
    }

    /// Remembers the end of the queue, to tell when everything up to here has been drained.
    pub fn mark(&self) -> u64 {
        self.pushed.get()
    }

    /// Bytes drained so far; a mark at or below it has gone out.
    pub fn drained(&self) -> u64 {
        self.drained.get()
    }

    /// Ready when the socket's commands may be read; the reader is woken when that changes, or when all is over.
    pub fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        let known = self.resume.take().filter(|waker| waker.will_wake(cx.waker()));
        self.resume.set(Some(known.unwrap_or_else(|| cx.waker().clone())));
        if self.is_half_full() && self.closed.get().is_none() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// The next frames for the connection; `None` when it is over.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(frames) = self.pop() {
            return Poll::Ready(Some(frames));
        }
        if self.closed.get().is_some() {
            return Poll::Ready(None);
        }
        let late: Vec<Bytes> = self.late.borrow_mut().drain().map(|(_, frame)| frame).collect();
        for frame in late {
            self.enqueue(frame);
        }
        if let Some(frames) = self.pop() {
            return Poll::Ready(Some(frames));
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn pop(&self) -> Option<Bytes> {
        let mut queue = self.queue.borrow_mut();
        let frames = queue.pop_front()?;
        if queue.is_empty() && queue.capacity() > 8 {
            // A burst's room is given back: an idle socket costs what an idle socket costs.
            *queue = VecDeque::new();
        }
        drop(queue);
        self.bytes.set(self.bytes.get() - frames.len());
        self.gauge.dec_by(frames.len() as i64);
        self.drained.set(self.drained.get() + frames.len() as u64);
        let was_half_full = (self.bytes.get() + frames.len()) * 2 > self.limit;
        if was_half_full
            && !self.is_half_full()
            && let Some(reader) = self.resume.take()
        {
            reader.wake();
        }
        Some(frames)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.discard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &Outbox) -> Vec<Bytes> {
        let cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match outbox.poll_next(&cx) {
            Poll::Ready(frames) => frames,
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn a_full_queue_drops_what_waits_and_closes_as_too_slow() {
        let outbox = Outbox::new(100, Gauge::default());
        outbox.push(Bytes::from(vec![1; 60]), 1);
        outbox.push(Bytes::from(vec![2; 60]), 1);
        assert_eq!(outbox.closed(), Some(CloseCode::TooSlow));
        let frames = drain(&outbox);
        assert_eq!(frames.len(), 1);
        assert_eq!(&frames[0][2..4], &4002u16.to_be_bytes());
        assert!(outbox.is_empty());
    }

    #[test]
    fn above_half_the_newest_ephemeral_frame_of_a_key_waits_for_the_queue_to_drain() {
        let outbox = Outbox::new(100, Gauge::default());
        let key = EphemeralKey::Presence(entities::UserId::from_uuid(uuid::Uuid::nil()));
        outbox.push(Bytes::from(vec![1; 60]), 1);
        assert!(outbox.is_half_full());
        outbox.push_ephemeral(Bytes::from_static(b"old"), Some(key));
        outbox.push_ephemeral(Bytes::from_static(b"new"), Some(key));
        outbox.push_ephemeral(Bytes::from_static(b"typing"), None);
        let frames = drain(&outbox);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[1], Bytes::from_static(b"new"));
    }

    #[test]
    fn a_newer_frame_of_a_key_is_not_followed_by_an_older_one() {
        let outbox = Outbox::new(100, Gauge::default());
        let key = EphemeralKey::Presence(entities::UserId::from_uuid(uuid::Uuid::nil()));
        outbox.push(Bytes::from(vec![1; 30]), 1);
        outbox.push(Bytes::from(vec![2; 30]), 1);
        outbox.push_ephemeral(Bytes::from_static(b"old"), Some(key));
        let cx = Context::from_waker(Waker::noop());
        assert!(outbox.poll_next(&cx).is_ready());
        outbox.push_ephemeral(Bytes::from_static(b"new"), Some(key));
        assert_eq!(drain(&outbox).last(), Some(&Bytes::from_static(b"new")));
    }

    #[test]
    fn commands_wait_while_more_than_half_is_queued() {
        let outbox = Outbox::new(100, Gauge::default());
        let cx = Context::from_waker(Waker::noop());
        outbox.push(Bytes::from(vec![1; 60]), 0);
        assert!(outbox.poll_readable(&cx).is_pending());
        drain(&outbox);
        assert!(outbox.poll_readable(&cx).is_ready());
    }

    #[test]
    fn only_numbered_frames_count_for_the_heartbeat() {
        let outbox = Outbox::new(1000, Gauge::default());
        outbox.push(Bytes::from_static(b"two"), 2);
        outbox.push(Bytes::from_static(b"reply"), 0);
        assert_eq!(outbox.delivered(), 2);
    }
}
