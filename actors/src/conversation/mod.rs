//! Conversations: what is said in them, who is in them, how far each has read.
//! Never a socket: what changes is told by the entry (`entry.rs`), whoever listens.
//!
//! Writes go through the room (`actor.rs`) into the journal; reads go to the rows (`read.rs`).

pub mod actor;
mod apply;
pub mod blocking;
pub mod change;
mod create;
mod departing;
mod members;
mod mentions;
#[cfg(test)]
mod plans;
pub mod policy;
pub mod read;
pub mod store;

use crate::clock::Clock;
use crate::entry::Entries;
use crate::limits::Limits;
use crate::protocol::command::*;
use crate::protocol::view::{self, Mine, Page};
use crate::protocol::{Error, ErrorCode, Outcome, Refusal, check};
use crate::room::Rooms;
use actor::{Command, ConversationActor, Deps};
use aws_lc_rs::hmac;
use change::{Change, Done, NewMessage};
pub use create::raise_users;
use entities::{ConversationId, Db, MessageId, Timestamp, UserId, message};
use members::Circle;
use read::{Span, Which};
use sea_orm::{DatabaseTransaction, DbErr};
use std::sync::Arc;

/// Every command about conversations and messages, for all doors.
#[derive(Clone)]
pub struct Conversations {
    db: Db,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    entries: Entries,
    rooms: Rooms<ConversationActor>,
    request_key: Arc<hmac::Key>,
}

impl Conversations {
    /// The rooms are opened on demand. `request_key` keys the hashes that tell a repeated request from
    /// another one with the same `clientId`; all nodes share it.
    pub fn new(deps: Deps, request_key: &[u8; 32]) -> Conversations {
        let request_key = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, request_key));
        let (db, clock, limits, entries) =
            (deps.db.clone(), deps.clock.clone(), deps.limits.clone(), deps.entries.clone());
        let open = entries.metrics().rooms.clone();
        let rooms = Rooms::new(entries.clone(), deps, limits.room_items, limits.room_bytes, open);
        Conversations { db, clock, limits, entries, rooms, request_key }
    }

    fn request_hash(&self, request: &[u8]) -> Vec<u8> {
        // 128 bits suffice: a collision would only call a conflict a repeat.
        hmac::sign(&self.request_key, request).as_ref()[..16].to_vec()
    }

    async fn change(&self, conversation: ConversationId, actor: UserId, change: Change) -> Outcome<Done> {
        let bytes = change.bytes();
        self.rooms.ask(conversation, bytes, |reply| Command::Change { actor, change, reply }).await
    }

    /// A change of one message, by whoever may see it.
    async fn change_message(&self, actor: UserId, message: MessageId, change: Change) -> Outcome<view::Message> {
        let conversation = read::place_of(&self.db, message).await?.ok_or(ErrorCode::MessageNotFound)?;
        let done = self.change(conversation, actor, change).await.map_err(|error| match error {
            // To a stranger the message does not exist either.
            Error::Refused(refusal) if refusal.code == ErrorCode::ConversationNotFound => {
                ErrorCode::MessageNotFound.into()
            }
            other => other,
        })?;
        Ok(message_done(done, conversation)?.0)
    }

    // --- messages

    /// `messages.send`.
    pub async fn send(&self, user: UserId, command: SendMessage) -> Outcome<view::Sent> {
        let mut request = command.reply_to.map(|id| id.uuid().into_bytes().to_vec()).unwrap_or_default();
        request.push(b'\n');
        request.extend_from_slice(command.text.as_bytes());
        let new = NewMessage {
            id: self.clock.message_id(),
            client_id: command.client_id,
            request_hash: self.request_hash(&request),
            text: command.text,
            reply_to: command.reply_to,
        };
        let done = self.change(command.conversation_id, user, Change::Send(new)).await?;
        let (message, duplicate) = message_done(done, command.conversation_id)?;
        Ok(view::Sent { message, duplicate })
    }

    /// `messages.edit`.
    pub async fn edit(&self, user: UserId, command: EditMessage) -> Outcome<view::Message> {
        self.change_message(user, command.message_id, Change::Edit { message: command.message_id, text: command.text })
            .await
    }

    /// `messages.delete`.
    pub async fn delete(&self, user: UserId, command: DeleteMessage) -> Outcome<view::Message> {
        self.change_message(user, command.message_id, Change::Delete { message: command.message_id }).await
    }

    /// `messages.addReaction`.
    pub async fn add_reaction(&self, user: UserId, command: AddReaction) -> Outcome<view::Message> {
        let change = Change::React { message: command.message_id, emoji: command.emoji, add: true };
        self.change_message(user, command.message_id, change).await
    }

    /// `messages.removeReaction`.
    pub async fn remove_reaction(&self, user: UserId, command: RemoveReaction) -> Outcome<view::Message> {
        let change = Change::React { message: command.message_id, emoji: command.emoji, add: false };
        self.change_message(user, command.message_id, change).await
    }

    /// `messages.get`.
    pub async fn get_message(&self, user: UserId, command: GetMessage) -> Outcome<view::Message> {
        let row = message::by_id(command.message_id).one(self.db.read()).await?.ok_or(ErrorCode::MessageNotFound)?;
        let member = read::membership(self.db.read(), row.conversation_id, user).await?;
        if member.is_none_or(|member| row.seq < member.visible_from_seq) {
            return Err(ErrorCode::MessageNotFound.into());
        }
        let mut views = read::message_views(self.db.read(), vec![row], true).await?;
        views.pop().ok_or_else(|| ErrorCode::MessageNotFound.into())
    }

    /// `messages.getByConversation`.
    ///
    /// A page may come from a replica that is as far as the primary is with this conversation. So nobody who has heard
    /// of a change is shown a page without it, and a client that takes the history afresh may go on from the `rev` that
    /// it was told.
    pub async fn get_by_conversation(&self, user: UserId, command: MessagesByConversation) -> Outcome<view::History> {
        let limit = check::limit(command.limit)?;
        if self.db.replicas().1 > 0 {
            let known = read::member(&self.db, command.conversation_id, user).await?;
            let page = self.db.read_aside(async |moment| self.page(moment, user, &command, limit).await);
            if let Some(page) = page.await.flatten().filter(|page| page.last_rev >= known.last_rev) {
                self.entries.metrics().replica_pages.inc();
                return Ok(page);
            }
        }
        let page = self.db.read_at_once(async |moment| self.page(moment, user, &command, limit).await);
        page.await?.ok_or_else(|| ErrorCode::ConversationNotFound.into())
    }

    /// A page of history, the rights to it and its numbers, all of one moment; none to whoever is no member then.
    async fn page(
        &self,
        moment: &DatabaseTransaction,
        user: UserId,
        command: &MessagesByConversation,
        limit: u64,
    ) -> Result<Option<view::History>, DbErr> {
        let id = command.conversation_id;
        let Some(member) = read::membership(moment, id, user).await? else { return Ok(None) };
        let visible = member.visible_from_seq;
        let page = |span, limit| read::span(moment, id, visible, span, limit);
        let (mut rows, more_before, more_after) = match (command.before_seq, command.after_seq, command.around_seq) {
            (_, Some(seq), _) => {
                let (rows, more) = page(Span::After(seq), limit).await?;
                // Past the end, everything is before.
                let more_before = rows.first().map_or(member.last_seq, |row| row.seq - 1) >= visible.max(1);
                (rows, more_before, more)
            }
            (_, _, Some(seq)) => {
                // The one asked for is the last of the earlier half.
                let (mut rows, more_before) = page(Span::Before(seq.saturating_add(1)), limit.div_ceil(2)).await?;
                let (after, more_after) = page(Span::After(seq), limit / 2).await?;
                rows.extend(after);
                (rows, more_before, more_after)
            }
            (before, _, _) => {
                let (rows, more) = page(Span::Before(before.unwrap_or(i64::MAX)), limit).await?;
                // Past the beginning, everything is after.
                let more_after = rows.last().map_or(visible.max(1) - 1, |row| row.seq) < member.last_seq;
                (rows, more, more_after)
            }
        };
        let (cut_before, cut_after) = self.cut(&mut rows, command.after_seq.is_some());
        Ok(Some(view::History {
            items: read::message_views(moment, rows, true).await?,
            last_seq: member.last_seq,
            last_rev: member.last_rev,
            more_before: more_before || cut_before,
            more_after: more_after || cut_after,
        }))
    }

    /// Cuts a page to what a reply may hold, at the end that is farther from what was asked for.
    fn cut(&self, rows: &mut Vec<message::Model>, from_start: bool) -> (bool, bool) {
        let mut bytes = 0;
        let mut fits = |row: &message::Model| {
            bytes += read::weight(row);
            bytes <= self.limits.reply_bytes
        };
        let whole = rows.len();
        let kept = if from_start {
            rows.iter().take_while(|row| fits(row)).count()
        } else {
            rows.iter().rev().take_while(|row| fits(row)).count()
        }
        .max(1);
        if kept >= whole {
            return (false, false);
        }
        if from_start {
            rows.truncate(kept);
            (false, true)
        } else {
            rows.drain(..whole - kept);
            (true, false)
        }
    }

    /// `messages.changes`. Always from the primary.
    pub async fn changes(&self, user: UserId, command: Changes) -> Outcome<view::Changes> {
        let member = read::member(&self.db, command.conversation_id, user).await?;
        let limit = check::limit(command.limit)?;
        let upto = member.last_rev;
        if command.after_rev > upto || upto - command.after_rev > read::TOO_FAR {
            return Ok(view::Changes { items: Vec::new(), next_rev: upto, more: false, reset: true });
        }
        let counters =
            read::Counters { last_seq: member.last_seq, last_rev: upto, participant_count: member.participant_count };
        let (mut items, mut next_rev) =
            read::changes(self.db.read(), command.conversation_id, &counters, command.after_rev, limit).await?;
        let mut bytes = 0;
        let fits = items.iter().take_while(|item| {
            bytes += item_weight(item);
            bytes <= self.limits.reply_bytes
        });
        let kept = fits.count().max(1);
        if kept < items.len() {
            items.truncate(kept);
            next_rev = items.last().map_or(next_rev, view::Item::rev);
        }
        items.retain(|item| item.seq().is_none_or(|seq| seq >= member.visible_from_seq));
        Ok(view::Changes { items, next_rev, more: next_rev < upto, reset: false })
    }

    /// `messages.markRead`.
    pub async fn mark_read(&self, user: UserId, command: MarkRead) -> Outcome<Mine> {
        let (read, delivered) = (Some(command.seq), None);
        self.mark(user, command.conversation_id, Change::Mark { read, delivered, marked_unread: None }).await
    }

    /// `messages.markDelivered`. In a large conversation nothing is kept.
    pub async fn mark_delivered(&self, user: UserId, command: MarkDelivered) -> Outcome<Mine> {
        let member = read::member(&self.db, command.conversation_id, user).await?;
        if member.participant_count > actor::INTIMATE {
            return read::mine_of(&self.db, command.conversation_id, user).await;
        }
        let (read, delivered) = (None, Some(command.seq));
        self.mark(user, command.conversation_id, Change::Mark { read, delivered, marked_unread: None }).await
    }

    /// `conversations.updateMine`.
    pub async fn update_mine(&self, user: UserId, command: UpdateMine) -> Outcome<Mine> {
        let UpdateMine { conversation_id, marked_unread } = command;
        self.mark(user, conversation_id, Change::Mark { read: None, delivered: None, marked_unread }).await
    }

    async fn mark(&self, user: UserId, id: ConversationId, mark: Change) -> Outcome<Mine> {
        self.change(id, user, mark).await?;
        read::mine_of(&self.db, id, user).await
    }

    /// `messages.typing`.
    pub async fn typing(&self, user: UserId, command: Typing) -> Outcome<()> {
        let typing = command.typing;
        self.rooms.ask(command.conversation_id, 64, |reply| Command::Typing { actor: user, typing, reply }).await
    }

    // --- conversations

    /// `conversations.get`.
    pub async fn get(&self, user: UserId, command: GetConversation) -> Outcome<view::Conversation> {
        self.view(user, command.conversation_id).await
    }

    /// `conversations.getByUser`.
    pub async fn get_by_user(&self, user: UserId, command: ConversationsByUser) -> Outcome<Page<view::Conversation>> {
        let limit = check::limit(command.limit)?;
        let after = command.cursor.as_deref().map(read_cursor).transpose()?;
        let requests = command.requests.unwrap_or(false);
        let mut found = read::conversations(&self.db, user, Which::Page { after, limit: limit + 1, requests }).await?;
        let more = found.len() as u64 > limit;
        found.truncate(limit as usize);
        let next_cursor = found.last().filter(|_| more).map(|(_, (at, id))| format!("{}.{id}", at.millis()));
        Ok(Page { items: found.into_iter().map(|(conversation, _)| conversation).collect(), next_cursor })
    }

    /// `conversations.accept`.
    pub async fn accept(&self, user: UserId, command: AcceptRequest) -> Outcome<view::Conversation> {
        self.change(command.conversation_id, user, Change::TakeUp).await?;
        self.view(user, command.conversation_id).await
    }

    /// `conversations.decline`.
    pub async fn decline(&self, user: UserId, command: DeclineRequest) -> Outcome<()> {
        self.change(command.conversation_id, user, Change::Decline).await.map(drop)
    }

    /// `conversations.listParticipants`.
    pub async fn list_participants(&self, user: UserId, command: ListParticipants) -> Outcome<Page<view::Participant>> {
        let limit = check::limit(command.limit)?;
        let id = command.conversation_id;
        let member = read::member(&self.db, id, user).await?;
        let after =
            command.cursor.as_deref().map(|cursor| cursor.parse::<UserId>().map_err(|_| bad_cursor())).transpose()?;
        let circle =
            Circle { conversation: id, kind: member.kind, participants: member.participant_count, viewer: user };
        let mut items = members::page(&self.db, self.clock.now(), circle, after, limit + 1).await?;
        let more = items.len() as u64 > limit;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|participant| participant.user_id.to_string());
        Ok(Page { items, next_cursor })
    }

    /// `conversations.addParticipant`.
    pub async fn add_participant(&self, user: UserId, command: AddParticipant) -> Outcome<view::Conversation> {
        self.change(command.conversation_id, user, Change::Add { users: command.user_ids }).await?;
        self.view(user, command.conversation_id).await
    }

    /// `conversations.removeParticipant`.
    pub async fn remove_participant(&self, user: UserId, command: RemoveParticipant) -> Outcome<()> {
        self.change(command.conversation_id, user, Change::Remove { user: command.user_id }).await.map(drop)
    }

    /// `conversations.leave`.
    pub async fn leave(&self, user: UserId, command: LeaveConversation) -> Outcome<()> {
        self.change(command.conversation_id, user, Change::Leave).await.map(drop)
    }

    /// `conversations.setRole`.
    pub async fn set_role(&self, user: UserId, command: SetRole) -> Outcome<view::Participant> {
        let (id, of) = (command.conversation_id, command.user_id);
        self.change(id, user, Change::SetRole { user: of, role: command.role }).await?;
        let row = entities::participant::of(id, of).one(self.db.read()).await?.ok_or(ErrorCode::ParticipantNotFound)?;
        Ok(view::Participant::from_row(&row))
    }

    /// `conversations.transferOwnership`.
    pub async fn transfer_ownership(&self, user: UserId, command: TransferOwnership) -> Outcome<view::Conversation> {
        self.change(command.conversation_id, user, Change::Transfer { to: command.user_id }).await?;
        self.view(user, command.conversation_id).await
    }

    /// `conversations.update`.
    pub async fn update(&self, user: UserId, command: UpdateConversation) -> Outcome<view::Conversation> {
        self.change(
            command.conversation_id,
            user,
            Change::Update { name: command.name, description: command.description },
        )
        .await?;
        self.view(user, command.conversation_id).await
    }

    /// `users.changes`.
    pub async fn user_changes(&self, user: UserId, command: UserChanges) -> Outcome<view::UserChanges> {
        let limit = check::limit(command.limit)?;
        let after = command.after_user_rev;
        let found = read::user_items(self.db.read(), &[(user, after)], Some(limit + 1)).await?.remove(&user);
        let (upto, mut items) = found.ok_or(ErrorCode::UserNotFound)?;
        if after > upto {
            return Ok(view::UserChanges { items: Vec::new(), next_user_rev: upto, more: false, reset: true });
        }
        let more = items.len() as u64 > limit;
        items.truncate(limit as usize);
        let next_user_rev = if more { items.last().map_or(upto, view::UserItem::user_rev) } else { upto };
        Ok(view::UserChanges { items, next_user_rev, more, reset: false })
    }
}

fn message_done(done: Done, conversation: ConversationId) -> Outcome<(view::Message, bool)> {
    match done {
        Done::Message { mut message, duplicate } => {
            message.conversation_id = Some(conversation);
            Ok((*message, duplicate))
        }
        Done::Changed => Err(ErrorCode::MessageNotFound.into()),
    }
}

fn item_weight(item: &view::Item) -> usize {
    match item {
        view::Item::Message(message) => {
            400 + message.text.as_ref().map_or(0, |text| text.len() * 2) + message.reactions.len() * 200
        }
        _ => 200,
    }
}

fn bad_cursor() -> Error {
    Refusal::invalid("cursor", "is not one that a page gave").into()
}

fn read_cursor(cursor: &str) -> Outcome<read::After> {
    let (at, id) = cursor.split_once('.').ok_or_else(bad_cursor)?;
    let at = at.parse().map(Timestamp::from_millis).map_err(|_| bad_cursor())?;
    Ok((at, id.parse().map_err(|_| bad_cursor())?))
}
