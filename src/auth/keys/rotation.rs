//! A new pair in place of the old ones: when it signs, and until when they count.
//! Never without an overlap: what was signed before stays good for its time.

use super::{Keys, LOCK_KEY, SETTLED};
use crate::auth::audit;
use actors::protocol::Outcome;
use actors::retry::transact;
use entities::db::lock_key;
use entities::{Timestamp, signing_key};
use sea_orm::{DbErr, EntityTrait, IntoActiveModel, QueryFilter, Set};
use std::time::Duration;

/// How much longer than it need be a pair counts that was replaced: for clocks that differ, and rows read late.
const MARGIN: Duration = Duration::from_secs(120);
/// How long the row of a pair stays that counts no more.
const KEPT: Duration = Duration::from_secs(86_400);

/// What a rotation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The newest pair.
    pub kid: String,
    /// Whether it was made by this; else another rotation had made it a moment before, and nothing was done.
    pub is_new: bool,
    /// From when on it signs.
    pub signs_at: Timestamp,
    /// Until when those before it count.
    pub others_end_at: Timestamp,
}

impl Keys {
    /// Makes a new pair and lets the others end once all that they signed is over, if tokens live for `ttl`. Of
    /// several rotations at once, on whichever machines, one does it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn rotate(&self, ttl: Duration) -> Outcome<Rotation> {
        let rotation = transact(&self.db, &*self.clock, async |transaction| {
            lock_key(transaction, LOCK_KEY).await?;
            let now = self.clock.now();
            let newest = signing_key::accepted_at(now).filter(signing_key::COLUMN.retires_at.is_null());
            let newest = newest.one(transaction).await?;
            let fresh = newest.filter(|newest| now.since(newest.created_at) < SETTLED);
            let is_new = fresh.is_none();
            let made = match fresh {
                Some(row) => row,
                None => self.generate(now)?,
            };
            let (kid, made_at) = (made.kid.clone(), made.created_at);
            let others_end_at = made_at.plus(SETTLED + ttl + MARGIN);
            if is_new {
                let ends = signing_key::ActiveModel {
                    retires_at: Set(Some(others_end_at)),
                    ..signing_key::ActiveModel::default()
                };
                let others = signing_key::COLUMN.retires_at.is_null();
                signing_key::Entity::update_many().set(ends).filter(others).exec(transaction).await?;
                signing_key::Entity::insert(made.into_active_model()).exec_without_returning(transaction).await?;
                audit::record(transaction, &*self.clock, audit::key_made(audit::Kind::SigningKeyMade, &kid)).await?;
            }
            Ok(Rotation { kid, is_new, signs_at: made_at.plus(SETTLED), others_end_at })
        })
        .await?;
        self.reload().await?;
        Ok(rotation)
    }

    /// Deletes pairs that have counted no more for a day; tells how many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sweep(&self) -> Result<u64, DbErr> {
        let over = signing_key::COLUMN.retires_at.lt(self.clock.now().minus(KEPT));
        let delete = signing_key::Entity::delete_many().filter(over);
        Ok(self.db.heard(delete.exec(self.db.write())).await?.rows_affected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::secrets::Secrets;
    use crate::auth::testing::{FakeClock, Scratch};
    use actors::clock::Clock;

    #[actix_web::test]
    async fn a_rotation_overlaps_and_is_done_once_however_often_it_is_asked_for() {
        const TTL: Duration = Duration::from_secs(900);
        for scratch in Scratch::each().await {
            let (clock, secrets) = (FakeClock::new(), Secrets::from_master(b"one"));
            let open = || Keys::open(scratch.db.clone(), clock.clone(), &secrets);
            let (here, there) = (open().await.unwrap(), open().await.unwrap());
            let signer = |keys: &Keys| keys.with_signer(clock.now(), |key| Ok(key.kid.clone())).unwrap();
            let first = signer(&here);
            assert!(!here.rotate(TTL).await.unwrap().is_new, "it was made a moment ago");
            clock.advance(Duration::from_secs(86_400));
            let (one, other) = tokio::join!(here.rotate(TTL), there.rotate(TTL));
            let (one, other) = (one.unwrap(), other.unwrap());
            assert!(one.is_new != other.is_new && one.kid == other.kid);
            assert_eq!((one.signs_at, one.others_end_at), (other.signs_at, other.others_end_at));

            let epoch = there.epoch();
            there.reload().await.unwrap();
            assert_eq!(there.epoch(), epoch, "nothing has changed since");
            assert_eq!((signer(&here), signer(&there)), (first.clone(), first.clone()));
            assert_eq!(there.jwks(clock.now()).keys.len(), 2);
            clock.advance(SETTLED);
            assert_eq!((signer(&here), signer(&there)), (one.kid.clone(), one.kid.clone()));
            // The last token of the old pair is over before it.
            assert_eq!(one.others_end_at.since(clock.now()), TTL + MARGIN);
            clock.advance(TTL + MARGIN);
            assert!(there.with_key(&first, clock.now(), |_| ()).is_none());
            assert_eq!(there.jwks(clock.now()).keys.len(), 1);
            assert_eq!(there.sweep().await.unwrap(), 0);
            clock.advance(KEPT + SETTLED);
            assert_eq!(there.sweep().await.unwrap(), 1);
            assert!(there.rotate(TTL).await.unwrap().is_new);
            scratch.drop().await;
        }
    }
}
