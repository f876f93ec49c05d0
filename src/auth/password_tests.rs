//! Passwords from the inside: what a try costs, what at once means, and what is written down.

mod limits;

use super::delays::Key;
use super::otp::{Asking, Recipient};
use super::second_factor::{Place, Showing};
use super::sessions::{Beginning, Origin};
use super::sign_in::SECOND_FACTOR;
use super::strength::Normal;
use super::testing::{Setting, code};
use super::{Auth, challenges, passwords, sealing, sessions};
use crate::auth::contact::Contact;
use actors::caller::Identity;
use actors::clock::Clock;
use actors::protocol::command::{ChangePassword, OtpPurpose, Reauthenticate, ResetPassword};
use actors::protocol::{ErrorCode, Outcome, view};
use entities::{
    Backend, UserId, audit_event, otp_verification, password, second_factor as factors, session, sign_in_delay, user,
};
use futures_util::future::{join, join_all};
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QuerySelect};
use std::net::IpAddr;
use std::time::Duration;

const GOOD: &str = "four lamps over Trondheim";
const BETTER: &str = "seven kettles under Bergen";
const PHONE: &str = "+4915112345678";
const MAIL: &str = "ann@example.com";

impl Setting {
    async fn account(&self, phone: &str, email: Option<&str>, username: &str) -> UserId {
        let clock: &dyn Clock = &*self.clock;
        let row = user::Model {
            phone: Some(phone.to_owned()),
            email: email.map(str::to_owned),
            email_key: email.map(str::to_owned),
            username: Some(username.to_owned()),
            username_key: Some(username.to_owned()),
            ..user::Model::new(clock.user_id(), clock.now())
        };
        let id = row.id;
        user::Entity::insert(row.into_active_model()).exec_without_returning(self.scratch.db.write()).await.unwrap();
        id
    }

    /// Who has a password.
    async fn ann(&self) -> UserId {
        let ann = self.account(PHONE, Some(MAIL), "ann").await;
        let hashed = self.auth.hasher.place().unwrap().accept(Normal::of(GOOD), Vec::new(), "password");
        passwords::set(self.scratch.db.write(), &*self.clock, ann, &hashed.await.unwrap()).await.unwrap();
        ann
    }

    async fn tries(&self, identifier: &str, password: &str, address: Option<IpAddr>) -> Outcome<view::SignedIn> {
        let password = password.into();
        // Boxed, as all that a test awaits lies on its stack.
        Box::pin(self.auth.log_in(identifier, &password, Origin { address, ..Origin::default() })).await
    }

    /// What there is of tries, codes and events.
    async fn rows(&self) -> u64 {
        let db = self.scratch.db.read();
        let tries = sign_in_delay::Entity::find().count(db).await.unwrap();
        let codes = otp_verification::Entity::find().count(db).await.unwrap();
        tries + codes + audit_event::Entity::find().count(db).await.unwrap()
    }

    /// A session of somebody that begins now.
    async fn session_of(&self, user: UserId) -> Identity {
        let clock: &dyn Clock = &*self.clock;
        let session = clock.session_id();
        let beginning = Beginning { session, user, origin: Origin::default(), at: clock.now() };
        sessions::begin(self.scratch.db.write(), beginning).await.unwrap();
        Identity { user, session, expires_at: clock.now().plus(Duration::from_secs(900)) }
    }

    /// A verification for this purpose, and its code.
    async fn sent(&self, phone: &str, purpose: OtpPurpose) -> (String, String) {
        let contact = Contact::phone(phone).unwrap();
        let asking = Asking { purpose, ..Asking::to_sign_in(&contact) };
        let verification_id = self.auth.otp.send(asking).await.unwrap().verification_id;
        let code = self.pocket.code(&verification_id);
        (verification_id, code)
    }

    async fn resets(&self, new_password: &str) -> Outcome<(UserId, Vec<entities::SessionId>)> {
        let (verification_id, code) = self.sent(PHONE, OtpPurpose::ResetPassword).await;
        let command = ResetPassword { verification_id, code, new_password: new_password.into() };
        Box::pin(self.auth.reset_password(&command, None)).await
    }

    async fn live(&self, user: UserId) -> usize {
        session::live_of_user(user).all(self.scratch.db.read()).await.unwrap().len()
    }
}

fn stranger(n: u8) -> Option<IpAddr> {
    Some(IpAddr::from([203, 0, 113, n]))
}

/// What one thing cost.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    hashes: u64,
    /// That were written.
    rows: u64,
    code: Option<ErrorCode>,
}

async fn cost<T>(setting: &Setting, doing: impl Future<Output = Outcome<T>>) -> Cost {
    let (hashes, rows) = (setting.auth.hasher.meters().hashes.get(), setting.rows().await);
    let code = code(Box::pin(doing).await);
    Cost { hashes: setting.auth.hasher.meters().hashes.get() - hashes, rows: setting.rows().await - rows, code }
}

#[actix_web::test]
async fn known_and_unknown_cost_the_same() {
    for setting in Setting::each().await {
        setting.ann().await;
        setting.account("+4915112345679", Some("bob@example.com"), "bob").await;
        // Nobody has it, an account without a password, a wrong password; by number, address and name.
        let mut costs = Vec::new();
        let asked = [
            ["+4915187654321", "+4915112345679", PHONE],
            ["nobody@example.com", "bob@example.com", MAIL],
            ["nobody", "bob", "ann"],
        ];
        for (n, identifier) in (0..).zip(asked.concat()) {
            costs.push(cost(&setting, setting.tries(identifier, BETTER, stranger(n))).await);
        }
        assert_eq!(costs[0], Cost { hashes: 1, rows: 2, code: Some(ErrorCode::AuthCredentialsInvalid) });
        assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");

        // Where all have to wait, none is hashed.
        for _ in 0..5 {
            for identifier in ["nobody", "ann"] {
                let _ = setting.tries(identifier, BETTER, None).await;
            }
        }
        let mut costs = Vec::new();
        for identifier in ["nobody", "ann"] {
            costs.push(cost(&setting, setting.tries(identifier, GOOD, stranger(99))).await);
        }
        assert_eq!(costs[0], Cost { hashes: 0, rows: 0, code: Some(ErrorCode::AuthTooManyTries) });
        assert_eq!(costs[0], costs[1]);

        // Codes: to sign in they go out to either, and to set a new password to the one that is known.
        let mut costs = Vec::new();
        let before = setting.pocket.count();
        for contact in ["+4915187654321", PHONE] {
            let contact = Contact::phone(contact).unwrap();
            costs.push(cost(&setting, setting.auth.otp.send(Asking::to_sign_in(&contact))).await);
        }
        assert_eq!((setting.pocket.count() - before, &costs[0]), (2, &costs[1]));
        for (contact, is_known) in [("nobody@example.com", false), (MAIL, true)] {
            let contact = Contact::email(contact).unwrap();
            let recipient = Recipient::owner(is_known);
            let asking = Asking { recipient, purpose: OtpPurpose::ResetPassword, ..Asking::to_sign_in(&contact) };
            costs.push(cost(&setting, setting.auth.otp.send(asking)).await);
        }
        assert_eq!((costs[2].hashes, &costs[2]), (0, &costs[3]));
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn of_tries_at_once_few_are_hashed_and_one_is_noted() {
    for setting in Setting::each().await {
        let ann = setting.ann().await;
        let before = setting.auth.hasher.meters().hashes.get();
        let tries = join_all((0..40).map(|n| setting.tries("ann", BETTER, stranger(n)))).await;
        let wrong = tries.into_iter().filter_map(code).filter(|code| *code == ErrorCode::AuthCredentialsInvalid);
        assert_eq!((wrong.count(), setting.auth.hasher.meters().hashes.get() - before), (6, 6));
        let noted = audit_event::of_user(ann).all(setting.scratch.db.read()).await.unwrap();
        assert_eq!(noted.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["sign_in_failed"]);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn no_session_of_the_old_password_outlives_a_new_one() {
    for setting in Setting::each().await {
        let ann = setting.ann().await;
        for round in 0..4 {
            let [old, new] = if round % 2 == 0 { [GOOD, BETTER] } else { [BETTER, GOOD] };
            let (verification_id, code) = setting.sent(PHONE, OtpPurpose::ResetPassword).await;
            let command = ResetPassword { verification_id, code, new_password: new.into() };
            let (entered, set) =
                join(setting.tries("ann", old, stranger(1)), setting.auth.reset_password(&command, None)).await;
            assert_eq!(set.unwrap().0, ann);
            drop(entered);
            assert_eq!(setting.live(ann).await, 0, "round {round}");
        }
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_new_password_and_a_sign_in_do_not_wait_for_each_other() {
    for setting in Setting::each().await {
        let db = &setting.scratch.db;
        // SQLite has one writer.
        if db.backend() == Backend::Postgres {
            let ann = setting.ann().await;
            let reserved = setting.auth.delays.reserve(&[Key::Identifier("ann")]).await.unwrap();
            // In the order of `let_in`.
            let transaction = db.begin_write().await.unwrap();
            password::of_user(ann).lock_exclusive().one(&transaction).await.unwrap();
            let entering = async {
                let waiting =
                    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
                while db.read().query_one_raw(Backend::Postgres.statement(waiting, [])).await.unwrap().is_none() {}
                transaction.execute_unprepared("SET LOCAL lock_timeout = 500").await.unwrap();
                setting.auth.delays.clear(&transaction, &reserved).await.unwrap();
                transaction.commit().await.unwrap();
            };
            let ((), set) = join(entering, setting.resets(BETTER)).await;
            set.unwrap();
        }
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_hash_is_renewed_at_a_sign_in_when_more_is_spent() {
    for setting in Setting::each().await {
        let ann = setting.ann().await;
        let mut dearer = setting.config.clone();
        dearer.auth.password_passes = 3;
        let db = setting.scratch.db.clone();
        let now = Auth::open(&dearer, db, setting.clock.clone(), setting.pocket.carriers()).await.unwrap();
        let origin = Origin::default();
        assert!(now.log_in("ann", &BETTER.into(), origin.clone()).await.is_err());
        let held = async || password::of_user(ann).one(setting.scratch.db.read()).await.unwrap().unwrap();
        let before = held().await;
        setting.clock.advance(Duration::from_secs(60));
        now.log_in("ann", &GOOD.into(), origin.clone()).await.unwrap();
        let after = held().await;
        assert!(before.phc.contains("t=2") && after.phc.contains("t=3"), "{} {}", before.phc, after.phc);
        assert_eq!(before.changed_at, after.changed_at, "it is the same password");
        now.log_in("ann", &GOOD.into(), origin).await.unwrap();
        assert_eq!(held().await, after);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn with_a_second_factor_a_password_is_half_of_it() {
    for setting in Setting::each().await {
        let ann = setting.ann().await;
        let clock: &dyn Clock = &*setting.clock;
        let secret: [u8; 20] = clock.random();
        let row = factors::Model {
            user_id: ann,
            sealed_secret: setting.auth.ring.seal(&sealing::Context::Totp(ann), &secret).unwrap(),
            last_step: 0,
            created_at: clock.now(),
            enabled_at: Some(clock.now()),
        };
        let insert = factors::Entity::insert(row.into_active_model());
        insert.exec_without_returning(setting.scratch.db.write()).await.unwrap();
        let challenged = async |password: &str| match setting.tries("ann", password, None).await.unwrap() {
            view::SignedIn::Challenged(pending) => pending.challenge_token,
            view::SignedIn::Done(_) => panic!("let in by half of it"),
        };
        // Whoever asked for the second with the old password does not get in by it any more, also where sessions go on.
        let command = ChangePassword { new_password: BETTER.into(), keep_sessions: true };
        let by = setting.session_of(ann).await;
        let db = &setting.scratch.db;
        let token = challenged(GOOD).await;
        setting.auth.change_password(&command, by, None).await.unwrap();
        let late = challenges::attempt(db, clock, &SECOND_FACTOR, &token).await;
        assert_eq!(code(late), Some(ErrorCode::AuthChallengeExpired));
        assert_eq!(setting.live(ann).await, 1);

        // Nor with one that was forgotten; and the tries that a thief used up are its owner's again.
        let token = challenged(BETTER).await;
        let guess = async || {
            let showing = Showing { user: ann, place: Place::SignIn, code: "000000", address: None };
            code(setting.auth.try_second_factor(showing).await)
        };
        while guess().await != Some(ErrorCode::AuthSecondFactorLimited) {}
        setting.resets(GOOD).await.unwrap();
        assert_eq!(guess().await, Some(ErrorCode::AuthSecondFactorInvalid));
        assert_eq!(setting.live(ann).await, 0);
        let late = challenges::attempt(db, clock, &SECOND_FACTOR, &token).await;
        assert_eq!(code(late), Some(ErrorCode::AuthChallengeExpired));

        // And a session becomes fresh by the second factor alone.
        let identity = setting.session_of(ann).await;
        setting.clock.advance(Duration::from_secs(600));
        let known = sessions::Sessions::new(setting.scratch.db.clone(), setting.clock.clone(), &setting.config.auth);
        assert_eq!(code(known.check_fresh(identity).await), Some(ErrorCode::AuthReauthenticationRequired));
        let by_password = Reauthenticate { password: Some(BETTER.into()), ..Reauthenticate::default() };
        let refused = setting.auth.reauthenticate(&by_password, identity, None).await;
        assert_eq!(code(refused), Some(ErrorCode::RequestInvalid));
        let app = totp_rs::Builder::new().with_secret(secret.to_vec()).build().unwrap();
        let shown = app.generate(u64::try_from(clock.now().millis() / 1000).unwrap()).to_string();
        let by_code = Reauthenticate { code: Some(shown), ..Reauthenticate::default() };
        setting.auth.reauthenticate(&by_code, identity, None).await.unwrap();
        known.check_fresh(identity).await.unwrap();
        let again = setting.auth.reauthenticate(&by_code, identity, None).await;
        assert_eq!(code(again), Some(ErrorCode::AuthSecondFactorInvalid));
        setting.scratch.drop().await;
    }
}
