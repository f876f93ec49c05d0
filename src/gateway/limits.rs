//! How often: REST requests by user and by address, and the sockets of an address that have not said hello.
//! Never what a socket may do once it has said hello: its session counts that.

use super::error::{Failure, whole_secs};
use super::extract;
use crate::config::ClientLimits;
use crate::network::Network;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actors::clock::Clock;
use actors::cluster::{Cluster, Rate, Tally};
use actors::protocol::{ErrorCode, Outcome, Refusal};
use entities::{Timestamp, UserId};
use governor::clock::Clock as GovernorClock;
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// How often those who have been quiet long enough are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(30);

/// What is counted, over all nodes where something counts for all.
pub struct Limiter {
    cluster: Arc<dyn Cluster>,
    clock: Arc<dyn Clock>,
    /// Of a user, of an address, and of a user's syncs of their address book.
    rates: [Rate; 3],
    /// Where nothing counts for all nodes; or while that is away, half as much on each, since nobody knows what the others
    /// count.
    here: Counts,
    pruned_at: AtomicI64,
    hellos: Arc<Mutex<HashMap<Network, usize>>>,
    hellos_per_address: usize,
}

/// The counts of this node.
struct Counts {
    users: Keyed<UserId>,
    addresses: Keyed<Network>,
    syncs: Keyed<UserId>,
}

impl Counts {
    fn new([users, addresses, syncs]: [Rate; 3], clock: &Arc<dyn Clock>) -> Counts {
        let (users, addresses) = (Keyed::new(users, clock), Keyed::new(addresses, clock));
        Counts { users, addresses, syncs: Keyed::new(syncs, clock) }
    }
}

/// Who is counted.
#[derive(Debug, Clone, Copy)]
enum Counted {
    User(UserId),
    Address(Network),
    Syncs(UserId),
}

/// What somebody has left after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests at once at most.
    pub limit: u32,
    /// Requests at once now.
    pub remaining: u32,
    /// When `remaining` will be `limit` again.
    pub reset: Duration,
    /// When another request is possible; `None` if one is.
    pub wait: Option<Duration>,
}

impl Allowance {
    fn set_headers(&self, headers: &mut HeaderMap) {
        let values = [
            ("ratelimit-limit", u64::from(self.limit)),
            ("ratelimit-remaining", u64::from(self.remaining)),
            ("ratelimit-reset", whole_secs(self.reset)),
        ];
        for (name, value) in values {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

impl Limiter {
    /// The counts, all at nothing.
    pub fn new(limits: &ClientLimits, clock: Arc<dyn Clock>, cluster: Arc<dyn Cluster>) -> Limiter {
        let rates = [
            Rate { per_sec: limits.rest_per_user_per_sec, burst: limits.rest_per_user_burst },
            Rate { per_sec: limits.rest_per_address_per_sec, burst: limits.rest_per_address_burst },
            Rate { per_sec: limits.syncs_per_user_per_sec, burst: limits.syncs_per_user_burst },
        ];
        let halves = || rates.map(|Rate { per_sec, burst }| Rate { per_sec: per_sec / 2, burst: burst / 2 });
        let here = if cluster.joint().is_none() { rates } else { halves() };
        Limiter {
            cluster,
            rates,
            here: Counts::new(here, &clock),
            pruned_at: AtomicI64::new(clock.now().millis()),
            clock,
            hellos: Arc::default(),
            hellos_per_address: limits.waiting_hellos_per_address,
        }
    }

    /// Counts one request, and says what is left of the tighter of both limits. A request that its address may not
    /// make is not counted against its user.
    pub async fn count(&self, user: Option<UserId>, address: Option<IpAddr>) -> Option<Allowance> {
        self.prune();
        let by_address = match address {
            Some(address) => Some(self.one(Counted::Address(Network::of(address))).await),
            None => None,
        };
        if by_address.is_some_and(|allowance| allowance.wait.is_some()) {
            return by_address;
        }
        let by_user = match user {
            Some(user) => Some(self.one(Counted::User(user)).await),
            None => None,
        };
        by_user.into_iter().chain(by_address).min_by_key(|allowance| (allowance.wait.is_none(), allowance.remaining))
    }

    /// Counts one sync of an address book, at whichever door: each may take as long as many requests.
    ///
    /// # Errors
    /// `request.rate_limited`
    pub async fn count_sync(&self, user: UserId) -> Outcome<()> {
        match self.one(Counted::Syncs(user)).await.wait {
            Some(wait) => Err(Refusal::new(ErrorCode::RequestRateLimited).after(wait).into()),
            None => Ok(()),
        }
    }

    async fn one(&self, counted: Counted) -> Allowance {
        let (rate, key) = match counted {
            Counted::User(user) => (self.rates[0], format!("user:{user}")),
            Counted::Address(network) => (self.rates[1], format!("address:{network}")),
            Counted::Syncs(user) => (self.rates[2], format!("syncs:{user}")),
        };
        if let Some(Tally { remaining, reset, wait }) = self.cluster.count(key, rate).await {
            return Allowance { limit: rate.burst, remaining, reset, wait };
        }
        match counted {
            Counted::User(user) => self.here.users.count(&user),
            Counted::Address(network) => self.here.addresses.count(&network),
            Counted::Syncs(user) => self.here.syncs.count(&user),
        }
    }

    /// Room for one socket of this address that has not said hello; `None` if there are as many as may be.
    pub fn hello_permit(&self, address: impl Into<Option<IpAddr>>) -> Option<Permit> {
        let network = Network::of(address.into().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let mut waiting = self.hellos.lock();
        let count = waiting.entry(network).or_default();
        if *count >= self.hellos_per_address {
            return None;
        }
        *count += 1;
        Some(Permit { network, hellos: self.hellos.clone() })
    }

    /// Forgets whoever has everything left. Done by whichever request comes when it is time.
    fn prune(&self) {
        let now = self.clock.now();
        let before = self.pruned_at.load(Ordering::Relaxed);
        if now.since(Timestamp::from_millis(before)) < PRUNE_EVERY {
            return;
        }
        let mine = self.pruned_at.compare_exchange(before, now.millis(), Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_ok() {
            self.here.users.prune();
            self.here.addresses.prune();
            self.here.syncs.prune();
        }
    }
}

/// One socket that has not said hello; counted until it is dropped.
pub struct Permit {
    network: Network,
    hellos: Arc<Mutex<HashMap<Network, usize>>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut waiting = self.hellos.lock();
        if let Some(count) = waiting.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.network);
            }
        }
    }
}

/// One limit, for each `K` by itself.
struct Keyed<K: Clone + Eq + Hash> {
    limiter: RateLimiter<K, DashMapStateStore<K>, Ticks, StateInformationMiddleware>,
    ticks: Ticks,
    per_request: Duration,
}

impl<K: Clone + Eq + Hash> Keyed<K> {
    fn new(Rate { per_sec, burst }: Rate, clock: &Arc<dyn Clock>) -> Keyed<K> {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_sec)).allow_burst(at_least_one(burst));
        let ticks = Ticks(clock.clone());
        let limiter = RateLimiter::new(quota, DashMapStateStore::default(), ticks.clone());
        Keyed { limiter, ticks, per_request: quota.replenish_interval() }
    }

    fn count(&self, key: &K) -> Allowance {
        match self.limiter.check_key(key) {
            Ok(left) => self.allowance(left),
            Err(not_until) => {
                let limit = not_until.quota().burst_size().get();
                let wait = not_until.wait_time_from(self.ticks.now());
                Allowance { limit, remaining: 0, reset: wait + self.per_request * (limit - 1), wait: Some(wait) }
            }
        }
    }

    fn allowance(&self, left: StateSnapshot) -> Allowance {
        let limit = left.quota().burst_size().get();
        let remaining = left.remaining_burst_capacity().min(limit);
        Allowance { limit, remaining, reset: self.per_request * (limit - remaining), wait: None }
    }

    fn prune(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// The node's clock, as governor reads one.
#[derive(Clone)]
struct Ticks(Arc<dyn Clock>);

impl GovernorClock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now().millis().try_into().unwrap_or(0))
    }
}

/// Refuses who asks too often, and tells everybody what they have left.
pub async fn limited(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let app = extract::app(req.request()).map_err(Failure::from)?.clone();
    // Whose token is not good counts as nobody, and is refused where the command asks for somebody.
    let user = extract::identity(req.request(), &app).ok().flatten().map(|identity| identity.user);
    let allowance = app.limiter.count(user, extract::address(req.request(), &app)).await;
    let mut response = match allowance.and_then(|allowance| allowance.wait) {
        Some(wait) => req.error_response(Failure::from(Refusal::new(ErrorCode::RequestRateLimited).after(wait))),
        None => next.call(req).await?.map_into_boxed_body(),
    };
    if let Some(allowance) = allowance {
        allowance.set_headers(response.headers_mut());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actors::cluster::LocalBus;
    use futures_util::future::BoxFuture;
    use uuid::Uuid;

    struct Still(AtomicI64);

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::Relaxed))
        }

        fn sleep_until(&self, _: Timestamp) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }

        fn uuid(&self) -> Uuid {
            Uuid::nil()
        }

        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    impl Still {
        fn pass(&self, time: Duration) {
            self.0.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
        }
    }

    fn limiter() -> (Arc<Still>, Limiter) {
        let clock = Arc::new(Still(AtomicI64::new(1_700_000_000_000)));
        let mut limits = crate::config::Config::shipped().unwrap().limits;
        (limits.rest_per_user_per_sec, limits.rest_per_user_burst) = (2, 4);
        (limits.rest_per_address_per_sec, limits.rest_per_address_burst) = (10, 20);
        limits.waiting_hellos_per_address = 2;
        let limiter = Limiter::new(&limits, clock.clone(), LocalBus::new().join("node"));
        (clock, limiter)
    }

    fn user(n: u128) -> Option<UserId> {
        Some(UserId::from_uuid(Uuid::from_u128(n)))
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[actix_web::test]
    async fn a_user_has_a_burst_and_then_a_rate() {
        let (clock, limiter) = limiter();
        let first = limiter.count(user(1), None).await.unwrap();
        assert_eq!((first.limit, first.remaining, first.reset), (4, 3, Duration::from_millis(500)));
        for _ in 0..3 {
            assert_eq!(limiter.count(user(1), None).await.unwrap().wait, None);
        }
        let refused = limiter.count(user(1), None).await.unwrap();
        assert_eq!((refused.remaining, refused.wait), (0, Some(Duration::from_millis(500))));
        assert_eq!(refused.reset, Duration::from_secs(2));
        assert_eq!(limiter.count(user(2), None).await.unwrap().wait, None, "others have their own");

        clock.pass(Duration::from_millis(500));
        assert_eq!(limiter.count(user(1), None).await.unwrap().wait, None);
        assert!(limiter.count(user(1), None).await.unwrap().wait.is_some());
    }

    #[actix_web::test]
    async fn an_address_is_limited_whoever_calls_from_it() {
        let (_, limiter) = limiter();
        for n in 0..20 {
            assert_eq!(limiter.count(user(n), address("203.0.113.9")).await.unwrap().wait, None);
        }
        assert!(limiter.count(user(99), address("203.0.113.9")).await.unwrap().wait.is_some());
        assert_eq!(limiter.count(user(99), address("203.0.113.8")).await.unwrap().remaining, 3, "not counted before");
    }

    #[actix_web::test]
    async fn who_has_been_quiet_is_forgotten() {
        let (clock, limiter) = limiter();
        for n in 0..100 {
            limiter.count(user(n), None).await;
        }
        assert_eq!(limiter.here.users.limiter.len(), 100);
        clock.pass(PRUNE_EVERY);
        limiter.count(user(7), None).await;
        assert_eq!(limiter.here.users.limiter.len(), 1);
    }

    #[test]
    fn sockets_that_said_nothing_are_counted_until_they_go() {
        let (_, limiter) = limiter();
        let held = [limiter.hello_permit(address("2001:db8::1")), limiter.hello_permit(address("2001:db8::2"))];
        assert!(held.iter().all(Option::is_some));
        assert!(limiter.hello_permit(address("2001:db8::3")).is_none());
        assert!(limiter.hello_permit(address("203.0.113.9")).is_some());
        drop(held);
        assert!(limiter.hello_permit(address("2001:db8::3")).is_some());
        assert!(limiter.hellos.lock().is_empty());
    }
}
