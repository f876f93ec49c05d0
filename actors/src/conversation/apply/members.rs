//! Who comes, goes, and becomes what.
//! Never who may: `policy.rs` says so.

use super::{Rights, Verdict, Work, head, refuse};
use crate::conversation::change::Done;
use crate::conversation::policy::Act;
use crate::journal::Item;
use crate::privacy::{Subject, allows};
use crate::protocol::view;
use crate::protocol::{ErrorCode, Refusal};
use entities::{ConversationId, Role, UserId, participant};
use std::collections::HashSet;

impl Work {
    pub(super) fn add(&mut self, item: &Item, rights: Rights, users: &[UserId]) -> Verdict<Done> {
        rights.check(Act::Add)?;
        let mut seen = HashSet::new();
        let new: Vec<UserId> = users
            .iter()
            .copied()
            .filter(|user| seen.insert(*user) && self.role_of(item.conversation, *user).is_none())
            .collect();
        if new.iter().any(|user| !self.users.contains_key(user) || self.departed.contains(user)) {
            return Err(Refusal { field: Some("userIds".into()), ..refuse(ErrorCode::UserNotFound) });
        }
        let unwilling: Vec<UserId> = new.iter().copied().filter(|user| !self.may_add(item.actor, *user)).collect();
        if !unwilling.is_empty() {
            return Err(refuse(ErrorCode::UserNotAddable).because_of("userIds", unwilling));
        }
        let head = head(&mut self.heads, item.conversation)?;
        if head.participants + new.len() as i32 > self.most_participants {
            return Err(refuse(ErrorCode::ConversationFull));
        }
        let visible_from_seq = head.last_seq + 1;
        for user in new {
            let rev = self.next_policy_rev(item.conversation, 1)?;
            let user_rev = self.raise(item.conversation, user);
            let row = participant::Model {
                conversation_id: item.conversation,
                user_id: user,
                role: Role::Member,
                from_rev: rev,
                until_rev: None,
                visible_from_seq,
                read_seq: visible_from_seq - 1,
                delivered_seq: visible_from_seq - 1,
                marked_unread: false,
                rev,
                user_rev,
                request: false,
                declined_rev: None,
                joined_at: self.now,
                left_at: None,
            };
            self.put(row, "participant.added");
        }
        Ok(Done::Changed)
    }

    fn may_add(&self, actor: UserId, user: UserId) -> bool {
        let standing = self.standings.get(&(actor, user));
        standing.is_some_and(|(relation, privacy)| allows(privacy, Subject::AddedToGroups, *relation))
    }

    pub(super) fn leave(&mut self, item: &Item, rights: Rights) -> Verdict<Done> {
        let alone = self.heads.get(&item.conversation).is_some_and(|head| head.participants <= 1);
        rights.check(Act::Leave { orphans: !alone && self.is_only_owner(item.conversation, item.actor) })?;
        self.end_span(item.conversation, item.actor)
    }

    pub(super) fn remove(&mut self, item: &Item, rights: Rights, user: UserId) -> Verdict<Done> {
        rights.check(Act::Remove(self.role_of(item.conversation, user)))?;
        self.end_span(item.conversation, user)
    }

    pub(super) fn end_span(&mut self, conversation: ConversationId, user: UserId) -> Verdict<Done> {
        let Some(Some(row)) = self.participants.get(&(conversation, user)).cloned() else {
            return Err(refuse(ErrorCode::ParticipantNotFound));
        };
        let rev = self.next_policy_rev(conversation, -1)?;
        let user_rev = self.raise(conversation, user);
        if let Some(owners) = self.owners.get_mut(&conversation) {
            owners.remove(&user);
        }
        let left_at = Some(self.now);
        self.put(participant::Model { until_rev: Some(rev), rev, user_rev, left_at, ..row }, "participant.removed");
        Ok(Done::Changed)
    }

    pub(super) fn change_role(&mut self, item: &Item, rights: Rights, user: UserId, role: Role) -> Verdict<Done> {
        let orphans = role != Role::Owner && self.is_only_owner(item.conversation, user);
        rights.check(Act::SetRole { of: self.role_of(item.conversation, user), to: role, orphans })?;
        self.set_role(item.conversation, user, role)
    }

    pub(super) fn transfer(&mut self, item: &Item, rights: Rights, to: UserId) -> Verdict<Done> {
        rights.check(Act::Transfer(self.role_of(item.conversation, to)))?;
        if to != item.actor {
            self.set_role(item.conversation, to, Role::Owner)?;
            self.set_role(item.conversation, item.actor, Role::Admin)?;
        }
        Ok(Done::Changed)
    }

    pub(super) fn set_role(&mut self, conversation: ConversationId, user: UserId, role: Role) -> Verdict<Done> {
        let Some(Some(row)) = self.participants.get(&(conversation, user)).cloned() else {
            return Err(refuse(ErrorCode::ParticipantNotFound));
        };
        if row.role == role {
            return Ok(Done::Changed);
        }
        let rev = self.next_policy_rev(conversation, 0)?;
        let user_rev = self.raise(conversation, user);
        let owners = self.owners.entry(conversation).or_default();
        if role == Role::Owner {
            owners.insert(user);
        } else {
            owners.remove(&user);
        }
        self.put(participant::Model { role, rev, user_rev, ..row }, "participant.updated");
        Ok(Done::Changed)
    }

    /// Keeps a participant's new row and tells the others.
    fn put(&mut self, row: participant::Model, event: &'static str) {
        let key = (row.conversation_id, row.user_id);
        let removed = row.until_rev.map(|_| row.user_id);
        self.told(row.conversation_id, event, view::Item::Participant(view::Participant::from_row(&row)), removed);
        self.participants.insert(key, Some(row));
        self.touched.insert(key);
    }
}
