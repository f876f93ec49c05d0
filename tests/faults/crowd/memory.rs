//! What a client holds, by the merge rule of the README: rows by `rev`, and a position that never jumps a gap.
//! Never a word to a node: it says what is to be asked.

use crate::history::{Id, Order};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// All that a client keeps between its connections.
#[derive(Default)]
pub struct Memory {
    /// Up to here it knows what is its user's own.
    pub user_rev: i64,
    pub chats: BTreeMap<Id, Chat>,
}

/// A conversation, as a client holds it.
#[derive(Default)]
pub struct Chat {
    /// Everything up to here is known.
    pub position: i64,
    /// So far it is known to go.
    pub head: i64,
    /// Whether its user is in it, and the `userRev` that said so.
    pub member: bool,
    said_at: i64,
    /// Up to where this connection has told it.
    stream: Option<Stream>,
    /// Whether `messages.changes` is under way.
    pub reading: bool,
    /// By kind and id.
    pub rows: BTreeMap<String, Value>,
}

/// What a connection has told of a conversation.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stream {
    /// Everything up to here.
    At(i64),
    /// It joins somewhere at or below this: `conversation.added` is read a moment after the socket begins to listen.
    From(i64),
}

impl Chat {
    /// Whether there is more to read than comes by itself.
    pub fn is_behind(&self) -> bool {
        self.member && self.position < self.head
    }

    /// Takes rows that are newer than the ones it holds.
    pub fn merge(&mut self, items: &[Value]) {
        for item in items {
            let key = match item["type"].as_str() {
                Some("message") => format!("message {}", item["id"]),
                Some("participant") => format!("participant {}", item["userId"]),
                _ => "settings".to_owned(),
            };
            if self.rows.get(&key).is_none_or(|held| held["rev"].as_i64() < item["rev"].as_i64()) {
                self.rows.insert(key, item.clone());
            }
        }
    }

    fn joins(&mut self, user_rev: i64) -> bool {
        let newer = user_rev >= self.said_at;
        if newer {
            (self.member, self.said_at) = (true, user_rev);
        }
        newer
    }

    fn leaves(&mut self, user_rev: i64) {
        if user_rev >= self.said_at {
            (self.member, self.said_at, self.stream) = (false, user_rev, None);
        }
    }
}

impl Memory {
    /// What stands in a hello.
    pub fn hello(&self) -> Value {
        let known: Vec<Value> =
            self.chats.iter().filter(|(_, chat)| chat.member).map(|(id, chat)| json!([id, chat.position])).collect();
        json!({ "known": known, "userRev": self.user_rev })
    }

    /// A connection is over: nothing is under way any more.
    pub fn disconnects(&mut self) {
        for chat in self.chats.values_mut() {
            (chat.reading, chat.stream) = (false, None);
        }
    }

    /// `ready`: what is not listed stands where it is known to stand.
    pub fn greets(&mut self, ready: &Value) {
        let user_rev = ready["userRev"].as_i64().unwrap_or_default();
        for gone in ready["gone"].as_array().into_iter().flatten() {
            if let Some(chat) = self.chats.get_mut(gone["conversationId"].as_str().unwrap_or_default()) {
                chat.leaves(user_rev);
            }
        }
        for chat in self.chats.values_mut().filter(|chat| chat.member) {
            chat.stream = Some(Stream::At(chat.position));
        }
        self.stands(&ready["heads"], Some(user_rev));
    }

    /// Heads: of `ready`, of a page after it, or hints.
    pub fn stands(&mut self, heads: &Value, user_rev: Option<i64>) {
        for head in heads.as_array().into_iter().flatten() {
            let (Some(id), Some(last)) = (head["conversationId"].as_str(), head["lastRev"].as_i64()) else { continue };
            let chat = self.chats.entry(id.to_owned()).or_default();
            if let Some(user_rev) = user_rev {
                chat.joins(user_rev);
            }
            chat.head = chat.head.max(last);
            chat.stream = Some(Stream::At(last));
        }
    }

    /// An event with a `rev`; tells how it stands to the one before it on this connection.
    pub fn hears(&mut self, id: &str, from: i64, rev: i64, frame: &Value) -> Order {
        let Some(chat) = self.chats.get_mut(id) else { return Order::Stray };
        let order = match chat.stream {
            None => Order::Stray,
            Some(Stream::At(at)) if rev <= at => Order::Again,
            Some(Stream::At(at) | Stream::From(at)) if from > at + 1 => Order::Skips,
            Some(_) => Order::Next,
        };
        if order != Order::Again {
            chat.stream = Some(Stream::At(rev));
        }
        chat.head = chat.head.max(rev);
        if rev > chat.position {
            match frame["data"]["items"].as_array() {
                Some(items) => chat.merge(items),
                None => chat.merge(std::slice::from_ref(&frame["data"])),
            }
            if from <= chat.position + 1 {
                chat.position = rev;
            }
        }
        order
    }

    /// A page of `messages.changes`.
    pub fn reads(&mut self, id: &str, page: &Value) {
        let chat = self.chats.entry(id.to_owned()).or_default();
        chat.merge(page["items"].as_array().map(Vec::as_slice).unwrap_or_default());
        chat.position = chat.position.max(page["nextRev"].as_i64().unwrap_or_default());
        chat.head = chat.head.max(chat.position);
    }

    /// An event of the user's own.
    pub fn hears_own(&mut self, frame: &Value) {
        let said_at = frame["userRev"].as_i64();
        let chat = frame["conversationId"].as_str().map(|id| self.chats.entry(id.to_owned()).or_default());
        match (frame["event"].as_str(), chat) {
            (Some("conversation.added"), Some(chat)) => {
                let last = frame["data"]["lastRev"].as_i64().unwrap_or_default();
                // Without one the node has looked by itself: it stands as of now.
                if chat.joins(said_at.unwrap_or(chat.said_at)) {
                    chat.stream = Some(Stream::From(last));
                }
                chat.head = chat.head.max(last);
            }
            (Some("conversation.removed"), Some(chat)) => chat.leaves(said_at.unwrap_or(chat.said_at)),
            _ => {}
        }
        self.user_rev = self.user_rev.max(said_at.unwrap_or_default());
    }

    /// A page of `users.changes`; tells whether there is another.
    pub fn reads_own(&mut self, page: &Value) -> bool {
        for item in page["items"].as_array().into_iter().flatten() {
            let user_rev = item["userRev"].as_i64().unwrap_or_default();
            let Some(chat) = item["conversationId"].as_str().and_then(|id| self.chats.get_mut(id)) else { continue };
            match item["type"].as_str() {
                Some("gone") => chat.leaves(user_rev),
                // That it is theirs comes with its head, by `ready` or by `conversation.added`.
                _ => continue,
            }
        }
        self.user_rev = self.user_rev.max(page["nextUserRev"].as_i64().unwrap_or_default());
        page["more"] == true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "chat";

    fn event(rev: i64) -> Value {
        json!({ "data": { "type": "message", "id": rev, "rev": rev } })
    }

    fn greeted(position: i64, head: i64) -> Memory {
        let mut memory = Memory::default();
        let head = json!([{ "conversationId": CHAT, "lastRev": head }]);
        memory.greets(&json!({ "userRev": 1, "heads": head, "gone": [] }));
        memory.chats.get_mut(CHAT).unwrap().position = position;
        memory
    }

    #[test]
    fn the_position_never_jumps_a_gap() {
        let mut memory = greeted(3, 5);
        assert!(memory.chats[CHAT].is_behind());
        assert_eq!(memory.hears(CHAT, 6, 6, &event(6)), Order::Next);
        assert_eq!(memory.chats[CHAT].position, 3, "4 and 5 are still to be read");
        let page = json!({ "items": [event(4)["data"], event(5)["data"]], "nextRev": 5, "more": false });
        memory.reads(CHAT, &page);
        assert!(memory.chats[CHAT].is_behind(), "6 has come meanwhile");
        assert_eq!(memory.chats[CHAT].position, 5);
        memory.reads(CHAT, &json!({ "items": [event(6)["data"]], "nextRev": 6, "more": false }));
        assert!(!memory.chats[CHAT].is_behind());
        assert_eq!(memory.chats[CHAT].rows.len(), 3);
    }

    #[test]
    fn events_are_told_apart_by_their_order() {
        let mut memory = greeted(5, 5);
        assert_eq!(memory.hears(CHAT, 6, 6, &event(6)), Order::Next);
        assert_eq!(memory.hears(CHAT, 6, 6, &event(6)), Order::Again);
        assert_eq!(memory.hears(CHAT, 6, 8, &event(8)), Order::Next, "a filled gap may reach back");
        assert_eq!(memory.hears(CHAT, 10, 10, &event(10)), Order::Skips);
        assert_eq!(memory.hears("another", 1, 1, &event(1)), Order::Stray);
        assert_eq!(memory.chats[CHAT].position, 8);
        memory.disconnects();
        assert_eq!(memory.hears(CHAT, 11, 11, &event(11)), Order::Stray, "before it was greeted again");
    }

    #[test]
    fn an_older_row_does_not_replace_a_newer_one() {
        let mut memory = greeted(5, 5);
        let row = |rev: i64, text: &str| json!({ "type": "message", "id": 1, "rev": rev, "text": text });
        memory.hears(CHAT, 7, 7, &json!({ "data": row(7, "new") }));
        memory.reads(CHAT, &json!({ "items": [row(6, "old")], "nextRev": 6, "more": false }));
        assert_eq!(memory.chats[CHAT].rows.values().next().unwrap()["text"], "new");
    }

    #[test]
    fn what_was_said_of_a_membership_later_stands() {
        let mut memory = greeted(5, 5);
        let own = |event: &str, user_rev: i64| json!({ "event": event, "conversationId": CHAT, "userRev": user_rev, "data": { "lastRev": 9 } });
        memory.hears_own(&own("conversation.removed", 7));
        assert!(!memory.chats[CHAT].member);
        memory.hears_own(&own("conversation.added", 6));
        assert!(!memory.chats[CHAT].member, "an earlier word");
        memory.hears_own(&own("conversation.added", 8));
        assert!(memory.chats[CHAT].member && memory.chats[CHAT].is_behind());
        let gone = json!({ "items": [{ "type": "gone", "userRev": 7, "conversationId": CHAT }], "nextUserRev": 8 });
        memory.reads_own(&gone);
        assert!(memory.chats[CHAT].member);
        assert_eq!(memory.user_rev, 8);
        memory.hears_own(&own("conversation.removed", 9));
        let mut found = own("conversation.added", 0);
        found.as_object_mut().unwrap().remove("userRev");
        memory.hears_own(&found);
        assert!(memory.chats[CHAT].member, "found by the node itself");
        assert_eq!(memory.hears(CHAT, 10, 10, &event(10)), Order::Next);
        assert_eq!(memory.user_rev, 9);
    }
}
