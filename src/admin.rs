//! What an operator does from the command line: giving roles, listing the nodes, replacing keys, and making people for
//! load and demonstration.
//! Never over the network.

mod rotate;

pub use rotate::{Which, rotate_keys};

use crate::auth::roles::OPERATOR;
use crate::auth::sessions::Origin;
use crate::auth::{self, Auth, audit};
use crate::config::{Config, Profile};
use crate::nodes::{listed, write_table};
use crate::providers;
use actors::clock::Clock;
use actors::protocol::command::Device;
use entities::{Db, SessionId, Timestamp, UserId, refresh_token, session, user, user_role};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter};
use serde::Serialize;
use serde_json::json;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// How long the access tokens of seeded people are good: a day of trying things out.
const SEEDED_TTL: Duration = Duration::from_secs(86_400);
/// People of one transaction: a node that serves the same file meanwhile waits no longer than for one of its own.
const SEEDED_AT_ONCE: usize = 500;
/// What a seeded person's session is called.
const SEEDED_DEVICE: &str = "quckchat admin seed";

/// Why an operator's command did nothing.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody is called so.
    #[error("there is no user {0:?}: give an id, a username, or a phone number with its +")]
    NoSuchUser(String),
    /// The node knows no such role.
    #[error("there is no role {0:?}; there is: {OPERATOR}")]
    NoSuchRole(String),
    /// Made-up people have no place among real ones.
    #[error("profile: people are seeded in development only")]
    NotInProduction,
    /// What is to be done failed.
    #[error(transparent)]
    Failed(#[from] actors::protocol::Error),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbErr),
    /// The output could not be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Gives a user a role; tells whom, and whether they did not have it yet.
///
/// # Errors
/// `AdminError`
pub async fn grant(db: &Db, clock: &dyn Clock, user: &str, role: &str) -> Result<(UserId, bool), AdminError> {
    let (id, role) = (find(db, user).await?, known(role)?);
    let transaction = db.begin_write().await?;
    let held = user_role::of_user(id).filter(user_role::COLUMN.role.eq(role)).one(&transaction).await?.is_some();
    if !held {
        let row = user_role::Model { user_id: id, role: role.to_owned(), granted_at: clock.now() };
        user_role::Entity::insert(row.into_active_model()).exec_without_returning(&transaction).await?;
        audit::record(&transaction, clock, role_event(audit::Kind::RoleGranted, id, role)).await?;
    }
    transaction.commit().await?;
    Ok((id, !held))
}

/// Takes a role from a user; tells from whom, and whether they had it.
///
/// # Errors
/// `AdminError`
pub async fn revoke(db: &Db, clock: &dyn Clock, user: &str, role: &str) -> Result<(UserId, bool), AdminError> {
    let (id, role) = (find(db, user).await?, known(role)?);
    let transaction = db.begin_write().await?;
    let held = user_role::COLUMN.user_id.eq(id).and(user_role::COLUMN.role.eq(role));
    let taken = user_role::Entity::delete_many().filter(held).exec(&transaction).await?.rows_affected > 0;
    if taken {
        audit::record(&transaction, clock, role_event(audit::Kind::RoleRevoked, id, role)).await?;
    }
    transaction.commit().await?;
    Ok((id, taken))
}

fn role_event(kind: audit::Kind, user: UserId, role: &str) -> audit::Event {
    audit::Event { user: Some(user), detail: json!({ "role": role, "by": "admin" }), ..audit::Event::of(kind) }
}

fn known(role: &str) -> Result<&str, AdminError> {
    if role == OPERATOR { Ok(role) } else { Err(AdminError::NoSuchRole(role.to_owned())) }
}

async fn find(db: &Db, text: &str) -> Result<UserId, AdminError> {
    let query = match (text.parse::<UserId>(), auth::phone::normal_form(text)) {
        (Ok(id), _) => user::by_id(id),
        (_, Some(phone)) => user::by_phone(&phone),
        _ => user::by_username_key(&text.to_lowercase()),
    };
    let row = query.filter(user::COLUMN.left_at.is_null()).one(db.read()).await?;
    row.map(|row| row.id).ok_or_else(|| AdminError::NoSuchUser(text.to_owned()))
}

/// Prints the nodes: a table for people, or one JSON object a line.
///
/// # Errors
/// `AdminError`
pub async fn nodes(db: &Db, clock: &dyn Clock, as_json: bool, out: &mut impl Write) -> Result<(), AdminError> {
    let nodes = listed(db, clock.now()).await?;
    if as_json {
        for node in &nodes {
            serde_json::to_writer(&mut *out, node).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    } else {
        write_table(&nodes, out)?;
    }
    Ok(out.flush()?)
}

/// A person who was made, as it is printed: all that a client needs to act for them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seeded {
    user_id: UserId,
    session_id: SessionId,
    access_token: String,
    refresh_token: String,
}

/// Makes people with a session each, and prints them, one JSON object a line. A node may be serving meanwhile.
///
/// # Errors
/// `AdminError`
pub async fn seed(
    config: &Config,
    db: &Db,
    clock: Arc<dyn Clock>,
    users: usize,
    out: &mut impl Write,
) -> Result<(), AdminError> {
    if config.profile == Profile::Production {
        return Err(AdminError::NotInProduction);
    }
    let auth = Auth::open(config, db.clone(), clock.clone(), providers::nobody()).await?;
    for first in (1..=users).step_by(SEEDED_AT_ONCE) {
        let numbers = first..=users.min(first + SEEDED_AT_ONCE - 1);
        let mut batch = Batch::default();
        let people: Result<Vec<Seeded>, _> = numbers.map(|number| batch.add(&auth, &*clock, number)).collect();
        let people = people?;
        batch.insert(db).await?;
        for person in &people {
            serde_json::to_writer(&mut *out, person).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(out.flush()?)
}

/// The rows of some people.
#[derive(Default)]
struct Batch {
    users: Vec<user::ActiveModel>,
    sessions: Vec<session::ActiveModel>,
    tokens: Vec<refresh_token::ActiveModel>,
}

impl Batch {
    fn add(&mut self, auth: &Auth, clock: &dyn Clock, number: usize) -> Result<Seeded, actors::protocol::Error> {
        let now = clock.now();
        let (user_id, session_id) = (clock.user_id(), clock.session_id());
        let (refresh_token, token_row) = auth.refresh.mint(session_id, None);
        let access_token = auth.tokens.issue_for(user_id, session_id, SEEDED_TTL)?;
        self.users.push(person(user_id, number, now).into_active_model());
        self.sessions.push(auth::sessions::row(auth::sessions::Beginning {
            session: session_id,
            user: user_id,
            origin: Origin {
                device: Device { name: Some(SEEDED_DEVICE.to_owned()), ..Device::default() },
                ..Origin::default()
            },
            at: now,
        }));
        self.tokens.push(token_row);
        Ok(Seeded { user_id, session_id, access_token, refresh_token })
    }

    async fn insert(self, db: &Db) -> Result<(), DbErr> {
        let transaction = db.begin_write().await?;
        user::Entity::insert_many(self.users).exec_without_returning(&transaction).await?;
        session::Entity::insert_many(self.sessions).exec_without_returning(&transaction).await?;
        refresh_token::Entity::insert_many(self.tokens).exec_without_returning(&transaction).await?;
        transaction.commit().await
    }
}

fn person(id: UserId, number: usize, now: Timestamp) -> user::Model {
    let display_name = format!("Person {number}");
    let name_key = display_name.to_lowercase();
    user::Model { display_name, name_key, ..user::Model::new(id, now) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::roles;
    use crate::auth::testing::{FakeClock, Scratch};
    use entities::audit_event;
    use sea_orm::PaginatorTrait;

    async fn config() -> (Config, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::shipped().unwrap();
        config.data = folder.path().to_owned();
        (config, folder)
    }

    #[actix_web::test]
    async fn seeded_people_can_sign_in_at_once() {
        for scratch in Scratch::each().await {
            let (config, _folder) = config().await;
            let clock = FakeClock::new();
            let mut out = Vec::new();
            seed(&config, &scratch.db, clock.clone(), 1201, &mut out).await.unwrap();
            let lines: Vec<serde_json::Value> =
                String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), 1201);
            assert_eq!(user::Entity::find().count(scratch.db.read()).await.unwrap(), 1201);

            let auth = Auth::open(&config, scratch.db.clone(), clock.clone(), providers::nobody()).await.unwrap();
            let text = |name: &str| lines[1200][name].as_str().unwrap().to_owned();
            let nearly_a_day = clock.now().plus(SEEDED_TTL - Duration::from_secs(1));
            let identity = auth.tokens.verify(&text("accessToken"), nearly_a_day).unwrap();
            assert_eq!((identity.user.to_string(), identity.session.to_string()), (text("userId"), text("sessionId")));
            let sessions = auth::Sessions::new(scratch.db.clone(), clock.clone(), &config.auth);
            sessions.check(identity).await.unwrap();
            assert!(auth.refresh.spend(&text("refreshToken"), None).await.is_ok());
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn production_has_no_made_up_people() {
        let scratch = Scratch::sqlite().await;
        let (mut config, _folder) = config().await;
        config.profile = Profile::Production;
        let refused = seed(&config, &scratch.db, FakeClock::new(), 1, &mut Vec::new()).await;
        assert!(matches!(refused, Err(AdminError::NotInProduction)));
        scratch.drop().await;
    }

    #[actix_web::test]
    async fn roles_are_given_and_taken_once_and_audited() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let dyn_clock: &dyn Clock = &*clock;
            let phone = Some("+4915112345678".to_owned());
            let ann = user::Model {
                username: Some("Ann".to_owned()),
                username_key: Some("ann".to_owned()),
                phone,
                ..user::Model::new(dyn_clock.user_id(), clock.now())
            };
            let id = ann.id;
            user::Entity::insert(ann.into_active_model()).exec_without_returning(scratch.db.write()).await.unwrap();
            for (name, new) in [("aNN", true), ("+49 151 12345678", false), (id.to_string().as_str(), false)] {
                assert_eq!(grant(&scratch.db, dyn_clock, name, OPERATOR).await.unwrap(), (id, new));
            }
            assert!(roles::has(scratch.db.read(), id, OPERATOR).await.unwrap());
            assert_eq!(revoke(&scratch.db, dyn_clock, "ann", OPERATOR).await.unwrap(), (id, true));
            assert_eq!(revoke(&scratch.db, dyn_clock, "ann", OPERATOR).await.unwrap(), (id, false));
            assert!(!roles::has(scratch.db.read(), id, OPERATOR).await.unwrap());
            assert_eq!(audit_event::of_user(id).count(scratch.db.read()).await.unwrap(), 2);

            let nobody = grant(&scratch.db, dyn_clock, "bob", OPERATOR).await;
            assert!(matches!(nobody, Err(AdminError::NoSuchUser(_))));
            let king = grant(&scratch.db, dyn_clock, "ann", "king").await;
            assert!(matches!(king, Err(AdminError::NoSuchRole(_))));
            let ended = user::ActiveModel { left_at: sea_orm::Set(Some(clock.now())), ..Default::default() };
            user::Entity::update_many().set(ended).exec(scratch.db.write()).await.unwrap();
            let gone = grant(&scratch.db, dyn_clock, &id.to_string(), OPERATOR).await;
            assert!(matches!(gone, Err(AdminError::NoSuchUser(_))));
            scratch.drop().await;
        }
    }
}
