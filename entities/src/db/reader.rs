//! Reads outside transactions: what met a dead connection is asked once more, on another one.
//!
//! Never a write: one that went unanswered may have happened.

use super::standing::Signs;
use super::trouble::Trouble;
use sea_orm::sqlx;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 'a>>;

/// Where to read outside transactions.
///
/// # Why
/// After a server was restarted every connection of the pool is dead, and none of them knows. The first read that finds
/// out takes the others with it (see `Signs::distrust`) and is asked again, so that no client hears of it.
#[derive(Clone)]
pub struct Reader {
    pub(super) connection: DatabaseConnection,
    signs: Arc<Signs>,
    /// How long a server may be silent, where there is a network in between.
    patience: Option<Duration>,
}

impl Reader {
    pub(super) fn new(connection: DatabaseConnection, signs: &Arc<Signs>, patience: Option<Duration>) -> Reader {
        Reader { connection, signs: signs.clone(), patience }
    }

    async fn ask<T>(
        &self,
        statement: Statement,
        ask: for<'a> fn(&'a DatabaseConnection, Statement) -> Answer<'a, T>,
    ) -> Result<T, DbErr> {
        let Some(patience) = self.patience else { return ask(&self.connection, statement).await };
        let again = statement.clone();
        let error = match heard(patience, ask(&self.connection, statement)).await {
            Err(error) if self.signs.note(&error) == Trouble::Lost => error,
            answered => return answered,
        };
        tracing::debug!(%error, "a read met a dead connection; asking on another one");
        heard(patience, ask(&self.connection, again)).await.inspect_err(|error| {
            self.signs.note(error);
        })
    }
}

/// Awaits what a server answers, but not for ever: one that has vanished from the network does not say so.
pub(super) async fn heard<T>(patience: Duration, answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
        let silent = std::io::Error::new(std::io::ErrorKind::TimedOut, "the database did not answer in time");
        Err(DbErr::Conn(RuntimeErr::SqlxError(sqlx::Error::Io(silent).into())))
    })
}

#[async_trait::async_trait]
impl ConnectionTrait for Reader {
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
        self.ask(statement, |connection, statement| connection.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.ask(statement, |connection, statement| connection.query_all_raw(statement)).await
    }
}
