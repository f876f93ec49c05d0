//! A new key in place of the old ones: what they sealed is sealed anew, and they go when nobody needs them.
//! Never a key that something is still sealed with, or that a node may still seal with.
//!
//! # What is not sealed anew
//! What stands for minutes, as a sign-in under way at another issuer: it is over long before its key goes.

use super::{Context, Key, LOCK_KEY, RELOAD_EVERY, Ring};
use crate::auth::audit;
use actors::protocol::Outcome;
use actors::retry::transact;
use entities::db::lock_key;
use entities::{UserId, contact_number, sealing_key, second_factor};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Set};
use std::time::Duration;

/// A key younger than this is not replaced: another rotation has just made it.
const SETTLED: Duration = Duration::from_secs(120);
/// How long after its successor was made a key stays at least: every node reads the rows many times meanwhile, and none
/// seals with it any more.
const KEPT: Duration = Duration::from_secs(3600);
/// Rows that are read, and sealed anew, at once.
const AT_ONCE: u64 = 500;

const _: () = assert!(KEPT.as_secs() > 10 * RELOAD_EVERY.as_secs());

/// What a rotation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The newest key.
    pub name: String,
    /// Whether it was made by this; else another rotation had made it a moment before.
    pub is_new: bool,
}

/// What tidying up behind rotations came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Values that were sealed anew.
    pub resealed: u64,
    /// Values that no key here opens; they are left as they are, and no key goes.
    pub failed: u64,
    /// Keys that were removed.
    pub removed: u64,
    /// Older keys that stay: a node may still seal with them.
    pub kept: u64,
}

impl Ring {
    /// Makes a new key. Of several rotations at once, on whichever machines, one does it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn rotate(&self) -> Outcome<Rotation> {
        let rotation = transact(&self.db, &*self.clock, async |transaction| {
            lock_key(transaction, LOCK_KEY).await?;
            let newest = sealing_key::newest_first().one(transaction).await?;
            match newest.filter(|newest| self.clock.now().since(newest.created_at) < SETTLED) {
                Some(newest) => Ok(Rotation { name: newest.id, is_new: false }),
                None => {
                    let name = self.add(transaction).await?;
                    audit::record(transaction, &*self.clock, audit::key_made(audit::Kind::SealingKeyMade, &name))
                        .await?;
                    Ok(Rotation { name, is_new: true })
                }
            }
        })
        .await?;
        self.reload().await?;
        Ok(rotation)
    }

    /// Seals anew what older keys sealed, and removes those that nothing and nobody needs any more. Any number of nodes
    /// may do it at once.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn tidy(&self) -> Outcome<Tidied> {
        self.reload().await?;
        let keys = self.keys.read().clone();
        let mut done = Tidied::default();
        if keys.len() < 2 {
            return Ok(done);
        }
        self.reseal_authenticators(&mut done).await?;
        self.reseal_contacts(&mut done).await?;
        let now = self.clock.now();
        // Each with the next newer one.
        let is_over = |successor: &Key| now.since(successor.created_at) >= KEPT;
        let over: Vec<String> =
            keys.windows(2).filter(|pair| is_over(&pair[0])).map(|pair| pair[1].name.clone()).collect();
        if done.failed > 0 {
            tracing::warn!(values = done.failed, "what is sealed does not open; no key was removed");
        } else if !over.is_empty() {
            let delete = sealing_key::Entity::delete_many().filter(sealing_key::Column::Id.is_in(over));
            done.removed = self.db.heard(delete.exec(self.db.write())).await?.rows_affected;
            self.reload().await?;
        }
        done.kept = self.keys.read().len().saturating_sub(1) as u64;
        Ok(done)
    }

    async fn reseal_authenticators(&self, done: &mut Tidied) -> Outcome<()> {
        let mut last = None;
        loop {
            let mut query = second_factor::Entity::find().order_by_asc(second_factor::COLUMN.user_id).limit(AT_ONCE);
            if let Some(last) = last {
                query = query.filter(second_factor::COLUMN.user_id.gt(last));
            }
            let rows = query.all(self.db.read()).await?;
            for row in &rows {
                let Some(sealed) = self.anew(&Context::Totp(row.user_id), &row.sealed_secret, done).await? else {
                    continue;
                };
                let anew =
                    second_factor::ActiveModel { sealed_secret: Set(sealed), ..second_factor::ActiveModel::default() };
                // Whoever set it up anew meanwhile did it with the new key.
                let same = second_factor::COLUMN.user_id.eq(row.user_id);
                let same = same.and(second_factor::COLUMN.sealed_secret.eq(row.sealed_secret.clone()));
                let update = second_factor::Entity::update_many().set(anew).filter(same);
                done.resealed += self.db.heard(update.exec(self.db.write())).await?.rows_affected;
            }
            match rows.last().filter(|_| rows.len() as u64 == AT_ONCE) {
                Some(row) => last = Some(row.user_id),
                None => return Ok(()),
            }
        }
    }

    async fn reseal_contacts(&self, done: &mut Tidied) -> Outcome<()> {
        let mut last = None;
        loop {
            let rows = self.named_contacts(last.as_ref()).await?;
            for row in &rows {
                let Some(old) = &row.sealed_name else { continue };
                let context = Context::ContactName(row.owner_id);
                let Some(sealed) = self.anew(&context, old, done).await? else { continue };
                let anew = contact_number::ActiveModel {
                    sealed_name: Set(Some(sealed)),
                    ..contact_number::ActiveModel::default()
                };
                let columns = &contact_number::COLUMN;
                let same = columns.owner_id.eq(row.owner_id).and(columns.number_hash.eq(row.number_hash.clone()));
                let same = same.and(columns.sealed_name.eq(old.clone()));
                let update = contact_number::Entity::update_many().set(anew).filter(same);
                done.resealed += self.db.heard(update.exec(self.db.write())).await?.rows_affected;
            }
            match rows.last().filter(|_| rows.len() as u64 == AT_ONCE) {
                Some(row) => last = Some((row.owner_id, row.number_hash.clone())),
                None => return Ok(()),
            }
        }
    }

    async fn named_contacts(&self, after: Option<&(UserId, Vec<u8>)>) -> Result<Vec<contact_number::Model>, DbErr> {
        let columns = &contact_number::COLUMN;
        let mut query = contact_number::Entity::find().filter(columns.sealed_name.is_not_null());
        if let Some((owner, hash)) = after {
            let beyond = columns.owner_id.gt(*owner).or(contact_number::Column::NumberHash.gt(hash.clone()));
            query = query.filter(columns.owner_id.gte(*owner)).filter(beyond);
        }
        query.order_by_asc(columns.owner_id).order_by_asc(columns.number_hash).limit(AT_ONCE).all(self.db.read()).await
    }

    /// A value under the newest key; none where it is already, or does not open.
    async fn anew(&self, context: &Context<'_>, sealed: &[u8], done: &mut Tidied) -> Outcome<Option<Vec<u8>>> {
        let is_newest = self.keys.read().first().is_some_and(|newest| sealed.starts_with(newest.name.as_bytes()));
        if is_newest {
            return Ok(None);
        }
        match self.unseal(context, sealed).await {
            Ok(plain) => self.seal(context, &plain).map(Some),
            Err(error) => {
                tracing::debug!(%error, "a value was not sealed anew");
                done.failed += 1;
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::secrets::Secrets;
    use crate::auth::testing::{FakeClock, Scratch};
    use actors::clock::Clock;
    use entities::Timestamp;
    use sea_orm::{IntoActiveModel, PaginatorTrait};
    use std::sync::Arc;

    struct Setting {
        scratch: Scratch,
        clock: Arc<FakeClock>,
        /// Two nodes, and the operator's command.
        nodes: [Ring; 3],
        users: Vec<UserId>,
    }

    async fn each() -> Vec<Setting> {
        let mut all = Vec::new();
        for scratch in Scratch::each().await {
            let (clock, secrets) = (FakeClock::new(), Secrets::from_master(b"one"));
            let open = || Ring::open(scratch.db.clone(), clock.clone(), &secrets);
            let nodes = [open().await.unwrap(), open().await.unwrap(), open().await.unwrap()];
            let users = (0..3).map(|_| (&*clock as &dyn Clock).user_id()).collect();
            clock.advance(Duration::from_secs(86_400));
            all.push(Setting { scratch, clock, nodes, users });
        }
        all
    }

    impl Setting {
        /// A node keeps a secret and a name for somebody.
        async fn keeps(&self, node: &Ring, user: UserId) {
            let sealed_secret = node.seal(&Context::Totp(user), b"secret").unwrap();
            let at = self.clock.now();
            let row =
                second_factor::Model { user_id: user, sealed_secret, last_step: 0, created_at: at, enabled_at: None };
            let row = second_factor::Entity::insert(row.into_active_model());
            row.exec_without_returning(self.scratch.db.write()).await.unwrap();
            for number_hash in [vec![0; 32], vec![1; 32]] {
                let sealed_name = node.seal(&Context::ContactName(user), b"name").unwrap();
                let row = contact_number::Model {
                    owner_id: user,
                    number_hash,
                    listed: true,
                    sealed_name: Some(sealed_name),
                    listed_rev: 0,
                    first_at: Timestamp::EPOCH,
                };
                let row = contact_number::Entity::insert(row.into_active_model());
                row.exec_without_returning(self.scratch.db.write()).await.unwrap();
            }
        }

        /// All that was kept opens at this node.
        async fn is_whole(&self, node: &Ring) {
            for row in second_factor::Entity::find().all(self.scratch.db.read()).await.unwrap() {
                assert_eq!(node.unseal(&Context::Totp(row.user_id), &row.sealed_secret).await.unwrap(), b"secret");
            }
            for row in contact_number::Entity::find().all(self.scratch.db.read()).await.unwrap() {
                let context = Context::ContactName(row.owner_id);
                assert_eq!(node.unseal(&context, &row.sealed_name.unwrap()).await.unwrap(), b"name");
            }
        }

        async fn keys(&self) -> u64 {
            sealing_key::Entity::find().count(self.scratch.db.read()).await.unwrap()
        }
    }

    #[actix_web::test]
    async fn a_rotation_seals_anew_and_removes_keys_that_nobody_can_use() {
        for setting in each().await {
            let [one, other, operator] = &setting.nodes;
            setting.keeps(one, setting.users[0]).await;
            setting.keeps(other, setting.users[1]).await;
            assert_eq!(operator.tidy().await.unwrap(), Tidied::default());
            let (first, second) = tokio::join!(operator.rotate(), one.rotate());
            let (first, second) = (first.unwrap(), second.unwrap());
            assert!(first.name == second.name && first.is_new != second.is_new);
            assert_eq!(operator.tidy().await.unwrap(), Tidied { resealed: 6, kept: 1, ..Tidied::default() });
            // A node that has not read the rows again seals with the old key, and opens what the new one sealed.
            setting.keeps(other, setting.users[2]).await;
            for node in &setting.nodes {
                setting.is_whole(node).await;
            }
            setting.clock.advance(KEPT - SETTLED);
            other.reload().await.unwrap();
            assert_eq!(operator.tidy().await.unwrap(), Tidied { resealed: 3, kept: 1, ..Tidied::default() });
            setting.clock.advance(SETTLED);
            let (here, there) = tokio::join!(one.tidy(), other.tidy());
            assert_eq!(here.unwrap().removed + there.unwrap().removed, 1);
            assert_eq!(setting.keys().await, 1);
            for node in &setting.nodes {
                setting.is_whole(node).await;
            }
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn no_key_goes_while_something_does_not_open() {
        for setting in each().await {
            let [one, _, operator] = &setting.nodes;
            setting.keeps(one, setting.users[0]).await;
            let elsewhere = one.seal(&Context::UnderWay("else", "where"), b"secret").unwrap();
            let row = second_factor::Model {
                user_id: setting.users[1],
                sealed_secret: elsewhere.clone(),
                last_step: 0,
                created_at: setting.clock.now(),
                enabled_at: None,
            };
            let row = second_factor::Entity::insert(row.into_active_model());
            row.exec_without_returning(setting.scratch.db.write()).await.unwrap();
            operator.rotate().await.unwrap();
            setting.clock.advance(KEPT);
            assert_eq!(operator.tidy().await.unwrap(), Tidied { resealed: 3, failed: 1, removed: 0, kept: 1 });
            let row = second_factor::of_user(setting.users[1]).one(setting.scratch.db.read()).await.unwrap().unwrap();
            assert_eq!(row.sealed_secret, elsewhere);
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn more_values_than_fit_into_one_batch_are_all_sealed_anew() {
        let setting = each().await.remove(0);
        let [one, _, operator] = &setting.nodes;
        let owner = setting.users[0];
        let rows = (0..2 * AT_ONCE + 7).map(|at| {
            let number_hash = [&at.to_be_bytes()[..], &[0; 24]].concat();
            let sealed_name = one.seal(&Context::ContactName(owner), b"name").unwrap();
            let row = contact_number::Model {
                owner_id: owner,
                number_hash,
                listed: true,
                sealed_name: Some(sealed_name),
                listed_rev: 0,
                first_at: Timestamp::EPOCH,
            };
            row.into_active_model()
        });
        contact_number::Entity::insert_many(rows).exec_without_returning(setting.scratch.db.write()).await.unwrap();
        operator.rotate().await.unwrap();
        assert_eq!(operator.tidy().await.unwrap(), Tidied { resealed: 2 * AT_ONCE + 7, kept: 1, ..Tidied::default() });
        assert_eq!(operator.tidy().await.unwrap(), Tidied { kept: 1, ..Tidied::default() });
        setting.is_whole(operator).await;
        setting.scratch.drop().await;
    }
}
