//! Hashes of passwords: argon2id on the blocking pool, as many at once as the node has memory for.
//! Never whose password it is, and never what a good one is (see `strength`).
//!
//! # Why places
//! One hash takes 19 MiB and tens of milliseconds of a core, and whoever wishes can ask for one. So there is memory for
//! `auth.hashes_at_once`, taken at the start and used again and again, a queue of `auth.hashes_waiting`, and a refusal
//! for all beyond: neither memory nor the wait grows with those who ask. A place in the queue is taken before a try is
//! counted (see `delays`), so that nobody's try counts that was not looked at.
//!
//! # Why not all places for all
//! Whoever has signed in, or has a code, could fill the queue by setting their own password again and again, and then
//! nobody signs in. So each of them has one place at a time, and all of them together no more than half of the queue.

use super::strength::{Normal, Strength};
use crate::config;
use actors::clock::Clock;
use actors::protocol::{Error, ErrorCode, Fault, Outcome, Refusal};
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lanes of one hash (OWASP Password Storage Cheat Sheet).
const LANES: u32 = 1;
/// Bytes of a salt (RFC 9106, section 3.1: 16 are recommended for passwords).
const SALT_BYTES: usize = 16;
/// Bytes of a hash (RFC 9106, section 4).
const HASH_BYTES: usize = 32;
/// When it is worth coming back: much of a full queue is worked off by then.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// What the operator sees of it; a clone shares the counts.
#[derive(Clone, Default)]
pub struct Meters {
    /// Hashes that were computed.
    pub hashes: Counter,
}

impl Meters {
    /// Names them in a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("password_hashes", "Hashes of passwords that were computed", self.hashes.clone());
    }
}

/// Computes hashes.
pub struct Hasher {
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    /// Of the places, those for whoever is known.
    known: Arc<Semaphore>,
    /// Who of them has a place now.
    busy: Arc<Mutex<HashSet<String>>>,
}

struct Shared {
    params: Params,
    strength: Strength,
    /// What is compared where there is no password: nothing fits it, and it costs the same.
    decoy: String,
    at_once: Arc<Semaphore>,
    /// Memory that no hash uses now.
    memory: Mutex<Vec<Vec<Block>>>,
    meters: Meters,
}

/// What a password came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not the one.
    Wrong,
    /// It is, and was hashed anew if its hash had been cheaper than they are now.
    Right {
        /// What the row is to hold from now on, if that is new.
        rehashed: Option<String>,
    },
}

impl Hasher {
    /// With these parameters and limits.
    ///
    /// # Errors
    /// A fault: argon2 cannot work with such parameters.
    pub fn new(config: &config::Auth, clock: Arc<dyn Clock>) -> Outcome<Hasher> {
        let params = Params::new(config.password_memory_kib, config.password_passes, LANES, Some(HASH_BYTES));
        let params = params.map_err(Fault::new)?;
        let decoy = written(&params, &clock.random(), &clock.random())?;
        // Taken now, and not by whoever comes first: then a node under attack is no larger than one that is not.
        let memory = (0..config.hashes_at_once).map(|_| vec![Block::new(); params.block_count()]).collect();
        let shared = Shared {
            params,
            strength: Strength::new(config),
            decoy,
            at_once: Arc::new(Semaphore::new(config.hashes_at_once)),
            memory: Mutex::new(memory),
            meters: Meters::default(),
        };
        let places = config.hashes_at_once + config.hashes_waiting;
        let known = Arc::new(Semaphore::new((places / 2).max(1)));
        let (places, busy) = (Arc::new(Semaphore::new(places)), Arc::default());
        Ok(Hasher { clock, shared: Arc::new(shared), places, known, busy })
    }

    /// What it has counted.
    pub fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    /// A place in the queue, for one password.
    ///
    /// # Errors
    /// `auth.busy` if it is full.
    pub fn place(&self) -> Outcome<Place> {
        let waiting = seat(&self.places)?;
        Ok(Place { shared: self.shared.clone(), waiting, turn: None, salt: self.clock.random() })
    }

    /// A place for whoever is known: one at a time, and none of the half of the queue that is kept for signing in.
    ///
    /// # Errors
    /// `auth.busy` if they have one already, or there is none for them.
    pub fn place_of(&self, whose: &str) -> Outcome<Place> {
        let share = seat(&self.known)?;
        if !self.busy.lock().insert(whose.to_owned()) {
            return Err(busy());
        }
        let turn = Some(Turn { whose: whose.to_owned(), busy: self.busy.clone(), _share: share });
        Ok(Place { turn, ..self.place()? })
    }
}

fn seat(of: &Arc<Semaphore>) -> Outcome<OwnedSemaphorePermit> {
    of.clone().try_acquire_owned().map_err(|_| busy())
}

fn busy() -> Error {
    Refusal::new(ErrorCode::AuthBusy).after(BUSY_FOR).into()
}

/// The one place that somebody has; with it they may have another.
struct Turn {
    whose: String,
    busy: Arc<Mutex<HashSet<String>>>,
    _share: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.whose);
    }
}

/// A place in the queue.
pub struct Place {
    shared: Arc<Shared>,
    waiting: OwnedSemaphorePermit,
    turn: Option<Turn>,
    salt: [u8; SALT_BYTES],
}

impl Place {
    /// The hash of a password that somebody is to have from now on, if it is good enough. `known` is what others know
    /// of them.
    ///
    /// # Errors
    /// `auth.password_weak` for this field, with the reason; a fault of argon2.
    pub async fn accept(self, password: Normal, known: Vec<String>, field: &'static str) -> Outcome<String> {
        let salt = self.salt;
        self.run(move |shared| {
            shared.strength.judge(&password, &known, field)?;
            shared.phc(&password, &salt)
        })
        .await
    }

    /// Whether this is the password of that hash. Without a hash it is not, at the same cost; and a wrong one costs no
    /// less where the hash is from cheaper times.
    ///
    /// # Errors
    /// A fault: the hash cannot be read.
    pub async fn verify(self, password: Normal, phc: Option<String>) -> Outcome<Verdict> {
        let salt = self.salt;
        self.run(move |shared| {
            let phc = phc.as_deref().unwrap_or(&shared.decoy);
            let stored = PasswordHash::new(phc).map_err(Fault::new)?;
            let params = Params::try_from(&stored).map_err(Fault::new)?;
            if !shared.fits(&password, &stored, &params)? {
                if let Some(rest) = shared.rest(&params) {
                    shared.digest(&password, &salt, &rest, Version::V0x13, &mut [0; HASH_BYTES])?;
                }
                return Ok(Verdict::Wrong);
            }
            let is_cheap = params.m_cost() < shared.params.m_cost() || params.t_cost() < shared.params.t_cost();
            let rehashed = is_cheap.then(|| shared.phc(&password, &salt)).transpose()?;
            Ok(Verdict::Right { rehashed })
        })
        .await
    }

    /// The permits go where the work goes: whoever asked may be gone before it is done.
    async fn run<T: Send + 'static>(self, work: impl FnOnce(&Shared) -> Outcome<T> + Send + 'static) -> Outcome<T> {
        let Place { shared, waiting, turn, .. } = self;
        let running = shared.at_once.clone().acquire_owned().await.map_err(Fault::new)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&shared);
            drop((running, waiting, turn));
            done
        });
        done.await.map_err(Fault::new)?
    }
}

impl Shared {
    fn phc(&self, password: &Normal, salt: &[u8; SALT_BYTES]) -> Outcome<String> {
        let mut hash = [0; HASH_BYTES];
        self.digest(password, salt, &self.params, Version::V0x13, &mut hash)?;
        written(&self.params, salt, &hash)
    }

    /// What costs as much as was saved by a hash with these parameters.
    fn rest(&self, spent: &Params) -> Option<Params> {
        let cost = |params: &Params| u64::from(params.m_cost()) * u64::from(params.t_cost());
        let passes = self.params.t_cost();
        let memory = cost(&self.params).checked_sub(cost(spent))? / u64::from(passes);
        // Less than argon2 can work with is nothing that anybody could measure.
        Params::new(u32::try_from(memory).ok()?, passes, LANES, Some(HASH_BYTES)).ok()
    }

    fn fits(&self, password: &Normal, stored: &PasswordHash, params: &Params) -> Outcome<bool> {
        let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
            return Err(Fault::new("a stored hash has no salt or no hash in it").into());
        };
        if stored.algorithm != ARGON2ID_IDENT {
            return Err(Fault::new("a stored hash is not of argon2id").into());
        }
        let version = stored.version.map_or(Ok(Version::V0x13), Version::try_from).map_err(Fault::new)?;
        let mut found = vec![0; expected.len()];
        self.digest(password, salt, params, version, &mut found)?;
        Ok(verify_slices_are_equal(&found, expected.as_bytes()).is_ok())
    }

    fn digest(
        &self,
        password: &Normal,
        salt: &[u8],
        params: &Params,
        version: Version,
        hash: &mut [u8],
    ) -> Outcome<()> {
        self.meters.hashes.inc();
        let mut memory = self.memory.lock().pop().unwrap_or_default();
        memory.resize(params.block_count().max(memory.len()), Block::new());
        let argon2 = Argon2::new(Algorithm::Argon2id, version, params.clone());
        let done = argon2.hash_password_into_with_memory(password.as_bytes(), salt, hash, &mut memory[..]);
        // A hash from dearer times needed more than will be needed again.
        memory.truncate(self.params.block_count());
        memory.shrink_to_fit();
        self.memory.lock().push(memory);
        Ok(done.map_err(Fault::new)?)
    }
}

/// A hash in PHC string format, as the row keeps it.
fn written(params: &Params, salt: &[u8; SALT_BYTES], hash: &[u8; HASH_BYTES]) -> Outcome<String> {
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(Fault::new)?,
        salt: Some(Salt::new(salt).map_err(Fault::new)?),
        hash: Some(Output::new(hash).map_err(Fault::new)?),
    };
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::FakeClock;
    use crate::config::Config;
    use futures_util::future::join_all;

    fn settings() -> config::Auth {
        Config::shipped().unwrap().auth
    }

    fn hasher(config: &config::Auth) -> Hasher {
        Hasher::new(config, FakeClock::new()).unwrap()
    }

    async fn hash(hasher: &Hasher, password: &str) -> String {
        hasher.place().unwrap().accept(Normal::of(password), Vec::new(), "password").await.unwrap()
    }

    async fn verify(hasher: &Hasher, password: &str, phc: Option<&str>) -> Verdict {
        let verdict = hasher.place().unwrap().verify(Normal::of(password), phc.map(str::to_owned)).await;
        verdict.unwrap()
    }

    const GOOD: &str = "four lamps over Trondheim";

    #[actix_web::test]
    async fn a_password_fits_its_own_hash_alone() {
        let hasher = hasher(&settings());
        let [first, second] = [hash(&hasher, GOOD).await, hash(&hasher, GOOD).await];
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, second, "each hash has a salt of its own");
        assert_eq!(verify(&hasher, GOOD, Some(&first)).await, Verdict::Right { rehashed: None });
        assert_eq!(verify(&hasher, "four lamps over trondheim", Some(&first)).await, Verdict::Wrong);
        assert_eq!(hasher.meters().hashes.get(), 4);
    }

    /// The hash is one of the reference implementation's own tests (P-H-C/phc-winner-argon2, src/test.c).
    #[actix_web::test]
    async fn a_hash_that_others_made_is_understood_and_who_has_none_costs_the_same() {
        let hasher = hasher(&settings());
        let theirs = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert_eq!(verify(&hasher, "password", Some(theirs)).await, Verdict::Right { rehashed: None });
        let block_count = hasher.shared.params.block_count();
        assert!(hasher.shared.memory.lock().iter().all(|memory| memory.capacity() == block_count));
        let before = hasher.meters().hashes.get();
        assert_eq!(verify(&hasher, GOOD, None).await, Verdict::Wrong);
        assert_eq!(hasher.meters().hashes.get() - before, 1);
    }

    #[actix_web::test]
    async fn a_cheap_hash_is_replaced_at_the_next_sign_in() {
        let cheap = config::Auth { password_memory_kib: 7168, ..settings() };
        let phc = hash(&hasher(&cheap), GOOD).await;
        let now = hasher(&settings());
        let before = now.meters().hashes.get();
        assert_eq!(verify(&now, "wrong", Some(&phc)).await, Verdict::Wrong);
        assert_eq!(now.meters().hashes.get() - before, 2, "it costs what a name that nobody has does");
        let Verdict::Right { rehashed: Some(renewed) } = verify(&now, GOOD, Some(&phc)).await else { panic!() };
        assert!(renewed.contains("m=19456"));
        assert_eq!(verify(&now, GOOD, Some(&renewed)).await, Verdict::Right { rehashed: None });
        // Nobody's hash is made cheaper.
        assert_eq!(verify(&hasher(&cheap), GOOD, Some(&renewed)).await, Verdict::Right { rehashed: None });
    }

    #[actix_web::test]
    async fn what_an_old_hash_saves_is_spent() {
        let hasher = hasher(&config::Auth { password_memory_kib: 20_000, password_passes: 3, ..settings() });
        for (memory, passes, rest) in [
            (7_168, 5, Some(8_053)),
            (20_000, 2, Some(6_666)),
            (8, 1, Some(19_997)),
            (20_000, 3, None),
            (19_995, 3, None),
            (65_536, 2, None),
        ] {
            let spent = Params::new(memory, passes, LANES, None).unwrap();
            let found = hasher.shared.rest(&spent).map(|rest| (rest.m_cost(), rest.t_cost()));
            assert_eq!(found, rest.map(|memory| (memory, 3)), "{memory} KiB, {passes} passes");
        }
    }

    #[actix_web::test]
    async fn no_more_wait_than_may_and_memory_is_of_one() {
        let hasher = hasher(&config::Auth { hashes_waiting: 3, ..settings() });
        let places: Vec<_> = (0..9).map_while(|_| hasher.place().ok()).collect();
        assert_eq!(places.len(), 4);
        let refused = hasher.place().err().unwrap();
        assert_eq!((refused.code(), refused.code().retryable()), (ErrorCode::AuthBusy, true));
        let hashed = join_all(places.into_iter().map(|place| place.verify(Normal::of(GOOD), None))).await;
        assert!(hashed.into_iter().all(|verdict| verdict.unwrap() == Verdict::Wrong));
        assert_eq!(hasher.shared.memory.lock().len(), 1);
        // Whoever goes away leaves the place to another.
        drop(hasher.place().unwrap());
        assert_eq!((0..9).map_while(|_| hasher.place().ok()).collect::<Vec<_>>().len(), 4);
    }

    #[actix_web::test]
    async fn whoever_is_known_has_one_place_and_leaves_others_to_sign_in() {
        let hasher = hasher(&config::Auth { hashes_waiting: 7, ..settings() });
        let anns = hasher.place_of("ann").unwrap();
        assert_eq!(hasher.place_of("ann").err().unwrap().code(), ErrorCode::AuthBusy);
        let others: Vec<_> = (0..9).map_while(|n| hasher.place_of(&format!("{n}")).ok()).collect();
        assert_eq!(others.len(), 3);
        assert_eq!((0..9).map_while(|_| hasher.place().ok()).collect::<Vec<_>>().len(), 4);
        // Whoever was refused holds nothing, and whoever is done may come again.
        anns.accept(Normal::of(GOOD), Vec::new(), "password").await.unwrap();
        drop(hasher.place_of("ann").unwrap());
        drop(others);
        let all: Vec<_> = (0..9).map_while(|_| hasher.place().ok()).collect();
        assert_eq!((all.len(), hasher.place_of("ann").is_err()), (8, true));
        drop(all);
        hasher.place_of("ann").unwrap();
    }
}
