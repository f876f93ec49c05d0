//! One node: providers, then rooms, then doors; and the same backwards when it stops.
//! Never a rule: it only puts together and takes apart.

use crate::app::App;
use crate::auth::carriers::Carriers;
use crate::auth::{Auth, Sessions};
use crate::config::Config;
use crate::database::keep_watch;
use crate::gateway::doors::{self, Door, Ground, tick};
use crate::gateway::limits::Limiter;
use crate::gateway::tls::Certificate;
use crate::metrics::Metrics;
use crate::providers::{self, redis::RedisCluster};
use crate::users::Contacts;
use crate::users::leaving::{self, Leaving};
use actix_rt::Arbiter;
use actix_server::ServerHandle;
use actors::clock::{Clock, SystemClock};
use actors::cluster::{Cluster, LocalBus};
use actors::conversation::Conversations;
use actors::conversation::actor::Deps;
use actors::entry::{Entries, MendRequests};
use actors::greeter::Greeter;
use actors::journal::{Journal, keep_tidy};
use actors::mender::Mender;
use actors::nodes::{self, Keeper, Nodes, compare_clocks};
use actors::presence::Presences;
use actors::sockets::Sockets;
use anyhow::Context as _;
use entities::Db;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Clients come back over this many milliseconds, each at a moment of its own.
const SPREAD_MS: u64 = 5000;
/// How long the database may take to close, however late it is.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// How long giving the node's name back may take.
const LEAVING: Duration = Duration::from_secs(3);

/// What a node does not make itself.
pub struct Surroundings {
    /// Time, ids, randomness.
    pub clock: Arc<dyn Clock>,
    /// What joins it to other nodes.
    pub cluster: Arc<dyn Cluster>,
    /// Who takes codes and letters to people.
    pub carriers: Carriers,
}

impl Surroundings {
    /// What the configuration names.
    ///
    /// # Errors
    /// What joins the nodes, or a carrier, cannot be used.
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
        Ok(Surroundings { cluster, carriers: providers::carriers(config, &clock)?, clock })
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
    clients: Door,
    operators: Option<ServerHandle>,
    certificate: Option<Arc<Certificate>>,
    beside: Beside,
    journal: Journal,
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// What kept it from starting, in a sentence.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let around = Surroundings::from_config(&config).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Without a certificate it means what it always does: the terminal is gone.
    let mut hang_up =
        (!config.gateway.tls_certificate.as_os_str().is_empty()).then(|| signal(SignalKind::hangup())).transpose()?;
    let node = Node::start(config, around).await?;
    node.introduce()?;
    let mut replaced = false;
    loop {
        let told = async {
            match &mut hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = told => node.read_certificate(),
            _ = terminate.recv() => break,
            () = node.app.nodes.replaced() => {
                replaced = true;
                break;
            }
            interrupted = tokio::signal::ctrl_c() => break interrupted?,
        }
    }
    tracing::info!("stopping");
    node.stop().await;
    anyhow::ensure!(!replaced, "another node has taken this one's name (cluster.node) while its lease had ended");
    Ok(())
}

impl Node {
    /// Opens the database, brings its schema up to date, and opens the doors.
    ///
    /// # Errors
    /// The database, the secrets, or a taken port.
    pub async fn start(config: Config, around: Surroundings) -> anyhow::Result<Node> {
        let Surroundings { clock, cluster, carriers } = around;
        let config = Arc::new(config);
        let certificate = Certificate::open(&config.gateway)?;
        let limits = Arc::new(config.limits());
        let application = format!("quckchat {}", cluster.node());
        let db = Db::open(&entities::Options { application, ..config.database() }).await?;
        migration::migrate(db.write()).await.context("the database's schema could not be brought up to date")?;
        compare_clocks(&db, clock.as_ref()).await.context("the database does not tell the time")?;
        let auth = Auth::open(&config, db.clone(), clock.clone(), carriers).await;
        let auth = Arc::new(auth.map_err(|error| anyhow::anyhow!("{error}"))?);

        let meters = Arc::new(actors::metrics::Metrics::default());
        let metrics = Arc::new(Metrics::new(&meters, &cluster.meters(), auth.hasher.meters(), auth.notices.meters()));
        let (entries, requests) = Entries::new(cluster, clock.clone(), limits.clone(), meters.clone());
        let (journal, lanes) = Journal::new(&db, &clock, &limits, &entries);
        let (greeter, greeting) = Greeter::new(db.clone(), clock.clone());
        let deps = Deps { db, clock, limits: limits.clone(), entries, journal: journal.clone() };
        let app = app(config, auth, metrics, deps);

        let keeper = app.nodes.join().await?;
        let beside = Beside::start();
        for lane in lanes {
            beside.spawn(lane);
        }
        beside.spawn(greeting);
        keep_up(&app, &limits, &beside, requests, keeper);

        if let Some(certificate) = certificate.clone() {
            beside.spawn(certificate.keep_fresh(app.clock.clone()));
        }

        let ground = Ground { app: app.clone(), greeter, limits, sockets: Sockets::default() };
        let opened = doors::open(ground, certificate.as_ref()).and_then(|clients| {
            let listen = app.config.operations.listen;
            Ok((clients, listen.map(|listen| doors::open_operations(&app, listen)).transpose()?))
        });
        let (clients, operations) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Nobody is to wait for the lease of a node that never was.
                give_name_back(&app.nodes).await;
                beside.end();
                return Err(error);
            }
        };
        if app.config.cluster.advertise.is_empty() {
            app.nodes.set_address(clients.address.to_string());
        }
        let (operators, operations) = operations.unzip();
        Ok(Node { app, address: clients.address, operations, clients, operators, certificate, beside, journal })
    }

    /// One readable block: what is served where, on which database, and what stands in for something real.
    fn introduce(&self) -> std::io::Result<()> {
        let config = &self.app.config;
        let mut out = std::io::stdout().lock();
        let database = config.shown_database();
        writeln!(
            out,
            "QuckChat {} ({:?} profile), node {}",
            env!("CARGO_PKG_VERSION"),
            config.profile,
            self.app.entries.cluster().node()
        )?;
        let (s, address) = (if self.certificate.is_some() { "s" } else { "" }, self.address);
        writeln!(out, "  REST        http{s}://{address}/api/v1   (to browse: http{s}://{address}/docs/)")?;
        writeln!(out, "  sockets     ws{s}://{address}/ws, ws{s}://{address}/ws/chat, ws{s}://{address}/ws/webrtc")?;
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

    /// Shows from now on the certificate that is in the files, if it can be used; connections stay.
    pub fn read_certificate(&self) {
        if let Some(certificate) = &self.certificate {
            certificate.read_again();
        }
    }

    /// Says that it goes away, sends every socket elsewhere, closes the doors, and finishes what is under way.
    ///
    /// # Why in this order
    /// A balancer learns only by asking. Until it has asked, what it sends here is answered, except for new sockets,
    /// which would have to go at once. So the listener closes last: behind it there is no request that nobody takes.
    pub async fn stop(self) {
        let gateway = &self.app.config.gateway;
        self.app.nodes.drain();
        self.app.clock.sleep(gateway.drain_wait).await;
        let started = Instant::now();
        let left = || gateway.shutdown.saturating_sub(started.elapsed());

        for hub in self.app.entries.hubs() {
            hub.drain(SPREAD_MS, u64::from_le_bytes(self.app.clock.random()));
        }
        let sockets = until(|| self.app.metrics.alive().sockets == 0);
        if tokio::time::timeout(left() / 2, sockets).await.is_err() {
            tracing::warn!("sockets were still under way");
        }
        self.clients.close().await;
        let finished = until(|| !self.clients.is_used() && self.journal.is_idle());
        if tokio::time::timeout(left(), finished).await.is_err() {
            tracing::warn!("requests or writes were still under way");
        }
        // Before the threads of its clients end, and with them the connections to the database that were opened there.
        give_name_back(&self.app.nodes).await;
        self.clients.stop().await;
        // The operators' door was open all the while: it says that the node is going away.
        if let Some(operators) = &self.operators {
            operators.stop(true).await;
        }
        // What goes on beside gives its connections back while its thread can still take care of them.
        self.beside.end();
        match tokio::time::timeout(left().max(CLOSE_WITHIN), self.app.db.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the database could not be closed in order"),
            Err(_) => tracing::warn!("the database did not close in time"),
        }
        self.beside.stop();
    }
}

/// Gives the node's name back, if that can be done soon.
async fn give_name_back(nodes: &Nodes) {
    match tokio::time::timeout(LEAVING, nodes.leave()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the node could not give its name back: its lease ends by itself"),
        Err(_) => tracing::warn!("the node did not give its name back in time: its lease ends by itself"),
    }
}

/// Awaits by the machine's own time.
async fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        tick().await;
    }
}

/// The thread of what goes on beside the requests, and one for work that nobody waits for: while that makes somebody's
/// copy of everything, messages are committed on the other.
///
/// # Why it ends in two steps
/// A thread that stops drops what it was at after its runtime is gone, and a connection of the database that is dropped
/// there panics: it wants to be given back by a task. So everything is dropped first, and the thread stops when the
/// connections are closed.
struct Beside {
    thread: Arbiter,
    patient: Arbiter,
    ended: CancellationToken,
}

impl Beside {
    fn start() -> Beside {
        Beside { thread: Arbiter::new(), patient: Arbiter::new(), ended: CancellationToken::new() }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.thread.spawn(async move {
            let _ = ended.run_until_cancelled_owned(task).await;
        });
    }

    /// The same for a task that is made on the thread, and never leaves it.
    fn spawn_there<F: Future<Output = ()> + 'static>(&self, task: impl FnOnce() -> F + Send + 'static) {
        Beside::spawn_on(&self.thread, self.ended.clone(), task);
    }

    /// The same on the thread for what nobody waits for.
    fn spawn_patient<F: Future<Output = ()> + 'static>(&self, task: impl FnOnce() -> F + Send + 'static) {
        Beside::spawn_on(&self.patient, self.ended.clone(), task);
    }

    fn spawn_on<F: Future<Output = ()> + 'static>(
        thread: &Arbiter,
        ended: CancellationToken,
        task: impl FnOnce() -> F + Send + 'static,
    ) {
        thread.spawn_fn(move || {
            actix_web::rt::spawn(async move {
                let _ = ended.run_until_cancelled_owned(task()).await;
            });
        });
    }

    fn end(&self) {
        self.ended.cancel();
    }

    fn stop(&self) {
        self.thread.stop();
        self.patient.stop();
    }
}

/// The parts of a node, as its handlers hold them.
fn app(config: Arc<Config>, auth: Arc<Auth>, metrics: Arc<Metrics>, deps: Deps) -> App {
    let Deps { db, clock, limits, entries, .. } = deps.clone();
    let presences = Presences::new(db.clone(), clock.clone(), limits.clone(), entries.clone());
    let conversations = Conversations::new(deps, &auth.secrets.derive(crate::auth::secrets::REQUEST_HASHES));
    let sessions = Arc::new(Sessions::new(db.clone(), clock.clone(), &config.auth));
    let leaving = Leaving::new(leaving::Parts {
        db: db.clone(),
        clock: clock.clone(),
        config: &config,
        auth: auth.clone(),
        conversations: conversations.clone(),
        entries: entries.clone(),
        sessions: sessions.clone(),
        meters: metrics.leaving.clone(),
    });
    App {
        conversations,
        leaving: Arc::new(leaving),
        nodes: the_nodes(&config, &db, &clock, &limits, &entries, &presences),
        presences,
        sessions,
        limiter: Arc::new(Limiter::new(&config.limits, clock.clone(), entries.cluster().clone())),
        database_health: Arc::default(),
        contacts: Arc::new(Contacts::new(db.clone(), clock.clone(), auth.clone(), &config.contacts)),
        auth,
        config,
        db,
        clock,
        entries,
        metrics,
    }
}

/// This node as the others will see it.
fn the_nodes(
    config: &Config,
    db: &Db,
    clock: &Arc<dyn Clock>,
    limits: &Arc<actors::limits::Limits>,
    entries: &Entries,
    presences: &Presences,
) -> Nodes {
    let address = match config.cluster.advertise.as_str() {
        "" => config.gateway.listen.to_string(),
        address => address.to_owned(),
    };
    let parts = nodes::Parts {
        db: db.clone(),
        clock: clock.clone(),
        limits: limits.clone(),
        entries: entries.clone(),
        presences: presences.clone(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Nodes::new(parts, address)
}

/// What goes on beside the requests.
fn keep_up(app: &App, limits: &Arc<actors::limits::Limits>, beside: &Beside, requests: MendRequests, keeper: Keeper) {
    beside.spawn(keeper.run());
    let mender = || Mender {
        entries: app.entries.clone(),
        db: app.db.clone(),
        presences: app.presences.clone(),
        clock: app.clock.clone(),
        limits: limits.clone(),
    };
    beside.spawn(mender().run(requests));
    beside.spawn(mender().sweep());
    beside.spawn(keep_tidy(app.db.clone(), app.clock.clone(), limits.clone()));
    let auth = app.auth.clone();
    beside.spawn(async move { auth.keep().await });
    let (contacts, entries) = (app.contacts.clone(), app.entries.clone());
    beside.spawn_there(move || async move { contacts.welcome(&entries).await });
    beside.spawn(keep_watch(app.db.clone(), app.clock.clone()));
    let leaving = app.leaving.clone();
    beside.spawn_patient(move || Box::pin(async move { leaving.keep().await }));
}
