//! A test's database, cleared away afterwards however the test ends.
//! Never a node.

use entities::{Db, Options};
use futures_util::FutureExt;
use sea_orm::ConnectionTrait;
use std::panic::AssertUnwindSafe;
use tempfile::TempDir;

/// Names the maintenance database of a PostgreSQL server. `tests/run` sets it.
const POSTGRES: &str = "QUCKCHAT_TEST_POSTGRES";

/// One test's database, with its schema.
pub struct Stage {
    _folder: TempDir,
    url: String,
    server: Option<(Db, String)>,
}

impl Stage {
    pub async fn on_sqlite() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        Stage::with(folder, url, None).await
    }

    /// Says so on stderr where there is no server.
    pub async fn on_postgres() -> Option<Stage> {
        #[expect(clippy::disallowed_methods, reason = "the test runner says where its server is")]
        let Ok(url) = std::env::var(POSTGRES) else {
            eprintln!("not run on PostgreSQL: {POSTGRES} is not set");
            return None;
        };
        let server = Db::open(&Options { max_connections: 1, ..Options::new(&url) }).await.unwrap();
        let mut name = [0; 8];
        actors::clock::random_bytes(&mut name);
        let name = format!("actors_{:x}", u64::from_le_bytes(name));
        server.write().execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        let (base, _) = url.rsplit_once('/').unwrap();
        Some(Stage::with(tempfile::tempdir().unwrap(), format!("{base}/{name}"), Some((server, name))).await)
    }

    async fn with(folder: TempDir, url: String, server: Option<(Db, String)>) -> Stage {
        let stage = Stage { _folder: folder, url, server };
        let db = stage.open(1).await;
        migration::migrate(db.write()).await.unwrap();
        db.close().await.unwrap();
        stage
    }

    /// The database, with connections of its own: PostgreSQL so many, SQLite so many that read beside the one that
    /// writes.
    pub async fn open(&self, connections: u32) -> Db {
        Db::open(&Options { max_connections: connections, ..Options::new(&self.url) }).await.unwrap()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs the test, and clears the stage.
    pub async fn play(self, test: impl AsyncFnOnce(&Stage)) {
        let ending = AssertUnwindSafe(Box::pin(test(&self))).catch_unwind().await;
        if let Some((server, name)) = &self.server {
            server.write().execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
        }
        if let Err(panic) = ending {
            std::panic::resume_unwind(panic);
        }
    }
}
