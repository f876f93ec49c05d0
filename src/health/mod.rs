//! Whether the node lives, is ready, and how each of its services is: for balancers, operators and the curious.
//! Never a secret or a count for the outside: details are served on the operator's door alone.

mod database;
mod signs;

pub use database::DatabaseHealth;
pub use signs::{Health, ServiceHealth, Status};

use crate::app::App;
use crate::gateway::error::Failure;
use crate::metrics::Alive;
use actix_web::{HttpResponse, web};
use actors::cluster::Link;
use actors::protocol::ErrorCode;
use entities::Backend;
use serde::Serialize;
use signs::{Signs, rows, services};
use std::borrow::Cow;
use utoipa::{OpenApi, ToSchema};

/// A plain yes or no.
#[derive(Debug, Serialize, ToSchema)]
pub struct Probe {
    /// `up` or `down`.
    pub status: Status,
    /// Why it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
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
    /// Standbys that pages of history and searches for people may come from, and those of them that are near enough.
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
