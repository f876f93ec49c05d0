//! What the items of one transaction make of the rows: decided and numbered in memory.
//! Never a query: `store.rs` has loaded what is needed, and saves what comes of it.

mod departing;

use super::change::{Change, Changed, Done, NewMessage, Place, Receipt, Written};
use super::mentions;
use super::policy::{Act, may, may_while_blocked};
use crate::journal::Item;
use crate::privacy::{Standings, Subject, allows};
use crate::protocol::view::{self, Settings};
use crate::protocol::{ErrorCode, Refusal};
use entities::{
    ConversationId, ConversationKind, MessageId, MessageKind, Privacy, Role, Timestamp, UserId, message, participant,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A conversation's row, as far as the journal changes it.
pub(super) struct Head {
    pub kind: ConversationKind,
    /// One of a pair blocks the other.
    pub blocked: bool,
    pub last_seq: i64,
    /// `last_rev` before this transaction.
    pub before: i64,
    pub last_rev: i64,
    pub policy_rev: i64,
    pub participants: i32,
    pub name: Option<String>,
    pub description: Option<String>,
    pub rev: i64,
    pub last_message_at: Timestamp,
    /// More than the counters has changed.
    pub resettled: bool,
}

/// A message's row with its reactions, first given first.
pub(super) struct Stored {
    pub row: message::Model,
    pub reactions: Vec<(UserId, String)>,
    /// When the last of them was given.
    pub reacted_at: Timestamp,
    pub new: bool,
    pub dirty: bool,
}

impl Stored {
    fn view(&self) -> view::Message {
        super::read::message_view(&self.row, &self.reactions, None)
    }
}

/// What the others are told of how far somebody has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// What they have read.
    Read,
    /// What has arrived at them, not what of it they have read.
    Delivered,
    /// Nothing.
    Nothing,
}

/// The rows of one transaction.
pub(super) struct Work {
    pub now: Timestamp,
    most_participants: i32,
    most_reactions: usize,
    pub heads: HashMap<ConversationId, Head>,
    pub messages: HashMap<MessageId, Stored>,
    by_key: HashMap<(ConversationId, UserId, String), MessageId>,
    new_places: HashSet<Place>,
    /// Rows that were looked for; `None` is not there.
    pub participants: HashMap<(ConversationId, UserId), Option<participant::Model>>,
    pub owners: HashMap<ConversationId, HashSet<UserId>>,
    pub users: HashMap<UserId, i64>,
    /// Those of them whose account has ended.
    pub departed: HashSet<UserId>,
    /// Whom the users of `users` let see and do what.
    pub privacies: HashMap<UserId, Privacy>,
    /// How those who add stand to those whom they add.
    pub standings: Standings,
    /// What the others are told of those who mark; of who is not here, nothing.
    pub tellings: HashMap<(ConversationId, UserId), Telling>,
    /// Who has a name that stands in a text, and whether they were a member when that was read.
    pub mentionable: HashMap<(ConversationId, String), (UserId, bool)>,
    /// Participants to be saved.
    pub touched: BTreeSet<(ConversationId, UserId)>,
    /// Users whose counter rose.
    pub raised: BTreeSet<UserId>,
    /// Reactions given, at a moment that keeps their order, or taken back.
    pub reactions: BTreeMap<(MessageId, UserId, String), Option<Timestamp>>,
    /// Messages that lose all reactions.
    pub unloved: Vec<MessageId>,
    /// Whom the message at a place mentions from now on.
    pub mentions: HashMap<Place, BTreeSet<UserId>>,
    written: HashMap<ConversationId, Written>,
}

type Verdict<T> = Result<T, Refusal>;

fn refuse(code: ErrorCode) -> Refusal {
    Refusal::new(code)
}

impl Work {
    pub fn new(now: Timestamp, most_participants: i32, most_reactions: usize) -> Work {
        Work {
            now,
            most_participants,
            most_reactions,
            heads: HashMap::new(),
            messages: HashMap::new(),
            by_key: HashMap::new(),
            new_places: HashSet::new(),
            participants: HashMap::new(),
            owners: HashMap::new(),
            users: HashMap::new(),
            departed: HashSet::new(),
            privacies: HashMap::new(),
            standings: HashMap::new(),
            tellings: HashMap::new(),
            mentionable: HashMap::new(),
            touched: BTreeSet::new(),
            raised: BTreeSet::new(),
            reactions: BTreeMap::new(),
            unloved: Vec::new(),
            mentions: HashMap::new(),
            written: HashMap::new(),
        }
    }

    /// Takes a message that was read.
    pub fn take(&mut self, stored: Stored) {
        let row = &stored.row;
        self.by_key.insert((row.conversation_id, row.sender_id, row.client_id.clone()), row.id);
        self.messages.insert(row.id, stored);
    }

    /// Whether the message at a place was inserted in this transaction.
    pub fn is_new(&self, place: Place) -> bool {
        self.new_places.contains(&place)
    }

    /// Whether the conversation is a request to a user, which they have not taken up.
    pub fn is_request(&self, conversation: ConversationId, user: UserId) -> bool {
        self.participants.get(&(conversation, user)).and_then(Option::as_ref).is_some_and(|row| row.request)
    }

    /// What was written to each conversation that an item named.
    pub fn into_written(mut self) -> HashMap<ConversationId, Written> {
        for (id, head) in &self.heads {
            let written = self.written.entry(*id).or_default();
            written.before = head.before;
            written.rev = head.last_rev;
            written.policy_rev = head.policy_rev;
            written.participants = head.participants;
            written.is_private = head.kind == ConversationKind::Private;
        }
        for ((conversation, user), row) in &self.participants {
            if row.as_ref().is_some_and(|row| row.request) {
                // The room is not to know them: so each change of theirs meets the row, and can take the request up.
                continue;
            }
            if let Some(written) = self.written.get_mut(conversation) {
                written.roles.push((*user, row.as_ref().and_then(current)));
            }
        }
        self.written
    }

    /// Decides one item and, if it may, numbers it. A refused item has changed nothing.
    pub fn apply(&mut self, item: &Item) -> Verdict<Done> {
        let missing = || refuse(ErrorCode::ConversationNotFound);
        // A repeat before the policy: a resend after one's removal gets the first result.
        if let Change::Send(new) = &item.change
            && let Some(done) = self.repeat(item, new)?
        {
            return Ok(done);
        }
        let head = self.heads.get(&item.conversation).ok_or_else(missing)?;
        let (kind, blocked) = (head.kind, head.blocked);
        let role = self.role(item);
        let check = |act| {
            may(kind, role, act).map_err(refuse)?;
            if blocked { may_while_blocked(act).map_err(refuse) } else { Ok(()) }
        };
        match &item.change {
            Change::Send(new) => {
                check(Act::Take)?;
                self.send(item, new)
            }
            Change::Edit { message, text } => {
                let own = self.visible(item, *message)?.row.sender_id == item.actor;
                check(Act::Edit { own })?;
                self.edit(item, *message, text)
            }
            Change::Delete { message } => {
                let own = self.visible(item, *message)?.row.sender_id == item.actor;
                check(Act::Delete { own })?;
                self.delete(item, *message)
            }
            Change::React { message, emoji, add } => {
                self.visible(item, *message)?;
                check(Act::Take)?;
                let done = self.react(item, *message, emoji, *add)?;
                if *add {
                    self.take_up(item.conversation, item.actor);
                }
                Ok(done)
            }
            Change::Add { users } => {
                check(Act::Add)?;
                self.add(item, users)
            }
            Change::Remove { user } if *user == item.actor => self.leave(item, check),
            Change::Remove { user } => {
                check(Act::Remove(self.role_of(item.conversation, *user)))?;
                self.end_span(item.conversation, *user)
            }
            Change::Leave => self.leave(item, check),
            Change::SetRole { user, role } => {
                let orphans = *role != Role::Owner && self.is_only_owner(item.conversation, *user);
                check(Act::SetRole { of: self.role_of(item.conversation, *user), to: *role, orphans })?;
                self.set_role(item.conversation, *user, *role)
            }
            Change::Transfer { to } => {
                check(Act::Transfer(self.role_of(item.conversation, *to)))?;
                if *to != item.actor {
                    self.set_role(item.conversation, *to, Role::Owner)?;
                    self.set_role(item.conversation, item.actor, Role::Admin)?;
                }
                Ok(Done::Changed)
            }
            Change::Update { name, description } => {
                check(Act::Update)?;
                self.update(item, name.as_deref(), description.as_deref())
            }
            Change::Mark { read, delivered, marked_unread, takes_up } => {
                check(Act::Mark)?;
                let done = self.mark(item, *read, *delivered, *marked_unread)?;
                if *takes_up {
                    self.take_up(item.conversation, item.actor);
                }
                Ok(done)
            }
            Change::Depart => self.depart(item),
            Change::Withdraw { said, reacted } => self.withdraw(item, said, reacted),
        }
    }

    /// The actor's role: as the rows say, where they were read; else as the room's check found it.
    fn role(&self, item: &Item) -> Option<Role> {
        match self.participants.get(&(item.conversation, item.actor)) {
            Some(row) => row.as_ref().and_then(current),
            None => item.role,
        }
    }

    fn role_of(&self, conversation: ConversationId, user: UserId) -> Option<Role> {
        self.participants.get(&(conversation, user)).and_then(Option::as_ref).and_then(current)
    }

    fn is_only_owner(&self, conversation: ConversationId, user: UserId) -> bool {
        self.owners.get(&conversation).is_some_and(|owners| owners.len() == 1 && owners.contains(&user))
    }

    /// A message that the actor may see.
    fn visible(&self, item: &Item, message: MessageId) -> Verdict<&Stored> {
        let unknown = || refuse(ErrorCode::MessageNotFound);
        let stored = self
            .messages
            .get(&message)
            .filter(|stored| stored.row.conversation_id == item.conversation)
            .ok_or_else(unknown)?;
        let member = self
            .participants
            .get(&(item.conversation, item.actor))
            .and_then(Option::as_ref)
            .filter(|row| current(row).is_some());
        match member {
            Some(member) if stored.row.seq >= member.visible_from_seq => Ok(stored),
            _ => Err(unknown()),
        }
    }

    fn repeat(&self, item: &Item, new: &NewMessage) -> Verdict<Option<Done>> {
        let key = (item.conversation, item.actor, new.client_id.clone());
        let Some(stored) = self.by_key.get(&key).and_then(|id| self.messages.get(id)) else { return Ok(None) };
        if stored.row.request_hash != new.request_hash {
            let mut refusal = refuse(ErrorCode::MessageClientIdConflict);
            refusal.field = Some("clientId".into());
            return Err(refusal);
        }
        Ok(Some(Done::Message { message: Box::new(stored.view()), duplicate: true }))
    }

    fn send(&mut self, item: &Item, new: &NewMessage) -> Verdict<Done> {
        if let Some(original) = new.reply_to {
            self.visible(item, original)
                .map_err(|_| Refusal { field: Some("replyTo".into()), ..refuse(ErrorCode::MessageNotFound) })?;
        }
        self.take_up(item.conversation, item.actor);
        let head = head(&mut self.heads, item.conversation)?;
        if head.kind == ConversationKind::Private && head.participants < 2 {
            // The other one's account has ended: there is nobody to hear it.
            return Err(refuse(ErrorCode::UserNotFound));
        }
        head.last_seq += 1;
        head.last_rev += 1;
        // Also if the clock was set back, what is later said is later dated.
        head.last_message_at = head.last_message_at.max(self.now);
        let row = message::Model {
            conversation_id: item.conversation,
            seq: head.last_seq,
            id: new.id,
            sender_id: item.actor,
            client_id: new.client_id.clone(),
            request_hash: new.request_hash.clone(),
            rev: head.last_rev,
            changed: false,
            kind: MessageKind::Text,
            text: Some(new.text.clone()),
            reply_to: new.reply_to,
            created_at: head.last_message_at,
            edited_at: None,
            deleted_at: None,
        };
        let place = Place { conversation: item.conversation, seq: row.seq };
        let stored = Stored { row, reactions: Vec::new(), reacted_at: Timestamp::EPOCH, new: true, dirty: false };
        let message = stored.view();
        self.new_places.insert(place);
        self.mention(place, item.actor, &new.text);
        self.take(stored);
        self.told(item.conversation, "message.created", view::Item::Message(message.clone()), None);
        Ok(Done::Message { message: Box::new(message), duplicate: false })
    }

    fn mention(&mut self, place: Place, sender: UserId, text: &str) {
        let names = mentions::names(text).into_iter();
        let users: BTreeSet<UserId> = names
            .filter_map(|name| self.mentionable.get(&(place.conversation, name)).copied())
            // Who is added or removed in this transaction counts as they are by now.
            .filter(|(user, was_member)| match self.participants.get(&(place.conversation, *user)) {
                Some(row) => row.as_ref().and_then(current).is_some(),
                None => *was_member,
            })
            .map(|(user, _)| user)
            .filter(|user| *user != sender)
            .collect();
        if users.is_empty() && self.new_places.contains(&place) {
            // Nothing is written of it yet; what it said before in this transaction does not count.
            self.mentions.remove(&place);
        } else {
            self.mentions.insert(place, users);
        }
    }

    fn edit(&mut self, item: &Item, message: MessageId, text: &str) -> Verdict<Done> {
        let stored = self.visible(item, message)?;
        if stored.row.deleted_at.is_some() {
            return Err(refuse(ErrorCode::MessageDeleted));
        }
        if stored.row.text.as_deref() == Some(text) {
            return Ok(Done::Message { message: Box::new(stored.view()), duplicate: true });
        }
        let place = Place { conversation: item.conversation, seq: stored.row.seq };
        let (sender, now) = (stored.row.sender_id, self.now);
        self.mention(place, sender, text);
        self.rewrite(item.conversation, message, "message.updated", |stored| {
            stored.row.text = Some(text.to_owned());
            stored.row.edited_at = Some(now);
        })
    }

    fn delete(&mut self, item: &Item, message: MessageId) -> Verdict<Done> {
        let stored = self.visible(item, message)?;
        if stored.row.deleted_at.is_some() {
            return Ok(Done::Message { message: Box::new(stored.view()), duplicate: true });
        }
        let place = Place { conversation: item.conversation, seq: stored.row.seq };
        self.bury(place, message)
    }

    /// Leaves a tombstone instead of a message.
    fn bury(&mut self, place: Place, message: MessageId) -> Verdict<Done> {
        let now = self.now;
        self.mentions.insert(place, BTreeSet::new());
        self.reactions.retain(|(of, _, _), _| *of != message);
        self.unloved.push(message);
        self.rewrite(place.conversation, message, "message.deleted", |stored| {
            stored.row.text = None;
            stored.row.deleted_at = Some(now);
            stored.reactions.clear();
        })
    }

    fn react(&mut self, item: &Item, message: MessageId, emoji: &str, add: bool) -> Verdict<Done> {
        let stored = self.visible(item, message)?;
        if stored.row.deleted_at.is_some() {
            return Err(refuse(ErrorCode::MessageDeleted));
        }
        let given = stored.reactions.iter().any(|(user, given)| *user == item.actor && given == emoji);
        if given == add {
            return Ok(Done::Message { message: Box::new(stored.view()), duplicate: true });
        }
        let kinds: HashSet<&str> = stored.reactions.iter().map(|(_, emoji)| emoji.as_str()).collect();
        if add && kinds.len() >= self.most_reactions && !kinds.contains(emoji) {
            return Err(refuse(ErrorCode::MessageTooManyReactions));
        }
        let at = self.now.max(stored.reacted_at.plus_millis(1));
        self.reactions.insert((message, item.actor, emoji.to_owned()), add.then_some(at));
        let actor = item.actor;
        self.rewrite(item.conversation, message, if add { "reaction.added" } else { "reaction.removed" }, |stored| {
            if add {
                stored.reactions.push((actor, emoji.to_owned()));
                stored.reacted_at = at;
            } else {
                stored.reactions.retain(|(user, given)| *user != actor || given != emoji);
            }
        })
    }

    /// Changes a message's row and stamps it with the next `rev`.
    fn rewrite(
        &mut self,
        conversation: ConversationId,
        message: MessageId,
        event: &'static str,
        change: impl FnOnce(&mut Stored),
    ) -> Verdict<Done> {
        let rev = self.next_rev(conversation)?;
        let stored = self.messages.get_mut(&message).ok_or_else(|| refuse(ErrorCode::MessageNotFound))?;
        change(stored);
        stored.row.rev = rev;
        stored.row.changed = true;
        stored.dirty = true;
        let message = stored.view();
        self.told(conversation, event, view::Item::Message(message.clone()), None);
        Ok(Done::Message { message: Box::new(message), duplicate: false })
    }

    fn add(&mut self, item: &Item, users: &[UserId]) -> Verdict<Done> {
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

    /// What was a request to somebody is a conversation like others from now on: they have answered it, or said so.
    fn take_up(&mut self, conversation: ConversationId, user: UserId) {
        let row = self.participants.get(&(conversation, user)).and_then(Option::as_ref);
        let Some(row) = row.filter(|row| row.request).cloned() else { return };
        let user_rev = self.raise(conversation, user);
        self.participants.insert((conversation, user), Some(participant::Model { request: false, user_rev, ..row }));
        self.touched.insert((conversation, user));
        self.written.entry(conversation).or_default().takers.push(user);
    }

    fn leave(&mut self, item: &Item, check: impl Fn(Act) -> Verdict<()>) -> Verdict<Done> {
        let alone = self.heads.get(&item.conversation).is_some_and(|head| head.participants <= 1);
        check(Act::Leave { orphans: !alone && self.is_only_owner(item.conversation, item.actor) })?;
        self.end_span(item.conversation, item.actor)
    }

    fn end_span(&mut self, conversation: ConversationId, user: UserId) -> Verdict<Done> {
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

    fn set_role(&mut self, conversation: ConversationId, user: UserId, role: Role) -> Verdict<Done> {
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

    fn update(&mut self, item: &Item, name: Option<&str>, description: Option<&str>) -> Verdict<Done> {
        let rev = {
            let head = head(&mut self.heads, item.conversation)?;
            let new_name = name.map_or_else(|| head.name.clone(), |name| Some(name.to_owned()));
            let new_description = description
                .map_or_else(|| head.description.clone(), |text| (!text.is_empty()).then(|| text.to_owned()));
            if new_name == head.name && new_description == head.description {
                return Ok(Done::Changed);
            }
            head.name = new_name;
            head.description = new_description;
            head.last_rev += 1;
            head.rev = head.last_rev;
            head.resettled = true;
            head.rev
        };
        let head = head(&mut self.heads, item.conversation)?;
        let settings = Settings { rev, name: head.name.clone(), description: head.description.clone() };
        self.told(item.conversation, "conversation.updated", view::Item::Conversation(settings), None);
        Ok(Done::Changed)
    }

    /// Marks are private: they raise the user's counter and not the conversation's.
    fn mark(
        &mut self,
        item: &Item,
        read: Option<i64>,
        delivered: Option<i64>,
        marked_unread: Option<bool>,
    ) -> Verdict<Done> {
        let head = head(&mut self.heads, item.conversation)?;
        let (last_seq, blocked) = (head.last_seq, head.blocked);
        let key = (item.conversation, item.actor);
        let Some(Some(row)) = self.participants.get(&key) else { return Err(refuse(ErrorCode::ConversationNotFound)) };
        let mut new = row.clone();
        // Nobody has read what was not yet said.
        new.read_seq = new.read_seq.max(read.unwrap_or(0).min(last_seq));
        new.delivered_seq = new.delivered_seq.max(delivered.unwrap_or(0).min(last_seq)).max(new.read_seq);
        new.marked_unread = marked_unread.unwrap_or(new.marked_unread && read.is_none());
        if new == *row {
            return Ok(Done::Changed);
        }
        let (was_read, was_delivered) = (row.read_seq, row.delivered_seq);
        // Whom somebody has only asked is not known to have heard of it.
        let telling = self.tellings.get(&key).copied().filter(|_| !new.request).unwrap_or(Telling::Nothing);
        new.user_rev = self.raise(item.conversation, item.actor);
        let written = self.written.entry(item.conversation).or_default();
        if blocked {
            // One's own devices hear of it, and nobody else.
        } else if new.read_seq > was_read && telling == Telling::Read {
            written.receipts.push(Receipt { user: item.actor, read: true, seq: new.read_seq });
        } else if new.delivered_seq > was_delivered && telling != Telling::Nothing {
            written.receipts.push(Receipt { user: item.actor, read: false, seq: new.delivered_seq });
        }
        self.participants.insert(key, Some(new));
        self.touched.insert(key);
        Ok(Done::Changed)
    }

    /// The next value of a user's own counter.
    fn raise(&mut self, conversation: ConversationId, user: UserId) -> i64 {
        let user_rev = self.users.entry(user).or_default();
        *user_rev += 1;
        self.raised.insert(user);
        let users = &mut self.written.entry(conversation).or_default().users;
        if !users.contains(&user) {
            users.push(user);
        }
        *user_rev
    }

    fn next_rev(&mut self, conversation: ConversationId) -> Verdict<i64> {
        let head = head(&mut self.heads, conversation)?;
        head.last_rev += 1;
        Ok(head.last_rev)
    }

    /// The next `rev` of a change that decides who may do what, and by how many the members grow.
    fn next_policy_rev(&mut self, conversation: ConversationId, growth: i32) -> Verdict<i64> {
        let head = head(&mut self.heads, conversation)?;
        head.last_rev += 1;
        head.policy_rev = head.last_rev;
        head.participants += growth;
        head.resettled = true;
        Ok(head.last_rev)
    }

    fn told(&mut self, conversation: ConversationId, event: &'static str, item: view::Item, removed: Option<UserId>) {
        self.written.entry(conversation).or_default().changes.push(Changed { event, item, removed });
    }
}

fn head(heads: &mut HashMap<ConversationId, Head>, conversation: ConversationId) -> Verdict<&mut Head> {
    heads.get_mut(&conversation).ok_or_else(|| refuse(ErrorCode::ConversationNotFound))
}

fn current(row: &participant::Model) -> Option<Role> {
    row.until_rev.is_none().then_some(row.role)
}
