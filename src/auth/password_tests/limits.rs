//! How often passwords may be tried and set, from where, and what that tells of others.

use super::*;
use actors::protocol::Error;
use actors::protocol::command::Register;

#[actix_web::test]
async fn who_sets_passwords_again_and_again_waits_and_hashes_few() {
    for setting in Setting::each().await {
        let identity = setting.session_of(setting.ann().await).await;
        let before = setting.auth.hasher.meters().hashes.get();
        let command = ChangePassword { new_password: BETTER.into(), keep_sessions: true };
        let changes = join_all((0..40).map(|_| setting.auth.change_password(&command, identity, None))).await;
        let refused: Vec<_> = changes.into_iter().filter_map(code).collect();
        assert!(refused.iter().all(|code| matches!(code, ErrorCode::AuthBusy | ErrorCode::AuthTooManyTries)));
        for _ in 0..40 {
            let _ = setting.auth.change_password(&command, identity, None).await;
        }
        assert_eq!(setting.auth.hasher.meters().hashes.get() - before, 6);
        let again = setting.auth.change_password(&command, identity, None).await;
        assert_eq!(code(again), Some(ErrorCode::AuthTooManyTries));
        // Whoever found the device does not hold up a new password by a code, nor a sign-in.
        setting.resets(GOOD).await.unwrap();
        setting.tries("ann", GOOD, None).await.unwrap();
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_name_that_is_taken_costs_no_hash_and_a_weak_password_one_of_few_tries() {
    for setting in Setting::each().await {
        setting.ann().await;
        let (verification_id, code_sent) = setting.sent("+4915112345679", OtpPurpose::Register).await;
        let registers = async |username: &str, password: &str| {
            let (verification_id, code) = (verification_id.clone(), code_sent.clone());
            let (username, password) = (Some(username.to_owned()), password.into());
            let register = Register { verification_id, code, password, username, ..Register::default() };
            setting.auth.register(register, Origin::default()).await
        };
        let before = setting.auth.hasher.meters().hashes.get();
        for _ in 0..20 {
            assert_eq!(code(registers("Ann", GOOD).await), Some(ErrorCode::UserUsernameTaken));
        }
        for at in 0..20 {
            let expected = if at < 6 { ErrorCode::AuthPasswordWeak } else { ErrorCode::AuthTooManyTries };
            assert_eq!(code(registers("bob", "password1").await), Some(expected));
        }
        assert_eq!(setting.auth.hasher.meters().hashes.get(), before);
        setting.clock.advance(Duration::from_secs(1));
        registers("bob", GOOD).await.unwrap();
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn places_are_known_by_sessions_that_were_their_owners() {
    for setting in Setting::each().await {
        let ann = setting.ann().await;
        let clock: &dyn Clock = &*setting.clock;
        let db = setting.scratch.db.write();
        let at = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (address, ended) in [
            ("198.51.100.7", None),
            ("2001:db8:1:2::1", Some(sessions::SIGNED_OUT)),
            ("192.0.2.66", Some("password_reset")),
        ] {
            let session = clock.session_id();
            let origin = Origin { address: at(address), ..Origin::default() };
            sessions::begin(db, Beginning { session, user: ann, origin, at: clock.now() }).await.unwrap();
            if let Some(reason) = ended {
                sessions::revoke(db, session, reason, clock.now()).await.unwrap();
            }
        }
        // However many there were since.
        for _ in 0..100 {
            let (session, origin) = (clock.session_id(), Origin { address: at("192.0.2.1"), ..Origin::default() });
            sessions::begin(db, Beginning { session, user: ann, origin, at: clock.now() }).await.unwrap();
        }
        while setting.auth.delays.reserve(&[Key::Identifier("ann")]).await.is_ok() {}
        for (address, gets_in) in [
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:3::1", false),
            ("192.0.2.66", false),
        ] {
            let outcome = code(setting.tries("ann", GOOD, at(address)).await);
            assert_eq!(outcome, (!gets_in).then_some(ErrorCode::AuthTooManyTries), "{address}");
        }
        setting.scratch.drop().await;
    }
}

/// What somebody at Ann's address hears who tries this name with wrong passwords, beside others elsewhere.
async fn heard_at_home(setting: &Setting, name: &str) -> Vec<(Option<ErrorCode>, Option<Duration>)> {
    let mut heard = Vec::new();
    let mut tries = async |times: usize, name: &str, address: Option<IpAddr>| {
        for _ in 0..times {
            heard.push(match setting.tries(name, BETTER, address).await {
                Err(Error::Refused(refusal)) => (Some(refusal.code), refusal.retry_after),
                other => (code(other), None),
            });
        }
    };
    tries(3, name, stranger(1)).await;
    tries(4, name, stranger(2)).await;
    // Strangers wait by now; the place's own tries are used up meanwhile.
    tries(9, name, stranger(1)).await;
    setting.clock.advance(Duration::from_secs(1));
    tries(2, name, stranger(1)).await;
    setting.clock.advance(Duration::from_secs(60));
    for n in 0..60 {
        tries(1, &format!("other{n}"), stranger(1)).await;
    }
    tries(2, name, stranger(1)).await;
    setting.clock.advance(Duration::from_secs(1));
    tries(2, name, stranger(1)).await;
    heard
}

#[actix_web::test]
async fn who_shares_an_address_hears_of_no_account_that_is_used_there() {
    for (known, unknown) in Setting::each().await.into_iter().zip(Setting::each().await) {
        let ann = known.ann().await;
        let session = (&*known.clock as &dyn Clock).session_id();
        let origin = Origin { address: stranger(1), ..Origin::default() };
        let beginning = Beginning { session, user: ann, origin, at: known.clock.now() };
        sessions::begin(known.scratch.db.write(), beginning).await.unwrap();
        unknown.ann().await;
        let heard = heard_at_home(&known, "ann").await;
        assert_eq!(heard, heard_at_home(&unknown, "ann").await, "of an account that is used elsewhere");
        // Wrong tries at home count for the address, and the right one is looked at all the same.
        let waits = known.auth.delays.check(&[Key::Address(stranger(1).unwrap())]).await;
        assert_eq!(code(waits), Some(ErrorCode::AuthTooManyTries));
        known.clock.advance(Duration::from_secs(600));
        unknown.clock.advance(Duration::from_secs(600));
        for setting in [&known, &unknown] {
            for _ in 0..20 {
                setting.auth.delays.count(&[Key::Address(stranger(1).unwrap())]).await.unwrap();
            }
        }
        known.tries("ann", GOOD, stranger(1)).await.unwrap();
        let refused = unknown.tries("ann", GOOD, stranger(1)).await;
        assert_eq!(code(refused), Some(ErrorCode::AuthTooManyTries));
        known.scratch.drop().await;
        unknown.scratch.drop().await;
    }
}
