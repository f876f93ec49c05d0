//! What the health of the node and of each service follows from, and what it comes to.
//! Never a look at anything by itself but to read the signs.

use super::database::Seen;
use crate::app::App;
use actix_web::http::StatusCode;
use actors::cluster::Link;
use actors::nodes::APART;
use entities::Standing;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// A database that takes longer than this is in trouble.
const PING_SLOW: Duration = Duration::from_millis(500);
/// So long a node that was deaf takes no more work, at most, while it catches up.
const CATCHING_UP: Duration = Duration::from_secs(10);
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
    pub(super) fn http(self) -> StatusCode {
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

/// How what stands on the rows is.
pub(super) fn rows(seen: Seen) -> ServiceHealth {
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
pub(super) struct Signs {
    pub draining: bool,
    pub database: Seen,
    /// Changes that wait to be committed.
    waiting: u64,
    /// How many may.
    may_wait: u64,
    /// How the node stands with the others.
    pub link: Link,
    /// Other nodes live on the database that it cannot hear.
    is_apart: bool,
    /// For how long it has been catching up with what it did not hear from them.
    deaf_for: Option<Duration>,
}

impl Signs {
    pub async fn read(app: &App) -> Signs {
        Signs {
            draining: app.nodes.is_draining(),
            database: app.database_health.read(app).await,
            waiting: u64::try_from(app.metrics.alive().journal_waiting).unwrap_or(0),
            may_wait: app.config.journal.queue_items as u64,
            link: app.entries.cluster().link(),
            is_apart: app.nodes.is_apart(),
            deaf_for: app.entries.deaf_since().map(|since| app.clock.now().since(since)),
        }
    }

    /// Why the node wants no more work, if it does not.
    pub fn why_not_ready(self) -> Option<&'static str> {
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

    pub fn cluster(self) -> ServiceHealth {
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

    pub fn journal(self) -> ServiceHealth {
        let rows = rows(self.database);
        match rows.status {
            Status::Up if self.waiting > self.may_wait / 2 => {
                ServiceHealth::new(Status::Degraded, Some("many changes wait to be committed"))
            }
            _ => rows,
        }
    }
}

/// How each service is, by these signs.
pub(super) fn services(signs: Signs) -> Health {
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

#[cfg(test)]
mod tests {
    use super::super::database::Answered;
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
