//! How the databases read: each statement of `read.rs` that a client can cause finds its rows by an index.
//! Never what is read: the tests beside this crate see to that.

use super::read::{self, Counters, Span};
use crate::sql::Table;
use entities::{Backend, ConversationId, Db, MessageId, Options, Timestamp, UserId};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use uuid::Uuid;

/// A connection that remembers what it was asked.
struct Recorder<'a> {
    connection: &'a DatabaseConnection,
    asked: Mutex<Vec<Statement>>,
}

#[async_trait::async_trait]
impl ConnectionTrait for Recorder<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.connection.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.connection.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.asked.lock().push(statement.clone());
        self.connection.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.asked.lock().push(statement.clone());
        self.connection.query_all_raw(statement).await
    }
}

fn id(kind: u8, number: u64) -> Uuid {
    Uuid::from_u128(u128::from(kind) << 64 | u128::from(number))
}

/// 100 conversations of 3 members and 300 messages; every tenth was changed, and has a reaction and a mention.
async fn fill(db: &Db) {
    let (numbers, hex, uuid, yes, no) = match db.backend() {
        Backend::Sqlite => (
            "WITH RECURSIVE c (c) AS (SELECT 1 UNION ALL SELECT c + 1 FROM c WHERE c < 100), \
             s (s) AS (SELECT 1 UNION ALL SELECT s + 1 FROM s WHERE s < 300)",
            "printf('%016x', {})",
            "unhex({})",
            "1",
            "0",
        ),
        Backend::Postgres => (
            "WITH c AS (SELECT generate_series(1, 100) AS c), s AS (SELECT generate_series(1, 300) AS s)",
            "lpad(to_hex({}), 16, '0')",
            "({})::uuid",
            "TRUE",
            "FALSE",
        ),
    };
    let key = |kind: u8, number: &str| uuid.replace("{}", &format!("'{kind:016x}' || {}", hex.replace("{}", number)));
    let (conversation, message) = (key(1, "c"), key(2, "c * 1000 + s"));
    let user = |number: &str| key(3, number);
    let bytes = if db.backend() == Backend::Sqlite { "x'00'" } else { "'\\x00'::bytea" };
    let statements = [
        format!(
            "{numbers} INSERT INTO conversations (id, kind, name, description, pair_key, created_by, client_id, request_hash, \
             created_at, updated_at, last_message_at, last_seq, last_rev, policy_rev, participant_count, rev) SELECT {conversation}, 'group', 'tea', NULL, NULL, {}, NULL, NULL, \
             0, 0, c, 300, 334, 4, 3, 1 FROM c",
            user("c")
        ),
        format!(
            "{numbers} INSERT INTO participants (conversation_id, user_id, role, from_rev, until_rev, visible_from_seq, \
             read_seq, delivered_seq, marked_unread, rev, user_rev, joined_at, left_at) SELECT {conversation}, {}, 'member', s, NULL, 1, 290, 290, {no}, s, c, 0, NULL \
             FROM c, s WHERE s <= 3",
            user("c % 40 + s")
        ),
        format!(
            "{numbers} INSERT INTO messages SELECT {conversation}, s, {message}, {}, 'k' || s, {bytes}, \
             CASE WHEN s % 10 = 0 THEN 304 + s / 10 ELSE 4 + s END, CASE WHEN s % 10 = 0 THEN {yes} ELSE {no} END, \
             'text', 'hello', NULL, 0, NULL, NULL FROM c, s",
            user("c")
        ),
        format!("{numbers} INSERT INTO reactions SELECT {message}, {}, '👍', 0 FROM c, s WHERE s % 10 = 0", user("c")),
        format!("{numbers} INSERT INTO mentions SELECT {}, {conversation}, s FROM c, s WHERE s % 10 = 0", user("c")),
        format!(
            "{numbers} INSERT INTO users (id, phone, username, username_key, name_key, display_name, bio, user_rev, \
             profile_user_rev, last_seen_at, created_at, updated_at) SELECT {}, NULL, NULL, NULL, 'x', 'x', '', s, 0, NULL, 0, 0 FROM s",
            user("s")
        ),
    ];
    for sql in statements {
        db.write().execute_unprepared(&sql).await.unwrap();
    }
}

/// The lines of a plan.
async fn plan(db: &Db, statement: Statement) -> Vec<String> {
    let (explain, column) = match db.backend() {
        Backend::Sqlite => ("EXPLAIN QUERY PLAN", 3),
        Backend::Postgres => ("EXPLAIN", 0),
    };
    let sql = format!("{explain} {}", statement.sql);
    let explained = Statement { sql, ..statement };
    let rows = db.read().query_all_raw(explained).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index::<String>(column).unwrap()).collect()
}

/// Whether a line reads a whole table that grows.
fn scans(backend: Backend, line: &str) -> bool {
    // By the names and aliases that the statements give them; `k` is the list of what is asked for. Those of a few
    // thousand rows PostgreSQL is right to read as a whole.
    let tables: &[&str] = match backend {
        Backend::Sqlite => &[
            "messages",
            "mentions",
            "reactions",
            "participants",
            "conversations",
            "users",
            "n",
            "p",
            "c",
            "contacts",
            "blocks",
            "a",
            "b",
        ],
        Backend::Postgres => &["messages", "mentions"],
    };
    match backend {
        Backend::Sqlite => {
            line.strip_prefix("SCAN ").is_some_and(|rest| tables.contains(&rest.split(' ').next().unwrap_or_default()))
        }
        Backend::Postgres => line
            .split_once("Seq Scan on ")
            .is_some_and(|(_, rest)| tables.contains(&rest.split(' ').next().unwrap_or_default())),
    }
}

async fn every_read_finds_its_rows_by_an_index(db: &Db) {
    migration::migrate(db.write()).await.unwrap();
    fill(db).await;
    if db.backend() == Backend::Postgres {
        // It does so by itself; SQLite never does.
        db.write().execute_unprepared("ANALYZE").await.unwrap();
    }
    let recorder = Recorder { connection: db.write(), asked: Mutex::default() };
    let [tea, cake] = [1, 2].map(|number| ConversationId::from_uuid(id(1, number)));
    let user = UserId::from_uuid(id(3, 3));
    let counters = read::counters(&recorder, &[tea, cake]).await.unwrap()[&tea];
    assert_eq!((counters.last_seq, counters.last_rev), (300, 334));
    for span in [Span::Before(i64::MAX), Span::Before(100), Span::After(100)] {
        assert_eq!(read::span(&recorder, tea, 1, span, 50).await.unwrap().0.len(), 50);
    }
    for (after, limit, count) in [(0, 50, 50), (0, 1000, 304), (300, 50, 33), (320, 50, 14), (334, 50, 0)] {
        let (items, _) = read::changes(&recorder, tea, &counters, after, limit).await.unwrap();
        assert_eq!(items.len(), count, "after {after}");
    }
    let few = Counters { last_seq: 300, last_rev: 334, participant_count: 3 };
    read::changes(&recorder, cake, &few, 310, 50).await.unwrap();
    let pairs = || {
        let mut pairs = Table::new(2);
        [tea, cake].iter().for_each(|id| pairs.push([user.into(), (*id).into()]));
        pairs
    };
    assert_eq!(read::positions(&recorder, pairs()).await.unwrap().len(), 2);
    let heads = read::heads(&recorder, pairs()).await.unwrap();
    assert_eq!(heads[&(user, tea)].0.unread, 10);
    read::ended(&recorder, pairs()).await.unwrap();
    crate::presence::acquaintance::left_since(&recorder, Timestamp::from_millis(1)).await.unwrap();
    let pairs: Vec<(UserId, UserId)> = (1..40).map(|other| (user, UserId::from_uuid(id(3, other)))).collect();
    assert!(!crate::presence::acquaintance::acquainted_pairs(&recorder, &pairs).await.unwrap().is_empty());
    assert_eq!(crate::privacy::standings(&recorder, &pairs).await.unwrap().len(), pairs.len());
    assert_eq!(crate::privacy::people(&recorder, user, &[user]).await.unwrap().len(), 1);
    let changed = entities::user::audience_changed_since(Timestamp::from_millis(1)).all(&recorder).await.unwrap();
    assert!(changed.is_empty());
    let changed = entities::block::changed_since(Timestamp::from_millis(1)).all(&recorder).await.unwrap();
    assert!(changed.is_empty());
    let own = read::user_items(&recorder, &[(user, 0)], Some(51)).await.unwrap();
    assert!(!own[&user].1.is_empty());
    let message = MessageId::from_uuid(id(2, 1010));
    assert_eq!(read::reactions(&recorder, &[message]).await.unwrap().len(), 1);

    let asked = std::mem::take(&mut *recorder.asked.lock());
    assert!(asked.len() > 15);
    for statement in asked {
        let sql = statement.sql.clone();
        let plan = plan(db, statement).await;
        let scan = plan.iter().find(|line| scans(db.backend(), line));
        assert_eq!(scan, None, "{sql}\n{}", plan.join("\n"));
    }
}

#[actix_rt::test]
async fn every_read_finds_its_rows_by_an_index_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("plans.db").display());
    every_read_finds_its_rows_by_an_index(&Db::open(&Options::new(url)).await.unwrap()).await;
}

#[actix_rt::test]
async fn every_read_finds_its_rows_by_an_index_on_postgres() {
    #[expect(clippy::disallowed_methods, reason = "the test runner says where its server is")]
    let Ok(url) = std::env::var("QUCKCHAT_TEST_POSTGRES") else {
        return eprintln!("not run on PostgreSQL: QUCKCHAT_TEST_POSTGRES is not set");
    };
    let server = Db::open(&Options { max_connections: 1, ..Options::new(&url) }).await.unwrap();
    let mut bytes = [0; 8];
    crate::clock::random_bytes(&mut bytes);
    let name = format!("plans_{:x}", u64::from_le_bytes(bytes));
    server.write().execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (base, _) = url.rsplit_once('/').unwrap();
    let db = Db::open(&Options { max_connections: 1, ..Options::new(format!("{base}/{name}")) }).await.unwrap();
    let ending =
        futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(every_read_finds_its_rows_by_an_index(&db)));
    let ending = ending.await;
    server.write().execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    if let Err(panic) = ending {
        std::panic::resume_unwind(panic);
    }
}
