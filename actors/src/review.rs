//! What each sweep looks at beside numbers: which sessions have ended, who may still watch whom, and who is there.
//! Never a change: hints have told all that it finds, unless they were lost.

use crate::clock::Clock;
use crate::cluster::{Content, Delivery, Link, Topic};
use crate::entry::{Entries, Shown};
use crate::hub::{Watch, Which};
use crate::limits::Limits;
use crate::presence::{Presences, acquaintance};
use crate::protocol::view::Status;
use entities::{Db, SessionId, Timestamp, UserId, block, session, user};
use sea_orm::{DbErr, QuerySelect};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Users looked at in one query.
const PAGE: usize = 1000;
/// Rows tell their moment by the clock of the node that wrote them, and appear when it has committed: which it may have
/// to wait for, twice as long as it waits for a statement by default, with time to spare.
const MARGIN: Duration = Duration::from_secs(60);

/// What one sweep after another looks at.
pub(crate) struct Review {
    entries: Entries,
    presences: Presences,
    db: Db,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    /// When all was looked at last.
    looked_at: Timestamp,
    /// When this node was last found deaf: others may have to claim anew what it then asks for.
    deaf_at: Option<Timestamp>,
}

impl Review {
    pub(crate) fn new(
        entries: Entries,
        presences: Presences,
        db: Db,
        clock: Arc<dyn Clock>,
        limits: Arc<Limits>,
    ) -> Review {
        let looked_at = clock.now();
        Review { entries, presences, db, clock, limits, looked_at, deaf_at: None }
    }

    /// Mends what hints may have failed to tell since the last time that this succeeded; `was_deaf`, if the node has heard
    /// nothing for a while in between.
    pub(crate) async fn look(&mut self, was_deaf: bool) -> Result<(), DbErr> {
        let now = self.clock.now();
        if was_deaf || self.entries.deaf_since().is_some() {
            self.deaf_at = Some(now);
        }
        let since = self.looked_at.minus(MARGIN);
        self.close_ended_sessions(since).await?;
        self.presences.review_told().await?;
        self.review_watches(since).await?;
        let settled = self.deaf_at.is_none_or(|at| now.since(at) >= self.limits.sweep);
        let watched = self.entries.watched();
        show(&self.entries, &self.presences, &watched, settled).await?;
        self.looked_at = now;
        Ok(())
    }

    /// Sockets of sessions that ended since then are told, if they have not heard of it.
    async fn close_ended_sessions(&self, since: Timestamp) -> Result<(), DbErr> {
        let ended = session::revoked_since(since).select_only();
        let ended = ended.column(session::Column::UserId).column(session::Column::Id);
        for (user, session) in ended.into_tuple::<(UserId, SessionId)>().all(self.db.read()).await? {
            let content = Content::SessionRevoked(session);
            self.entries.receive(Arc::new(Delivery { topic: Topic::User(user), numbers: None, content }));
        }
        Ok(())
    }

    /// It is looked again what those may hear of whom they watch for whom that may have changed since then.
    async fn review_watches(&self, since: Timestamp) -> Result<(), DbErr> {
        // Who hears nothing may share more than a request by now: nothing tells that somebody has come into a group.
        let mut watches = self.presences.watches(Which::Blind).await;
        let changed = user::audience_changed_since(since).select_only().column(user::Column::Id);
        let changed: HashSet<UserId> = changed.into_tuple().all(self.db.read()).await?.into_iter().collect();
        let blocks = block::changed_since(since).select_only();
        let blocks = blocks.columns([block::Column::OwnerId, block::Column::UserId]);
        let blocks: HashSet<Watch> = blocks.into_tuple().all(self.db.read()).await?.into_iter().collect();
        // Whoever has left a conversation may share nothing any more with those who watch them, or whom they watch.
        let left = acquaintance::left_since(self.db.read(), since).await?;
        // Asked first: mostly nothing has changed, and the watches of all sockets are many.
        if !(changed.is_empty() && blocks.is_empty() && left.is_empty()) {
            let concerns = |(watcher, watched): &Watch| {
                changed.contains(watched)
                    || left.contains(watcher)
                    || left.contains(watched)
                    || blocks.contains(&(*watcher, *watched))
                    || blocks.contains(&(*watched, *watcher))
            };
            watches.extend(self.presences.watches(Which::All).await.into_iter().filter(concerns));
        }
        self.presences.review(watches).await
    }
}

/// Tells the watchers at this node of those who are shown otherwise than they are. That somebody has gone is believed
/// only when claims are `settled`: after a loss of what joins the nodes, they come back one by one. While nobody can tell
/// how they are, nobody is told.
pub(crate) async fn show(
    entries: &Entries,
    presences: &Presences,
    users: &[UserId],
    settled: bool,
) -> Result<(), DbErr> {
    for page in users.chunks(PAGE) {
        let before: Vec<(UserId, Shown)> =
            page.iter().filter_map(|user| Some((*user, entries.shows(*user)?))).collect();
        let watched: Vec<UserId> = before.iter().map(|(user, _)| *user).collect();
        if watched.is_empty() || entries.cluster().link() != Link::Up {
            continue;
        }
        let Some(statuses) = presences.statuses(&watched).await else { return Ok(()) };
        let is_wrong = |before: Option<Status>, now: Option<Status>| {
            let now = now.unwrap_or(Status::Offline);
            before != Some(now) && (settled || now != Status::Offline)
        };
        let wrong = before.into_iter().zip(statuses).filter(|((_, before), now)| is_wrong(before.status, *now));
        let (wrong, statuses): (Vec<_>, Vec<_>) = wrong.unzip();
        let users: Vec<UserId> = wrong.iter().map(|(user, _)| *user).collect();
        for ((_, before), presence) in wrong.iter().zip(presences.describe(&users, statuses).await?) {
            entries.metrics().mended.inc();
            entries.correct(*before, &presence);
        }
    }
    Ok(())
}
