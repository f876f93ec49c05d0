//! The database as the node keeps an eye on it: whether it writes, how near its replicas are.
//! Never a row of a domain.

use actors::clock::Clock;
use entities::{Backend, Db};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether the database writes again, and how near its replicas are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps an eye on the database; SQLite needs none.
pub async fn keep_watch(db: Db, clock: Arc<dyn Clock>) {
    if db.backend() == Backend::Sqlite {
        return;
    }
    loop {
        db.watch().await;
        clock.sleep(LOOK_EVERY).await;
    }
}
