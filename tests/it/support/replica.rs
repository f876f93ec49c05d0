//! What a client holds of its conversations, by the merge rule: a row replaces an older one, and the position moves
//! on what is contiguous. Never a guess: a gap fails the story.

use super::{ConversationId, Speaks};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A client's memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replica(BTreeMap<ConversationId, Held>);

/// What it holds of one conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Held {
    /// Everything up to here is known.
    pub rev: i64,
    rows: BTreeMap<String, Value>,
}

impl Replica {
    /// Begins to follow a conversation, from everything up to a `rev`.
    pub fn follows(&mut self, conversation: ConversationId, rev: i64) {
        self.0.entry(conversation).or_default().rev = rev;
    }

    pub fn of(&self, conversation: ConversationId) -> &Held {
        &self.0[&conversation]
    }

    /// What stands in a hello's `known`.
    pub fn known(&self) -> Value {
        self.0.iter().map(|(id, held)| json!([id, held.rev])).collect()
    }

    /// Takes whatever of these frames is an event of a conversation that it follows.
    pub fn hears(&mut self, frames: &[Value]) {
        for frame in frames {
            let followed = frame["conversationId"].as_str().and_then(|id| self.0.get_mut(&id.parse().unwrap()));
            let (Some(held), Some(rev)) = (followed, frame["rev"].as_i64()) else { continue };
            // What is at or below the position is known.
            if rev <= held.rev {
                continue;
            }
            let from = frame["fromRev"].as_i64().unwrap_or(rev);
            assert!(from <= held.rev + 1, "a gap above {}: {frame}", held.rev);
            match frame["event"].as_str() {
                Some("conversation.changes") => held.merges(frame["data"]["items"].as_array().unwrap()),
                _ => held.merges(std::slice::from_ref(&frame["data"])),
            }
            held.rev = rev;
        }
    }

    /// Reads on with `messages.changes` until there is no more; gives all that it was told.
    pub async fn catches_up(&mut self, reader: &impl Speaks, conversation: ConversationId) -> Vec<Value> {
        self.catches_up_by(reader, conversation, 100).await
    }

    /// The same in pages of this size.
    pub async fn catches_up_by(
        &mut self,
        reader: &impl Speaks,
        conversation: ConversationId,
        limit: u32,
    ) -> Vec<Value> {
        let held = self.0.entry(conversation).or_default();
        let mut told = Vec::new();
        loop {
            let asked = json!({ "conversationId": conversation, "afterRev": held.rev, "limit": limit });
            let page = reader.calls("messages.changes", asked).await.ok();
            assert_eq!(page.get("reset"), None, "{page}");
            let items = page["items"].as_array().unwrap();
            let revs: Vec<i64> = items.iter().map(|item| item["rev"].as_i64().unwrap()).collect();
            assert!(revs.is_sorted() && revs.first().is_none_or(|first| *first > held.rev), "{page}");
            held.merges(items);
            held.rev = page["nextRev"].as_i64().unwrap();
            told.extend(items.iter().cloned());
            if page["more"] == false {
                return told;
            }
        }
    }

    /// What the rows say now, read from the beginning.
    pub async fn afresh(reader: &impl Speaks, conversation: ConversationId) -> Replica {
        let mut replica = Replica::default();
        replica.catches_up(reader, conversation).await;
        replica
    }
}

impl Held {
    fn merges(&mut self, items: &[Value]) {
        for item in items {
            let row = match item["type"].as_str() {
                Some("message") => format!("message {}", item["id"]),
                Some("participant") => format!("participant {}", item["userId"]),
                Some("conversation") => "conversation".to_owned(),
                _ => panic!("an item of no known type: {item}"),
            };
            let rev = |row: &Value| row["rev"].as_i64().unwrap();
            if self.rows.get(&row).is_none_or(|held| rev(held) < rev(item)) {
                self.rows.insert(row, item.clone());
            }
        }
    }

    /// The texts that are there, by `seq`; `None` for a tombstone.
    pub fn texts(&self) -> Vec<Option<&str>> {
        self.messages().into_iter().map(|message| message["text"].as_str()).collect()
    }

    /// The messages by `seq`.
    pub fn messages(&self) -> Vec<&Value> {
        let mut messages: Vec<&Value> = self.rows.values().filter(|row| row["type"] == "message").collect();
        messages.sort_by_key(|message| message["seq"].as_i64());
        messages
    }

    /// The roles of those who are members.
    pub fn roles(&self) -> Map<String, Value> {
        let members = self.rows.values().filter(|row| row["type"] == "participant" && row.get("removed").is_none());
        members.map(|row| (row["userId"].as_str().unwrap().to_owned(), row["role"].clone())).collect()
    }
}
