//! What somebody may be told of whom they know: whether they are there, that their profile has changed, or nothing.
//! Never whether they know them: those who share a conversation do.

use super::acquaintance::{self, Acquaintance, Acquaintances};
use super::{Presences, profile_changed, told};
use crate::hub::Watch;
use crate::privacy::{Relation, Subject, allows, standings};
use entities::{Privacy, UserId};
use sea_orm::{ConnectionTrait, DbErr};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Pairs of one look at the rows.
const PAGE: usize = 1000;

/// What somebody may be told of another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sight {
    /// Nothing: one of the two blocks the other.
    #[default]
    Nothing,
    /// That their profile has changed. To whoever asks, they are offline.
    Profile,
    /// Whether they are there too, and when they last were.
    All,
}

fn sight(known: Acquaintance, relation: Relation, privacy: &Privacy) -> Sight {
    match (relation, known) {
        (Relation::Own, _) => Sight::All,
        (Relation::Blocked, _) => Sight::Nothing,
        // Who asks is not told whether anybody is there to answer.
        (_, Acquaintance::Asked) => Sight::Profile,
        (_, Acquaintance::Shared) if allows(privacy, Subject::LastSeen, relation) => Sight::All,
        (_, Acquaintance::Shared) => Sight::Profile,
    }
}

/// What the first of each pair may be told of the second.
pub(super) async fn sights(
    on: &impl ConnectionTrait,
    known: &Acquaintances,
) -> Result<HashMap<(UserId, UserId), Sight>, DbErr> {
    let pairs: Vec<(UserId, UserId)> = known.keys().copied().collect();
    if pairs.is_empty() {
        return Ok(HashMap::new());
    }
    let standings = standings(on, &pairs).await?;
    let found = standings.iter().filter_map(|(pair, (relation, privacy))| {
        let known = known.get(pair)?;
        Some((*pair, sight(*known, *relation, privacy)))
    });
    Ok(found.collect())
}

impl Presences {
    /// Looks again what those who watch these users here may hear of them: two statements for 1,000 who watch, however
    /// many they watch. Who may see somebody no more is told that they are offline; who may again is told how they are.
    ///
    /// # Errors
    /// Those of the database; it is then to be done again.
    pub(crate) async fn review(&self, users: HashSet<UserId>) -> Result<(), DbErr> {
        // One at a time: what was looked up first must not be said last.
        let _alone = self.reviewing.lock().await;
        let (hubs, users) = (self.entries.hubs(), Some(Arc::new(users)));
        let mut watches = HashSet::new();
        for hub in &hubs {
            watches.extend(hub.watches(users.clone()).await);
        }
        let watches: Vec<Watch> = watches.into_iter().collect();
        for page in watches.chunks(PAGE) {
            let known = acquaintance::acquainted_pairs(self.db.read(), page).await?;
            let sights = Arc::new(sights(self.db.read(), &known).await?);
            let strangers: Arc<[Watch]> = page.iter().copied().filter(|pair| !known.contains_key(pair)).collect();
            let mut newly_seen = HashSet::new();
            for hub in &hubs {
                hub.unwatch(strangers.clone());
                newly_seen.extend(hub.see(sights.clone()).await);
            }
            let newly_seen: Vec<UserId> = newly_seen.into_iter().collect();
            if newly_seen.is_empty() {
                continue;
            }
            let shown = self.look(&newly_seen).await?;
            let frames: Arc<[_]> = shown.iter().map(told).collect();
            hubs.iter().for_each(|hub| hub.show(frames.clone()));
            // If others were told otherwise meanwhile, all are told again.
            shown.iter().for_each(|shown| self.entries.show(shown.user_id, shown.status));
        }
        Ok(())
    }

    /// The same for those of whom this node was told that it has changed who may see what; what of their profiles is
    /// shown may have changed with it.
    ///
    /// # Errors
    /// Those of the database; what is still to be done is kept.
    pub(crate) async fn review_told(&self) -> Result<(), DbErr> {
        let users = self.entries.take_audiences();
        if users.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.review(users.clone()).await {
            self.entries.put_back_audiences(users);
            return Err(error);
        }
        users.into_iter().for_each(|user| self.entries.receive(profile_changed(user)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entities::Audience;

    #[test]
    fn what_one_is_told_follows_from_the_relation_and_the_audience() {
        use Acquaintance::{Asked, Shared};
        use Audience::{Contacts, Everyone, Nobody};
        use Relation::{Blocked, Contact, Own, Stranger};
        use Sight::{All, Nothing, Profile};
        // Relation, then: everyone, contacts, nobody who share a conversation; and who has only asked.
        let table = [
            (Own, [All, All, All], All),
            (Contact, [All, All, Profile], Profile),
            (Stranger, [All, Profile, Profile], Profile),
            (Blocked, [Nothing, Nothing, Nothing], Nothing),
        ];
        for (relation, shared, asked) in table {
            for (audience, expected) in [Everyone, Contacts, Nobody].into_iter().zip(shared) {
                let privacy = Privacy { last_seen: audience, ..Privacy::default() };
                assert_eq!(sight(Shared, relation, &privacy), expected, "{relation:?} {audience:?}");
                assert_eq!(sight(Asked, relation, &privacy), asked, "{relation:?} {audience:?}");
            }
        }
    }
}
