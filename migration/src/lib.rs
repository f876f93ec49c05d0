//! The schema: its migrations, one file a domain, for SQLite and PostgreSQL both.
//!
//! Never here: a query of the running node. A migration that was shipped is never edited.
//!
//! # Each migration leaves the release before it working
//! In a rolling update the first new node migrates while the old ones serve, an old one may be started again after that,
//! and a release may be rolled back without its migrations. So a migration *adds*: a table, an index, a column that may
//! be NULL or has a default. What the release before reads or writes it does not rename, remove, retype or constrain.
//! To remove something takes two releases: the first stops using it, the second drops it. An index on a large table is
//! made `CONCURRENTLY` by hand before the update, and `IF NOT EXISTS` here. And a node that finds migrations which it
//! does not know starts: by this rule they leave it working.

use sea_orm_migration::sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use std::collections::BTreeSet;

mod dialect;
mod m20260101_000001_identity;
mod m20260101_000002_conversations;
mod m20260101_000003_outbox;
mod m20261122_000001_nodes;
mod m20261123_000001_people;

/// The key of the advisory lock that one node holds while it migrates: "quckchat" in ASCII.
const LOCK_KEY: i64 = i64::from_be_bytes(*b"quckchat");

/// Every migration, in the order in which they apply.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20260101_000001_identity::Migration),
            Box::new(m20260101_000002_conversations::Migration),
            Box::new(m20260101_000003_outbox::Migration),
            Box::new(m20261122_000001_nodes::Migration),
            Box::new(m20261123_000001_people::Migration),
        ]
    }
}

/// Applies what is missing, all of it or nothing, and tells how many migrations that were.
///
/// Any number of nodes may call it at once: one works, the others wait and find nothing to do. On SQLite give it the
/// writing connection.
///
/// # Errors
/// Those of the database, and `DbErr::Custom` if the schema is that of another line of releases.
pub async fn migrate(db: &DatabaseConnection) -> Result<u32, DbErr> {
    // Whoever has nothing to do waits for nobody, and may also stand before a database that only reads.
    if missing(db).await?.is_empty() {
        return Ok(0);
    }
    let transaction = lock(db).await?;
    let pending = missing(&transaction).await?;
    if !pending.is_empty() {
        Migrator::up(&transaction, None).await?;
    }
    transaction.commit().await?;
    Ok(u32::try_from(pending.len()).unwrap_or(u32::MAX))
}

/// How many migrations are missing. Reads only, also where nothing was ever migrated.
///
/// # Errors
/// As for `migrate`.
pub async fn pending(db: &DatabaseConnection) -> Result<u32, DbErr> {
    Ok(u32::try_from(missing(db).await?.len()).unwrap_or(u32::MAX))
}

/// Which migrations are missing.
async fn missing(db: &impl ConnectionTrait) -> Result<BTreeSet<String>, DbErr> {
    let ours: BTreeSet<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let sql = match db.get_database_backend() {
        DbBackend::Postgres => "SELECT 1 WHERE to_regclass('seaql_migrations') IS NOT NULL",
        _ => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'",
    };
    let statement = |sql: &str| Statement::from_string(db.get_database_backend(), sql);
    if db.query_one_raw(statement(sql)).await?.is_none() {
        return Ok(ours);
    }
    let rows = db.query_all_raw(statement("SELECT version FROM seaql_migrations")).await?;
    let applied: BTreeSet<String> = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
    let missing: BTreeSet<String> = ours.difference(&applied).cloned().collect();
    let unknown: Vec<&String> = applied.difference(&ours).collect();
    if !unknown.is_empty() {
        if !missing.is_empty() {
            let text =
                format!("its schema is that of another line of releases: it has {unknown:?}, and not {missing:?}");
            return Err(DbErr::Custom(text));
        }
        tracing::info!(?unknown, "the schema is that of a later release, which leaves this one working");
    }
    Ok(missing)
}

/// A transaction in which nobody else migrates.
async fn lock(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = db.begin_with_options(options).await?;
    if transaction.get_database_backend() == DbBackend::Postgres {
        // A request's limits would end a wait for the lock, or a long change of a table.
        let unlimited = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; \
                         SET LOCAL idle_in_transaction_session_timeout = 0";
        transaction.execute_unprepared(unlimited).await?;
        let sql = format!("SELECT pg_try_advisory_xact_lock({LOCK_KEY})");
        let free = transaction.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
        if !free.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(false) {
            let holder = holder(&transaction).await?;
            tracing::info!(holder, "waiting for another node that brings the schema up to date");
            transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK_KEY})")).await?;
        }
    }
    Ok(transaction)
}

/// Who holds the lock, as the operator finds it in `pg_stat_activity`.
async fn holder(transaction: &DatabaseTransaction) -> Result<String, DbErr> {
    let (high, low) = ((LOCK_KEY as u64) >> 32, LOCK_KEY as u64 & 0xffff_ffff);
    let sql = format!(
        "SELECT a.application_name || ', process ' || a.pid || coalesce(' from ' || host(a.client_addr), '') || ', since ' || a.xact_start::text \
         FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database() AND l.classid::bigint = {high} AND l.objid::bigint = {low}"
    );
    let row = transaction.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
    let holder = row.map(|row| row.try_get_by_index::<Option<String>>(0)).transpose()?;
    Ok(holder.flatten().unwrap_or_else(|| "nobody any more".to_owned()))
}
