//! `catch_up`: compares what was delivered with the rows, and delivers what is missing.
//! Never a second source of order: what it finds enters at the entry, like everything else.
//!
//! It runs when an entry asks (a gap, a lost room, an unknown commit, a full queue, something of a
//! user's own); over all entries every few seconds, and at once after a resubscription or when another
//! node has gone; so a crash between commit and publish heals by itself.

use crate::clock::Clock;
use crate::cluster::{Content, Delivery, Fill, Link, Part, Topic};
use crate::conversation::read::{self, Counters};
use crate::entry::{Entries, MendRequests};
use crate::guard::guarded;
use crate::limits::Limits;
use crate::presence::Presences;
use crate::protocol::event::{Event, append_text_frame};
use crate::protocol::view::{self, UserItem};
use crate::review::{Review, show};
use entities::{ConversationId, Db, UserId, user};
use futures_util::future::select;
use sea_orm::{DbErr, QuerySelect};
use serde::Serialize;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Topics compared in one query.
const PAGE: usize = 1000;
/// How often all is compared while nothing comes from other nodes.
const WITHOUT_HINTS: Duration = Duration::from_secs(1);
/// Changes told in one event.
const TOLD: u64 = 500;

/// Whose rows are ahead of what was delivered, and by the rows' numbers.
enum Behind {
    Conversation(ConversationId, Counters),
    User(UserId, i64),
}

/// Mends entries for one node.
pub struct Mender {
    /// What to mend.
    pub entries: Entries,
    /// What is true.
    pub db: Db,
    /// Who is there.
    pub presences: Presences,
    /// When to look.
    pub clock: Arc<dyn Clock>,
    /// How often.
    pub limits: Arc<Limits>,
}

impl Mender {
    /// Mends what is asked for, until the entries are gone.
    pub async fn run(self, mut requests: MendRequests) {
        let mut wanted = Vec::new();
        while requests.recv_many(&mut wanted, PAGE).await > 0 {
            let topics: BTreeSet<Topic> = wanted.drain(..).collect();
            let topics: Vec<Topic> = topics.into_iter().collect();
            if let Some(Err(error)) = guarded("the mender", self.mend(&topics)).await {
                // The sweep will find what is left.
                tracing::warn!(%error, "entries could not be compared with the rows");
            }
        }
    }

    /// Compares all entries, again and again; sooner when there is doubt, and more often while no hints come.
    pub async fn sweep(self) {
        let Mender { entries, db, presences, clock, limits } = &self;
        let (entries, presences, db) = (entries.clone(), presences.clone(), db.clone());
        let mut review = Review::new(entries, presences, db, clock.clone(), limits.clone());
        let mut failing = false;
        loop {
            let pause = match self.entries.cluster().link() {
                Link::Down => self.limits.sweep.min(WITHOUT_HINTS),
                Link::Up | Link::Joining => self.limits.sweep,
            };
            select(pin!(self.clock.sleep(pause)), pin!(self.entries.doubted())).await;
            let (was_deaf, resubscriptions) = (self.entries.deaf_since().is_some(), self.entries.resubscriptions());
            let swept = async {
                self.sweep_once().await?;
                // What else is looked at may wait: no change is behind any more.
                self.entries.caught_up(resubscriptions);
                review.look(was_deaf).await
            };
            match guarded("the sweep", swept).await {
                Some(Ok(())) => failing = false,
                // One line until it is well again.
                Some(Err(error)) if !std::mem::replace(&mut failing, true) => {
                    tracing::warn!(%error, database = self.db.place(), "the sweep could not read the rows");
                }
                Some(Err(error)) => tracing::debug!(%error, "the sweep could not read the rows"),
                None => {}
            }
        }
    }

    async fn sweep_once(&self) -> Result<(), DbErr> {
        for page in self.entries.numbered_topics().chunks(PAGE) {
            let behind = self.behind(page).await?;
            if behind.is_empty() {
                continue;
            }
            // What is only on its way gets the time to arrive.
            self.clock.sleep(self.limits.gap_wait.max(Duration::from_millis(1))).await;
            self.mend_rows(behind).await?;
        }
        Ok(())
    }

    /// The topics whose rows are ahead, with the rows' numbers.
    async fn behind(&self, topics: &[Topic]) -> Result<Vec<Behind>, DbErr> {
        let (mut conversations, mut users) = (Vec::new(), Vec::new());
        for topic in topics {
            match topic {
                Topic::Conversation(id) => conversations.push(*id),
                Topic::User(id) => users.push(*id),
                Topic::Presence(_) => {}
            }
        }
        let counters = read::counters(self.db.read(), &conversations).await?;
        let mut numbers: Vec<_> =
            counters.into_iter().map(|(id, counters)| Behind::Conversation(id, counters)).collect();
        if !users.is_empty() {
            let rows = user::among(users).select_only();
            let rows = rows.column(user::Column::Id).column(user::Column::UserRev).into_tuple::<(UserId, i64)>();
            numbers.extend(rows.all(self.db.read()).await?.into_iter().map(|(id, rev)| Behind::User(id, rev)));
        }
        numbers.retain(|number| self.is_behind(number));
        Ok(numbers)
    }

    fn is_behind(&self, number: &Behind) -> bool {
        let (topic, rev) = match number {
            Behind::Conversation(id, counters) => (Topic::Conversation(*id), counters.last_rev),
            Behind::User(id, rev) => (Topic::User(*id), *rev),
        };
        self.entries.position(topic).is_some_and(|at| at < rev)
    }

    async fn mend(&self, topics: &[Topic]) -> Result<(), DbErr> {
        self.presences.review_told().await?;
        let watched: Vec<UserId> = topics.iter().filter_map(Topic::watched).collect();
        show(&self.entries, &self.presences, &watched, true).await?;
        let behind = self.behind(topics).await?;
        self.mend_rows(behind).await
    }

    /// Delivers what is missing of those that are still behind.
    async fn mend_rows(&self, behind: Vec<Behind>) -> Result<(), DbErr> {
        let mut users = Vec::new();
        let mut conversations = Vec::new();
        for number in behind.into_iter().filter(|number| self.is_behind(number)) {
            match number {
                Behind::Conversation(id, counters) => conversations.push((id, counters)),
                Behind::User(id, _) => users.extend(self.entries.position(Topic::User(id)).map(|at| (id, at))),
            }
        }
        self.mend_users(&users).await?;
        for (conversation, counters) in conversations {
            self.entries.metrics().mended.inc();
            self.mend_conversation(conversation, counters).await?;
        }
        Ok(())
    }

    async fn mend_conversation(&self, id: ConversationId, counters: Counters) -> Result<(), DbErr> {
        let topic = Topic::Conversation(id);
        while let Some(at) = self.entries.position(topic).filter(|at| *at < counters.last_rev) {
            let reset = counters.last_rev - at > read::TOO_FAR;
            let (items, next) = if reset {
                (Vec::new(), counters.last_rev)
            } else {
                read::changes(self.db.read(), id, &counters, at, TOLD).await?
            };
            let moves = read::moves(self.db.read(), id, at).await?;
            let content = Content::Fill(Fill { items, moves, reset });
            self.entries.receive(Arc::new(Delivery { topic, numbers: Some((at + 1, next)), content }));
            if self.entries.position(topic) == Some(at) {
                // A queue is full: the sweep comes again.
                break;
            }
        }
        Ok(())
    }

    async fn mend_users(&self, behind: &[(UserId, i64)]) -> Result<(), DbErr> {
        for chunk in behind.chunks(PAGE) {
            for (user, (upto, items)) in read::user_items(self.db.read(), chunk, None).await? {
                let Some((_, after)) = chunk.iter().find(|(id, _)| *id == user) else { continue };
                let mut bytes = Vec::new();
                let parts = items.iter().map(|item| append(item, &mut bytes)).collect();
                let content = Content::Frames { bytes: bytes.into(), parts };
                self.entries.receive(Arc::new(Delivery {
                    topic: Topic::User(user),
                    numbers: Some((after + 1, upto)),
                    content,
                }));
            }
        }
        Ok(())
    }
}

/// One private change as an event of the user's own sockets.
fn append(item: &UserItem, bytes: &mut Vec<u8>) -> Part {
    let user_rev = item.user_rev();
    let (conversation, removed) = match item {
        UserItem::Mine { conversation_id, mine, .. } => {
            own_event("conversation.mine", user_rev, Some(*conversation_id), mine, bytes);
            (Some(*conversation_id), None)
        }
        UserItem::Gone { conversation_id, until_rev, .. } => {
            let gone = view::Gone { conversation_id: *conversation_id, until_rev: *until_rev };
            own_event("conversation.removed", user_rev, Some(*conversation_id), &gone, bytes);
            // Whose topic it is, is known; that it is set says that they are no member any more.
            (Some(*conversation_id), Some(UserId::from_uuid(uuid::Uuid::nil())))
        }
        UserItem::Profile { user, .. } => {
            own_event("profile.updated", user_rev, None, user, bytes);
            (None, None)
        }
        UserItem::Contact { contact, .. } => {
            own_event("contact.updated", user_rev, None, contact, bytes);
            (None, None)
        }
        UserItem::Block { block, .. } => {
            own_event("block.updated", user_rev, None, block, bytes);
            (None, None)
        }
        UserItem::Settings { set, .. } => {
            own_event("settings.updated", user_rev, None, set, bytes);
            (None, None)
        }
    };
    Part { end: bytes.len(), rev: user_rev, seq: None, removed, conversation }
}

fn own_event<T: Serialize>(
    name: &str,
    user_rev: i64,
    conversation: Option<ConversationId>,
    data: &T,
    bytes: &mut Vec<u8>,
) {
    let mut event = Event::new(name, data);
    event.conversation_id = conversation;
    event.user_rev = Some(user_rev);
    append_text_frame(&event, bytes);
}
