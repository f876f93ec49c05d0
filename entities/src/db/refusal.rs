//! Why a database cannot be opened, in a sentence that says what to do.
//!
//! Never here: a password.

use sea_orm::sqlx;
use sea_orm::sqlx::postgres::PgConnectOptions;
use std::fmt::Display;
use std::io::ErrorKind;

/// The oldest PostgreSQL that serves, as `server_version_num` tells it.
const OLDEST: i32 = 150_000;

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {sentence}")]
pub struct Refusal {
    /// The setting to correct.
    key: &'static str,
    sentence: String,
}

impl Refusal {
    pub(super) fn new(sentence: impl Into<String>) -> Refusal {
        Refusal { key: "database.url", sentence: sentence.into() }
    }

    /// The same of a replica.
    pub(super) fn of_replica(self) -> Refusal {
        Refusal { key: "database.replicas", ..self }
    }

    /// Of a file that cannot be opened.
    pub(super) fn of_file(path: impl Display, error: impl Display) -> Refusal {
        Refusal::new(format!("the file {path} cannot be opened: {error}"))
    }

    /// Of a server that does not answer in time.
    pub(super) fn silent(options: &PgConnectOptions) -> Refusal {
        let place = place(options);
        Refusal::new(format!(
            "nothing answers at {place}, or what does is no PostgreSQL: correct host and port, or let this machine \
             through to there"
        ))
    }

    /// Of a server that does not let us in.
    pub(super) fn of_server(options: &PgConnectOptions, error: &sqlx::Error) -> Refusal {
        let place = place(options);
        Refusal::new(match error {
            sqlx::Error::Database(refusal) => match refusal.code().as_deref() {
                Some("28P01" | "28000") => format!(
                    "PostgreSQL at {place} does not let the user {:?} in ({}): correct user and password, or its pg_hba.conf",
                    options.get_username(),
                    refusal.message()
                ),
                Some("3D000") => {
                    let name = options.get_database().unwrap_or_else(|| options.get_username());
                    format!("there is no database {name:?} on PostgreSQL at {place}: create it, or correct its name")
                }
                Some("53300") => format!(
                    "PostgreSQL at {place} has no connection left: raise its max_connections, or lower database.connections of its nodes"
                ),
                Some("57P03") => format!("PostgreSQL at {place} is starting or stopping: try again when it runs"),
                _ => format!("PostgreSQL at {place} refuses: {}", refusal.message()),
            },
            sqlx::Error::Io(io) if io.kind() == ErrorKind::ConnectionRefused => {
                format!("nothing listens at {place}: start PostgreSQL there, or correct host and port")
            }
            sqlx::Error::Io(io) if matches!(io.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                format!("what answers at {place} is no PostgreSQL ({io}): correct host and port")
            }
            sqlx::Error::Io(io) => format!("{place} cannot be reached ({io}): correct host and port"),
            sqlx::Error::Tls(tls) => format!("no TLS with {place} ({tls}): correct sslmode or sslrootcert"),
            _ => format!("what answers at {place} is no PostgreSQL ({error}): correct host and port"),
        })
    }
}

/// Whether a server of this version that may only read can be a node's database.
pub(super) fn check_server(place: &str, version: i32, standby: bool) -> Result<(), Refusal> {
    if version < OLDEST {
        let (major, minor) = (version / 10_000, version % 10_000);
        return Err(Refusal::new(format!(
            "PostgreSQL at {place} is version {major}.{minor}: upgrade it to {} or later",
            OLDEST / 10_000
        )));
    }
    if standby {
        return Err(Refusal::new(format!(
            "PostgreSQL at {place} is a standby, which only reads: name its primary here, and this one in database.replicas"
        )));
    }
    Ok(())
}

/// Where a server is, for people.
pub(super) fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_and_standbys_are_refused() {
        assert!(check_server("db:5432", 150_000, false).is_ok());
        assert!(check_server("db:5432", 180_001, false).is_ok());
        let old = check_server("db:5432", 140_019, false).unwrap_err().to_string();
        assert!(old.contains("db:5432 is version 14.19") && old.contains("15 or later"), "{old}");
        let standby = check_server("db:5432", 150_018, true).unwrap_err().to_string();
        assert!(standby.contains("database.replicas"), "{standby}");
    }
}
