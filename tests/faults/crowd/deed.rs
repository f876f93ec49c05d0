//! What clients do: they choose what to say, change, and whom to let in; and what an answer to it acknowledges.
//! Never how it travels.

use super::memory::{Chat, Memory};
use super::plan::Plan;
use crate::chance::Chance;
use crate::history::{Acknowledged, Change, Id, Row};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A command under way, until it is settled.
#[derive(Clone)]
pub struct Deed {
    pub command: &'static str,
    pub data: Value,
    conversation: Id,
    kind: Kind,
    /// When it is to be said, or said again.
    pub due: Instant,
    pub tries: u32,
}

#[derive(Clone)]
enum Kind {
    Send,
    Write,
    Add(Id),
    Remove(Id),
    Mark,
}

impl Deed {
    /// To be said again in a while.
    pub fn after(self, wait: Duration) -> Deed {
        Deed { due: Instant::now() + wait, ..self }
    }

    /// Whether a repeat is told from the first.
    pub fn is_send(&self) -> bool {
        matches!(self.kind, Kind::Send)
    }
}

/// Who chooses.
pub struct Doer<'a> {
    pub plan: &'a Plan,
    /// Their number among the people.
    pub person: usize,
    /// Only one device of each lets people in or leaves: two would undo each other's work unseen.
    pub first_device: bool,
}

const EMOJI: [&str; 5] = ["👍", "🎉", "🌊", "🔥", "💡"];

impl Doer<'_> {
    fn id(&self) -> &Id {
        &self.plan.people[self.person].id
    }

    /// The next thing to do, if there is something.
    pub fn chooses(&self, memory: &Memory, chance: &mut Chance) -> Option<Deed> {
        if self.first_device
            && chance.percent(20)
            && let Some(deed) = self.moves(memory, chance)
        {
            return Some(deed);
        }
        let there: Vec<(&Id, &Chat)> = memory.chats.iter().filter(|(_, chat)| chat.member).collect();
        let (id, chat) = chance.one(&there)?;
        let messages: Vec<&Value> =
            chat.rows.values().filter(|row| row["type"] == "message" && row.get("deletedAt").is_none()).collect();
        let own: Vec<&&Value> = messages.iter().filter(|row| row["senderId"] == *self.id()).collect();
        let write = |command, message: &Value, more: Value| {
            let mut data = more;
            data["messageId"] = message["id"].clone();
            Some(deed(command, data, id, Kind::Write))
        };
        let name = chance.name();
        match chance.below(100) {
            0..12 if !own.is_empty() => {
                write("messages.edit", chance.one(&own)?, json!({ "text": format!("edited {name}") }))
            }
            12..17 if !own.is_empty() => write("messages.delete", chance.one(&own)?, json!({})),
            17..32 if !messages.is_empty() => {
                let message = chance.one(&messages)?;
                write("messages.addReaction", message, json!({ "emoji": chance.one(&EMOJI)? }))
            }
            32..37 if !messages.is_empty() => {
                let message = chance.one(&messages)?;
                write("messages.removeReaction", message, json!({ "emoji": chance.one(&EMOJI)? }))
            }
            37..42 if !messages.is_empty() => {
                let data = json!({ "conversationId": id, "seq": chance.one(&messages)?["seq"] });
                Some(deed("messages.markRead", data, id, Kind::Mark))
            }
            _ => {
                let data = json!({ "conversationId": id, "clientId": name, "text": format!("said {name}") });
                Some(deed("messages.send", data, id, Kind::Send))
            }
        }
    }

    /// Lets somebody in, sends somebody away, or goes.
    fn moves(&self, memory: &Memory, chance: &mut Chance) -> Option<Deed> {
        let inns: Vec<_> = self.plan.inns_of(self.person).collect();
        if let Some(inn) = chance.one(&inns) {
            let guest = &self.plan.people[*chance.one(&inn.guests)?].id;
            let known = memory.chats.get(&inn.id)?.rows.get(&format!("participant {}", json!(guest)));
            let inside = known.is_some_and(|row| row.get("removed").is_none());
            return Some(if inside {
                let data = json!({ "conversationId": inn.id, "userId": guest });
                deed("conversations.removeParticipant", data, &inn.id, Kind::Remove(guest.clone()))
            } else {
                let data = json!({ "conversationId": inn.id, "userIds": [guest] });
                deed("conversations.addParticipant", data, &inn.id, Kind::Add(guest.clone()))
            });
        }
        let guest_at = |id: &&Id| self.plan.is_guest(self.person, id) && memory.chats[*id].member;
        let visited: Vec<&Id> = memory.chats.keys().filter(guest_at).collect();
        let id = chance.one(&visited)?;
        let data = json!({ "conversationId": id });
        Some(deed("conversations.leave", data, id, Kind::Remove(self.id().clone())))
    }

    /// Whether a refusal may be: of what a guest no longer sees, or of what somebody has just undone.
    pub fn expects(&self, deed: &Deed, code: &str) -> bool {
        let outside = self.plan.is_guest(self.person, &deed.conversation);
        match code {
            "conversation.not_found" | "message.not_found" => outside,
            "message.deleted" => matches!(deed.kind, Kind::Write),
            "participant.not_found" => matches!(deed.kind, Kind::Remove(_)),
            _ => false,
        }
    }

    /// What an `ok` promises, if it is a change that can be told apart.
    pub fn is_told(&self, deed: &Deed, ok: &Value) -> Option<Acknowledged> {
        let change = match &deed.kind {
            Kind::Send => {
                let (rev, row) = Row::told(&ok["message"]);
                let client_id = deed.data["clientId"].as_str()?.to_owned();
                Change::Sent { sender: self.id().clone(), client_id, rev, row }
            }
            Kind::Write => {
                let (rev, row) = Row::told(ok);
                Change::Wrote { rev, row }
            }
            Kind::Add(user) => {
                let mut members = ok["participants"].as_array()?.iter();
                let rev = members.find(|member| member["userId"] == **user)?["rev"].as_i64()?;
                Change::Wrote { rev, row: Row::Participant { user: user.clone(), removed: false } }
            }
            Kind::Remove(user) => Change::Removed { user: user.clone() },
            Kind::Mark => return None,
        };
        Some(Acknowledged { conversation: deed.conversation.clone(), change })
    }
}

fn deed(command: &'static str, data: Value, conversation: &Id, kind: Kind) -> Deed {
    Deed { command, data, conversation: conversation.clone(), kind, due: Instant::now(), tries: 0 }
}
