//! What somebody has set for all their devices: read, and changed field by field.
//! Never whom they let see and do what (see `privacy`).

use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::clock::Clock;
use actors::protocol::command::{DoNotDisturbPatch, GetSettings, UpdateSettings};
use actors::protocol::{ErrorCode, Outcome, check, view};
use actors::quiet::is_quiet;
use actors::retry::transact;
use entities::settings::DoNotDisturb;
use entities::{Db, Settings, UserId, user};
use sea_orm::sea_query::LockType;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QuerySelect, Set};

impl Run for GetSettings {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::OwnSettings> {
        let row = user::by_id(caller.user()?).one(app.db.read()).await?.ok_or(ErrorCode::UserNotFound)?;
        Ok(shown(row, &*app.clock))
    }
}

impl Run for UpdateSettings {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::OwnSettings> {
        let user = caller.user()?;
        let updated = update(&app.db, &*app.clock, user, self).await?;
        app.entries.user_changed(user);
        Ok(updated)
    }
}

fn shown(row: user::Model, clock: &dyn Clock) -> view::OwnSettings {
    let quiet = is_quiet(&row.settings, clock.now());
    view::OwnSettings { user_rev: row.settings_user_rev, settings: row.settings, quiet }
}

/// Changes what is given, and keeps the rest, as it is once nobody else changes it.
///
/// # Errors
/// `user.not_found`, `request.invalid`; a fault of the database.
pub async fn update(db: &Db, clock: &dyn Clock, user: UserId, patch: UpdateSettings) -> Outcome<view::OwnSettings> {
    let row = transact(db, clock, async |transaction| {
        let row = locked(transaction, user).await?.ok_or(ErrorCode::UserNotFound)?;
        let settings = merged(&row.settings, patch.clone())?;
        if settings == row.settings {
            return Ok(row);
        }
        let changed = user::ActiveModel { settings: Set(settings), ..Default::default() };
        Ok(write(transaction, user, changed).await?.ok_or(ErrorCode::UserNotFound)?)
    });
    Ok(shown(row.await?, clock))
}

/// The row of somebody, which nobody else changes until the transaction ends.
///
/// # Errors
/// Those of the database.
pub(super) async fn locked(transaction: &DatabaseTransaction, user: UserId) -> Result<Option<user::Model>, DbErr> {
    user::by_id(user).lock(LockType::NoKeyUpdate).one(transaction).await
}

/// Writes settings or privacy, raises the counter and stamps them: on the right of an UPDATE stands what was.
///
/// # Errors
/// Those of the database.
pub(super) async fn write(
    transaction: &DatabaseTransaction,
    user: UserId,
    changed: user::ActiveModel,
) -> Result<Option<user::Model>, DbErr> {
    let updated = user::Entity::update_many()
        .set(changed)
        .col_expr(user::Column::UserRev, user::COLUMN.user_rev.add(1))
        .col_expr(user::Column::SettingsUserRev, user::COLUMN.user_rev.add(1))
        .filter(user::COLUMN.id.eq(user))
        .filter(user::COLUMN.left_at.is_null())
        .exec_with_returning(transaction)
        .await?;
    Ok(updated.into_iter().next())
}

/// Settings as they become by a patch whose values were checked.
fn merged(old: &Settings, patch: UpdateSettings) -> Outcome<Settings> {
    let UpdateSettings { locale, time_zone, theme, enter_sends, previews, keep_archived, do_not_disturb } = patch;
    Ok(Settings {
        locale: locale.as_deref().map(check::locale).transpose()?.unwrap_or_else(|| old.locale.clone()),
        time_zone: time_zone.as_deref().map(check::time_zone).transpose()?.unwrap_or_else(|| old.time_zone.clone()),
        theme: theme.unwrap_or(old.theme),
        enter_sends: enter_sends.unwrap_or(old.enter_sends),
        previews: previews.unwrap_or(old.previews),
        keep_archived: keep_archived.unwrap_or(old.keep_archived),
        do_not_disturb: quiet_hours(&old.do_not_disturb, do_not_disturb.unwrap_or_default()),
    })
}

fn quiet_hours(old: &DoNotDisturb, patch: DoNotDisturbPatch) -> DoNotDisturb {
    let DoNotDisturbPatch { scheduled, from, until, days, paused_until } = patch;
    let mut days = days.unwrap_or_else(|| old.days.clone());
    days.sort_unstable();
    days.dedup();
    DoNotDisturb {
        scheduled: scheduled.unwrap_or(old.scheduled),
        from: from.unwrap_or_else(|| old.from.clone()),
        until: until.unwrap_or_else(|| old.until.clone()),
        days,
        paused_until: paused_until.unwrap_or(old.paused_until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};
    use crate::users::testing::a_user;
    use actors::protocol::Command;
    use entities::settings::Theme;
    use futures_util::future::join_all;
    use serde_json::{Value, json};

    fn patch(fields: Value) -> UpdateSettings {
        serde_json::from_value(fields).unwrap()
    }

    #[actix_web::test]
    async fn what_several_devices_change_at_once_is_all_kept() {
        for scratch in Scratch::each().await {
            let (clock, ann) = (FakeClock::new(), a_user(&scratch.db, "Ann").await);
            let patches = [
                json!({ "theme": "dark" }),
                json!({ "locale": "PT-br" }),
                json!({ "enterSends": false }),
                json!({ "doNotDisturb": { "scheduled": true } }),
                json!({ "doNotDisturb": { "from": "23:15" } }),
                json!({ "doNotDisturb": { "days": ["sunday", "monday", "sunday"] } }),
            ];
            let updates =
                patches.iter().map(|fields| Box::pin(update(&scratch.db, &*clock, ann, patch(fields.clone()))));
            for outcome in join_all(updates).await {
                outcome.unwrap();
            }
            let row = user::by_id(ann).one(scratch.db.read()).await.unwrap().unwrap();
            assert_eq!((row.user_rev, row.settings_user_rev, row.profile_user_rev), (7, 7, 1));
            let settings = row.settings;
            assert_eq!((settings.theme, settings.locale.as_str(), settings.enter_sends), (Theme::Dark, "pt-BR", false));
            let quiet = settings.do_not_disturb;
            assert_eq!((quiet.scheduled, quiet.from.as_str(), quiet.until.as_str()), (true, "23:15", "07:00"));
            assert_eq!(json!(quiet.days), json!(["monday", "sunday"]));
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn what_changes_nothing_is_not_told() {
        for scratch in Scratch::each().await {
            let (clock, ann) = (FakeClock::new(), a_user(&scratch.db, "Ann").await);
            for fields in [json!({}), json!({ "theme": "system" }), json!({ "doNotDisturb": { "pausedUntil": null } })]
            {
                let own = update(&scratch.db, &*clock, ann, patch(fields)).await.unwrap();
                assert_eq!((own.user_rev, own.quiet), (0, false));
            }
            let until = clock.now().plus_millis(1);
            let own = update(&scratch.db, &*clock, ann, patch(json!({ "doNotDisturb": { "pausedUntil": until } })));
            let own = own.await.unwrap();
            assert_eq!((own.user_rev, own.quiet), (2, true));
            let own = update(&scratch.db, &*clock, ann, patch(json!({ "doNotDisturb": { "pausedUntil": null } })));
            assert!(!own.await.unwrap().quiet);
            scratch.drop().await;
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (fields, field) in [
            (json!({ "locale": "german" }), "locale"),
            (json!({ "timeZone": "Europe/Bonn" }), "timeZone"),
            (json!({ "doNotDisturb": { "from": "7:00" } }), "doNotDisturb.from"),
            (json!({ "doNotDisturb": { "until": "24:00" } }), "doNotDisturb.until"),
            (json!({ "doNotDisturb": { "days": vec!["monday"; 8] } }), "doNotDisturb.days"),
        ] {
            let error = patch(fields).check().unwrap_err();
            let actors::protocol::Error::Refused(refusal) = error else { panic!("{error}") };
            assert_eq!((refusal.code, refusal.field.as_deref()), (ErrorCode::RequestInvalid, Some(field)));
        }
    }
}
