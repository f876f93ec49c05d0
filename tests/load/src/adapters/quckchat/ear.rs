//! What a frame of the node's means. Deliveries and replies are recognised by their first bytes, in the order
//! in which the node writes the fields; whatever does not look like that is parsed as JSON, so another order
//! costs speed, not truth.

use crate::adapters::{Ear, Incoming};
use crate::stats::sent_at;
use memchr::memmem::Finder;
use serde_json::{Value, json};
use std::sync::LazyLock;

const CREATED: &[u8] = br#"{"event":"message.created","#;
const REPLY: &[u8] = br#"{"re":"#;
/// Where the fields of an event's head end, unless its conversation's id is of unusual length.
const HEAD: usize = 256;
static FIND_DATA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#","data":"#));
static FIND_REV: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#","rev":"#));

/// Whether the text is a reply, and if so, whether it says `ok`.
pub fn as_reply(text: &[u8]) -> Option<bool> {
    let rest = text.strip_prefix(REPLY)?;
    if let Some(id) = rest.strip_prefix(b"\"")
        && let Some(end) = memchr::memchr(b'"', id)
        && id[end..].starts_with(br#"","ok":"#)
    {
        return Some(true);
    }
    let reply: Value = serde_json::from_slice(text).unwrap_or(Value::Null);
    Some(reply.get("ok").is_some() && reply.get("error").is_none())
}

/// Understands one user's connection.
pub struct QuckchatEar {
    /// As it stands in a message of this user's.
    me: Finder<'static>,
    own_counts: bool,
    /// Events with a `rev` since `ready`.
    received: u64,
}

impl Ear for QuckchatEar {
    fn hear(&mut self, text: &[u8]) -> Incoming {
        if text.starts_with(CREATED) {
            self.received += u64::from(has_rev(text));
            if !self.own_counts && self.me.find(text).is_some() {
                return Incoming::Other;
            }
            return sent_at(text).map_or(Incoming::Other, Incoming::Delivery);
        }
        match as_reply(text) {
            Some(true) => Incoming::Ack,
            Some(false) => Incoming::Refused,
            None => self.seldom(text),
        }
    }
}

impl QuckchatEar {
    /// For a connection that is `ready` now. Where `own_counts`, the user's own messages are deliveries.
    pub fn new(user_id: &str, own_counts: bool) -> QuckchatEar {
        QuckchatEar { me: written_by(user_id), own_counts, received: 0 }
    }

    fn seldom(&mut self, text: &[u8]) -> Incoming {
        let Ok(frame) = serde_json::from_slice::<Value>(text) else {
            return Incoming::Other;
        };
        self.received += u64::from(frame.get("rev").is_some());
        let data = &frame["data"];
        match frame["event"].as_str() {
            Some("heartbeat") => {
                let answer = json!({"nonce": data["nonce"], "received": self.received});
                Incoming::Reply {
                    text: json!({"cmd": "heartbeat", "data": answer}).to_string().into_bytes(),
                    in_step: data["delivered"] == self.received,
                }
            }
            Some("message.created") => self.told(data).map_or(Incoming::Other, Incoming::Delivery),
            Some("conversation.changes") => {
                let items = data["items"].as_array().map_or(&[][..], Vec::as_slice);
                Incoming::Deliveries(items.iter().filter_map(|item| self.told(item)).collect())
            }
            _ if frame.get("re").is_some() => match frame.get("ok") {
                Some(_) => Incoming::Ack,
                None => Incoming::Refused,
            },
            _ => Incoming::Other,
        }
    }

    /// When a message that counts for this user was sent.
    fn told(&self, message: &Value) -> Option<u64> {
        let mine = written_by(message["senderId"].as_str()?).needle() == self.me.needle();
        let sent = sent_at(message["text"].as_str()?.as_bytes())?;
        (self.own_counts || !mine).then_some(sent)
    }
}

/// Finds the messages of one user.
fn written_by(user_id: &str) -> Finder<'static> {
    Finder::new(format!(r#""senderId":"{user_id}""#).as_bytes()).into_owned()
}

/// Whether an event has a `rev` of its own; `data` has one too, but comes after.
fn has_rev(text: &[u8]) -> bool {
    let head = &text[..text.len().min(HEAD)];
    let end = FIND_DATA.find(head).or_else(|| FIND_DATA.find(text)).unwrap_or(text.len());
    FIND_REV.find(&text[..end]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"event":"message.created","conversationId":"0198c0de-0000-7000-8000-000000000001","seq":5,"rev":9,"at":"2025-01-01T00:00:00.000Z","data":{"type":"message","id":"m","seq":5,"rev":9,"senderId":"ann","clientId":"x","kind":"text","text":"~ts:00000000000000000042~the quick","createdAt":"2025-01-01T00:00:00.000Z"}}"#;

    #[test]
    fn a_message_counts_once_and_ones_own_only_in_a_fan_out() {
        for (me, own_counts, meaning) in [
            ("bob", false, Incoming::Delivery(42)),
            ("ann", false, Incoming::Other),
            ("ann", true, Incoming::Delivery(42)),
        ] {
            let mut ear = QuckchatEar::new(me, own_counts);
            assert_eq!(ear.hear(EVENT.as_bytes()), meaning);
            assert_eq!(ear.received, 1, "the rev counts, whoever wrote");
        }
    }

    #[test]
    fn another_order_of_fields_means_the_same() {
        let event: Value = serde_json::from_str(EVENT).unwrap();
        let sorted = format!(r#"{{"data":{},"rev":9,"event":"message.created","conversationId":"c"}}"#, event["data"]);
        let mut bob = QuckchatEar::new("bob", false);
        assert_eq!(bob.hear(sorted.as_bytes()), Incoming::Delivery(42));
        assert_eq!(QuckchatEar::new("ann", false).hear(sorted.as_bytes()), Incoming::Other);
        assert_eq!(bob.received, 1);
    }

    #[test]
    fn only_a_rev_of_the_event_itself_counts() {
        let without = EVENT.replacen(r#""rev":9,"#, "", 1);
        assert!(without.contains(r#""rev":9"#));
        let mut ear = QuckchatEar::new("bob", false);
        assert_eq!(ear.hear(without.as_bytes()), Incoming::Delivery(42));
        assert_eq!(ear.received, 0);
        ear.hear(br#"{"event":"reaction.added","conversationId":"c","rev":10,"at":"t","data":{}}"#);
        ear.hear(br#"{"event":"typing.started","conversationId":"c","at":"t","data":{"rev":1}}"#);
        assert_eq!(ear.received, 1);
        let long = EVENT.replacen("0198c0de", &"0".repeat(HEAD), 1);
        ear.hear(long.as_bytes());
        assert_eq!(ear.received, 2);
    }

    #[test]
    fn a_filled_gap_is_one_frame_and_many_deliveries() {
        let item = |text: &str, sender: &str| json!({"type": "message", "senderId": sender, "text": text});
        let gap = json!({"event": "conversation.changes", "conversationId": "c", "rev": 12, "data":
            {"fromRev": 9, "rev": 12, "items": [item("~ts:00000000000000000001~", "ann"), {"type": "participant"},
            item("~ts:00000000000000000002~", "bob"), item("~ts:00000000000000000003~", "ann")]}});
        let mut ear = QuckchatEar::new("bob", false);
        assert_eq!(ear.hear(gap.to_string().as_bytes()), Incoming::Deliveries(vec![1, 3]));
        assert_eq!(ear.received, 1);
    }

    #[test]
    fn a_reply_is_an_ack_only_if_it_says_ok() {
        let mut ear = QuckchatEar::new("bob", false);
        for (text, meaning) in [
            (r#"{"re":"c7","ok":{"message":{"text":"~ts:"},"duplicate":false}}"#, Incoming::Ack),
            (r#"{"re": "c7", "ok": {}}"#, Incoming::Ack),
            (r#"{"ok":{},"re":"c7"}"#, Incoming::Ack),
            (r#"{"re":"c7","error":{"code":"request.invalid","message":"ok"}}"#, Incoming::Refused),
            (r#"{"error":{"code":"x"},"re":"c7"}"#, Incoming::Refused),
            (r#"{"re":"c7","neither":1}"#, Incoming::Refused),
            (r#"{"re":"c7"#, Incoming::Refused),
        ] {
            assert_eq!(ear.hear(text.as_bytes()), meaning, "{text}");
        }
        assert_eq!(ear.received, 0);
    }

    #[test]
    fn a_heartbeat_is_answered_with_the_count_and_a_difference_noticed() {
        let mut ear = QuckchatEar::new("bob", false);
        ear.hear(EVENT.as_bytes());
        let beat =
            |delivered: u64| format!(r#"{{"event":"heartbeat","data":{{"nonce":"n1","delivered":{delivered}}}}}"#);
        for (delivered, same) in [(1, true), (2, false)] {
            let Incoming::Reply { text, in_step } = ear.hear(beat(delivered).as_bytes()) else { panic!("no reply") };
            let reply: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(reply, json!({"cmd": "heartbeat", "data": {"nonce": "n1", "received": 1}}));
            assert_eq!(in_step, same);
        }
    }
}
