//! Opening a conversation: the one durable change that no room precedes.
//! Never a second private conversation of a pair, and never two for one `clientId`.

use super::blocking::{self, Pair};
use super::members::{self, Circle};
use super::read::Which;
use super::store::{insert_participants, participant_values};
use super::{Conversations, read};
use crate::privacy::{Relation, Subject, allows, standings};
use crate::protocol::command::CreateConversation;
use crate::protocol::{Error, ErrorCode, Outcome, Refusal, view};
use crate::retry::transact;
use crate::sql::{CHUNK, Table, select_in};
use entities::{Backend, ConversationId, ConversationKind, Role, UserId, block, conversation, participant};
use sea_orm::{ActiveModelTrait, DatabaseTransaction, DbErr, IntoActiveModel};
use std::collections::BTreeSet;

impl Conversations {
    /// `conversations.create`.
    pub async fn create(&self, user: UserId, command: CreateConversation) -> Outcome<view::Created> {
        let others: BTreeSet<UserId> = command.participant_ids.iter().copied().filter(|id| *id != user).collect();
        self.check_creation(&command, others.len())?;
        let hash = self.request_hash(&serde_json::to_vec(&command).unwrap_or_default());
        if let Some(id) = self.existing(user, &others, &command, &hash).await? {
            return self.created(user, id, true).await;
        }
        let opened = transact(&self.db, self.clock.as_ref(), async |transaction| {
            self.insert(transaction, user, &others, &command, hash.clone()).await
        });
        match opened.await {
            Ok((id, members)) => {
                members.into_iter().for_each(|member| self.entries.user_changed(member));
                self.created(user, id, false).await
            }
            // Another request made it at the same moment, or this one did and was not told: that one is the answer.
            Err(Error::Fault(fault)) => match self.existing(user, &others, &command, &hash).await? {
                Some(id) => {
                    others.iter().chain([&user]).for_each(|member| self.entries.user_changed(*member));
                    self.created(user, id, true).await
                }
                None => Err(fault.into()),
            },
            Err(refused) => Err(refused),
        }
    }

    fn check_creation(&self, command: &CreateConversation, others: usize) -> Outcome<()> {
        match command.kind {
            ConversationKind::Private if others != 1 => {
                Err(Refusal::invalid("participantIds", "a private conversation is with exactly one other user").into())
            }
            ConversationKind::Private if command.name.is_some() => {
                Err(Refusal::invalid("name", "a private conversation has no name").into())
            }
            ConversationKind::Private if command.description.is_some() => {
                Err(Refusal::invalid("description", "a private conversation has no description").into())
            }
            ConversationKind::Group if others + 1 > self.limits.participants => Err(ErrorCode::ConversationFull.into()),
            _ => Ok(()),
        }
    }

    /// What an earlier request made: the pair's conversation, or the one of this `clientId`.
    async fn existing(
        &self,
        user: UserId,
        others: &BTreeSet<UserId>,
        command: &CreateConversation,
        hash: &[u8],
    ) -> Outcome<Option<ConversationId>> {
        if let Some(client_id) = &command.client_id
            && let Some(row) = conversation::by_client_id(user, client_id).one(self.db.read()).await?
        {
            if row.request_hash.as_deref() != Some(hash) {
                let refusal = Refusal::new(ErrorCode::ConversationClientIdConflict);
                return Err(Refusal { field: Some("clientId".into()), ..refusal }.into());
            }
            return Ok(Some(row.id));
        }
        match (command.kind, others.first()) {
            (ConversationKind::Private, Some(other)) => {
                match conversation::between(user, *other).one(self.db.read()).await? {
                    // One of a pair goes only when their account ends.
                    Some(row) if row.participant_count < 2 => Err(nobody()),
                    found => Ok(found.map(|row| row.id)),
                }
            }
            _ => Ok(None),
        }
    }

    async fn created(&self, user: UserId, id: ConversationId, duplicate: bool) -> Outcome<view::Created> {
        Ok(view::Created { conversation: self.view(user, id).await?, duplicate })
    }

    /// The conversation takes `rev` 1, its members the ones after: one for each row.
    async fn insert(
        &self,
        transaction: &DatabaseTransaction,
        user: UserId,
        others: &BTreeSet<UserId>,
        command: &CreateConversation,
        hash: Vec<u8>,
    ) -> Outcome<(ConversationId, Vec<UserId>)> {
        let now = self.clock.now();
        let id = self.clock.conversation_id();
        let members: Vec<UserId> = others.iter().copied().chain([user]).collect::<BTreeSet<_>>().into_iter().collect();
        let last_rev = 1 + members.len() as i64;
        let group = command.kind == ConversationKind::Group;
        let pair_key = others.first().filter(|_| !group).map(|other| conversation::pair_key(user, *other));
        let row = conversation::Model {
            id,
            kind: command.kind,
            name: command.name.clone(),
            description: command.description.clone().filter(|text| !text.is_empty()),
            pair_key,
            created_by: user,
            request_hash: command.client_id.as_ref().map(|_| hash),
            client_id: command.client_id.clone(),
            created_at: now,
            updated_at: now,
            last_message_at: now,
            last_seq: 0,
            last_rev,
            policy_rev: last_rev,
            participant_count: members.len() as i32,
            rev: 1,
            blocked: false,
        };
        row.into_active_model().insert(transaction).await?;
        let user_revs = raise_users(transaction, &members).await?;
        if user_revs.len() < members.len() {
            return Err(nobody());
        }
        let welcome = admit(transaction, user, others, group).await?;
        if welcome == Welcome::Unheard {
            blocking::set(transaction, Pair { id, blocked: false, last_rev }, true).await?;
        }
        let mut rows = Table::new(15);
        for (at, (member, user_rev)) in user_revs.into_iter().enumerate() {
            let rev = 2 + at as i64;
            let role = if group && member == user { Role::Owner } else { Role::Member };
            let waits = welcome != Welcome::Open && member != user;
            let unheard = welcome == Welcome::Unheard && member != user;
            rows.push(participant_values(&participant::Model {
                conversation_id: id,
                user_id: member,
                role,
                from_rev: rev,
                until_rev: None,
                visible_from_seq: 1,
                read_seq: 0,
                delivered_seq: 0,
                marked_unread: false,
                rev,
                // What they are not to hear of is nothing new to them.
                user_rev: if unheard { 0 } else { user_rev },
                request: waits,
                declined_rev: unheard.then_some(last_rev),
                joined_at: now,
                left_at: None,
            }));
        }
        insert_participants(transaction, rows).await?;
        let mut outbox = Table::new(4);
        outbox.push([id.into(), 1i64.into(), last_rev.into(), now.into()]);
        outbox
            .insert(transaction, &["", "", "", ""], |values| {
                format!("INSERT INTO outbox (conversation_id, from_rev, rev, created_at) VALUES {values}")
            })
            .await?;
        Ok((id, members))
    }

    /// One conversation as one of its members sees it.
    pub(super) async fn view(&self, user: UserId, id: ConversationId) -> Outcome<view::Conversation> {
        let mut found = read::conversations(&self.db, user, Which::One(id)).await?;
        let (mut conversation, _) = found.pop().ok_or(ErrorCode::ConversationNotFound)?;
        let circle = Circle {
            conversation: id,
            kind: conversation.kind,
            participants: conversation.participant_count,
            viewer: user,
        };
        conversation.participants = Some(members::page(&self.db, self.clock.now(), circle, None, 100).await?);
        Ok(conversation)
    }
}

/// One of those named does not exist, or not any more.
fn nobody() -> Error {
    Refusal { field: Some("participantIds".into()), ..Refusal::new(ErrorCode::UserNotFound) }.into()
}

/// What a conversation that somebody opens is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Welcome {
    /// One like others.
    Open,
    /// A request to the other one of a pair.
    Asked,
    /// The same, of which the other one hears nothing: they block whoever asks (see `blocking`).
    Unheard,
}

/// Refuses where the others do not let `user` open this with them, or where `user` blocks the other one of a pair. Behind
/// their locks: whoever changes privacy, contacts or blocks holds them too, so one of the two sees what the other has
/// done.
async fn admit(
    transaction: &DatabaseTransaction,
    user: UserId,
    others: &BTreeSet<UserId>,
    group: bool,
) -> Outcome<Welcome> {
    let pairs: Vec<(UserId, UserId)> = others.iter().map(|other| (user, *other)).collect();
    if pairs.is_empty() {
        return Ok(Welcome::Open);
    }
    let standings = standings(transaction, &pairs).await?;
    let standing = |other: &UserId| standings.get(&(user, *other));
    let lets = |other: &UserId, subject| {
        standing(other).is_some_and(|(relation, privacy)| allows(privacy, subject, *relation))
    };
    match others.first() {
        Some(other) if !group => match standing(other) {
            Some((Relation::Blocked, _)) => match block::of(user, *other).one(transaction).await? {
                Some(own) if !own.removed => Err(ErrorCode::ConversationBlocked.into()),
                _ => Ok(Welcome::Unheard),
            },
            _ if lets(other, Subject::PrivateChats) => Ok(Welcome::Open),
            _ => Ok(Welcome::Asked),
        },
        _ => {
            let unwilling: Vec<UserId> =
                others.iter().copied().filter(|other| !lets(other, Subject::AddedToGroups)).collect();
            if unwilling.is_empty() {
                return Ok(Welcome::Open);
            }
            Err(Refusal::new(ErrorCode::UserNotAddable).because_of("participantIds", unwilling).into())
        }
    }
}

/// Raises the counters of users, locked in the order of their ids; those who do not exist, or not any more, are left
/// out.
///
/// # Errors
/// Those of the database.
pub async fn raise_users(transaction: &DatabaseTransaction, users: &[UserId]) -> Result<Vec<(UserId, i64)>, DbErr> {
    let mut raised = Vec::with_capacity(users.len());
    for chunk in users.chunks(CHUNK) {
        if Backend::of(transaction) == Backend::Postgres {
            select_in(transaction, chunk, "uuid", |list| {
                format!("SELECT id FROM users WHERE id IN ({list}) ORDER BY id FOR NO KEY UPDATE")
            })
            .await?;
        }
        let rows = select_in(transaction, chunk, "uuid", |list| {
            format!(
                "UPDATE users SET user_rev = user_rev + 1 WHERE id IN ({list}) AND left_at IS NULL RETURNING id, user_rev"
            )
        })
        .await?;
        for row in rows {
            raised.push((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        }
    }
    raised.sort_unstable_by_key(|(user, _)| *user);
    Ok(raised)
}
