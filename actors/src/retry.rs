//! Trying a transaction again that was surely rolled back: how often, for how long, and after which pauses.
//! Never after a COMMIT whose answer is not known: that one may have happened.

use crate::clock::Clock;
use crate::protocol::{Error, Fault, Outcome};
use entities::{Db, Timestamp, Trouble};
use sea_orm::{DatabaseTransaction, DbErr};
use std::time::Duration;

/// The first pause is no longer than this, and each one after it than twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// No pause is longer than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How often one transaction may still be tried again.
pub struct Retries<'a> {
    clock: &'a dyn Clock,
    left: u32,
    until: Timestamp,
    pause: Duration,
}

impl<'a> Retries<'a> {
    /// As often and, from now on, as long as the database's settings say.
    pub fn new(db: &Db, clock: &'a dyn Clock) -> Retries<'a> {
        let (left, within) = db.retries();
        Retries { clock, left, until: clock.now().plus(within), pause: FIRST_PAUSE }
    }

    /// Of a transaction that was rolled back: if its error may pass, waits a while, which varies so that those who met
    /// do not meet again, and tells that it may be tried again.
    pub async fn again(&mut self, error: &DbErr) -> bool {
        if !Trouble::of(error).is_passing() || self.left == 0 || self.clock.now() >= self.until {
            return false;
        }
        self.left -= 1;
        let most = self.pause.as_millis() as u64;
        let wait = most / 2 + self.clock.below(most / 2 + 1);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        tracing::debug!(%error, wait_ms = wait, "a transaction is tried again");
        self.clock.sleep(Duration::from_millis(wait)).await;
        true
    }
}

/// Why a transaction has no result.
#[derive(Debug)]
pub enum Failed {
    /// Nothing was written.
    RolledBack(DbErr),
    /// Whether it was written is not known.
    Unknown(DbErr),
}

/// Commits; tells what is known of it if that fails.
pub async fn commit(db: &Db, transaction: DatabaseTransaction) -> Result<(), Failed> {
    match db.heard(transaction.commit()).await {
        Ok(()) => {
            db.wrote();
            Ok(())
        }
        Err(error) if Trouble::of(&error).denies_commit() => Err(Failed::RolledBack(error)),
        Err(error) => Err(Failed::Unknown(error)),
    }
}

/// Rolls back after `error`. Where that fails too the transaction is gone with its connection: COMMIT was never sent.
pub async fn roll_back(db: &Db, transaction: DatabaseTransaction, error: DbErr) -> Failed {
    if Trouble::of(&error) != Trouble::Lost {
        let _ = db.heard(transaction.rollback()).await;
    }
    Failed::RolledBack(error)
}

/// Does `work` in a transaction and commits it; again, where it was surely rolled back for what may pass.
///
/// # Errors
/// Those of `work`, which is then rolled back; a fault of the database.
pub async fn transact<T>(
    db: &Db,
    clock: &dyn Clock,
    mut work: impl AsyncFnMut(&DatabaseTransaction) -> Outcome<T>,
) -> Outcome<T> {
    let mut retries = Retries::new(db, clock);
    loop {
        match attempt(db, &mut work).await {
            Ok(done) => return Ok(done),
            Err(Ended::Refused(error)) => return Err(error),
            Err(Ended::Failed(Failed::Unknown(error))) => return Err(error.into()),
            Err(Ended::Failed(Failed::RolledBack(error))) => {
                if !retries.again(&error).await {
                    return Err(error.into());
                }
            }
        }
    }
}

/// What ended an attempt.
enum Ended {
    /// The work itself, which would say the same again.
    Refused(Error),
    /// The database.
    Failed(Failed),
}

async fn attempt<T>(db: &Db, work: &mut impl AsyncFnMut(&DatabaseTransaction) -> Outcome<T>) -> Result<T, Ended> {
    let transaction = db.begin_write().await.map_err(|error| Ended::Failed(Failed::RolledBack(error)))?;
    let working = async {
        match work(&transaction).await {
            Err(Error::Fault(fault)) => fault.database().map_or_else(|fault| Ok(Err(fault.into())), Err),
            outcome => Ok(outcome),
        }
    };
    match db.heard(working).await {
        Ok(Ok(done)) => commit(db, transaction).await.map_err(Ended::Failed).map(|()| done),
        Ok(Err(error)) => {
            // Where it cannot be rolled back it is gone with its connection.
            let _ = db.heard(transaction.rollback()).await;
            Err(Ended::Refused(error))
        }
        Err(error) => Err(Ended::Failed(roll_back(db, transaction, error).await)),
    }
}

impl Fault {
    /// The database's error, if it is one.
    ///
    /// # Errors
    /// The fault itself, if it is another one.
    pub fn database(self) -> Result<DbErr, Fault> {
        self.into_source().downcast().map(|error| *error).map_err(Fault::new)
    }
}
