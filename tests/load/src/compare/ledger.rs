//! What was sent, what the node has said of it, and what a history is held against. It talks to nobody.

use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Where the node says that a message stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Stored {
    /// The message's id.
    pub id: String,
    /// Its place in its conversation.
    pub seq: u64,
}

/// A message of ours.
#[derive(Clone)]
pub struct Sent {
    /// Who sent it.
    pub user: usize,
    /// Into which conversation.
    pub conversation: String,
    /// Its `clientId`.
    pub client_id: String,
    /// Like no other's.
    pub text: String,
    /// As acknowledged.
    pub stored: Option<Stored>,
}

/// What was sent, and what the node has said of it.
#[derive(Default)]
pub struct Ledger {
    /// Every message, with its number for an index.
    pub sent: Vec<Sent>,
    /// From events, by conversation and `seq`.
    pub announced: HashMap<(String, u64), String>,
    /// Events that gave one `seq` to two messages.
    pub contradictions: u64,
    /// Replies that were errors.
    pub refused: u64,
}

/// A message as the node shows it.
#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Its place in its conversation.
    pub seq: u64,
    /// The sender's key for it.
    #[serde(default)]
    pub client_id: String,
    /// What it says.
    #[serde(default)]
    pub text: String,
}

/// Each conversation's messages, in the order in which the node gave them.
pub type History = BTreeMap<String, Vec<Message>>;

/// What is wrong with a history.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Findings {
    /// Acknowledged, and not there as it was told.
    pub missing: u64,
    /// Announced by an event, and not there as it was told.
    pub withdrawn: u64,
    /// More than once there.
    pub duplicated: u64,
    /// Places where `seq` does not go up by one, from 1.
    pub gaps: u64,
}

impl Findings {
    /// The worse of two: what is lost stays lost, so they must not be added.
    pub fn worst(&mut self, other: &Findings) {
        self.missing = self.missing.max(other.missing);
        self.withdrawn = self.withdrawn.max(other.withdrawn);
        self.duplicated = self.duplicated.max(other.duplicated);
        self.gaps = self.gaps.max(other.gaps);
    }

    /// The counts by name.
    pub fn json(&self) -> Value {
        json!({"missing": self.missing, "withdrawn": self.withdrawn, "duplicated": self.duplicated, "gaps": self.gaps})
    }
}

impl Ledger {
    /// Holds a history against what was acknowledged and announced.
    pub fn compare(&self, history: &History) -> Findings {
        let mut found = Findings { duplicated: self.contradictions, ..Findings::default() };
        let mut there: HashMap<(&str, u64), &Message> = HashMap::new();
        for (conversation, messages) in history {
            let (mut ids, mut client_ids, mut last) = (HashSet::new(), HashSet::new(), 0);
            for message in messages {
                found.gaps += u64::from(message.seq != last + 1);
                last = message.seq;
                let new =
                    ids.insert(&message.id) & (message.client_id.is_empty() || client_ids.insert(&message.client_id));
                found.duplicated += u64::from(!new);
                there.insert((conversation, message.seq), message);
            }
        }
        for sent in &self.sent {
            let Some(stored) = &sent.stored else { continue };
            let same = there.get(&(&*sent.conversation, stored.seq)).is_some_and(|message| {
                message.id == stored.id && message.text == sent.text && message.client_id == sent.client_id
            });
            found.missing += u64::from(!same);
        }
        for ((conversation, seq), id) in &self.announced {
            let same = there.get(&(&**conversation, *seq)).is_some_and(|m| m.id == *id);
            found.withdrawn += u64::from(!same);
        }
        found
    }

    /// Notes an event.
    pub fn announce(&mut self, conversation: &str, message: Message) {
        let place = (conversation.to_owned(), message.seq);
        let known = self.announced.entry(place).or_insert_with(|| message.id.clone());
        self.contradictions += u64::from(*known != message.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, name: &str) -> Message {
        let (id, client_id, text) = (format!("id-{name}"), format!("client-{name}"), name.to_owned());
        Message { id, seq, client_id, text }
    }

    fn sent(seq: u64, name: &str) -> Sent {
        let Message { id, client_id, text, .. } = message(seq, name);
        let stored = Some(Stored { id, seq });
        Sent { user: 0, conversation: "c".into(), client_id, text, stored }
    }

    fn findings(ledger: &Ledger, messages: &[(u64, &str)]) -> (u64, u64, u64) {
        let messages = messages.iter().map(|(seq, name)| message(*seq, name)).collect();
        let found = ledger.compare(&History::from([("c".to_owned(), messages)]));
        (found.missing + found.withdrawn, found.duplicated, found.gaps)
    }

    #[test]
    fn a_history_is_held_against_what_was_told() {
        let open = Sent { stored: None, ..sent(4, "d") };
        let sent = vec![sent(1, "a"), sent(2, "b"), sent(3, "c"), open];
        let ledger = Ledger { sent, ..Ledger::default() };
        let whole = [(1, "a"), (2, "b"), (3, "c")];
        assert_eq!(findings(&ledger, &whole), (0, 0, 0));
        let stored_but_not_told = [(1, "a"), (2, "b"), (3, "c"), (4, "d")];
        assert_eq!(findings(&ledger, &stored_but_not_told), (0, 0, 0));
        assert_eq!(findings(&ledger, &whole[..2]), (1, 0, 0), "the last is lost");
        assert_eq!(findings(&ledger, &[(1, "a"), (3, "c")]), (1, 0, 1), "one within is lost");
        assert_eq!(findings(&ledger, &[(1, "b"), (2, "a"), (3, "c")]), (2, 0, 0), "two changed places");
        let twice = [(1, "a"), (2, "b"), (3, "c"), (4, "b")];
        assert_eq!(findings(&ledger, &twice), (0, 1, 0));
        assert_eq!(findings(&ledger, &[(1, "a"), (2, "b"), (3, "c"), (3, "e")]), (1, 0, 1));
        assert_eq!(findings(&ledger, &[]), (3, 0, 0));
    }

    #[test]
    fn an_event_is_a_promise_too() {
        let mut ledger = Ledger::default();
        ledger.announce("c", message(1, "a"));
        ledger.announce("c", message(1, "a"));
        assert_eq!(findings(&ledger, &[(1, "a")]), (0, 0, 0));
        assert_eq!(findings(&ledger, &[]), (1, 0, 0));
        ledger.announce("c", message(1, "b"));
        assert_eq!(findings(&ledger, &[(1, "a")]), (0, 1, 0), "two messages with one seq");
    }
}
