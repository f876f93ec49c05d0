//! Whom somebody lets see and do what: read, and changed field by field.
//! Never the rule that follows from it (see `actors::privacy`).

use super::settings::{locked, write};
use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::clock::Clock;
use actors::protocol::command::{GetPrivacy, UpdatePrivacy};
use actors::protocol::{ErrorCode, Outcome, view};
use actors::retry::transact;
use entities::{Db, Privacy, UserId, user};
use sea_orm::Set;

impl Run for GetPrivacy {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::OwnPrivacy> {
        let row = user::by_id(caller.user()?).one(app.db.read()).await?.ok_or(ErrorCode::UserNotFound)?;
        Ok(shown(&row))
    }
}

impl Run for UpdatePrivacy {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::OwnPrivacy> {
        let user = caller.user()?;
        let (updated, changed) = update(&app.db, &*app.clock, user, self).await?;
        // Whoever writes what stands there already is at their device, which is nobody's business.
        if changed {
            app.entries.user_changed(user);
            app.entries.audience_changed(user);
        }
        Ok(updated)
    }
}

fn shown(row: &user::Model) -> view::OwnPrivacy {
    view::OwnPrivacy { user_rev: row.settings_user_rev, privacy: row.privacy }
}

/// Changes what is given, and keeps the rest, as it is once nobody else changes it; tells whether anything did change.
///
/// # Errors
/// `user.not_found`; a fault of the database.
pub async fn update(
    db: &Db,
    clock: &dyn Clock,
    user: UserId,
    patch: UpdatePrivacy,
) -> Outcome<(view::OwnPrivacy, bool)> {
    transact(db, clock, async |transaction| {
        let row = locked(transaction, user).await?.ok_or(ErrorCode::UserNotFound)?;
        let privacy = merged(row.privacy, patch);
        if privacy == row.privacy {
            return Ok((shown(&row), false));
        }
        let audience_changed_at = Set(Some(clock.now()));
        let changed = user::ActiveModel { privacy: Set(privacy), audience_changed_at, ..Default::default() };
        Ok((shown(&write(transaction, user, changed).await?.ok_or(ErrorCode::UserNotFound)?), true))
    })
    .await
}

fn merged(old: Privacy, patch: UpdatePrivacy) -> Privacy {
    Privacy {
        last_seen: patch.last_seen.unwrap_or(old.last_seen),
        photo: patch.photo.unwrap_or(old.photo),
        bio: patch.bio.unwrap_or(old.bio),
        phone_number: patch.phone_number.unwrap_or(old.phone_number),
        found_by_number: patch.found_by_number.unwrap_or(old.found_by_number),
        read_receipts: patch.read_receipts.unwrap_or(old.read_receipts),
        added_to_groups: patch.added_to_groups.unwrap_or(old.added_to_groups),
        called: patch.called.unwrap_or(old.called),
        private_chats: patch.private_chats.unwrap_or(old.private_chats),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};
    use crate::users::testing::a_user;
    use futures_util::future::join_all;
    use serde_json::{Value, json};

    /// Each field of privacy, as clients name it.
    const FIELDS: [&str; 9] = [
        "lastSeen",
        "photo",
        "bio",
        "phoneNumber",
        "foundByNumber",
        "readReceipts",
        "addedToGroups",
        "called",
        "privateChats",
    ];

    fn patch(fields: Value) -> UpdatePrivacy {
        serde_json::from_value(fields).unwrap()
    }

    #[actix_web::test]
    async fn what_several_devices_change_at_once_is_all_kept() {
        for scratch in Scratch::each().await {
            let (clock, ann) = (FakeClock::new(), a_user(&scratch.db, "Ann").await);
            let patches = FIELDS.map(|field| patch(json!({ field: "contacts" })));
            for outcome in join_all(patches.map(|patch| Box::pin(update(&scratch.db, &*clock, ann, patch)))).await {
                outcome.unwrap();
            }
            let row = user::by_id(ann).one(scratch.db.read()).await.unwrap().unwrap();
            assert_eq!((row.user_rev, row.settings_user_rev), (10, 10));
            assert!(FIELDS.iter().all(|field| json!(row.privacy)[field] == "contacts"), "{:?}", row.privacy);
            let same = update(&scratch.db, &*clock, ann, patch(json!({ "photo": "contacts" }))).await.unwrap();
            assert_eq!((same.0.user_rev, same.1), (10, false));
            scratch.drop().await;
        }
    }

    #[test]
    fn each_field_changes_itself_alone() {
        let old = json!(Privacy::default());
        for field in FIELDS {
            let mut expected = old.clone();
            expected[field] = json!("contacts");
            assert_eq!(json!(merged(Privacy::default(), patch(json!({ field: "contacts" })))), expected);
        }
        assert_eq!(old.as_object().unwrap().len(), FIELDS.len());
    }
}
