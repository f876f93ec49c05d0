//! What an error of the database means for whoever met it.
//!
//! Never here: what is done about it.

use sea_orm::sqlx::Error;
use sea_orm::{DbErr, RuntimeErr};

/// What an error of the database means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Others stood in the way, and the transaction was rolled back: it may be tried again.
    Conflict,
    /// The connection is gone, and with it a transaction whose COMMIT was not sent.
    Lost,
    /// No connection could be had: nothing was begun.
    Crowded,
    /// The database only reads.
    ReadOnly,
    /// There is no room left on its disk.
    Full,
    /// The statement itself was refused, for its values or its words.
    Statement,
    /// Anything else: the database failed, or it took too long.
    Failed,
}

impl Trouble {
    /// What this error means.
    pub fn of(error: &DbErr) -> Trouble {
        match error {
            DbErr::ConnectionAcquire(_) => Trouble::Crowded,
            DbErr::Conn(source) | DbErr::Exec(source) | DbErr::Query(source) => match source {
                RuntimeErr::SqlxError(error) => Trouble::of_driver(error),
                RuntimeErr::Internal(_) => Trouble::Lost,
            },
            // A value that does not fit where it was to go.
            _ => Trouble::Statement,
        }
    }

    /// Whether a transaction that ended so before its COMMIT may be tried again, and may succeed.
    pub fn is_passing(self) -> bool {
        matches!(self, Trouble::Conflict | Trouble::Lost | Trouble::Crowded)
    }

    /// Whether a COMMIT that was answered so has surely not happened.
    pub fn denies_commit(self) -> bool {
        matches!(self, Trouble::Conflict | Trouble::ReadOnly | Trouble::Full)
    }

    pub(super) fn of_driver(error: &Error) -> Trouble {
        match error {
            Error::Database(refusal) => {
                let code = refusal.code().unwrap_or_default();
                // PostgreSQL's codes have five characters, SQLite's are numbers of at most four digits.
                if code.len() == 5 { Trouble::of_sqlstate(&code) } else { Trouble::of_sqlite(&code) }
            }
            Error::PoolTimedOut | Error::PoolClosed => Trouble::Crowded,
            Error::Io(_)
            | Error::Protocol(_)
            | Error::Tls(_)
            | Error::WorkerCrashed
            | Error::BeginFailed
            | Error::InvalidSavePointStatement => Trouble::Lost,
            _ => Trouble::Statement,
        }
    }

    fn of_sqlstate(code: &str) -> Trouble {
        match code {
            // serialization_failure, deadlock_detected, lock_not_available
            "40001" | "40P01" | "55P03" => Trouble::Conflict,
            // admin_shutdown, crash_shutdown, idle_session_timeout, idle_in_transaction_session_timeout
            "57P01" | "57P02" | "57P05" | "25P03" => Trouble::Lost,
            // too_many_connections, cannot_connect_now
            "53300" | "57P03" => Trouble::Crowded,
            "25006" => Trouble::ReadOnly,
            "53100" => Trouble::Full,
            _ => match &code[..2] {
                "08" => Trouble::Lost,
                // Data, integrity, syntax and access, limits of a statement, features
                "22" | "23" | "42" | "54" | "0A" => Trouble::Statement,
                _ => Trouble::Failed,
            },
        }
    }

    fn of_sqlite(code: &str) -> Trouble {
        // An extended code has the plain one in its lowest byte.
        match code.parse::<u32>().map(|code| code & 0xff) {
            Ok(5 | 6) => Trouble::Conflict,
            Ok(8) => Trouble::ReadOnly,
            Ok(13) => Trouble::Full,
            // ERROR, TOOBIG, CONSTRAINT, MISMATCH, RANGE
            Ok(1 | 18 | 19 | 20 | 25) => Trouble::Statement,
            _ => Trouble::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_manuals_say() {
        for (code, trouble) in [
            ("40001", Trouble::Conflict),
            ("40P01", Trouble::Conflict),
            ("55P03", Trouble::Conflict),
            ("57P01", Trouble::Lost),
            ("08006", Trouble::Lost),
            ("53300", Trouble::Crowded),
            ("25006", Trouble::ReadOnly),
            ("53100", Trouble::Full),
            ("23505", Trouble::Statement),
            ("22021", Trouble::Statement),
            // query_canceled: the same statement would take as long again
            ("57014", Trouble::Failed),
            ("XX000", Trouble::Failed),
        ] {
            assert_eq!(Trouble::of_sqlstate(code), trouble, "{code}");
        }
        for (code, trouble) in [
            ("5", Trouble::Conflict),
            ("517", Trouble::Conflict),
            ("13", Trouble::Full),
            ("2067", Trouble::Statement),
            ("778", Trouble::Failed),
        ] {
            assert_eq!(Trouble::of_sqlite(code), trouble, "{code}");
        }
    }

    #[test]
    fn what_was_surely_not_committed_may_be_tried_again() {
        let gone = DbErr::Query(RuntimeErr::SqlxError(Error::Io(std::io::ErrorKind::BrokenPipe.into()).into()));
        assert!(Trouble::of(&gone).is_passing());
        assert!(!Trouble::of(&gone).denies_commit(), "its answer may have been lost");
        assert!(!Trouble::of(&DbErr::Type("x".to_owned())).is_passing());
    }
}
