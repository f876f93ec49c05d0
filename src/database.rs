//! The database as the node keeps an eye on it: its clock, whether it writes, how near its replicas are.
//! Never a row of a domain.

use actors::clock::Clock;
use entities::{Backend, Db};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether the database writes again, and how near its replicas are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the database's clock is compared with this machine's.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

/// Keeps an eye on the database; SQLite needs none.
pub async fn keep_watch(db: Db, clock: Arc<dyn Clock>) {
    if db.backend() == Backend::Sqlite {
        return;
    }
    let mut compared_at = clock.now();
    loop {
        db.watch().await;
        clock.sleep(LOOK_EVERY).await;
        if clock.now().since(compared_at) >= CLOCK_EVERY {
            compared_at = clock.now();
            if let Err(error) = compare_clocks(&db, clock.as_ref()).await {
                tracing::warn!(%error, "the database does not tell the time");
            }
        }
    }
}

/// Learns how far the database's clock is ahead. SQLite has this machine's.
///
/// # Errors
/// Those of the database.
pub async fn compare_clocks(db: &Db, clock: &dyn Clock) -> Result<(), sea_orm::DbErr> {
    use sea_orm::ConnectionTrait;
    if db.backend() == Backend::Sqlite {
        return Ok(());
    }
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let before = clock.now().millis();
    let row = db.read().query_one_raw(db.backend().statement(sql, [])).await?;
    let after = clock.now().millis();
    let Some(theirs) = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()? else { return Ok(()) };
    clock.set_offset_ms(clock.offset_ms() + theirs - (before + after) / 2);
    Ok(())
}
