//! What somebody may be told of whom they know: whether they are there, that their profile has changed, or nothing.
//! Never whether they know them: those who share a conversation do.

use super::acquaintance::{self, Acquaintance, Acquaintances};
use super::{Presences, told};
use crate::hub::{Watch, Which};
use crate::privacy::{Relation, Subject, allows, standings};
use entities::{Privacy, UserId};
use sea_orm::{ConnectionTrait, DbErr};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Pairs of one look at the rows.
const PAGE: usize = 1000;

/// What somebody may be told of another one; nothing, unless said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether they are there, and when they last were. To whoever may not be told, they are offline.
    pub presence: bool,
    /// That their profile has changed: with what of it is shown to them, so that a change of that is told, too.
    pub profile: Option<Profile>,
}

/// What of a profile is shown beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    photo: bool,
    bio: bool,
    phone_number: bool,
}

fn sight(known: Acquaintance, relation: Relation, privacy: &Privacy) -> Sight {
    // Who asks is not told whether anybody is there to answer: when a profile changes, somebody is.
    if relation == Relation::Blocked || (known == Acquaintance::Asked && relation != Relation::Own) {
        return Sight::default();
    }
    let sees = |subject| allows(privacy, subject, relation);
    let profile =
        Profile { photo: sees(Subject::Photo), bio: sees(Subject::Bio), phone_number: sees(Subject::PhoneNumber) };
    Sight { presence: sees(Subject::LastSeen), profile: Some(profile) }
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
    /// Who watches whom at this node.
    pub(crate) async fn watches(&self, which: Which) -> HashSet<Watch> {
        let mut watches = HashSet::new();
        for hub in self.entries.hubs() {
            watches.extend(hub.watches(which.clone()).await);
        }
        watches
    }

    /// Looks again what these may hear of whom they watch here: two statements for 1,000 of them. Who may see somebody no
    /// more is told that they are offline, who may again is told how they are, and to whom more or less of a profile is
    /// shown is told that it has changed: nobody else is told anything.
    ///
    /// # Errors
    /// Those of the database; it is then to be done again.
    pub(crate) async fn review(&self, watches: impl IntoIterator<Item = Watch>) -> Result<(), DbErr> {
        // One at a time: what was looked up first must not be said last.
        let _alone = self.reviewing.lock().await;
        let hubs = self.entries.hubs();
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
            for hub in &hubs {
                hub.show(frames.clone()).await;
            }
            // If others were told otherwise meanwhile, all are told again.
            shown.iter().for_each(|shown| self.entries.show(shown.user_id, shown.status));
        }
        Ok(())
    }

    /// The same for those of whom this node was told that it has changed who may see what.
    ///
    /// # Errors
    /// Those of the database; what is still to be done is kept.
    pub(crate) async fn review_told(&self) -> Result<(), DbErr> {
        let told = self.entries.take_audiences();
        if told.is_empty() {
            return Ok(());
        }
        let mut watches = match told.users.is_empty() {
            true => HashSet::new(),
            false => self.watches(Which::Of(Arc::new(told.users.clone()))).await,
        };
        watches.extend(&told.pairs);
        self.review(watches).await.inspect_err(|_| self.entries.put_back_audiences(told))
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
        // Relation, then whether those see what is for everyone, for contacts and for nobody.
        let table = [
            (Own, [true, true, true]),
            (Contact, [true, true, false]),
            (Stranger, [true, false, false]),
            (Blocked, [false, false, false]),
        ];
        for (relation, sees) in table {
            for (audience, sees) in [Everyone, Contacts, Nobody].into_iter().zip(sees) {
                let alone = |which: usize| {
                    let of = |at| if which == at { audience } else { Nobody };
                    let privacy = Privacy {
                        last_seen: of(0),
                        photo: of(1),
                        bio: of(2),
                        phone_number: of(3),
                        ..Privacy::default()
                    };
                    let seen = sight(Shared, relation, &privacy);
                    let shown = seen.profile.map(|shown| [shown.photo, shown.bio, shown.phone_number]);
                    (seen.presence, shown, sight(Asked, relation, &privacy))
                };
                for which in 0..4 {
                    let expected = [0, 1, 2, 3].map(|at| relation == Own || (at == which && sees));
                    let (presence, shown, asked) = alone(which);
                    assert_eq!(presence, expected[0], "{relation:?} {audience:?}");
                    let profile = [expected[1], expected[2], expected[3]];
                    assert_eq!(shown, (relation != Blocked).then_some(profile), "{relation:?} {audience:?}");
                    assert_eq!(asked != Sight::default(), relation == Own, "who asks is told nothing");
                }
            }
        }
    }
}
