//! Finding people by how their username or their name begins.
//! Never by phone number: that draws on the budget of `contacts`.
//!
//! # Why in two looks
//! Whom a page names may come from a replica that is near, and be as old as that one is. What is shown of them is read
//! where what was written last stands: privacy that has just become stricter holds here as at every other door.

use actors::clock::Clock;
use actors::privacy::{Relations, people};
use actors::protocol::command::SearchUsers;
use actors::protocol::{Outcome, Refusal, check, view};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::{Db, UserId, user};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, ExprTrait, QueryFilter, QuerySelect, Select};
use serde::{Deserialize, Serialize};

/// Where a page ended. Usernames come first, then names; within each, in the order of its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum After {
    /// Among usernames, after this key. The empty one is the beginning.
    #[serde(rename = "u")]
    Username(String),
    /// Among names, after this key and id.
    #[serde(rename = "n")]
    Name(String, UserId),
}

/// Somebody whom the indexes name: their id, and the keys by which they were found.
type Found = (UserId, Option<String>, String);

/// A page of those whose username or display name begins with `q`, without regard to case.
///
/// # Errors
/// `request.invalid` for a cursor that is not ours; a fault of the database.
pub async fn search(
    db: &Db,
    clock: &dyn Clock,
    viewer: UserId,
    command: &SearchUsers,
) -> Outcome<view::Page<view::User>> {
    let prefix = command.q.trim().to_lowercase();
    let limit = check::limit(command.limit)?;
    let after = match &command.cursor {
        None => After::Username(String::new()),
        Some(cursor) => read(cursor).ok_or_else(|| Refusal::invalid("cursor", "must be one that a page gave"))?,
    };
    // One more than asked tells whether there is a next page.
    let aside = db.read_aside(async |moment| found(moment, &prefix, &after, limit + 1).await).await;
    let (mut found, usernames) = match aside {
        Some(found) => found,
        None => found(db.read(), &prefix, &after, limit + 1).await?,
    };
    let more = found.len() as u64 > limit;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| position(last, found.len() <= usernames));
    let next_cursor = next.and_then(|after| write(&after));
    let whom: Vec<UserId> = found.iter().map(|(id, ..)| *id).collect();
    let (mut people, now) = (people(db.read(), viewer, &whom).await?, clock.now());
    let shown = |id| {
        // Whoever has left meanwhile, or is called otherwise, is not who was looked for.
        let (row, relation) = people.remove(&id).filter(|(row, _)| is_called(row, &prefix))?;
        Some(view::User::from_row(row, relation, now))
    };
    Ok(view::Page { items: whom.into_iter().filter_map(shown).collect(), next_cursor })
}

fn is_called(row: &user::Model, prefix: &str) -> bool {
    let username = row.username_key.as_ref().is_some_and(|key| key.starts_with(prefix));
    row.left_at.is_none() && (username || row.name_key.starts_with(prefix))
}

/// Whether somebody is looked for by their phone number: no name begins with a plus.
pub fn is_number(q: &str) -> bool {
    q.trim_start().starts_with('+')
}

/// The page of one who was found, or of nobody.
///
/// # Errors
/// A fault of the database.
pub async fn only(
    db: &Db,
    clock: &dyn Clock,
    viewer: UserId,
    found: Option<user::Model>,
) -> Outcome<view::Page<view::User>> {
    let whom: Vec<UserId> = found.iter().map(|row| row.id).collect();
    let relations = Relations::of(db.read(), viewer, &whom).await?;
    let seen = found.map(|row| {
        let relation = relations.to(row.id);
        view::User::from_row(row, relation, clock.now())
    });
    Ok(view::Page { items: seen.into_iter().collect(), next_cursor: None })
}

/// Whom a page names, and how many of them were found by their username.
async fn found(
    on: &impl ConnectionTrait,
    prefix: &str,
    after: &After,
    limit: u64,
) -> Result<(Vec<Found>, usize), DbErr> {
    let mut rows = match after {
        After::Username(after) => by_username(on, prefix, after, limit).await?,
        After::Name(..) => Vec::new(),
    };
    let usernames = rows.len();
    let missing = limit - usernames as u64;
    if missing > 0 {
        rows.extend(by_name(on, prefix, after, missing).await?);
    }
    Ok((rows, usernames))
}

async fn by_username(on: &impl ConnectionTrait, prefix: &str, after: &str, limit: u64) -> Result<Vec<Found>, DbErr> {
    named(user::by_username_prefix(prefix).filter(user::COLUMN.username_key.gt(after)), on, limit).await
}

async fn named(query: Select<user::Entity>, on: &impl ConnectionTrait, limit: u64) -> Result<Vec<Found>, DbErr> {
    let keys = query.select_only().columns([user::Column::Id, user::Column::UsernameKey, user::Column::NameKey]);
    keys.limit(limit).into_tuple().all(on).await
}

/// Those by name; whoever was found by their username is not listed again.
async fn by_name(on: &impl ConnectionTrait, prefix: &str, after: &After, limit: u64) -> Result<Vec<Found>, DbErr> {
    let end = format!("{prefix}{}", char::MAX);
    let key = &user::COLUMN.username_key;
    let listed_before = key.gte(prefix).and(key.lt(end));
    let mut query = user::by_name_prefix(prefix).filter(key.is_null().or(listed_before.not()));
    if let After::Name(name, id) = after {
        // The first alone is what the index can begin at.
        let beyond = user::COLUMN.name_key.gt(name.as_str()).or(user::COLUMN.id.gt(*id));
        query = query.filter(user::COLUMN.name_key.gte(name.as_str())).filter(beyond);
    }
    named(query, on, limit).await
}

fn position((id, username_key, name_key): &Found, by_username: bool) -> After {
    match username_key {
        Some(key) if by_username => After::Username(key.clone()),
        _ => After::Name(name_key.clone(), *id),
    }
}

fn write(after: &After) -> Option<String> {
    serde_json::to_vec(after).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
}

fn read(cursor: &str) -> Option<After> {
    let after: After = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    // PostgreSQL takes no text with NUL.
    let (After::Username(key) | After::Name(key, _)) = &after;
    (!key.contains('\0')).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};
    use crate::users::profile::{Editor, update};
    use crate::users::testing::{a_user, update_of};
    use actors::protocol::ErrorCode;
    use actors::protocol::command::{UpdateProfile, UserRef};
    use entities::SessionId;

    fn query(q: &str, limit: u32, cursor: Option<String>) -> SearchUsers {
        SearchUsers { q: q.to_owned(), limit: Some(limit), cursor }
    }

    async fn is_named(db: &Db, username: &str, name: &str) {
        let user = a_user(db, name).await;
        let editor = Editor { user, session: SessionId::from_uuid(user.uuid()), address: None };
        let command = UpdateProfile { username: Some(username.to_owned()), ..update_of(UserRef::Me) };
        update(db, &*FakeClock::new(), editor, command).await.unwrap();
    }

    #[actix_web::test]
    async fn pages_list_everybody_once() {
        for scratch in Scratch::each().await {
            let viewer = a_user(&scratch.db, "Viewer").await;
            for (username, name) in [("Tea.Maker", "Zoe"), ("teapot", "Tea Pot"), ("teal", "Bob"), ("x_tea", "Tea")] {
                is_named(&scratch.db, username, name).await;
            }
            for name in ["Tea", "tea", "TEA time", "Te", "ten", "T%a", "Teä"] {
                a_user(&scratch.db, name).await;
            }
            let expected = ["Zoe", "Bob", "Tea Pot", "Tea", "Tea", "tea", "TEA time"];
            for limit in 1..=8 {
                let (mut found, mut cursor) = (Vec::new(), None);
                loop {
                    let page =
                        search(&scratch.db, &*FakeClock::new(), viewer, &query(" TEA", limit, cursor)).await.unwrap();
                    assert!(page.items.len() <= limit as usize);
                    assert!(page.items.iter().all(|user| user.phone_number.is_none()));
                    found.extend(page.items.into_iter().map(|user| user.display_name));
                    cursor = page.next_cursor;
                    if cursor.is_none() {
                        break;
                    }
                }
                assert_eq!(found, expected, "by {limit}");
            }
            for (q, count) in [("t%a", 1), ("te_", 0), ("teä", 1), ("\u{10ffff}\u{10ffff}\u{10ffff}", 0)] {
                let page = search(&scratch.db, &*FakeClock::new(), viewer, &query(q, 50, None)).await.unwrap();
                assert_eq!(page.items.len(), count, "{q}");
            }
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn a_cursor_that_is_not_ours_is_refused() {
        let scratch = Scratch::sqlite().await;
        let viewer = a_user(&scratch.db, "Viewer").await;
        let nul = URL_SAFE_NO_PAD.encode(br#"{"u":"\u0000"}"#);
        for cursor in ["", "x", "e30", &nul] {
            let outcome =
                search(&scratch.db, &*FakeClock::new(), viewer, &query("tea", 5, Some(cursor.to_owned()))).await;
            assert_eq!(outcome.err().map(|error| error.code()), Some(ErrorCode::RequestInvalid), "{cursor}");
        }
        scratch.drop().await;
    }
}
