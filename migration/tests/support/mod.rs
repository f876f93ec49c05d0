//! Scratch databases, of one test each: SQLite always, and PostgreSQL where `QUCKCHAT_TEST_POSTGRES` holds the URL of a
//! server's maintenance database.
//!
//! Never here: a test.

use entities::*;
use sea_orm::ConnectionTrait;
use tempfile::TempDir;
use uuid::Uuid;

pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A database of one test.
pub struct Scratch {
    pub options: Options,
    folder: Option<TempDir>,
    server: Option<(Db, String)>,
}

impl Scratch {
    pub fn sqlite() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("made/on/the/way/chat.db");
        let options = Options::new(format!("sqlite://{}", path.display()));
        Ok(Self { options, folder: Some(folder), server: None })
    }

    pub async fn postgres(test: &str) -> Outcome<Option<Self>> {
        #[expect(clippy::disallowed_methods, reason = "the test runner says where its server is")]
        let Ok(url) = std::env::var("QUCKCHAT_TEST_POSTGRES") else {
            return Ok(None);
        };
        let server = Db::open(&Options::new(&url)).await?;
        let name = format!("schema_{test}_{}", std::process::id());
        server.write().execute_unprepared(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        server.write().execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
        let (base, _) = url.rsplit_once('/').ok_or("a URL that ends in a database's name")?;
        let mut options = Options::new(format!("{base}/{name}"));
        options.max_connections = 2;
        Ok(Some(Self { options, folder: None, server: Some((server, name)) }))
    }

    pub async fn each(test: &str) -> Outcome<Vec<Self>> {
        Ok([Some(Self::sqlite()?), Self::postgres(test).await?].into_iter().flatten().collect())
    }

    pub async fn migrated(&self) -> Outcome<Db> {
        let db = Db::open(&self.options).await?;
        migration::migrate(db.write()).await?;
        Ok(db)
    }

    pub async fn drop(self, db: Db) -> Outcome {
        db.close().await?;
        if let Some((server, name)) = self.server {
            server.write().execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
            server.close().await?;
        }
        if let Some(folder) = self.folder {
            folder.close()?;
        }
        Ok(())
    }
}

pub const fn user(n: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(n))
}

pub const fn conversation(n: u128) -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(n))
}

pub const fn message(n: u128) -> MessageId {
    MessageId::from_uuid(Uuid::from_u128(n))
}

pub const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub fn a_message(seq: i64) -> message::Model {
    message::Model {
        conversation_id: conversation(1),
        seq,
        id: message(seq as u128),
        sender_id: user(1),
        client_id: format!("client-{seq}"),
        request_hash: vec![0, 1, 255],
        rev: seq,
        changed: false,
        kind: message::MessageKind::Text,
        text: Some("tea? 🫖".to_owned()),
        reply_to: None,
        created_at: at(1_769_846_709_120),
        edited_at: None,
        deleted_at: None,
    }
}
