//! The pairs that sign access tokens: rows that all nodes share, sealed, held in memory, and replaced now and then.
//! Never a token.
//!
//! # Why a new pair waits
//! Checking a token must not wait for the database. So a node knows every pair before any node signs with it: rows are
//! read every half minute, and a pair signs only once it is two minutes old, unless there is no other. So a rotation
//! makes a new pair and says of the others when they end; until the new one is settled they still sign, and until all
//! that they signed is over they still count.

mod rotation;

pub use rotation::Rotation;

use super::seal::Seal;
use super::secrets::{SIGNING_KEYS, Secrets};
use actors::clock::Clock;
use actors::protocol::{Fault, Outcome};
use actors::retry::transact;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::db::lock_key;
use entities::{Db, Timestamp, signing_key};
use jsonwebtoken::{DecodingKey, EncodingKey};
use parking_lot::RwLock;
use sea_orm::{EntityTrait, IntoActiveModel};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How often the rows are read.
const RELOAD_EVERY: Duration = Duration::from_secs(30);
/// The least time between two reads, whatever tokens come.
const RELOAD_PAUSE: Duration = Duration::from_secs(3);
/// How old a pair is before it signs.
const SETTLED: Duration = Duration::from_secs(120);
/// The advisory lock of those who make a pair: "qc keys" in ASCII.
const LOCK_KEY: i64 = i64::from_be_bytes(*b"qc keys\0");

/// The pairs, as this node holds them.
pub struct Keys {
    db: Db,
    clock: Arc<dyn Clock>,
    seal: Seal,
    /// Whether the seal comes from the data folder's own secret.
    is_sealed_by_file: bool,
    ring: RwLock<Arc<[Key]>>,
    /// Raised whenever other pairs count, or for another time.
    epoch: AtomicU64,
    wanted: Notify,
}

/// One pair.
pub struct Key {
    /// Its name.
    pub kid: String,
    /// Checks its signatures.
    pub public: DecodingKey,
    /// Signs.
    pub private: EncodingKey,
    public_bytes: Vec<u8>,
    created_at: Timestamp,
    retires_at: Option<Timestamp>,
}

/// What others check our tokens with (RFC 7517, RFC 8037).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Jwks {
    /// Every key whose signatures count now.
    pub keys: Vec<Jwk>,
}

/// One public key.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Jwk {
    /// `OKP`.
    pub kty: &'static str,
    /// `Ed25519`.
    pub crv: &'static str,
    /// `EdDSA`.
    pub alg: &'static str,
    /// `sig`.
    #[serde(rename = "use")]
    pub purpose: &'static str,
    /// The name that tokens call it by.
    pub kid: String,
    /// The key, base64url.
    pub x: String,
}

impl Keys {
    /// Reads the pairs; the first node to come makes one.
    ///
    /// # Errors
    /// Those of the database, and that the pairs there were sealed under another master secret.
    pub async fn open(db: Db, clock: Arc<dyn Clock>, secrets: &Secrets) -> Outcome<Keys> {
        let seal = Seal::new(&secrets.derive(SIGNING_KEYS))?;
        let (ring, epoch, wanted) = (RwLock::new(Arc::default()), AtomicU64::new(0), Notify::new());
        let keys = Keys { db, clock, seal, is_sealed_by_file: secrets.is_of_file, ring, epoch, wanted };
        keys.make_the_first().await?;
        keys.reload().await?;
        Ok(keys)
    }

    /// Runs `sign` with the pair that signs now.
    ///
    /// # Errors
    /// What `sign` gives; and that there is none, which `open` rules out until every one has retired.
    pub fn with_signer<T>(&self, now: Timestamp, sign: impl FnOnce(&Key) -> Outcome<T>) -> Outcome<T> {
        let ring = self.ring.read().clone();
        let key = signing(&ring, now).ok_or_else(|| Fault::new("there is no key to sign with"))?;
        sign(key)
    }

    /// Runs `check` with the pair of this name, if its signatures count. One that is not known is looked for in the
    /// background.
    pub fn with_key<T>(&self, kid: &str, now: Timestamp, check: impl FnOnce(&Key) -> T) -> Option<T> {
        let ring = self.ring.read().clone();
        let key = ring.iter().find(|key| key.kid == kid);
        if key.is_none() {
            self.wanted.notify_one();
        }
        key.filter(|key| key.retires_at.is_none_or(|at| at > now)).map(check)
    }

    /// Which pairs count, as a number: while it is the same, the same ones do, and for the same time.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The public halves whose signatures count.
    pub fn jwks(&self, now: Timestamp) -> Jwks {
        let ring = self.ring.read().clone();
        let counting = ring.iter().filter(|key| key.retires_at.is_none_or(|at| at > now));
        let jwk = |key: &Key| Jwk {
            kty: "OKP",
            crv: "Ed25519",
            alg: "EdDSA",
            purpose: "sig",
            kid: key.kid.clone(),
            x: URL_SAFE_NO_PAD.encode(&key.public_bytes),
        };
        Jwks { keys: counting.map(jwk).collect() }
    }

    /// Reads the rows again and again: every half minute, and soon after a token named a pair that is not known.
    /// Never ends.
    pub async fn keep(&self) {
        loop {
            let pause = self.clock.sleep(RELOAD_PAUSE);
            if let Err(error) = self.reload().await {
                tracing::warn!(%error, "the signing keys could not be read; those in memory serve");
            }
            pause.await;
            tokio::select! {
                () = self.wanted.notified() => {}
                () = self.clock.sleep(RELOAD_EVERY) => {}
            }
        }
    }

    /// Reads the rows once.
    ///
    /// # Errors
    /// Those of the database, and that a pair was sealed under another master secret.
    pub async fn reload(&self) -> Outcome<()> {
        let rows = signing_key::accepted_at(self.clock.now()).all(self.db.read()).await?;
        let keys: Outcome<Vec<Key>> = rows.into_iter().map(|row| self.key(row)).collect();
        let keys: Arc<[Key]> = keys?.into();
        let mut ring = self.ring.write();
        let is_same = ring.iter().map(Key::term).eq(keys.iter().map(Key::term));
        *ring = keys;
        if !is_same {
            self.epoch.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// # Why under a lock
    /// Of two nodes that start at once, each would sign with its own pair before it knew the other's.
    async fn make_the_first(&self) -> Outcome<()> {
        transact(&self.db, &*self.clock, async |transaction| {
            lock_key(transaction, LOCK_KEY).await?;
            let now = self.clock.now();
            if signing_key::accepted_at(now).one(transaction).await?.is_none() {
                let row = self.generate(now)?;
                signing_key::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await?;
            }
            Ok(())
        })
        .await
    }

    fn generate(&self, now: Timestamp) -> Outcome<signing_key::Model> {
        let seed: [u8; 32] = self.clock.random();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(Fault::new)?;
        let public_key = pair.public_key().as_ref().to_vec();
        let kid = URL_SAFE_NO_PAD.encode(&digest(&SHA256, &public_key).as_ref()[..12]);
        // The name is bound in, so that no row's seal fits another.
        let sealed_private_key = self.seal.seal(kid.as_bytes(), &seed, &*self.clock)?;
        Ok(signing_key::Model { kid, public_key, sealed_private_key, created_at: now, retires_at: None })
    }

    fn other_seal(&self) -> String {
        let here = if self.is_sealed_by_file { " (none is set: master.key in the data folder was used)" } else { "" };
        format!(
            "secrets.master: the signing keys in this database were sealed under another one: give this node the one \
             with which the first was started{here}"
        )
    }

    fn key(&self, row: signing_key::Model) -> Outcome<Key> {
        let seed = self.seal.open(row.kid.as_bytes(), &row.sealed_private_key);
        let seed = seed.map_err(|_| Fault::new(self.other_seal()))?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &row.public_key).map_err(Fault::new)?;
        let document = pair.to_pkcs8v1().map_err(fault)?;
        Ok(Key {
            kid: row.kid,
            public: DecodingKey::from_ed_der(&row.public_key),
            private: EncodingKey::from_ed_der(document.as_ref()),
            public_bytes: row.public_key,
            created_at: row.created_at,
            retires_at: row.retires_at,
        })
    }
}

impl Key {
    /// Until when its signatures count, if that is known.
    pub fn retires_at(&self) -> Option<Timestamp> {
        self.retires_at
    }

    /// What has to be the same for two rings to be.
    fn term(&self) -> (&str, Option<Timestamp>) {
        (&self.kid, self.retires_at)
    }
}

/// The newest pair that every node knows by now; where none is that old, the oldest.
fn signing(newest_first: &[Key], now: Timestamp) -> Option<&Key> {
    let mut in_use = newest_first.iter().filter(|key| key.retires_at.is_none_or(|at| at > now));
    let settled = |key: &&Key| now.since(key.created_at) >= SETTLED;
    in_use.clone().find(settled).or_else(|| in_use.next_back())
}

fn fault(_: aws_lc_rs::error::Unspecified) -> Fault {
    Fault::new("the crypto library failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};

    fn key(kid: &str, created_at: Timestamp, retires_at: Option<Timestamp>) -> Key {
        let (public, private) = (DecodingKey::from_ed_der(&[]), EncodingKey::from_ed_der(&[]));
        Key { kid: kid.to_owned(), public, private, public_bytes: Vec::new(), created_at, retires_at }
    }

    #[test]
    fn a_new_pair_signs_once_all_nodes_know_it() {
        let start = Timestamp::from_millis(1_000_000_000);
        let first = key("first", start, None);
        assert_eq!(signing(&[first], start).map(|key| &*key.kid), Some("first"));

        let day = Duration::from_secs(86_400);
        let ring = [key("second", start.plus(day), None), key("first", start, None)];
        for (later, kid) in [(Duration::ZERO, "first"), (SETTLED, "second")] {
            assert_eq!(signing(&ring, start.plus(day).plus(later)).map(|key| &*key.kid), Some(kid));
        }
        // What a rotation leaves: the old one signs until the new one is known, and counts until it is over.
        let ring = [key("second", start.plus(day), None), key("first", start, Some(start.plus(2 * day)))];
        for (later, kid) in [(Duration::ZERO, "first"), (SETTLED, "second"), (3 * day, "second")] {
            assert_eq!(signing(&ring, start.plus(day).plus(later)).map(|key| &*key.kid), Some(kid));
        }
        assert!(signing(&ring[1..], start.plus(2 * day)).is_none());
    }

    #[actix_web::test]
    async fn nodes_that_start_at_once_share_one_pair() {
        for scratch in Scratch::each().await {
            let secrets = Secrets::from_master(b"the same on every node");
            let clock = FakeClock::new();
            let open = || Keys::open(scratch.db.clone(), clock.clone(), &secrets);
            let opened = futures_util::future::try_join_all((0..5).map(|_| open())).await.unwrap();
            let kids: Vec<_> = opened.iter().flat_map(|keys| keys.jwks(clock.now()).keys).map(|jwk| jwk.kid).collect();
            assert_eq!(kids.len(), 5);
            assert!(kids.iter().all(|kid| *kid == kids[0]));
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn pairs_of_another_master_secret_are_refused_at_start() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            Keys::open(scratch.db.clone(), clock.clone(), &Secrets::from_master(b"one")).await.unwrap();
            let other = Keys::open(scratch.db.clone(), clock.clone(), &Secrets::from_master(b"other")).await;
            assert!(other.err().is_some_and(|err| err.to_string().starts_with("secrets.master: ")));
            let row = signing_key::Entity::find().one(scratch.db.read()).await.unwrap().unwrap();
            let seed_in_the_clear = row.sealed_private_key.len() <= 32;
            assert!(!seed_in_the_clear);
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn a_retired_pair_counts_no_more() {
        let scratch = Scratch::sqlite().await;
        let clock = FakeClock::new();
        let keys = Keys::open(scratch.db.clone(), clock.clone(), &Secrets::from_master(b"one")).await.unwrap();
        let kid = keys.jwks(clock.now()).keys.remove(0).kid;
        let retires = clock.now().plus(SETTLED);
        let row = signing_key::by_kid(&kid).one(scratch.db.read()).await.unwrap().unwrap();
        let mut row = row.into_active_model();
        row.retires_at = sea_orm::Set(Some(retires));
        signing_key::Entity::update(row).exec(scratch.db.write()).await.unwrap();
        keys.reload().await.unwrap();
        assert!(keys.with_key(&kid, clock.now(), |_| ()).is_some());
        assert!(keys.with_key(&kid, retires, |_| ()).is_none());
        assert!(keys.jwks(retires).keys.is_empty());
        scratch.drop().await;
    }
}
