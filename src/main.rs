//! The program: its arguments, the log, and the exit code.
//! Never what a node does: that is the library's.

use actors::clock::{Clock, SystemClock};
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use entities::Db;
use quckchat::admin;
use quckchat::config::{Config, LogFormat};
use std::io::{BufWriter, IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// A chat node: conversations and presence over WebSocket and REST, lossless, as one binary.
#[derive(Parser)]
#[command(name = "quckchat", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

/// The common settings; all others come from the file and the environment.
#[derive(Args)]
struct Settings {
    /// Settings over the shipped ones, as TOML.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to serve (gateway.listen), e.g. 0.0.0.0:3000.
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<String>,
    /// The folder for what the node keeps (data).
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// The database (database.url), e.g. postgres://user:password@host/name.
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node; what happens without a command.
    Serve,
    /// Bring the database's schema up to date.
    Migrate,
    /// Print the settings in effect, secrets hidden.
    Config,
    /// Print the OpenAPI document.
    Openapi,
    /// An operator's work.
    #[command(subcommand)]
    Admin(Admin),
}

#[derive(Subcommand)]
enum Admin {
    /// Give somebody a role on this node.
    Grant(Role),
    /// Take a role from somebody.
    Revoke(Role),
    /// List the nodes on this database, by their leases; it needs nothing else.
    Nodes {
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Replace the node's keys while nodes are serving: the pair that signs access tokens, and what seals secrets in rows.
    RotateKeys {
        /// Only the pair that signs access tokens.
        #[arg(long)]
        signing: bool,
        /// Only what seals secrets in rows.
        #[arg(long)]
        sealing: bool,
    },
    /// Make people with a session each, and print their ids and tokens, one JSON object a line. In development only.
    Seed {
        /// How many.
        #[arg(long, value_name = "N")]
        users: usize,
        /// As JSON; there is no other form.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct Role {
    /// An id, a username, or a phone number with its +.
    user: String,
    /// The role: operator.
    role: String,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quckchat: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let command = arguments.command.unwrap_or(Command::Serve);
    if matches!(command, Command::Openapi) {
        let document = quckchat::gateway::openapi::document().to_pretty_json()?;
        return print(&document);
    }
    let config = load(arguments.settings)?;
    if matches!(command, Command::Config) {
        return print(config.to_toml().trim_end());
    }
    start_log(&config)?;
    let system = actix_web::rt::System::new();
    match command {
        Command::Serve => system.block_on(quckchat::node::serve(config)),
        Command::Migrate => system.block_on(migrate(&config)),
        Command::Admin(admin) => system.block_on(administer(&config, admin)),
        Command::Config | Command::Openapi => Ok(()),
    }
}

fn load(settings: Settings) -> anyhow::Result<Config> {
    let Settings { config, listen, data, database } = settings;
    let given = [("gateway.listen", listen), ("data", data), ("database.url", database)];
    let arguments: Vec<_> = given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    Ok(Config::load(config.as_deref(), &arguments)?)
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(stdout().lock(), "{text}").context("the output cannot be written")
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log.filter).context("log.filter")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let for_people = match config.log.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let started = if for_people {
        log.with_ansi(stderr().is_terminal()).try_init()
    } else {
        log.json().flatten_event(true).try_init()
    };
    started.map_err(|err| anyhow::anyhow!("the log cannot be started: {err}"))
}

async fn migrate(config: &Config) -> anyhow::Result<()> {
    let db = Db::open(&config.database()).await?;
    let applied = migration::migrate(db.write()).await?;
    db.close().await?;
    match applied {
        0 => print("the schema was up to date"),
        1 => print("1 migration was applied"),
        applied => print(&format!("{applied} migrations were applied")),
    }
}

async fn administer(config: &Config, admin: Admin) -> anyhow::Result<()> {
    let db = match admin {
        Admin::Nodes { .. } => as_it_is(config).await?,
        _ => {
            let db = Db::open(&config.database()).await?;
            migration::migrate(db.write()).await?;
            db
        }
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    match admin {
        Admin::Grant(Role { user, role }) => {
            let (id, new) = admin::grant(&db, &*clock, &user, &role).await?;
            let word = if new { "is now" } else { "was already" };
            print(&format!("{id} {word} {role}"))?;
        }
        Admin::Revoke(Role { user, role }) => {
            let (id, taken) = admin::revoke(&db, &*clock, &user, &role).await?;
            let word = if taken { "is no longer" } else { "was not" };
            print(&format!("{id} {word} {role}"))?;
        }
        Admin::Nodes { json } => {
            eprintln!("nodes on {}", config.shown_database());
            actors::nodes::compare_clocks(&db, &*clock).await?;
            admin::nodes(&db, &*clock, json, &mut BufWriter::new(stdout().lock())).await?;
        }
        Admin::RotateKeys { signing, sealing } => {
            let both = signing == sealing;
            let which = admin::Which { signing: signing || both, sealing: sealing || both };
            admin::rotate_keys(config, &db, clock, which, &mut stdout().lock()).await?;
        }
        Admin::Seed { users, json: _ } => {
            admin::seed(config, &db, clock, users, &mut BufWriter::new(stdout().lock())).await?;
        }
    }
    Ok(db.close().await?)
}

/// The database for who only looks: it is not made by that, nor brought up to date.
async fn as_it_is(config: &Config) -> anyhow::Result<Db> {
    let options = config.database();
    if let Some(file) = options.url.strip_prefix("sqlite://") {
        anyhow::ensure!(Path::new(file).exists(), "there is no database {file}: set database.url, or data");
    }
    let db = Db::open(&options).await?;
    let shown = config.shown_database();
    let is_ready = migration::pending(db.write()).await? == 0;
    anyhow::ensure!(is_ready, "{shown} is not up to date: start a node on it, or run quckchat migrate");
    Ok(db)
}
