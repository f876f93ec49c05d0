//! The schema: its migrations, one file a domain, for SQLite and PostgreSQL both.
//!
//! Never here: a query of the running node. A migration that was shipped is never edited.

use sea_orm_migration::sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

mod dialect;
mod m20260101_000001_identity;
mod m20260101_000002_conversations;
mod m20260101_000003_outbox;

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
        ]
    }
}

/// Applies what is missing, all of it or nothing, and tells how many migrations that were.
///
/// Any number of nodes may call it at once: one works, the others wait and find nothing to do. On SQLite give it the
/// writing connection.
///
/// # Errors
/// Those of the database, and `DbErr::Custom` if a newer version of the node has migrated it further.
pub async fn migrate(db: &DatabaseConnection) -> Result<u32, DbErr> {
    let transaction = lock(db).await?;
    let pending = Migrator::get_pending_migrations(&transaction).await?.len();
    Migrator::up(&transaction, None).await?;
    transaction.commit().await?;
    Ok(u32::try_from(pending).unwrap_or(u32::MAX))
}

/// How many migrations are missing. Reads only, also where nothing was ever migrated.
///
/// # Errors
/// As for `migrate`.
pub async fn pending(db: &DatabaseConnection) -> Result<u32, DbErr> {
    let pending = Migrator::get_pending_migrations_read_only(db).await?.len();
    Ok(u32::try_from(pending).unwrap_or(u32::MAX))
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
        transaction.execute_unprepared("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0").await?;
        transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK_KEY})")).await?;
    }
    Ok(transaction)
}
