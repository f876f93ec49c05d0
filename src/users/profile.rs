//! Profiles: who may see and change what of one.
//! Never a phone number to anybody but its owner.

use crate::auth::{audit, roles};
use actors::clock::Clock;
use actors::privacy::Relations;
use actors::protocol::command::UpdateProfile;
use actors::protocol::{Error, ErrorCode, Outcome, check, view};
use actors::retry::transact;
use entities::{Db, SessionId, UserId, user};
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, Set, SqlErr};
use serde_json::json;
use std::net::IpAddr;

/// Who changes a profile.
#[derive(Debug, Clone, Copy)]
pub struct Editor {
    /// Who.
    pub user: UserId,
    /// By which session.
    pub session: SessionId,
    /// From where.
    pub address: Option<IpAddr>,
}

/// Somebody's profile, as far as their privacy lets the viewer see it.
///
/// # Errors
/// `user.not_found`; a fault of the database.
pub async fn get(db: &Db, clock: &dyn Clock, user: UserId, viewer: UserId) -> Outcome<view::User> {
    let row = user::by_id(user).one(db.read()).await?.ok_or(ErrorCode::UserNotFound)?;
    let relations = Relations::of(db.read(), viewer, &[user]).await?;
    Ok(view::User::from_row(row, relations.to(user), clock.now()))
}

/// Changes a profile: one's own, or anybody's with the role for it, which is audited.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`, `user.username_taken`, `request.invalid`; a fault of the database.
pub async fn update(db: &Db, clock: &dyn Clock, editor: Editor, command: UpdateProfile) -> Outcome<view::User> {
    let user = command.user_id.resolve(editor.user);
    if user != editor.user {
        roles::demand(db.read(), editor.user, roles::OPERATOR).await?;
    }
    let fields = fields(&command);
    let changed = changed(&command)?;
    transact(db, clock, async |transaction| {
        let row = write(transaction, clock, user, changed.clone()).await?.ok_or(ErrorCode::UserNotFound)?;
        if user != editor.user {
            let event = audit::Event {
                kind: audit::Kind::ProfileUpdatedByOperator,
                user: Some(user),
                session: Some(editor.session),
                address: editor.address,
                detail: json!({ "by": editor.user, "fields": fields }),
            };
            audit::record(transaction, clock, event).await?;
        }
        let relations = Relations::of(transaction, editor.user, &[user]).await?;
        Ok(view::User::from_row(row, relations.to(user), clock.now()))
    })
    .await
}

/// The columns that a command sets, and the keys that follow from them.
fn changed(command: &UpdateProfile) -> Outcome<user::ActiveModel> {
    let mut changed = user::ActiveModel::default();
    if let Some(name) = &command.display_name {
        let name = name.trim();
        changed.display_name = Set(name.to_owned());
        changed.name_key = Set(name.to_lowercase());
    }
    if let Some(name) = &command.username {
        changed.username_key = Set(Some(check::username(name)?));
        changed.username = Set(Some(name.clone()));
    }
    if let Some(bio) = &command.bio {
        changed.bio = Set(bio.clone());
    }
    if let Some(avatar) = command.avatar_id {
        changed.avatar_id = Set(avatar);
    }
    Ok(changed)
}

fn fields(command: &UpdateProfile) -> Vec<&'static str> {
    let given = [
        ("displayName", command.display_name.is_some()),
        ("username", command.username.is_some()),
        ("bio", command.bio.is_some()),
        ("avatarId", command.avatar_id.is_some()),
    ];
    given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
}

/// One statement changes the profile of an account that has not ended, raises the counter and stamps it: on the right of
/// an UPDATE stands what was.
pub(super) async fn write(
    transaction: &DatabaseTransaction,
    clock: &dyn Clock,
    user: UserId,
    mut changed: user::ActiveModel,
) -> Outcome<Option<user::Model>> {
    changed.updated_at = Set(clock.now());
    let updated = user::Entity::update_many()
        .set(changed)
        .col_expr(user::Column::UserRev, user::COLUMN.user_rev.add(1))
        .col_expr(user::Column::ProfileUserRev, user::COLUMN.user_rev.add(1))
        .filter(user::COLUMN.id.eq(user))
        .filter(user::COLUMN.left_at.is_null())
        .exec_with_returning(transaction)
        .await
        .map_err(taken)?;
    Ok(updated.into_iter().next())
}

/// The username alone is unique among what a profile sets.
fn taken(error: DbErr) -> Error {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => ErrorCode::UserUsernameTaken.into(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};
    use crate::users::testing::{a_user, update_of};
    use actors::protocol::command::UserRef;
    use entities::audit_event;
    use entities::user_role;
    use futures_util::future::join_all;

    fn editor(user: UserId) -> Editor {
        let session = SessionId::from_uuid(user.uuid());
        Editor { user, session, address: None }
    }

    fn named(name: &str) -> UpdateProfile {
        UpdateProfile { username: Some(name.to_owned()), ..update_of(UserRef::Me) }
    }

    fn code<T>(outcome: Outcome<T>) -> Option<ErrorCode> {
        outcome.err().map(|error| error.code())
    }

    #[actix_web::test]
    async fn a_change_raises_the_owners_counter() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let ann = a_user(&scratch.db, "Ann").await;
            let command = UpdateProfile {
                display_name: Some("  Änn B ".to_owned()),
                username: Some("Ann_B".to_owned()),
                ..update_of(UserRef::Me)
            };
            let seen = update(&scratch.db, &*clock, editor(ann), command).await.unwrap();
            assert_eq!((seen.display_name.as_str(), seen.username.as_deref()), ("Änn B", Some("Ann_B")));
            let row = user::by_id(ann).one(scratch.db.read()).await.unwrap().unwrap();
            assert_eq!((row.user_rev, row.profile_user_rev), (2, 2));
            assert_eq!((row.name_key.as_str(), row.username_key.as_deref()), ("änn b", Some("ann_b")));
            assert_eq!(row.updated_at, clock.now());

            let bio = UpdateProfile { bio: Some("hello".to_owned()), ..update_of(UserRef::Me) };
            let seen = update(&scratch.db, &*clock, editor(ann), bio).await.unwrap();
            assert_eq!((seen.display_name.as_str(), seen.bio.as_str()), ("Änn B", "hello"));
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn a_username_is_one_persons_whatever_its_case() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let mut people = Vec::new();
            for name in ["Ann", "Bob", "Cy"] {
                people.push(a_user(&scratch.db, name).await);
            }
            let names = ["Tea", "tea", "TEA"];
            let claims = people.iter().zip(names);
            let outcomes =
                join_all(claims.map(|(user, name)| update(&scratch.db, &*clock, editor(*user), named(name)))).await;
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
            for outcome in outcomes.into_iter().filter(|outcome| outcome.is_err()) {
                assert_eq!(code(outcome), Some(ErrorCode::UserUsernameTaken));
            }
            // Whoever has it may spell it anew.
            let owner = user::by_username_key("tea").one(scratch.db.read()).await.unwrap().unwrap();
            assert!(update(&scratch.db, &*clock, editor(owner.id), named("tEa")).await.is_ok());
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn only_operators_change_other_people_and_that_is_audited() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let (ann, bob) = (a_user(&scratch.db, "Ann").await, a_user(&scratch.db, "Bob").await);
            let bobs = || UpdateProfile { bio: Some("changed".to_owned()), ..update_of(UserRef::Id(bob)) };
            assert_eq!(code(update(&scratch.db, &*clock, editor(ann), bobs()).await), Some(ErrorCode::AuthForbidden));
            let nobody = UserRef::Id(UserId::from_uuid(uuid::Uuid::nil()));
            let theirs = || UpdateProfile { bio: Some("x".to_owned()), ..update_of(nobody) };
            assert_eq!(code(update(&scratch.db, &*clock, editor(ann), theirs()).await), Some(ErrorCode::AuthForbidden));

            let role = user_role::ActiveModel {
                user_id: Set(ann),
                role: Set(roles::OPERATOR.to_owned()),
                granted_at: Set(clock.now()),
            };
            user_role::Entity::insert(role).exec_without_returning(scratch.db.write()).await.unwrap();
            let seen = update(&scratch.db, &*clock, editor(ann), bobs()).await.unwrap();
            assert_eq!((seen.bio.as_str(), seen.phone_number), ("changed", None));
            assert_eq!(code(update(&scratch.db, &*clock, editor(ann), theirs()).await), Some(ErrorCode::UserNotFound));
            let audited = audit_event::of_user(bob).all(scratch.db.read()).await.unwrap();
            assert_eq!(audited.len(), 1);
            assert!(audited[0].detail.contains(&ann.to_string()) && audited[0].detail.contains("bio"));
            assert!(!audited[0].detail.contains("changed"));
            // Of whom only an id is left there is nothing to be changed.
            let ended = user::ActiveModel { left_at: Set(Some(clock.now())), ..Default::default() };
            let theirs = user::Entity::update_many().set(ended).filter(user::COLUMN.id.eq(bob));
            theirs.exec(scratch.db.write()).await.unwrap();
            let refused = update(&scratch.db, &*clock, editor(ann), bobs()).await;
            assert_eq!(code(refused), Some(ErrorCode::UserNotFound));
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn a_phone_number_is_its_owners_to_see() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let (ann, bob) = (a_user(&scratch.db, "Ann").await, a_user(&scratch.db, "Bob").await);
            assert!(get(&scratch.db, &*clock, ann, ann).await.unwrap().phone_number.is_some());
            assert!(get(&scratch.db, &*clock, ann, bob).await.unwrap().phone_number.is_none());
            let nobody = UserId::from_uuid(uuid::Uuid::nil());
            assert_eq!(code(get(&scratch.db, &*clock, nobody, ann).await), Some(ErrorCode::UserNotFound));
            scratch.drop().await;
        }
    }
}
