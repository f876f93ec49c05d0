//! Marks of what was read and received: of a socket, one a second for each conversation.
//! Never what a mark does.

use super::SessionActor;
use crate::protocol::command::{Command as _, MarkDelivered, MarkRead};
use crate::protocol::{Error, ErrorCode, json};
use actix::prelude::*;
use entities::{ConversationId, Timestamp};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::time::Duration;

/// Marks that wait for their second to be over, by conversation.
#[derive(Default)]
pub(super) struct Marks {
    waiting: HashMap<ConversationId, Mark>,
    sent_at: HashMap<ConversationId, Timestamp>,
}

#[derive(Default)]
struct Mark {
    read: Option<i64>,
    delivered: Option<i64>,
    answers: Vec<(Option<String>, bool)>,
}

impl SessionActor {
    pub(super) fn mark(&mut self, id: Option<&str>, name: &str, data: &RawValue, context: &mut Context<Self>) {
        let read = name == MarkRead::NAME;
        let request_id = self.caller().request_id;
        // Both commands have the same shape.
        let (conversation, seq) =
            match json::read::<MarkRead>(data.get().as_bytes()).and_then(|mark| mark.check().map(|()| mark)) {
                Ok(mark) => (mark.conversation_id, mark.seq),
                Err(error) => return self.answer(id, Err(error), &request_id),
            };
        let mark = self.marks.waiting.entry(conversation).or_default();
        let waits = !mark.answers.is_empty();
        let raised = if read { &mut mark.read } else { &mut mark.delivered };
        *raised = Some(raised.unwrap_or(0).max(seq));
        mark.answers.push((id.map(str::to_owned), read));
        if waits {
            return;
        }
        let now = self.deps.clock.now();
        let due = self.marks.sent_at.get(&conversation).map_or(now, |at| at.plus(Duration::from_secs(1)));
        if due <= now {
            return self.send_mark(conversation, context);
        }
        let wait = self.deps.clock.sleep_until(due);
        context.spawn(wait.into_actor(self).map(move |(), session, context| session.send_mark(conversation, context)));
    }

    pub(super) fn send_mark(&mut self, conversation: ConversationId, context: &mut Context<Self>) {
        let Some(mark) = self.marks.waiting.remove(&conversation) else { return };
        let now = self.deps.clock.now();
        self.marks.sent_at.retain(|_, at| at.plus(Duration::from_secs(1)) > now);
        self.marks.sent_at.insert(conversation, now);
        for (read, seq) in [(true, mark.read), (false, mark.delivered)] {
            let Some(seq) = seq else { continue };
            let caller = self.caller();
            let request_id = caller.request_id.clone();
            let name = if read { MarkRead::NAME } else { MarkDelivered::NAME };
            let Ok(data) =
                serde_json::value::to_raw_value(&serde_json::json!({ "conversationId": conversation, "seq": seq }))
            else {
                continue;
            };
            let answers: Vec<Option<String>> =
                mark.answers.iter().filter(|(_, of)| *of == read).map(|(id, _)| id.clone()).collect();
            self.in_flight += 1;
            let served = self.deps.dispatch.call(caller, name, &data);
            context.spawn(served.into_actor(self).map(move |outcome, session, context| {
                for id in answers {
                    match &outcome {
                        Ok(reply) => session.answer(id.as_deref(), Ok(reply.clone()), &request_id),
                        Err(Error::Refused(refusal)) => {
                            session.answer(id.as_deref(), Err(refusal.clone().into()), &request_id)
                        }
                        Err(Error::Fault(_)) => {
                            session.answer(id.as_deref(), Err(ErrorCode::ServerUnavailable.into()), &request_id)
                        }
                    }
                }
                session.served(context);
            }));
        }
    }
}
