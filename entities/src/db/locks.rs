//! Locks on what has no row: whoever takes one of the same key waits until the transaction that has it has ended.
//!
//! Never here: what is locked.

use super::Backend;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

/// Waits until no other transaction has the lock of this key, and takes it until this one ends. Does nothing on SQLite:
/// a transaction that writes has the database to itself there.
///
/// Whoever takes several takes them in the order of their keys, so that no two wait for each other.
///
/// # Errors
/// Those of the database.
pub async fn lock_key(transaction: &DatabaseTransaction, key: i64) -> Result<(), DbErr> {
    if Backend::of(transaction) == Backend::Postgres {
        // https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
        let lock = Backend::Postgres.statement("SELECT pg_advisory_xact_lock($1)", [key.into()]);
        transaction.execute_raw(lock).await?;
    }
    Ok(())
}

/// The key of what has this hash: its first eight bytes. Two that share them wait for each other in vain, and that is all.
pub fn key_of(hash: &[u8]) -> i64 {
    hash.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}
