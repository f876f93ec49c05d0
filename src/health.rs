//! Whether the node lives, is ready, and how each of its services is: for balancers, operators and the curious.
//! Never a secret or a count for the outside: details are served on the operator's door alone.

use crate::app::App;
use crate::gateway::error::Failure;
use crate::metrics::Alive;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use actors::cluster::Link;
use actors::nodes::APART;
use actors::protocol::ErrorCode;
use entities::{Backend, Standing, Timestamp, Trouble};
use futures_util::future::{Either, select};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use utoipa::{OpenApi, ToSchema};

/// How long the database may take to answer.
const PING_WITHIN: Duration = Duration::from_secs(2);
/// A database that takes longer than this is in trouble.
const PING_SLOW: Duration = Duration::from_millis(500);
/// So long a node that was deaf takes no more work, at most, while it catches up.
const CATCHING_UP: Duration = Duration::from_secs(10);
/// How long an answer is good.
const PING_KEPT: Duration = Duration::from_secs(1);

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HealthStatus)]
pub enum Status {
    /// It serves.
    Up,
    /// It serves, but something is wrong.
    Degraded,
    /// It does not serve.
    Down,
}

impl Status {
    fn http(self) -> StatusCode {
        match self {
            Status::Up | Status::Degraded => StatusCode::OK,
            Status::Down => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// How one service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServiceHealth {
    /// In a word.
    pub status: Status,
    /// What is wrong, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

impl ServiceHealth {
    fn new(status: Status, detail: Option<&'static str>) -> ServiceHealth {
        ServiceHealth { status, detail }
    }
}

/// How the node is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// The worst of the services that this version has.
    pub status: Status,
    /// The node's version.
    pub version: &'static str,
    /// Each service by name.
    pub services: BTreeMap<&'static str, ServiceHealth>,
}

/// A plain yes or no.
#[derive(Debug, Serialize, ToSchema)]
pub struct Probe {
    /// `up` or `down`.
    pub status: Status,
    /// Why it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

/// Every service that a QuckChat node may have, and what each stands on here.
const SERVICES: [(&str, Ground); 9] = [
    ("gateway", Ground::Door),
    ("auth", Ground::Rows),
    ("users", Ground::Rows),
    ("messages", Ground::Journal),
    ("conversations", Ground::Journal),
    ("notifications", Ground::Nothing),
    ("media", Ground::Nothing),
    ("calls", Ground::Nothing),
    ("analytics", Ground::Nothing),
];

/// What a service stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// On this process, and on what joins it to others.
    Door,
    /// On the database.
    Rows,
    /// On the database, and on what waits to be written to it.
    Journal,
    /// It is not built yet.
    Nothing,
}

/// Whether this node wants more work, and when the database answered last.
#[derive(Default)]
pub struct Readiness {
    draining: AtomicBool,
    database: Mutex<Option<Answer>>,
}

/// What the database answered, and when it was asked.
#[derive(Debug, Clone, Copy)]
struct Answer {
    asked_at: Timestamp,
    seen: Seen,
}

/// How the database is; what is wrong with it, if it does not answer.
type Seen = Result<Answered, &'static str>;

/// How the database is, if it answers.
#[derive(Debug, Clone, Copy)]
struct Answered {
    took: Duration,
    standing: Standing,
    /// How many replicas there are, and how many of them may be read from.
    replicas: (usize, usize),
}

impl Readiness {
    /// From now on the node is not ready: it is going away.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the node is going away.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How the database is. Asked once a second at most, by one at a time.
    async fn database(&self, app: &App) -> Seen {
        let mut last = self.database.lock().await;
        if let Some(answer) = last.filter(|answer| app.clock.now().since(answer.asked_at) < PING_KEPT) {
            return answer.seen;
        }
        let was_heard = last.is_none_or(|answer| answer.seen.is_ok());
        let asked_at = app.clock.now();
        let started = Instant::now();
        let seen = match select(pin!(app.db.examine()), app.clock.sleep(PING_WITHIN)).await {
            Either::Left((Ok(standing), _)) => {
                Ok(Answered { took: started.elapsed(), standing, replicas: app.db.replicas() })
            }
            Either::Left((Err(error), _)) => {
                if was_heard {
                    tracing::warn!(%error, database = app.db.place(), "the database does not answer");
                }
                Err(match Trouble::of(&error) {
                    Trouble::Crowded => "the database takes no more connections",
                    _ => "the database does not answer",
                })
            }
            Either::Right(_) => {
                if was_heard {
                    tracing::warn!(within = ?PING_WITHIN, database = app.db.place(), "the database does not answer in time");
                }
                Err("the database does not answer")
            }
        };
        if seen.is_ok() && !was_heard {
            tracing::info!(database = app.db.place(), "the database answers again");
        }
        *last = Some(Answer { asked_at, seen });
        seen
    }
}

fn rows(seen: Seen) -> ServiceHealth {
    let wrong = match seen {
        Err(detail) => return ServiceHealth::new(Status::Down, Some(detail)),
        Ok(answered) => match answered.standing {
            Standing::ReadOnly => "the database is read-only",
            Standing::Full => "the database has no room left on its disk",
            Standing::Crowded => "no connection to the database was free",
            Standing::Well if answered.took > PING_SLOW => "the database is slow",
            Standing::Well if answered.replicas.1 < answered.replicas.0 => {
                "a replica of the database is away or behind"
            }
            Standing::Well => return ServiceHealth::new(Status::Up, None),
        },
    };
    ServiceHealth::new(Status::Degraded, Some(wrong))
}

/// What the health of all services follows from.
#[derive(Debug, Clone, Copy)]
struct Signs {
    draining: bool,
    database: Seen,
    /// Changes that wait to be committed.
    waiting: u64,
    /// How many may.
    may_wait: u64,
    /// How the node stands with the others.
    link: Link,
    /// Other nodes live on the database that it cannot hear.
    is_apart: bool,
    /// For how long it has been catching up with what it did not hear from them.
    deaf_for: Option<Duration>,
}

impl Signs {
    async fn read(app: &App) -> Signs {
        Signs {
            draining: app.readiness.is_draining(),
            database: app.readiness.database(app).await,
            waiting: u64::try_from(app.metrics.alive().journal_waiting).unwrap_or(0),
            may_wait: app.config.journal.queue_items as u64,
            link: app.entries.cluster().link(),
            is_apart: app.nodes.is_apart(),
            deaf_for: app.entries.deaf_since().map(|since| app.clock.now().since(since)),
        }
    }

    /// Why the node wants no more work, if it does not.
    fn why_not_ready(self) -> Option<&'static str> {
        if self.draining {
            return self.door().detail;
        }
        if let Err(detail) = self.database {
            return Some(detail);
        }
        let is_deaf = self.deaf_for.is_some_and(|time| time < CATCHING_UP);
        if self.link == Link::Joining || is_deaf { self.cluster().detail } else { None }
    }

    fn door(self) -> ServiceHealth {
        if self.draining {
            return ServiceHealth::new(Status::Degraded, Some("the node is going away"));
        }
        self.cluster()
    }

    fn cluster(self) -> ServiceHealth {
        match (self.link, self.deaf_for) {
            (Link::Joining, _) => ServiceHealth::new(
                Status::Down,
                Some("what joins the nodes has not been reached since the start: see cluster.url and the log"),
            ),
            (Link::Down, _) => ServiceHealth::new(
                Status::Degraded,
                Some("what joins the nodes is away: changes of other nodes are looked for every second"),
            ),
            (Link::Up, Some(_)) => {
                ServiceHealth::new(Status::Degraded, Some("catching up with what other nodes said meanwhile"))
            }
            (Link::Up, None) if self.is_apart => ServiceHealth::new(Status::Degraded, Some(APART)),
            (Link::Up, None) => ServiceHealth::new(Status::Up, None),
        }
    }

    fn journal(self) -> ServiceHealth {
        let rows = rows(self.database);
        match rows.status {
            Status::Up if self.waiting > self.may_wait / 2 => {
                ServiceHealth::new(Status::Degraded, Some("many changes wait to be committed"))
            }
            _ => rows,
        }
    }
}

fn services(signs: Signs) -> Health {
    let health = |ground| match ground {
        Ground::Door => signs.door(),
        Ground::Rows => rows(signs.database),
        Ground::Journal => signs.journal(),
        Ground::Nothing => ServiceHealth::new(Status::Down, Some("not part of this version")),
    };
    let built = SERVICES.iter().filter(|(_, ground)| *ground != Ground::Nothing);
    Health {
        status: built.map(|(_, ground)| health(*ground).status).max().unwrap_or(Status::Up),
        version: env!("CARGO_PKG_VERSION"),
        services: SERVICES.iter().map(|(name, ground)| (*name, health(*ground))).collect(),
    }
}

async fn health(app: &App) -> Health {
    services(Signs::read(app).await)
}

/// What this slice serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/health").get(overall))
        .service(web::resource("/health/live").get(live))
        .service(web::resource("/health/ready").get(ready))
        .service(web::resource("/health/{service}").get(service));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(overall, service, live, ready))]
pub struct Paths;

/// What the operator's door serves: the same in detail, and the metrics.
pub fn operations_routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/health").get(detailed))
        .service(web::resource("/live").get(live))
        .service(web::resource("/ready").get(ready))
        .service(web::resource("/nodes").get(nodes))
        .service(web::resource("/metrics").get(metrics));
}

/// How the node is.
#[utoipa::path(
    get, path = "/health", tag = "health",
    responses(
        (status = 200, description = "It serves", body = Health),
        (status = 503, description = "It does not", body = Health),
    ),
)]
async fn overall(app: web::Data<App>) -> HttpResponse {
    let health = health(&app).await;
    HttpResponse::build(health.status.http()).json(health)
}

/// How one service is.
#[utoipa::path(
    get, path = "/health/{service}", tag = "health",
    params(("service" = String, Path, description = "gateway, auth, users, messages, conversations, notifications, \
        media, calls or analytics")),
    responses(
        (status = 200, description = "It serves", body = ServiceHealth),
        (status = 404, description = "There is no such service", body = crate::gateway::error::Problem),
        (status = 503, description = "It does not", body = ServiceHealth),
    ),
)]
async fn service(app: web::Data<App>, name: web::Path<String>) -> Result<HttpResponse, Failure> {
    let health = health(&app).await;
    let service = health.services.get(name.as_str()).ok_or(ErrorCode::RequestNotFound)?;
    Ok(HttpResponse::build(service.status.http()).json(service))
}

/// Whether the process lives.
#[utoipa::path(
    get, path = "/health/live", tag = "health",
    responses((status = 200, description = "It does", body = Probe)),
)]
async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Probe { status: Status::Up, detail: None })
}

/// Whether the node may be sent requests.
///
/// Not while it is going away, nor while the database does not answer, nor before it has heard the other nodes, nor, for
/// ten seconds at most, while it catches up with what they said while it could not hear them.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, description = "It may", body = Probe),
        (status = 503, description = "It may not", body = Probe),
    ),
)]
pub async fn ready(app: web::Data<App>) -> HttpResponse {
    let detail = Signs::read(&app).await.why_not_ready();
    let status = if detail.is_some() { Status::Down } else { Status::Up };
    HttpResponse::build(status.http()).json(Probe { status, detail })
}

/// How the node is, part by part, for whoever runs it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(flatten)]
    health: Health,
    draining: bool,
    database: Database,
    cluster: Joint,
    journal: ServiceHealth,
    alive: Alive,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Database {
    #[serde(flatten)]
    health: ServiceHealth,
    backend: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_in_ms: Option<u64>,
    connections: u32,
    idle_connections: usize,
    /// Standbys that pages of history may come from, and those of them that are near enough.
    replicas: usize,
    replicas_near: usize,
    wal_bytes: u64,
    /// How far its clock is ahead of this machine's.
    clock_ahead_ms: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Joint {
    status: Status,
    /// What is wrong, by address and error, which the other doors do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'static, str>>,
    /// This node's name.
    node: String,
    /// What joins it to others, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
}

async fn detailed(app: web::Data<App>) -> HttpResponse {
    let signs = Signs::read(&app).await;
    let (replicas, replicas_near) = app.db.replicas();
    let details = Details {
        health: services(signs),
        draining: signs.draining,
        database: Database {
            health: rows(signs.database),
            backend: match app.db.backend() {
                Backend::Sqlite => "sqlite",
                Backend::Postgres => "postgres",
            },
            answered_in_ms: signs.database.ok().map(|seen| u64::try_from(seen.took.as_millis()).unwrap_or(u64::MAX)),
            replicas,
            replicas_near,
            connections: app.db.pool_size(),
            idle_connections: app.db.pool_idle(),
            wal_bytes: app.db.wal_bytes(),
            clock_ahead_ms: app.clock.offset_ms(),
        },
        cluster: Joint {
            status: signs.cluster().status,
            detail: what_is_wrong(signs, app.entries.cluster().trouble()),
            node: app.entries.cluster().node().to_owned(),
            by: app.entries.cluster().joint(),
        },
        journal: signs.journal(),
        alive: app.metrics.alive(),
    };
    HttpResponse::build(details.health.status.http()).json(details)
}

/// What is wrong with the link to the others, with what is known of it.
fn what_is_wrong(signs: Signs, trouble: Option<String>) -> Option<Cow<'static, str>> {
    match (signs.link, trouble) {
        (Link::Joining, Some(trouble)) => Some(format!("{trouble}; see cluster.url").into()),
        (Link::Down, Some(trouble)) => {
            Some(format!("{trouble}; changes of other nodes are looked for every second").into())
        }
        _ => signs.cluster().detail.map(Cow::from),
    }
}

/// All nodes on the same database.
async fn nodes(app: web::Data<App>) -> Result<HttpResponse, Failure> {
    let nodes = crate::nodes::listed(&app.db, app.clock.now()).await.map_err(actors::protocol::Error::from)?;
    Ok(HttpResponse::Ok().json(nodes))
}

async fn metrics(app: web::Data<App>) -> Result<HttpResponse, Failure> {
    let signs = Signs::read(&app).await;
    let (is_linked, is_ready) = (signs.link == Link::Up, signs.why_not_ready().is_none());
    let page = app.metrics.render(&app.db, is_linked, is_ready).map_err(|_| ErrorCode::ServerUnavailable)?;
    Ok(HttpResponse::Ok().content_type(crate::metrics::OPENMETRICS).body(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Answered = Answered { took: Duration::from_millis(1), standing: Standing::Well, replicas: (0, 0) };
    const WELL: Signs = Signs {
        draining: false,
        database: Ok(QUICK),
        waiting: 0,
        may_wait: 1000,
        link: Link::Up,
        is_apart: false,
        deaf_for: None,
    };

    #[test]
    fn a_node_that_has_lost_the_others_serves_on_and_says_so() {
        let lost = Signs { link: Link::Down, ..WELL };
        assert_eq!(lost.why_not_ready(), None);
        assert_eq!(services(lost).status, Status::Degraded);
    }

    #[test]
    fn a_node_is_not_ready_before_it_hears_the_others_nor_while_it_catches_up() {
        let is_ready = |signs: Signs| signs.why_not_ready().is_none();
        assert!(is_ready(WELL));
        let joining = Signs { link: Link::Joining, ..WELL };
        assert!(!is_ready(joining));
        assert_eq!(services(joining).status, Status::Down);
        assert!(is_ready(Signs { is_apart: true, ..WELL }));
        assert_eq!(services(Signs { is_apart: true, ..WELL }).services["gateway"].detail, Some(APART));
        assert!(!is_ready(Signs { deaf_for: Some(Duration::from_secs(1)), ..WELL }));
        assert!(is_ready(Signs { deaf_for: Some(CATCHING_UP), ..WELL }), "it takes no longer than that");
        assert!(!is_ready(Signs { database: Err("away"), ..WELL }));
        assert!(!is_ready(Signs { draining: true, ..WELL }));
    }

    #[test]
    fn what_is_not_built_says_so_and_drags_nothing_down() {
        let health = services(WELL);
        assert_eq!(health.status, Status::Up);
        assert_eq!(health.services.len(), 9);
        let calls = health.services["calls"];
        assert_eq!((calls.status, calls.detail), (Status::Down, Some("not part of this version")));
    }

    #[test]
    fn a_database_that_does_not_answer_takes_its_services_down() {
        let health = services(Signs { database: Err("away"), ..WELL });
        assert_eq!(health.status, Status::Down);
        assert_eq!(health.services["messages"].status, Status::Down);
        assert_eq!(health.services["gateway"].status, Status::Up);
        let slow = Answered { took: PING_SLOW * 2, ..QUICK };
        assert_eq!(services(Signs { database: Ok(slow), ..WELL }).status, Status::Degraded);
    }

    #[test]
    fn what_is_wrong_with_the_database_is_said() {
        for (answered, detail) in [
            (Answered { standing: Standing::ReadOnly, ..QUICK }, "the database is read-only"),
            (Answered { standing: Standing::Full, ..QUICK }, "the database has no room left on its disk"),
            (Answered { standing: Standing::Crowded, ..QUICK }, "no connection to the database was free"),
            (Answered { replicas: (2, 1), ..QUICK }, "a replica of the database is away or behind"),
        ] {
            let messages = services(Signs { database: Ok(answered), ..WELL }).services["messages"];
            assert_eq!((messages.status, messages.detail), (Status::Degraded, Some(detail)));
        }
    }

    #[test]
    fn a_journal_that_is_filling_up_shows() {
        let health = services(Signs { waiting: 501, ..WELL });
        assert_eq!(health.services["messages"].status, Status::Degraded);
        assert_eq!(health.services["users"].status, Status::Up);
    }

    #[test]
    fn a_node_that_goes_away_says_so() {
        let health = services(Signs { draining: true, ..WELL });
        assert_eq!(health.services["gateway"].detail, Some("the node is going away"));
        assert_eq!(health.status, Status::Degraded);
    }
}
