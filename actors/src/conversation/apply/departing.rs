//! What becomes of a conversation when a member's account ends: they go, an owner is found, what they said is taken back.
//! Never whether it ends: nobody asks for this but the node itself, when it does.

use super::{Verdict, Work, current, head};
use crate::conversation::change::{Done, Place};
use crate::journal::Item;
use entities::{ConversationId, ConversationKind, MessageId, Role, UserId};

impl Work {
    /// Ends the actor's span, also in a private conversation. Where they were the only owner and others stay, the
    /// oldest admin is the owner from now on, or else who has been a member for the longest time.
    pub(super) fn depart(&mut self, item: &Item) -> Verdict<Done> {
        let (conversation, actor) = (item.conversation, item.actor);
        if self.role_of(conversation, actor).is_none() {
            // They had gone by themselves, or this was done before.
            return Ok(Done::Changed);
        }
        let kind = head(&mut self.heads, conversation)?.kind;
        if kind == ConversationKind::Group
            && self.is_only_owner(conversation, actor)
            && let Some(heir) = self.heir(conversation, actor)
        {
            self.set_role(conversation, heir, Role::Owner)?;
        }
        self.end_span(conversation, actor)
    }

    /// Who comes after the only owner, of those whose rows were read for it, as they are by now in this transaction.
    fn heir(&self, conversation: ConversationId, owner: UserId) -> Option<UserId> {
        let rows = self.participants.iter().filter(|((of, user), _)| *of == conversation && *user != owner);
        let rows = rows.filter_map(|(_, row)| row.as_ref()).filter(|row| current(row).is_some());
        let heir = rows.min_by_key(|row| (row.role == Role::Member, row.joined_at, row.user_id));
        heir.map(|row| row.user_id)
    }

    /// Leaves tombstones instead of messages of the actor's, and takes their reactions from others. They need not be a
    /// member any more; what is not theirs, or gone already, stays as it is. Where nobody is a member any more, it may be
    /// anybody's, and the conversation loses its name and description.
    pub(super) fn withdraw(&mut self, item: &Item, said: &[MessageId], reacted: &[MessageId]) -> Verdict<Done> {
        let (conversation, actor) = (item.conversation, item.actor);
        let is_deserted = head(&mut self.heads, conversation)?.participants == 0;
        if is_deserted {
            self.settle(conversation, None, None)?;
        }
        for message in said {
            let stored = self.messages.get(message).map(|stored| &stored.row);
            let own =
                stored.filter(|row| row.conversation_id == conversation && (row.sender_id == actor || is_deserted));
            if let Some(seq) = own.filter(|row| row.deleted_at.is_none()).map(|row| row.seq) {
                self.bury(Place { conversation, seq }, *message)?;
            }
        }
        for message in reacted {
            let stored = self.messages.get(message).filter(|stored| stored.row.conversation_id == conversation);
            let given = stored.into_iter().flat_map(|stored| &stored.reactions).filter(|(user, _)| *user == actor);
            let given: Vec<String> = given.map(|(_, emoji)| emoji.clone()).collect();
            if given.is_empty() {
                continue;
            }
            self.reactions.extend(given.into_iter().map(|emoji| ((*message, actor, emoji), None)));
            self.rewrite(conversation, *message, "reaction.removed", |stored| {
                stored.reactions.retain(|(user, _)| *user != actor);
            })?;
        }
        Ok(Done::Changed)
    }
}
