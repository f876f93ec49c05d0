//! What the items of one transaction make of the rows: decided and numbered in memory.
//! Never a query: `store.rs` has loaded what is needed, and saves what comes of it.

mod departing;
mod members;
mod messages;
mod requests;

use super::change::{Change, Changed, Done, Place, Receipt, Written};
use super::policy::{Act, may, may_while_blocked};
use crate::journal::Item;
use crate::privacy::Standings;
use crate::protocol::view::{self, Settings};
use crate::protocol::{ErrorCode, Refusal};
use entities::{ConversationId, ConversationKind, MessageId, Privacy, Role, Timestamp, UserId, message, participant};
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

/// What an item's actor may do, as the items before it have left things.
#[derive(Clone, Copy)]
struct Rights {
    kind: ConversationKind,
    blocked: bool,
    role: Option<Role>,
}

impl Rights {
    fn check(self, act: Act) -> Verdict<()> {
        may(self.kind, self.role, act).map_err(refuse)?;
        if self.blocked { may_while_blocked(act).map_err(refuse) } else { Ok(()) }
    }
}

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
        // A repeat before the policy: a resend after one's removal gets the first result.
        if let Change::Send(new) = &item.change
            && let Some(done) = self.repeat(item, new)?
        {
            return Ok(done);
        }
        let rights = self.rights(item)?;
        match &item.change {
            Change::Send(new) => self.send(item, rights, new),
            Change::Edit { message, text } => self.edit(item, rights, *message, text),
            Change::Delete { message } => self.delete(item, rights, *message),
            Change::React { message, emoji, add } => self.react(item, rights, *message, emoji, *add),
            Change::Add { users } => self.add(item, rights, users),
            Change::Remove { user } if *user == item.actor => self.leave(item, rights),
            Change::Remove { user } => self.remove(item, rights, *user),
            Change::Leave => self.leave(item, rights),
            Change::SetRole { user, role } => self.change_role(item, rights, *user, *role),
            Change::Transfer { to } => self.transfer(item, rights, *to),
            Change::Update { name, description } => self.update(item, rights, name.as_deref(), description.as_deref()),
            Change::Mark { read, delivered, marked_unread } => {
                rights.check(Act::Mark)?;
                self.mark(item, *read, *delivered, *marked_unread)
            }
            Change::TakeUp => {
                rights.check(Act::Mark)?;
                self.take_up(item.conversation, item.actor);
                Ok(Done::Changed)
            }
            Change::Decline => {
                rights.check(Act::Mark)?;
                self.decline(item)
            }
            Change::Depart => self.depart(item),
            Change::Withdraw { said, reacted } => self.withdraw(item, said, reacted),
        }
    }

    /// What the actor's rights follow from.
    fn rights(&self, item: &Item) -> Verdict<Rights> {
        let head = self.heads.get(&item.conversation).ok_or_else(|| refuse(ErrorCode::ConversationNotFound))?;
        Ok(Rights { kind: head.kind, blocked: head.blocked, role: self.role(item) })
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

    fn update(&mut self, item: &Item, rights: Rights, name: Option<&str>, description: Option<&str>) -> Verdict<Done> {
        rights.check(Act::Update)?;
        let head = head(&mut self.heads, item.conversation)?;
        let new_name = name.map_or_else(|| head.name.clone(), |name| Some(name.to_owned()));
        let new_description =
            description.map_or_else(|| head.description.clone(), |text| (!text.is_empty()).then(|| text.to_owned()));
        self.settle(item.conversation, new_name, new_description)
    }

    /// From now on the conversation is called and described so.
    fn settle(
        &mut self,
        conversation: ConversationId,
        name: Option<String>,
        description: Option<String>,
    ) -> Verdict<Done> {
        let head = head(&mut self.heads, conversation)?;
        if name == head.name && description == head.description {
            return Ok(Done::Changed);
        }
        (head.name, head.description) = (name, description);
        head.last_rev += 1;
        head.rev = head.last_rev;
        head.resettled = true;
        let settings = Settings { rev: head.rev, name: head.name.clone(), description: head.description.clone() };
        self.told(conversation, "conversation.updated", view::Item::Conversation(settings), None);
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
