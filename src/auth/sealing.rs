//! The key ring under which secrets rest in rows: authenticators' secrets, the names in address books.
//! Never the keys that sign tokens (see `keys`), and never a hash.
//!
//! # Why a ring
//! What is sealed names its key, so that a new key can seal while all the older ones still open. It may seal at once: a
//! node that meets it before it has read the rows again looks for it there.

mod rotation;

pub use rotation::{Rotation, Tidied};

use super::seal::Seal;
use super::secrets::Secrets;
use actors::clock::Clock;
use actors::protocol::{Error, Fault, Outcome};
use actors::retry::transact;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::db::lock_key;
use entities::{Db, Timestamp, UserId, sealing_key};
use parking_lot::RwLock;
use sea_orm::{DatabaseTransaction, EntityTrait, IntoActiveModel};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The advisory lock of those who make a key: "qc seal" in ASCII.
const LOCK_KEY: i64 = i64::from_be_bytes(*b"qc seal\0");
/// The bytes of a key's name.
const NAME_LEN: usize = 16;
/// How often the rows are read.
const RELOAD_EVERY: Duration = Duration::from_secs(45);

/// The keys, as this node holds them.
pub struct Ring {
    db: Db,
    clock: Arc<dyn Clock>,
    /// Seals the keys themselves.
    seal: Seal,
    keys: RwLock<Arc<[Key]>>,
}

struct Key {
    name: String,
    key: Seal,
    created_at: Timestamp,
}

/// What something is sealed for: it opens nowhere else.
///
/// # Why they are told apart by their words
/// The text is bound into the seal. No two may ever come to the same one, and none may change: its rows would not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context<'a> {
    /// The secret of somebody's authenticator.
    Totp(UserId),
    /// The names in somebody's address book.
    ContactName(UserId),
    /// A sign-in under way at another issuer: for what, and by what it is known.
    UnderWay(&'a str, &'a str),
}

impl fmt::Display for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Context::Totp(user) => write!(f, "totp {user}"),
            Context::ContactName(owner) => write!(f, "contact name {owner}"),
            Context::UnderWay(purpose, name) => write!(f, "{purpose} {name}"),
        }
    }
}

impl Ring {
    /// Reads the keys; the first node to come makes one.
    ///
    /// # Errors
    /// Those of the database, and that the keys there were sealed under another master secret.
    pub async fn open(db: Db, clock: Arc<dyn Clock>, secrets: &Secrets) -> Outcome<Ring> {
        let seal = Seal::new(&secrets.derive(super::secrets::SEALING_KEYS))?;
        let ring = Ring { db, clock, seal, keys: RwLock::new(Arc::default()) };
        transact(&ring.db, &*ring.clock, async |transaction| {
            lock_key(transaction, LOCK_KEY).await?;
            if sealing_key::newest_first().one(transaction).await?.is_none() {
                ring.add(transaction).await?;
            }
            Ok(())
        })
        .await?;
        ring.reload().await?;
        Ok(ring)
    }

    /// Reads the rows once.
    ///
    /// # Errors
    /// Those of the database, and that a key was sealed under another master secret.
    pub async fn reload(&self) -> Outcome<()> {
        let rows = sealing_key::newest_first().all(self.db.read()).await?;
        let keys: Outcome<Vec<Key>> = rows
            .into_iter()
            .map(|row| {
                let bytes = self.seal.open(row.id.as_bytes(), &row.sealed_key)?;
                Ok(Key { key: Seal::new(&bytes)?, name: row.id, created_at: row.created_at })
            })
            .collect();
        *self.keys.write() = keys?.into();
        Ok(())
    }

    /// Reads the rows again and again. Never ends.
    pub async fn keep(&self) {
        loop {
            self.clock.sleep(RELOAD_EVERY).await;
            if let Err(error) = self.reload().await {
                tracing::warn!(%error, "the sealing keys could not be read; those in memory serve");
            }
        }
    }

    /// Seals with the newest key.
    ///
    /// # Errors
    /// A fault of the library.
    pub fn seal(&self, context: &Context<'_>, plain: &[u8]) -> Outcome<Vec<u8>> {
        let keys = self.keys.read().clone();
        let newest = keys.first().ok_or_else(|| Fault::new("there is no key to seal with"))?;
        let sealed = newest.key.seal(context.to_string().as_bytes(), plain, &*self.clock)?;
        Ok([newest.name.as_bytes(), &sealed].concat())
    }

    /// A text that was sealed for this context; none if it does not open any more.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn unseal_text(&self, context: &Context<'_>, sealed: &[u8]) -> Outcome<Option<String>> {
        match self.unseal(context, sealed).await {
            Ok(text) => Ok(String::from_utf8(text).ok()),
            // What does not open any more is no reason to stop; a database that is away is one.
            Err(Error::Fault(fault)) => match fault.database() {
                Ok(error) => Err(error.into()),
                Err(_) => Ok(None),
            },
            Err(refused) => Err(refused),
        }
    }

    /// Opens what was sealed for this context. A key that this node does not know yet is looked for in the rows.
    ///
    /// # Errors
    /// A fault: the key is gone, or it is not what was sealed there.
    pub async fn unseal(&self, context: &Context<'_>, sealed: &[u8]) -> Outcome<Vec<u8>> {
        let (name, rest) = sealed.split_at_checked(NAME_LEN).ok_or_else(|| Fault::new("what was sealed is cut off"))?;
        let context = context.to_string();
        let known = |keys: Arc<[Key]>| {
            let key = keys.iter().find(|key| key.name.as_bytes() == name)?;
            Some(key.key.open(context.as_bytes(), rest))
        };
        let found = known(self.keys.read().clone());
        if let Some(opened) = found {
            return opened;
        }
        self.reload().await?;
        let found = known(self.keys.read().clone());
        found.unwrap_or_else(|| Err(Fault::new("the key with which this was sealed is gone").into()))
    }

    /// Makes a key; gives its name.
    async fn add(&self, transaction: &DatabaseTransaction) -> Outcome<String> {
        let id = URL_SAFE_NO_PAD.encode(self.clock.random::<12>());
        let sealed_key = self.seal.seal(id.as_bytes(), &self.clock.random::<32>(), &*self.clock)?;
        let row = sealing_key::Model { id: id.clone(), sealed_key, created_at: self.clock.now() };
        sealing_key::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};

    #[actix_web::test]
    async fn what_is_sealed_opens_in_its_place_alone_on_any_node() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let secrets = Secrets::from_master(b"a master secret");
            let open = || Ring::open(scratch.db.clone(), clock.clone(), &secrets);
            let (one, other) = tokio::join!(open(), open());
            let (one, other) = (one.unwrap(), other.unwrap());
            let [ann, bob] = [1, 2].map(|n| Context::Totp(UserId::from_uuid(uuid::Uuid::from_u128(n))));
            let sealed = one.seal(&ann, b"secret").unwrap();
            assert_ne!(sealed, one.seal(&ann, b"secret").unwrap());
            assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
            assert_eq!(other.unseal(&ann, &sealed).await.unwrap(), b"secret");
            for (context, sealed) in [(bob, &sealed[..]), (ann, &sealed[..40]), (ann, b"x")] {
                assert!(other.unseal(&context, sealed).await.is_err());
            }
            assert!(Ring::open(scratch.db.clone(), clock, &Secrets::from_master(b"another")).await.is_err());
            scratch.drop().await;
        }
    }
}
