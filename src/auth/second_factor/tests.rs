//! What the rows make of codes: used once, also by two at once, and guessed at in vain.
//! Never a door: `tests/it/second_factor.rs` goes through those.

use super::*;
use crate::auth::sign_in::{Entering, SECOND_FACTOR};
use crate::auth::testing::{self, FakeClock, Scratch};
use crate::auth::{challenges, sessions::Origin};
use actors::clock::Clock;
use entities::{audit_event, session};
use futures_util::future::join_all;
use sea_orm::{IntoActiveModel, PaginatorTrait};
use std::sync::Arc;
use totp_rs::{Builder, Secret, Totp};

const STEP: Duration = Duration::from_secs(30);

/// Somebody who has a second factor.
struct Setting {
    scratch: Scratch,
    clock: Arc<FakeClock>,
    auth: Arc<Auth>,
    user: user::Model,
    here: Place,
    app: Totp,
    backup: Vec<String>,
}

async fn someone(scratch: Scratch) -> Setting {
    let testing::Setting { scratch, clock, auth, .. } = testing::Setting::on(scratch, |_| ()).await;
    let dyn_clock: &dyn Clock = &*clock;
    let user = user::Model { username: Some("ann".to_owned()), ..user::Model::new(dyn_clock.user_id(), clock.now()) };
    user::Entity::insert(user.clone().into_active_model()).exec_without_returning(scratch.db.write()).await.unwrap();
    let here = Place::Session(dyn_clock.session_id());
    let app = Builder::new().with_secret(vec![0; 20]).build().unwrap();
    Setting { scratch, clock, auth, user, here, app, backup: Vec::new() }
}

async fn each() -> Vec<Setting> {
    let mut all = Vec::new();
    for scratch in Scratch::each().await {
        let mut setting = someone(scratch).await;
        setting.sets_up().await;
        let code = setting.code();
        setting.backup = setting.auth.enable_second_factor(setting.shows(&code)).await.unwrap().backup_codes;
        setting.clock.advance(STEP);
        all.push(setting);
    }
    all
}

impl Setting {
    async fn sets_up(&mut self) -> view::SecondFactorSetup {
        let setup = self.auth.set_up_second_factor(&self.user).await.unwrap();
        self.app = Builder::new().with_secret(Secret::try_from_base32(&setup.secret).unwrap()).build().unwrap();
        setup
    }

    fn code_of(&self, steps: i64) -> String {
        self.app.generate(u64::try_from(self.clock.now().millis() / 1000 + 30 * steps).unwrap()).to_string()
    }

    fn code(&self) -> String {
        self.code_of(0)
    }

    /// A code that is none of those that count now.
    fn wrong(&self) -> String {
        let right: Vec<String> = (-1..=1).map(|steps| self.code_of(steps)).collect();
        (0..4).map(|n| format!("00000{n}")).find(|code| !right.contains(code)).unwrap()
    }

    fn shows<'a>(&self, code: &'a str) -> Showing<'a> {
        Showing { user: self.user.id, place: self.here, code, address: None }
    }

    async fn verifies(&self, code: &str) -> Option<ErrorCode> {
        self.verifies_at(self.here, code).await
    }

    async fn verifies_at_sign_in(&self, code: &str) -> Option<ErrorCode> {
        self.verifies_at(Place::SignIn, code).await
    }

    /// A code that was right is used up.
    async fn verifies_at(&self, place: Place, code: &str) -> Option<ErrorCode> {
        let verified = async {
            let shown = self.auth.try_second_factor(Showing { place, ..self.shows(code) }).await?;
            transact(&self.scratch.db, &*self.clock, async |transaction| {
                self.auth.use_second_factor(transaction, &shown).await
            })
            .await
        };
        testing::code(verified.await)
    }

    async fn events(&self, kind: &str) -> u64 {
        let events = audit_event::of_user(self.user.id).filter(audit_event::COLUMN.kind.eq(kind));
        events.count(self.scratch.db.read()).await.unwrap()
    }
}

#[actix_web::test]
async fn a_code_counts_one_step_either_way_and_once() {
    for setting in each().await {
        // Of the step that enabled it.
        assert_eq!(setting.verifies(&setting.code_of(-1)).await, Some(ErrorCode::AuthSecondFactorInvalid));
        assert_eq!(setting.verifies(&setting.code_of(2)).await, Some(ErrorCode::AuthSecondFactorInvalid));
        setting.clock.advance(4 * STEP);
        for steps in [-1, 0, 1] {
            let code = setting.code_of(steps);
            assert_eq!(setting.verifies(&code).await, None, "{steps}");
            assert_eq!(setting.verifies(&code).await, Some(ErrorCode::AuthSecondFactorInvalid), "{steps}");
        }
        // What is newer was used: the older ones are over too.
        setting.clock.advance(STEP);
        assert_eq!(setting.verifies(&setting.code()).await, Some(ErrorCode::AuthSecondFactorInvalid));
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn of_two_who_bring_one_code_at_once_one_is_let_in() {
    for setting in each().await {
        for code in [setting.code(), setting.backup[0].clone()] {
            let outcomes = join_all((0..4).map(|_| setting.verifies_at_sign_in(&code))).await;
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 1, "{outcomes:?}");
            let refused = outcomes.iter().flatten().all(|code| *code == ErrorCode::AuthSecondFactorInvalid);
            assert!(refused, "{outcomes:?}");
        }
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_backup_code_is_used_once_however_it_is_written() {
    for setting in each().await {
        assert_eq!(setting.backup.len(), 10);
        let rows = backup_code::Entity::find().all(setting.scratch.db.read()).await.unwrap();
        assert!(rows.iter().all(|row| row.code_hash.len() == 32));
        assert_eq!(setting.verifies(&setting.backup[0].to_uppercase()).await, None);
        assert_eq!(setting.verifies(&setting.backup[0]).await, Some(ErrorCode::AuthSecondFactorInvalid));
        assert_eq!(setting.verifies(&setting.backup[1].replace('-', "")).await, None);
        assert_eq!(setting.verifies("00000-00000").await, Some(ErrorCode::AuthSecondFactorInvalid));
        for wrong in ["", "12345", "1234567", "hello", "1234567890123"] {
            assert_eq!(setting.verifies(wrong).await, Some(ErrorCode::RequestInvalid), "{wrong}");
        }

        let new = setting.auth.renew_backup_codes(setting.shows(&setting.backup[2])).await.unwrap().backup_codes;
        assert_eq!(new.len(), 10);
        assert_eq!(setting.verifies(&setting.backup[3]).await, Some(ErrorCode::AuthSecondFactorInvalid));
        assert_eq!(setting.verifies(&new[0]).await, None);
        assert_eq!(setting.events("backup_codes_renewed").await, 1);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn whoever_guesses_is_stopped_and_the_owner_is_not() {
    for setting in each().await {
        let tries = join_all((0..12).map(|_| async { setting.verifies(&setting.wrong()).await })).await;
        let count = |code| tries.iter().filter(|one| **one == Some(code)).count();
        assert_eq!((count(ErrorCode::AuthSecondFactorInvalid), count(ErrorCode::AuthSecondFactorLimited)), (5, 7));
        assert_eq!(setting.events("second_factor_failed").await, 5);
        // Not even the right one, nor a backup code, where somebody guesses; elsewhere both.
        for code in [&setting.code(), &setting.backup[0]] {
            assert_eq!(setting.verifies(code).await, Some(ErrorCode::AuthSecondFactorLimited));
        }
        for _ in 0..5 {
            let wrong = setting.verifies_at_sign_in(&setting.wrong()).await;
            assert_eq!(wrong, Some(ErrorCode::AuthSecondFactorInvalid));
        }
        assert_eq!(setting.verifies_at_sign_in(&setting.code()).await, Some(ErrorCode::AuthSecondFactorLimited));
        assert_eq!(setting.verifies_at_sign_in(&setting.backup[0]).await, None);
        // Which has shown who they are: tries begin anew.
        assert_eq!(setting.verifies_at_sign_in(&setting.code()).await, None);
        setting.clock.advance(Duration::from_secs(60));
        assert_eq!(setting.verifies(&setting.code()).await, None);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_secret_guards_nothing_until_its_app_has_shown_a_code() {
    for scratch in Scratch::each().await {
        let mut setting = someone(scratch).await;
        assert_eq!(setting.verifies("123456").await, Some(ErrorCode::AuthSecondFactorMissing));
        let first = setting.sets_up().await;
        let old = setting.code();
        let second = setting.sets_up().await;
        assert_ne!(first.secret, second.secret);
        assert_eq!(setting.verifies(&setting.code()).await, Some(ErrorCode::AuthSecondFactorMissing));
        let enable = async |code: &str| testing::code(setting.auth.enable_second_factor(setting.shows(code)).await);
        if old != setting.code() {
            assert_eq!(enable(&old).await, Some(ErrorCode::AuthSecondFactorInvalid));
        }
        assert_eq!(enable("00000-00000").await, Some(ErrorCode::RequestInvalid));
        setting.clock.advance(SETUP_TTL);
        assert_eq!(enable(&setting.code()).await, Some(ErrorCode::AuthSecondFactorMissing));
        setting.sets_up().await;
        let enable = async |code: &str| testing::code(setting.auth.enable_second_factor(setting.shows(code)).await);
        let code = setting.code();
        let (one, other) = tokio::join!(enable(&code), enable(&code));
        assert!(one.is_none() != other.is_none(), "{one:?} {other:?}");
        assert_eq!(backup_code::unused_of(setting.user.id).count(setting.scratch.db.read()).await.unwrap(), 10);
        assert_eq!(enable(&code).await, Some(ErrorCode::AuthSecondFactorEnabled));
        let again = setting.auth.set_up_second_factor(&setting.user).await;
        assert_eq!(testing::code(again), Some(ErrorCode::AuthSecondFactorEnabled));
        assert_eq!(setting.events("second_factor_enabled").await, 1);

        let row = second_factor::of_user(setting.user.id).one(setting.scratch.db.read()).await.unwrap().unwrap();
        assert!(!row.sealed_secret.windows(20).any(|bytes| bytes == setting.app.secret().as_bytes()));
        setting.clock.advance(STEP);
        setting.auth.disable_second_factor(setting.shows(&setting.code())).await.unwrap();
        assert_eq!(setting.verifies(&setting.code()).await, Some(ErrorCode::AuthSecondFactorMissing));
        assert_eq!(backup_code::Entity::find().count(setting.scratch.db.read()).await.unwrap(), 0);
        assert_eq!(setting.events("second_factor_disabled").await, 1);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn whoever_has_a_second_factor_begins_no_session_without_it() {
    for setting in each().await {
        let (auth, user) = (&setting.auth, setting.user.clone());
        let entering = Entering { user, origin: Origin::default(), by: "otp".to_owned(), is_new: false };
        let entered =
            transact(&auth.db, &*auth.clock, async |transaction| auth.enter(transaction, entering.clone()).await);
        let view::SignedIn::Challenged(asked) = entered.await.unwrap() else { panic!("let in") };
        assert!(asked.two_factor_required && asked.challenge_token.len() == 43);
        assert_eq!(session::of_user(setting.user.id).count(setting.scratch.db.read()).await.unwrap(), 0);
        let open = challenges::attempt(&auth.db, &*auth.clock, &SECOND_FACTOR, &asked.challenge_token).await.unwrap();
        assert_eq!(open.user, Some(setting.user.id));
        setting.scratch.drop().await;
    }
}
