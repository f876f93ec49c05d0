//! What the tests of the slices stand on: a clock that they set, and scratch databases.
//! Never part of the node.

use crate::auth::Auth;
use crate::auth::carriers::{Carriers, Mail, Mailer, Sms, SmsSender, Unsent};
use crate::config::Config;
use actors::clock::{Clock, random_bytes};
use actors::protocol::command::OtpChannel;
use actors::protocol::{ErrorCode, Outcome};
use entities::{Db, Options, Timestamp};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sea_orm::ConnectionTrait;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

/// Stands still until it is told otherwise.
pub struct FakeClock(AtomicI64);

impl FakeClock {
    /// At some moment of 2026.
    pub fn new() -> Arc<FakeClock> {
        Arc::new(FakeClock(AtomicI64::new(1_770_000_000_000)))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    #[expect(clippy::disallowed_methods, reason = "it is the clock")]
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn fill(&self, bytes: &mut [u8]) {
        random_bytes(bytes);
    }
}

/// A migrated database of one test: SQLite always, and PostgreSQL where `QUCKCHAT_TEST_POSTGRES` holds the URL of a
/// server's maintenance database.
pub struct Scratch {
    pub db: Db,
    folder: Option<TempDir>,
    server: Option<(Db, String)>,
}

impl Scratch {
    pub async fn each() -> Vec<Scratch> {
        let mut all = vec![Scratch::sqlite().await];
        #[expect(clippy::disallowed_methods, reason = "the test runner says where its server is")]
        if let Ok(url) = std::env::var("QUCKCHAT_TEST_POSTGRES") {
            all.push(Scratch::postgres(&url).await);
        }
        all
    }

    pub async fn sqlite() -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(format!("sqlite://{}", folder.path().join("scratch.db").display()));
        let db = Scratch::migrated(&options).await;
        Scratch { db, folder: Some(folder), server: None }
    }

    async fn postgres(url: &str) -> Scratch {
        let server = Db::open(&Options { max_connections: 1, ..Options::new(url) }).await.unwrap();
        let mut name = [0; 8];
        random_bytes(&mut name);
        let name = format!("slices_{:x}", u64::from_le_bytes(name));
        server.write().execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        let (base, _) = url.rsplit_once('/').unwrap();
        let db = Scratch::migrated(&Options::new(format!("{base}/{name}"))).await;
        Scratch { db, folder: None, server: Some((server, name)) }
    }

    async fn migrated(options: &Options) -> Db {
        let db = Db::open(options).await.unwrap();
        migration::migrate(db.write()).await.unwrap();
        db
    }

    pub async fn drop(self) {
        self.db.close().await.unwrap();
        if let Some((server, name)) = self.server {
            server.write().execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
            server.close().await.unwrap();
        }
        drop(self.folder);
    }
}

/// Signing in, as the shipped settings have it, on a database of its own.
pub struct Setting {
    pub scratch: Scratch,
    pub clock: Arc<FakeClock>,
    pub pocket: Arc<Pocket>,
    pub auth: Arc<Auth>,
    pub config: Config,
    /// There as long as it is kept.
    _folder: TempDir,
}

impl Setting {
    /// One on each database.
    pub async fn each() -> Vec<Setting> {
        Setting::each_with(|_| ()).await
    }

    /// The same with settings of the test's own.
    pub async fn each_with(set: impl Fn(&mut Config)) -> Vec<Setting> {
        let mut all = Vec::new();
        for scratch in Scratch::each().await {
            all.push(Setting::on(scratch, &set).await);
        }
        all
    }

    /// On this database.
    pub async fn on(scratch: Scratch, set: impl Fn(&mut Config)) -> Setting {
        let (clock, pocket, folder) = (FakeClock::new(), Arc::new(Pocket::default()), tempfile::tempdir().unwrap());
        let mut config = Config { data: folder.path().to_owned(), ..Config::shipped().unwrap() };
        set(&mut config);
        let auth = Auth::open(&config, scratch.db.clone(), clock.clone(), pocket.carriers()).await.unwrap();
        Setting { scratch, clock, pocket, auth: Arc::new(auth), config, _folder: folder }
    }
}

/// Why somebody was refused.
pub fn code<T>(outcome: Outcome<T>) -> Option<ErrorCode> {
    outcome.err().map(|error| error.code())
}

/// Keeps what it was to send.
#[derive(Default)]
pub struct Pocket(Mutex<Vec<(String, String)>>);

impl Pocket {
    /// Whoever sends, sends here.
    pub fn carriers(self: &Arc<Pocket>) -> Carriers {
        Carriers { sms: self.clone(), mail: self.clone() }
    }

    /// The code of a verification.
    pub fn code(&self, verification_id: &str) -> String {
        self.found(verification_id).unwrap()
    }

    /// The code of a verification, if one was sent.
    pub fn found(&self, verification_id: &str) -> Option<String> {
        let sent = self.0.lock();
        sent.iter().find(|(id, _)| id == verification_id).map(|(_, code)| code.clone())
    }

    /// How many codes were sent.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }
}

#[async_trait::async_trait]
impl SmsSender for Pocket {
    fn channels(&self) -> &[OtpChannel] {
        &[OtpChannel::Sms, OtpChannel::Call]
    }

    async fn send(&self, sms: Sms<'_>) -> Result<Option<String>, Unsent> {
        self.0.lock().push((sms.verification_id.to_owned(), sms.code.to_owned()));
        Ok(None)
    }

    async fn tell(&self, _: &str, _: &str) -> Outcome<()> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl Mailer for Pocket {
    async fn send(&self, mail: Mail<'_>) -> Result<(), Unsent> {
        if let Some((code, id)) = mail.code {
            self.0.lock().push((id.to_owned(), code.to_owned()));
        }
        Ok(())
    }
}
