//! How a database is opened: what its settings do there, and what is refused.
//!
//! Never here: a table of a certain kind (see `schema`).

#[allow(dead_code, reason = "the tests of the schema use the rest")]
mod support;

use entities::*;
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel};
use std::time::Duration;
use support::{Outcome, Scratch, a_message, conversation};

#[tokio::test]
async fn sqlite_readers_cannot_write() -> Outcome {
    let scratch = Scratch::sqlite()?;
    let db = scratch.migrated().await?;
    assert!(user::Entity::delete_many().exec(db.read()).await.is_err());
    assert_eq!(db.examine().await?, Standing::Well);
    assert!(db.pool_size() >= 2 && db.pool_idle() <= db.pool_size() as usize);
    scratch.drop(db).await
}

#[tokio::test]
async fn sqlite_is_as_durable_as_it_says() -> Outcome {
    let scratch = Scratch::sqlite()?;
    let db = scratch.migrated().await?;
    for (pragma, value) in [("synchronous", 2), ("wal_autocheckpoint", 0), ("foreign_keys", 0), ("temp_store", 2)] {
        let row = db.write().query_one_raw(db.backend().statement(format!("PRAGMA {pragma}"), [])).await?;
        assert_eq!(row.ok_or("a row")?.try_get_by_index::<i64>(0)?, value, "{pragma}");
    }
    let row = db.read().query_one_raw(db.backend().statement("PRAGMA journal_mode", [])).await?;
    assert_eq!(row.ok_or("a row")?.try_get_by_index::<String>(0)?, "wal");
    scratch.drop(db).await
}

#[tokio::test]
async fn a_restart_brings_the_log_below_its_limit() -> Outcome {
    let mut scratch = Scratch::sqlite()?;
    scratch.options.wal_limit_bytes = 256 << 10;
    let db = scratch.migrated().await?;
    let mut seq = 0;
    while db.wal_bytes() <= 2 * scratch.options.wal_limit_bytes {
        seq += 1;
        message::Entity::insert(a_message(seq).into_active_model()).exec(db.write()).await?;
    }
    // A reader in the midst of it keeps a restart from finishing, and no commit from happening.
    let reads = db.begin_read().await?;
    message::Entity::find().all(&reads).await?;
    message::Entity::insert(a_message(seq + 1).into_active_model()).exec(db.write()).await?;
    assert!(db.checkpoint(CheckpointMode::Restart).await?.busy);
    reads.rollback().await?;

    let passive = db.checkpoint(CheckpointMode::Passive).await?;
    assert!(!passive.busy && passive.wal_pages > 0 && passive.copied_pages == passive.wal_pages);
    assert!(!db.checkpoint(CheckpointMode::Restart).await?.busy);
    message::Entity::insert(a_message(seq + 2).into_active_model()).exec(db.write()).await?;
    assert!(db.wal_bytes() <= scratch.options.wal_limit_bytes);
    assert_eq!(message::in_conversation(conversation(1)).all(db.read()).await?.len() as i64, seq + 2);
    scratch.drop(db).await
}

#[tokio::test]
async fn postgres_gives_up_in_time() -> Outcome {
    let Some(mut scratch) = Scratch::postgres("limits").await? else {
        return Ok(());
    };
    scratch.options.statement_timeout = Duration::from_secs(7);
    let db = Db::open(&scratch.options).await?;
    for (setting, value) in
        [("lock_timeout", "1s"), ("idle_in_transaction_session_timeout", "2s"), ("statement_timeout", "7s")]
    {
        let row = db.write().query_one_raw(db.backend().statement(format!("SHOW {setting}"), [])).await?;
        assert_eq!(row.ok_or("a row")?.try_get_by_index::<String>(0)?, value, "{setting}");
    }
    assert_eq!(db.checkpoint(CheckpointMode::Restart).await?, Checkpoint::default());
    assert_eq!(db.wal_bytes(), 0);
    scratch.drop(db).await
}

#[tokio::test]
async fn a_strange_url_is_refused() -> Outcome {
    for url in ["mysql://localhost/chat", "sqlite://", "sqlite://:memory:", "sqlite::memory:", ""] {
        assert!(Db::open(&Options::new(url)).await.is_err(), "{url}");
    }
    Ok(())
}
