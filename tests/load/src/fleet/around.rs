//! What stands around the nodes of a fleet while they are measured: PostgreSQL and Redis, and what they use.
//!
//! It makes a database of its own and drops it; it starts and ends neither server.

use anyhow::{Context, Result};
use entities::{Db, Options};
use redis::Client;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The servers.
pub struct Around {
    server: Db,
    rows: Db,
    redis: Client,
    /// The database's URL.
    pub database: String,
    name: String,
}

impl Around {
    /// Makes a database on the server whose maintenance database this is.
    pub async fn open(postgres: &str, redis: &str) -> Result<Around> {
        let server = Db::open(&Options { max_connections: 1, ..Options::new(postgres) }).await?;
        let name = format!("load_{}", std::process::id());
        server.write().execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
        let (base, _) = postgres.rsplit_once('/').context("--postgres names no database")?;
        let database = format!("{base}/{name}");
        let rows = Db::open(&Options { max_connections: 1, ..Options::new(&database) }).await?;
        Ok(Around { server, rows, redis: Client::open(redis)?, database, name })
    }

    /// Drops the database.
    pub async fn close(self) -> Result<()> {
        self.rows.close().await?;
        self.server.write().execute_unprepared(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?;
        Ok(self.server.close().await?)
    }

    /// How many deadlocks PostgreSQL has met in this database.
    pub async fn deadlocks(&self) -> Result<i64> {
        let sql = format!("SELECT deadlocks FROM pg_stat_database WHERE datname = '{}'", self.name);
        let row = self.server.read().query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
        Ok(row.context("no such database")?.try_get_by_index(0)?)
    }

    /// How many messages there are.
    pub async fn messages(&self) -> Result<i64> {
        let sql = Statement::from_string(DbBackend::Postgres, "SELECT count(*) FROM messages".to_owned());
        Ok(self.rows.read().query_one_raw(sql).await?.context("no count")?.try_get_by_index(0)?)
    }

    /// How often hints were published on Redis, in commands.
    pub async fn published(&self) -> Result<u64> {
        let mut connection = self.redis.get_multiplexed_async_connection().await?;
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await?;
        let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls=")?.split(',').next());
        Ok(calls.map_or(Ok(0), str::parse)?)
    }

    /// The processes of both servers, where they are on this machine, by name.
    pub async fn processes(&self) -> Result<BTreeMap<&'static str, Vec<u32>>> {
        let mut connection = self.redis.get_multiplexed_async_connection().await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let redis = info.lines().find_map(|line| line.strip_prefix("process_id:")?.trim().parse().ok());
        let sql = Statement::from_string(DbBackend::Postgres, "SELECT pg_backend_pid()".to_owned());
        let row = self.server.read().query_one_raw(sql).await?.context("no backend")?;
        let backend = u32::try_from(row.try_get_by_index::<i32>(0)?)?;
        let postgres = parent(backend).map(children).unwrap_or_default();
        Ok(BTreeMap::from([("Redis", redis.into_iter().collect()), ("PostgreSQL", postgres)]))
    }

    /// From publishing on Redis to hearing it on another connection, by bare threads, one at a time: the median.
    pub fn hop(&self, rounds: usize) -> Result<Duration> {
        let (mut speaks, mut listens) = (self.redis.get_connection()?, self.redis.get_connection()?);
        let (told, heard) = mpsc::channel();
        let body = "x".repeat(800);
        let mut ear = listens.as_pubsub();
        ear.subscribe("load:hop")?;
        std::thread::scope(|threads| {
            let listening = threads.spawn(move || -> Result<()> {
                for _ in 0..rounds {
                    ear.get_message()?;
                    told.send(Instant::now())?;
                }
                Ok(())
            });
            let mut took = Vec::with_capacity(rounds);
            for _ in 0..rounds {
                let began = Instant::now();
                redis::cmd("PUBLISH").arg("load:hop").arg(&body).exec(&mut speaks)?;
                took.push(heard.recv()?.saturating_duration_since(began));
            }
            listening.join().map_err(|_| anyhow::anyhow!("nobody listened"))??;
            took.sort();
            Ok(took[took.len() / 2])
        })
    }

    /// Looks at Redis's memory until told to end.
    pub fn watch_redis(&self) -> Result<Growth> {
        let mut connection = self.redis.get_connection()?;
        let before = memory(&mut connection)?;
        let (end, ended) = mpsc::channel();
        let most = std::thread::spawn(move || {
            let mut most = before;
            while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_millis(200)) {
                most = most.max(memory(&mut connection)?);
            }
            Ok(most)
        });
        Ok(Growth { before, end, most })
    }
}

/// How Redis's memory grows.
pub struct Growth {
    before: u64,
    end: mpsc::Sender<()>,
    most: std::thread::JoinHandle<Result<u64>>,
}

impl Growth {
    /// By how many bytes at most.
    pub fn end(self) -> Result<u64> {
        drop(self.end);
        let most = self.most.join().map_err(|_| anyhow::anyhow!("nobody looked"))??;
        Ok(most.saturating_sub(self.before))
    }
}

fn memory(connection: &mut redis::Connection) -> Result<u64> {
    let info: String = redis::cmd("INFO").arg("memory").query(connection)?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok());
    used.context("Redis does not tell its memory")
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

fn children(pid: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|child| parent(*child) == Some(pid)).chain([pid]).collect()
}
