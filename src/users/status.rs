//! What somebody is at: a text, an emoji, and until when.
//! Never a job that ends it: whoever looks sees whether it is over.

use super::profile::write;
use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::clock::Clock;
use actors::protocol::command::SetStatus;
use actors::protocol::{ErrorCode, Outcome, Refusal, view};
use actors::retry::transact;
use entities::{Db, UserId, user};
use sea_orm::Set;
use std::time::Duration;

impl Run for SetStatus {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::User> {
        let user = caller.user()?;
        let updated = set(&app.db, &*app.clock, user, self).await?;
        app.entries.user_changed(user);
        app.entries.profile_changed(user);
        Ok(updated)
    }
}

/// Says what somebody is at, in place of what they said before.
///
/// # Errors
/// `request.invalid`, `user.not_found`; a fault of the database.
pub async fn set(db: &Db, clock: &dyn Clock, user: UserId, command: SetStatus) -> Outcome<view::User> {
    let now = clock.now();
    let after = command.expires_in_secs.map(|secs| now.plus(Duration::from_secs(secs)));
    let until = command.until.or(after);
    if until.is_some_and(|until| until <= now) {
        return Err(Refusal::invalid("until", "must lie ahead").into());
    }
    let text = command.text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let is_something = text.is_some() || command.emoji.is_some();
    let changed = user::ActiveModel {
        status_text: Set(text.map(str::to_owned)),
        status_emoji: Set(command.emoji.clone()),
        status_until: Set(until.filter(|_| is_something)),
        ..Default::default()
    };
    transact(db, clock, async |transaction| {
        let row = write(transaction, clock, user, changed.clone()).await?.ok_or(ErrorCode::UserNotFound)?;
        Ok(view::User::own(row))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};
    use crate::users::profile;
    use crate::users::testing::a_user;
    use actors::protocol::{Command, Error};
    use serde_json::{Value, json};

    fn says(fields: Value) -> SetStatus {
        serde_json::from_value(fields).unwrap()
    }

    #[actix_web::test]
    async fn it_is_shown_until_it_is_over() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let (ann, bob) = (a_user(&scratch.db, "Ann").await, a_user(&scratch.db, "Bob").await);
            let sees = async || profile::get(&scratch.db, &*clock, ann, bob).await.unwrap().status;
            assert_eq!(sees().await, None);
            let fields = json!({ "text": " at the sea ", "emoji": "🏖️", "expiresInSecs": 60 });
            let own = set(&scratch.db, &*clock, ann, says(fields)).await.unwrap();
            let until = Some(clock.now().plus(Duration::from_secs(60)));
            let (text, emoji) = ("at the sea".to_owned(), Some("🏖️".to_owned()));
            assert_eq!(own.status, Some(view::CustomStatus { text, emoji, until }));
            assert_eq!(sees().await, own.status);
            clock.advance(Duration::from_secs(60));
            assert_eq!(sees().await, None);

            let own = set(&scratch.db, &*clock, ann, says(json!({ "emoji": "☕" }))).await.unwrap();
            assert_eq!(own.status.map(|status| (status.text, status.until)), Some((String::new(), None)));
            let until = clock.now().plus_millis(1);
            let own = set(&scratch.db, &*clock, ann, says(json!({ "text": " ", "until": until }))).await.unwrap();
            assert_eq!(own.status, None);
            let row = user::by_id(ann).one(scratch.db.read()).await.unwrap().unwrap();
            assert_eq!((row.status_text, row.status_emoji, row.status_until), (None, None, None));
            assert_eq!((row.user_rev, row.profile_user_rev), (4, 4));
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn what_makes_no_sense_is_refused_by_name() {
        let scratch = Scratch::sqlite().await;
        let (clock, ann) = (FakeClock::new(), a_user(&scratch.db, "Ann").await);
        let now = clock.now();
        for (fields, field) in [
            (json!({ "text": "x".repeat(201) }), "text"),
            (json!({ "text": "a\u{0}b" }), "text"),
            (json!({ "emoji": "👍👍" }), "emoji"),
            (json!({ "text": "x", "until": now }), "until"),
            (json!({ "text": "x", "until": now.plus_millis(9), "expiresInSecs": 9 }), "until"),
            (json!({ "text": "x", "expiresInSecs": 0 }), "expiresInSecs"),
            (json!({ "text": "x", "expiresInSecs": 40_000_000 }), "expiresInSecs"),
        ] {
            let command = says(fields);
            let outcome = match command.check() {
                Ok(()) => set(&scratch.db, &*clock, ann, command).await.map(drop),
                Err(error) => Err(error),
            };
            let Err(Error::Refused(refusal)) = outcome else { panic!("{field} was taken") };
            assert_eq!((refusal.code, refusal.field.as_deref()), (ErrorCode::RequestInvalid, Some(field)));
        }
        scratch.drop().await;
    }
}
