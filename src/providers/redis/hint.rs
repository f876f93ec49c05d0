//! How a delivery travels from node to node: the name of its channel, and its bytes there.
//! Never anything that must arrive: a hint that this release cannot read says that there is something to read.
//!
//! # Why
//! The frames that go out to sockets travel as they are: the node that receives them encodes nothing. Only what an
//! entry must know of them stands before them, in [postcard](https://postcard.jamesmunns.com/wire-format).

use actors::cluster::{Content, Delivery, EphemeralKey, Part, Topic};
use bytes::Bytes;
use entities::{ConversationId, SessionId, UserId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// The first byte. Another form gets another number, and is read as `Content::Changed` by who does not know it.
const FORM: u8 = 1;
/// Who sent it stands behind the form.
const ORIGIN: usize = size_of::<u64>();
/// Longer ones travel as `Content::Changed`: what many nodes must take in at once is better read from the rows.
const LONGEST: usize = 1 << 20;

/// What stands before the frames.
#[derive(Serialize, Deserialize)]
struct Header {
    numbers: Option<(i64, i64)>,
    kind: Kind,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Frames(Vec<Part>),
    Ephemeral(Option<EphemeralKey>),
    Changed,
    SessionRevoked(SessionId),
    Standing(UserId),
}

/// A topic's channel.
pub fn channel(prefix: &str, topic: Topic) -> String {
    match topic {
        Topic::Conversation(id) => format!("{prefix}c:{}", id.uuid().simple()),
        Topic::User(id) => format!("{prefix}u:{}", id.uuid().simple()),
        Topic::Presence(id) => format!("{prefix}p:{}", id.uuid().simple()),
    }
}

/// The topic of a channel; `None` if it is no topic's.
pub fn topic(prefix: &str, channel: &[u8]) -> Option<Topic> {
    let name = channel.strip_prefix(prefix.as_bytes())?;
    let (kind, id) = name.split_at_checked(2)?;
    let id = Uuid::try_parse_ascii(id).ok()?;
    match kind {
        b"c:" => Some(Topic::Conversation(ConversationId::from_uuid(id))),
        b"u:" => Some(Topic::User(UserId::from_uuid(id))),
        b"p:" => Some(Topic::Presence(UserId::from_uuid(id))),
        _ => None,
    }
}

/// A delivery as bytes, from the node that `origin` stands for.
pub fn encode(origin: u64, delivery: &Delivery) -> Vec<u8> {
    let (kind, frames) = match &delivery.content {
        Content::Frames { bytes, parts } if bytes.len() <= LONGEST => (Kind::Frames(parts.clone()), &bytes[..]),
        Content::Ephemeral { bytes, key } => (Kind::Ephemeral(*key), &bytes[..]),
        Content::SessionRevoked(session) => (Kind::SessionRevoked(*session), &[][..]),
        Content::Standing(other) => (Kind::Standing(*other), &[][..]),
        Content::Frames { .. } | Content::Fill(_) | Content::Changed => (Kind::Changed, &[][..]),
    };
    let mut bytes = Vec::with_capacity(1 + ORIGIN + 64 + frames.len());
    bytes.push(FORM);
    bytes.extend_from_slice(&origin.to_le_bytes());
    let header = Header { numbers: delivery.numbers, kind };
    // It fails only for what has no length; then the form alone says that something changed.
    if let Ok(mut bytes) = postcard::to_extend(&header, bytes) {
        bytes.extend_from_slice(frames);
        return bytes;
    }
    Vec::from([0])
}

/// What another node's hint says; `None` for one's own.
pub fn decode(own: u64, topic: Topic, hint: Vec<u8>) -> Option<Arc<Delivery>> {
    let delivery = |numbers, content| Some(Arc::new(Delivery { topic, numbers, content }));
    let changed = || delivery(None, Content::Changed);
    let Some((origin, rest)) = hint.strip_prefix(&[FORM]).and_then(|rest| rest.split_first_chunk::<ORIGIN>()) else {
        return changed();
    };
    if u64::from_le_bytes(*origin) == own {
        return None;
    }
    let Ok((Header { numbers, kind }, frames)) = postcard::take_from_bytes::<Header>(rest) else { return changed() };
    let start = hint.len() - frames.len();
    let bytes = Bytes::from(hint).slice(start..);
    match kind {
        Kind::Frames(parts) if fits(&parts, bytes.len()) => delivery(numbers, Content::Frames { bytes, parts }),
        Kind::Ephemeral(key) => delivery(None, Content::Ephemeral { bytes, key }),
        Kind::SessionRevoked(session) => delivery(None, Content::SessionRevoked(session)),
        Kind::Standing(other) => delivery(None, Content::Standing(other)),
        Kind::Frames(_) | Kind::Changed => changed(),
    }
}

/// Whether parts divide so many bytes: one after another, to the end.
fn fits(parts: &[Part], length: usize) -> bool {
    parts.is_sorted_by_key(|part| part.end) && parts.last().is_some_and(|part| part.end == length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> [Topic; 3] {
        let id = Uuid::from_u128(7);
        [
            Topic::Conversation(ConversationId::from_uuid(id)),
            Topic::User(UserId::from_uuid(id)),
            Topic::Presence(UserId::from_uuid(id)),
        ]
    }

    fn frames() -> Delivery {
        let part = |end, rev| Part { end, rev, seq: Some(rev - 1), removed: None, conversation: None };
        let removed = Some(UserId::from_uuid(Uuid::from_u128(9)));
        let parts = vec![part(3, 4), Part { removed, seq: None, ..part(8, 5) }];
        let content = Content::Frames { bytes: Bytes::from_static(b"abcdefgh"), parts };
        Delivery { topic: topics()[0], numbers: Some((4, 5)), content }
    }

    #[test]
    fn a_channel_names_its_topic_and_no_other() {
        for at in topics() {
            let name = channel("chat:", at);
            assert_eq!(topic("chat:", name.as_bytes()), Some(at));
            assert_eq!(topic("other:", name.as_bytes()), None);
        }
        for name in ["", "chat:", "chat:nodes", "chat:c:7", "chat:x:00000000000000000000000000000007"] {
            assert_eq!(topic("chat:", name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        let session = SessionId::from_uuid(Uuid::from_u128(3));
        let user = UserId::from_uuid(Uuid::from_u128(9));
        let key = Some(EphemeralKey::Read(ConversationId::from_uuid(Uuid::from_u128(7)), user));
        let unnumbered = [
            Content::Ephemeral { bytes: Bytes::from_static(b"typing"), key: None },
            Content::Ephemeral { bytes: Bytes::from_static(b"read"), key },
            Content::SessionRevoked(session),
            Content::Standing(UserId::from_uuid(Uuid::from_u128(9))),
            Content::Changed,
        ];
        let unnumbered = unnumbered.map(|content| Delivery { topic: topics()[1], numbers: None, content });
        for sent in unnumbered.into_iter().chain([frames()]) {
            let heard = decode(2, sent.topic, encode(1, &sent)).unwrap();
            assert_eq!(format!("{heard:?}"), format!("{sent:?}"));
            assert!(decode(1, sent.topic, encode(1, &sent)).is_none(), "one's own");
        }
    }

    #[test]
    fn what_cannot_be_read_says_that_something_changed() {
        let good = encode(1, &frames());
        let mut other_form = good.clone();
        other_form[0] = FORM + 1;
        let cut = good[..good.len() - 1].to_vec();
        for (what, hint) in
            [("nothing", vec![]), ("another form", other_form), ("cut", cut), ("no header", good[..9].to_vec())]
        {
            let heard = decode(2, topics()[0], hint).unwrap();
            assert!(matches!(heard.content, Content::Changed), "{what}");
        }
        for length in 0..good.len() {
            decode(2, topics()[0], good[..length].to_vec());
        }
    }

    #[test]
    fn what_is_very_long_is_left_to_the_rows() {
        let bytes = Bytes::from(vec![b'x'; LONGEST + 1]);
        let parts = vec![Part { end: bytes.len(), rev: 1, seq: None, removed: None, conversation: None }];
        let long = Delivery { topic: topics()[0], numbers: Some((1, 1)), content: Content::Frames { bytes, parts } };
        let hint = encode(1, &long);
        assert!(hint.len() < 32);
        assert!(matches!(decode(2, topics()[0], hint).unwrap().content, Content::Changed));
    }
}
