//! One node: providers, then rooms, then doors; and the same backwards when it stops.
//! Never a rule: it only puts together and takes apart.

use crate::app::App;
use crate::auth::otp::SmsSender;
use crate::auth::{Auth, Sessions};
use crate::config::Config;
use crate::gateway::dispatch::ByName;
use crate::gateway::limits::Limiter;
use crate::gateway::{router, socket};
use crate::metrics::Metrics;
use crate::providers::redis::RedisCluster;
use crate::providers::sms;
use actix_http::HttpService;
use actix_rt::Arbiter;
use actix_rt::net::TcpStream;
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::dev::ServerHandle;
use actix_web::{App as WebApp, HttpServer, web};
use actors::clock::{Clock, SystemClock};
use actors::cluster::{Cluster, LocalBus};
use actors::conversation::Conversations;
use actors::conversation::actor::Deps;
use actors::entry::{Entries, MendRequests};
use actors::greeter::Greeter;
use actors::hub::Hub;
use actors::journal::{Journal, keep_tidy};
use actors::mender::Mender;
use actors::presence::Presences;
use actors::session::SessionDeps;
use actors::sockets::Sockets;
use anyhow::Context as _;
use entities::{Backend, Db};
use sea_orm::ConnectionTrait;
use std::convert::Infallible;
use std::future::ready;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients come back over this many milliseconds, each at a moment of its own.
const SPREAD_MS: u64 = 5000;
/// Connections of one worker; the system's limit of open files comes first.
const CONNECTIONS: usize = 1_000_000;
/// A connection whose bytes nobody takes for so long is ended.
const UNTAKEN: Duration = Duration::from_secs(30);
/// How often the database's clock is compared with this machine's.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

/// What a node does not make itself.
pub struct Surroundings {
    /// Time, ids, randomness.
    pub clock: Arc<dyn Clock>,
    /// What joins it to other nodes.
    pub cluster: Arc<dyn Cluster>,
    /// Who carries codes.
    pub sms: Arc<dyn SmsSender>,
}

impl Surroundings {
    /// What the configuration names.
    ///
    /// # Errors
    /// What joins the nodes cannot be used.
    pub async fn from_config(config: &Config) -> anyhow::Result<Surroundings> {
        let clock = Arc::new(SystemClock::default()) as Arc<dyn Clock>;
        let mut name = config.cluster.node.clone();
        if name.is_empty() {
            name = format!("{:08x}", u32::from_le_bytes(clock.random()));
        }
        let cluster: Arc<dyn Cluster> = if config.cluster.url.is_empty() {
            LocalBus::new().join(&name)
        } else {
            RedisCluster::start(&config.cluster, &name, clock.clone()).await?
        };
        Ok(Surroundings { cluster, clock, sms: sms::from_config(&config.sms) })
    }
}

/// A running node.
pub struct Node {
    /// Its parts, as its handlers hold them.
    pub app: App,
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Where operators reach it.
    pub operations: Option<SocketAddr>,
    servers: Vec<ServerHandle>,
    rows: Arbiter,
    journal: Journal,
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// What kept it from starting, in a sentence.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let around = Surroundings::from_config(&config).await?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let node = Node::start(config, around).await?;
    node.introduce()?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    tracing::info!("stopping");
    node.stop().await;
    Ok(())
}

impl Node {
    /// Opens the database, brings its schema up to date, and opens the doors.
    ///
    /// # Errors
    /// The database, the secrets, or a taken port.
    pub async fn start(config: Config, around: Surroundings) -> anyhow::Result<Node> {
        let Surroundings { clock, cluster, sms } = around;
        let config = Arc::new(config);
        let limits = Arc::new(config.limits());
        let db = Db::open(&config.database()).await.context("the database could not be opened")?;
        migration::migrate(db.write()).await.context("the database's schema could not be brought up to date")?;
        compare_clocks(&db, clock.as_ref()).await.context("the database does not tell the time")?;
        let auth =
            Auth::open(&config, db.clone(), clock.clone(), sms).await.map_err(|error| anyhow::anyhow!("{error}"))?;

        let meters = Arc::new(actors::metrics::Metrics::default());
        let metrics = Arc::new(Metrics::new(&meters, &cluster.meters()));
        let (entries, requests) = Entries::new(cluster, clock.clone(), limits.clone(), meters.clone());
        let (journal, lanes) = Journal::new(&db, &clock, &limits, &entries);
        let (greeter, greeting) = Greeter::new(db.clone());
        let deps = Deps {
            db: db.clone(),
            clock: clock.clone(),
            limits: limits.clone(),
            entries: entries.clone(),
            journal: journal.clone(),
        };
        let app = App {
            conversations: Conversations::new(deps, &auth.secrets.derive(crate::auth::secrets::REQUEST_HASHES)),
            presences: Presences::new(db.clone(), clock.clone(), limits.clone(), entries.clone()),
            sessions: Arc::new(Sessions::new(db.clone(), clock.clone())),
            limiter: Arc::new(Limiter::new(&config.limits, clock.clone(), entries.cluster().clone())),
            readiness: Arc::default(),
            auth: Arc::new(auth),
            config,
            db,
            clock,
            entries,
            metrics,
        };

        let rows = Arbiter::new();
        for lane in lanes {
            rows.spawn(lane);
        }
        rows.spawn(greeting);
        keep_up(&app, &limits, &rows, requests);

        let (server, address) = open_doors(&app, greeter, &limits)?;
        let mut servers = vec![server];
        let operations = app.config.operations.listen.map(|listen| open_operations(&app, listen)).transpose()?;
        servers.extend(operations.as_ref().map(|(server, _)| server.clone()));
        Ok(Node { app, address, operations: operations.map(|(_, address)| address), servers, rows, journal })
    }

    /// One readable block: what is served where, on which database, and what stands in for something real.
    fn introduce(&self) -> std::io::Result<()> {
        let config = &self.app.config;
        let mut out = std::io::stdout().lock();
        let database = match self.app.db.backend() {
            Backend::Sqlite if config.database.url.expose().is_empty() => {
                format!("SQLite in {}", config.data.display())
            }
            _ => config.database.url.shown(),
        };
        writeln!(
            out,
            "QuckChat {} ({:?} profile), node {}",
            env!("CARGO_PKG_VERSION"),
            config.profile,
            self.app.entries.cluster().node()
        )?;
        writeln!(out, "  REST        http://{}/api/v1   (to browse: http://{}/docs/)", self.address, self.address)?;
        writeln!(out, "  sockets     ws://{0}/ws, ws://{0}/ws/chat, ws://{0}/ws/webrtc", self.address)?;
        if let Some(operations) = self.operations {
            writeln!(out, "  operations  http://{operations}/health, http://{operations}/metrics")?;
        }
        writeln!(out, "  database    {database}")?;
        if let Some(joint) = self.app.entries.cluster().joint() {
            writeln!(out, "  cluster     {joint}")?;
        }
        for stand_in in config.stand_ins() {
            writeln!(out, "  stand-in    {} {}", stand_in.key, stand_in.does)?;
        }
        out.flush()
    }

    /// Takes nothing new, tells every socket to come back elsewhere, finishes what is under way.
    pub async fn stop(self) {
        let started = Instant::now();
        let most = self.app.config.gateway.shutdown;
        let left = || most.saturating_sub(started.elapsed());
        self.app.readiness.drain();
        // The operator's door stays open: it says that the node is going away.
        if let Some(server) = self.servers.first() {
            server.pause().await;
        }
        for hub in self.app.entries.hubs() {
            hub.drain(SPREAD_MS, u64::from_le_bytes(self.app.clock.random()));
        }
        let idle = async {
            while self.app.metrics.alive().sockets > 0 || !self.journal.is_idle() {
                tick().await;
            }
        };
        if tokio::time::timeout(left() / 2, idle).await.is_err() {
            tracing::warn!("sockets or writes were still under way");
        }
        for server in &self.servers {
            let _ = tokio::time::timeout(left() / 2, server.stop(true)).await;
        }
        self.rows.stop();
        if let Err(error) = self.app.db.close().await {
            tracing::warn!(%error, "the database could not be closed in order");
        }
    }
}

/// A moment of the machine's own time, for shutting down: no test drives it.
async fn tick() {
    #[expect(clippy::disallowed_methods, reason = "a node that stops does not wait for anybody's clock")]
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// What goes on beside the requests.
fn keep_up(app: &App, limits: &Arc<actors::limits::Limits>, rows: &Arbiter, requests: MendRequests) {
    let mender = || Mender {
        entries: app.entries.clone(),
        db: app.db.clone(),
        clock: app.clock.clone(),
        limits: limits.clone(),
    };
    rows.spawn(mender().run(requests));
    rows.spawn(mender().sweep());
    rows.spawn(keep_tidy(app.db.clone(), app.clock.clone(), limits.clone()));
    let auth = app.auth.clone();
    rows.spawn(async move { auth.keep().await });
    let (db, clock) = (app.db.clone(), app.clock.clone());
    rows.spawn(async move {
        loop {
            clock.sleep(CLOCK_EVERY).await;
            if let Err(error) = compare_clocks(&db, clock.as_ref()).await {
                tracing::warn!(%error, "the database does not tell the time");
            }
        }
    });
}

/// Learns how far the database's clock is ahead. SQLite has this machine's.
async fn compare_clocks(db: &Db, clock: &dyn Clock) -> Result<(), sea_orm::DbErr> {
    if db.backend() == Backend::Sqlite {
        return Ok(());
    }
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let before = clock.now().millis();
    let row = db.read().query_one_raw(db.backend().statement(sql, [])).await?;
    let after = clock.now().millis();
    let Some(theirs) = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()? else { return Ok(()) };
    clock.set_offset_ms(clock.offset_ms() + theirs - (before + after) / 2);
    Ok(())
}

fn open_doors(
    app: &App,
    greeter: Greeter,
    limits: &Arc<actors::limits::Limits>,
) -> anyhow::Result<(ServerHandle, SocketAddr)> {
    let listen = app.config.gateway.listen;
    let listener = bind(listen, app.config.gateway.backlog)?;
    let address = listener.local_addr()?;
    let sockets = Sockets::default();
    let (parts, limits) = (app.clone(), limits.clone());
    let server = Server::build()
        .workers(app.config.gateway.worker_count())
        .max_concurrent_connections(CONNECTIONS)
        .shutdown_timeout(5)
        .disable_signals()
        .listen("quckchat", listener, move || {
            let app = Rc::new(parts.clone());
            let deps = Rc::new(SessionDeps {
                hub: Hub::start(&parts.entries),
                dispatch: Rc::new(ByName(app.clone())),
                greeter: greeter.clone(),
                entries: parts.entries.clone(),
                presences: parts.presences.clone(),
                conversations: parts.conversations.clone(),
                sockets: sockets.clone(),
                clock: parts.clock.clone(),
                limits: limits.clone(),
            });
            let data = web::Data::new(parts.clone());
            let rest = WebApp::new().configure(|cfg| router::configure(cfg, &data));
            let rest = rest.into_factory().map_err(|error: actix_web::Error| error.error_response());
            HttpService::build()
                .local_addr(address)
                .tcp_nodelay(true)
                .on_connect_ext(|stream: &TcpStream, _| {
                    // Whoever takes nothing for so long is gone; the system tells, also while we only write.
                    #[cfg(target_os = "linux")]
                    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNTAKEN));
                })
                .upgrade(fn_service(move |(req, framed)| {
                    // A task of its own: the server's, which is larger, ends here.
                    actix_rt::spawn(socket::serve(req, framed, &app, &deps));
                    ready(Ok::<_, Infallible>(()))
                }))
                .finish(map_config(rest, |()| AppConfig::default()))
                .tcp()
        })?
        .run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok((handle, address))
}

fn open_operations(app: &App, listen: SocketAddr) -> anyhow::Result<(ServerHandle, SocketAddr)> {
    let listener = bind(listen, 128)?;
    let address = listener.local_addr()?;
    let parts = app.clone();
    let server = HttpServer::new(move || {
        let data = web::Data::new(parts.clone());
        WebApp::new().configure(|cfg| router::configure_operations(cfg, &data))
    });
    let server = server.workers(1).shutdown_timeout(1).disable_signals().listen(listener)?.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok((handle, address))
}

fn bind(address: SocketAddr, backlog: u32) -> anyhow::Result<TcpListener> {
    let bound = || {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        std::io::Result::Ok(socket.into())
    };
    bound().with_context(|| format!("cannot listen on {address}"))
}
