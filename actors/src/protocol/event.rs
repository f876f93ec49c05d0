//! What a socket hears: replies, events, and how they become WebSocket bytes.
//! Never who hears it.

use super::error::{Body, Error};
use super::view;
use bytes::Bytes;
use entities::{ConversationId, SessionId, Timestamp, UserId};
use serde::Serialize;
use serde_json::value::RawValue;

/// An event: a name, where it stands in the numbers, and its data.
///
/// `fromRev` is present where one event covers several changes. `data` of an event with a `rev` is
/// what `messages.changes` lists for it.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a, T> {
    /// `domain.what`.
    pub event: &'a str,
    /// Of which conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// The place of the message that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// The first of the changes that it covers, when there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_rev: Option<i64>,
    /// The conversation's change counter after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<i64>,
    /// The user's change counter after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_rev: Option<i64>,
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What happened.
    pub data: &'a T,
}

impl<'a, T: Serialize> Event<'a, T> {
    /// An event without numbers.
    pub fn new(event: &'a str, data: &'a T) -> Event<'a, T> {
        Event { event, conversation_id: None, seq: None, from_rev: None, rev: None, user_rev: None, at: None, data }
    }

    /// The same in a conversation.
    pub fn within(mut self, conversation: ConversationId) -> Event<'a, T> {
        self.conversation_id = Some(conversation);
        self
    }

    /// As a WebSocket text frame.
    pub fn frame(&self) -> Bytes {
        text_frame(self)
    }
}

/// Several changes of a conversation in one event: a gap that was filled from the rows, or changes
/// that are not for this listener (then without items).
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationChanges {
    /// The first change covered.
    pub from_rev: i64,
    /// The last change covered.
    pub rev: i64,
    /// The rows, in `rev` order.
    pub items: Vec<view::Item>,
    /// Too many changes to tell: take the history afresh.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// The answer to hello.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ready<'a> {
    /// The session that the token belongs to.
    pub session_id: SessionId,
    /// Who is signed in.
    pub user: &'a view::User,
    /// The user's change counter.
    pub user_rev: i64,
    /// Up to 200 conversations that changed; all of them without `known`.
    pub heads: &'a [view::Head],
    /// Whether `heads` events follow.
    pub more: bool,
    /// Conversations that the client knows and that are no longer the user's.
    pub gone: &'a [view::Gone],
    /// How often the node sends a heartbeat.
    pub heartbeat_secs: u64,
    /// What this socket may do.
    pub limits: SocketLimits,
    /// Which node serves it.
    pub node: &'a str,
    /// The socket was too slow twice: it hears coalesced heads until it has caught up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pull: bool,
}

/// What a socket may do.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SocketLimits {
    /// The largest frame that it may send.
    pub frame_bytes: usize,
    /// Commands a second, over time.
    pub commands_per_sec: u32,
    /// Commands under way at once.
    pub in_flight: usize,
    /// What may wait for it before it counts as too slow.
    pub queue_bytes: usize,
}

/// The next page of heads.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Heads<'a> {
    /// Up to 200.
    pub heads: &'a [view::Head],
    /// Whether another follows.
    pub more: bool,
}

/// Where a socket that pulls may read on, instead of the events themselves.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hint {
    /// In which conversation.
    pub conversation_id: ConversationId,
    /// Its newest change.
    pub last_rev: i64,
}

/// Several hints, in a `heads` event.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Hints<'a> {
    /// One for each conversation that changed.
    pub heads: &'a [Hint],
    /// Whether another follows.
    pub more: bool,
}

/// The node asks whether everything arrived.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Heartbeat {
    /// To be given back.
    pub nonce: String,
    /// Event frames with a top-level `rev` since `ready`.
    pub delivered: u64,
}

/// The node is going away.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// When to come back, spread so that not all come at once.
    pub reconnect_after_ms: u64,
}

/// Somebody is typing, or no longer.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Typist {
    /// Who.
    pub user_id: UserId,
}

/// How far somebody has read, or received.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Who.
    pub user_id: UserId,
    /// Up to which message.
    pub seq: i64,
}

/// Somebody's profile has changed, or what of it may be seen: `users.getProfile` shows it to whoever asks.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserUpdated {
    /// Whose.
    pub user_id: UserId,
}

/// A session was ended.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionRevoked {
    /// Which.
    pub session_id: SessionId,
}

#[derive(Serialize)]
struct Reply<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    re: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Body<'a>>,
}

/// The frame that answers the command `re`.
pub fn ok_frame(re: &str, ok: &RawValue) -> Bytes {
    text_frame(&Reply { re: Some(re), ok: Some(ok), error: None })
}

/// The frame that refuses the command `re`, or whatever came where no id could be read.
pub fn error_frame(re: Option<&str>, error: &Error, request_id: &str) -> Bytes {
    text_frame(&Reply { re, ok: None, error: Some(error.body(request_id)) })
}

/// Appends a value as one unmasked WebSocket text frame (RFC 6455, section 5.2); returns its length.
pub fn append_text_frame<T: Serialize>(value: &T, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    // The longest header is reserved; what of it is not needed is closed up afterwards.
    out.extend_from_slice(&[0; 10]);
    let body = start + 10;
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Our own types always serialize; an empty frame is what is left if one does not.
        out.truncate(body);
    }
    let len = out.len() - body;
    let (head, used) = frame_header(len);
    let shift = 10 - used;
    out[start + shift..body].copy_from_slice(&head[..used]);
    out.drain(start..start + shift);
    used + len
}

fn frame_header(len: usize) -> ([u8; 10], usize) {
    let mut head = [0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    match len {
        0..=125 => {
            head[1] = len as u8;
            (head, 2)
        }
        126..=65535 => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            (head, 4)
        }
        _ => {
            head[1] = 127;
            head[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            (head, 10)
        }
    }
}

/// A value as one unmasked WebSocket text frame.
pub fn text_frame<T: Serialize>(value: &T) -> Bytes {
    let mut out = Vec::with_capacity(512);
    append_text_frame(value, &mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_their_length_in_the_shortest_form() {
        for (len, header) in [(10, 2), (123, 2), (124, 4), (65_533, 4), (65_534, 10)] {
            let frame = text_frame(&"x".repeat(len));
            assert_eq!(frame.len(), header + len + 2);
            assert_eq!(frame[0], 0x81);
            assert_eq!(&frame[header..header + 2], b"\"x");
        }
    }
}
