//! That every table keeps its rows as the entities write them, by theme.
//! Never here: rules.

use super::a_user;
use super::support::{Outcome, Scratch, a_message, at, conversation, message, user};
use entities::*;
use sea_orm::{ActiveValue, EntityTrait, IntoActiveModel};
use uuid::Uuid;

#[tokio::test]
async fn every_table_keeps_its_rows() -> Outcome {
    for scratch in Scratch::each("rows").await? {
        let db = scratch.migrated().await?;
        users_are_kept(&db).await?;
        sessions_are_kept(&db).await?;
        codes_are_kept(&db).await?;
        ways_in_are_kept(&db).await?;
        others_in_ones_life_are_kept(&db).await?;
        what_is_somebodys_own_is_kept(&db).await?;
        conversations_are_kept(&db).await?;
        messages_are_kept(&db).await?;
        no_number_is_given_twice(&db).await?;
        scratch.drop(db).await?;
    }
    Ok(())
}

async fn users_are_kept(db: &Db) -> Outcome {
    keeps!(db, user, a_user(1, "Ann"));
    keeps!(
        db,
        user,
        user::Model {
            phone: Some("+4912345".to_owned()),
            username: Some("Bob".to_owned()),
            username_key: Some("bob".to_owned()),
            last_seen_at: Some(at(i64::MAX)),
            user_rev: i64::MAX,
            ..a_user(u128::MAX, "Bob")
        }
    );
    let settings = Settings { locale: "de".to_owned(), ..Settings::default() };
    let privacy = Privacy { phone_number: Audience::Contacts, ..Privacy::default() };
    keeps!(
        db,
        user,
        user::Model {
            email: Some("Cy@example.org".to_owned()),
            email_key: Some("cy@example.org".to_owned()),
            avatar_id: Some(Uuid::from_u128(5)),
            status_text: Some("away".to_owned()),
            status_emoji: Some("🏖".to_owned()),
            status_until: Some(at(9)),
            privacy,
            settings,
            settings_user_rev: 2,
            leaves_at: Some(at(10)),
            leaves_messages: Some("keep".to_owned()),
            left_at: Some(at(11)),
            ..a_user(3, "Cy")
        }
    );
    assert!(user::by_email_key("cy@example.org").one(db.read()).await?.is_some());
    keeps!(db, user_role, user_role::Model { user_id: user(1), role: "admin".to_owned(), granted_at: at(-1) });
    Ok(())
}

async fn sessions_are_kept(db: &Db) -> Outcome {
    let session_id = SessionId::from_uuid(Uuid::from_u128(7));
    keeps!(
        db,
        session,
        session::Model {
            id: session_id,
            user_id: user(1),
            device_id: Some("phone".to_owned()),
            device_name: None,
            platform: None,
            address: None,
            network: None,
            user_agent: None,
            created_at: at(1),
            last_seen_at: at(2),
            authenticated_at: Some(at(2)),
            revoked_at: Some(at(3)),
            revoke_reason: Some("logout".to_owned()),
        }
    );
    keeps!(
        db,
        refresh_token,
        refresh_token::Model {
            token_hash: vec![7; 32],
            session_id,
            parent_hash: Some(vec![6; 32]),
            created_at: at(1),
            expires_at: at(2),
            spent_at: None,
        }
    );
    assert!(refresh_token::by_hash(&[7; 32]).one(db.read()).await?.is_some());
    assert!(refresh_token::children_of(&[6; 32]).one(db.read()).await?.is_some());
    keeps!(
        db,
        audit_event,
        audit_event::Model {
            id: AuditEventId::from_uuid(Uuid::from_u128(8)),
            user_id: None,
            session_id: Some(session_id),
            kind: "login".to_owned(),
            address: None,
            detail: "{}".to_owned(),
            at: at(1),
        }
    );
    keeps!(
        db,
        signing_key,
        signing_key::Model {
            kid: "1".to_owned(),
            public_key: vec![1],
            sealed_private_key: vec![],
            created_at: at(1),
            retires_at: Some(at(5)),
        }
    );
    assert_eq!(signing_key::accepted_at(at(4)).all(db.read()).await?.len(), 1);
    assert_eq!(signing_key::accepted_at(at(5)).all(db.read()).await?.len(), 0);
    Ok(())
}

async fn codes_are_kept(db: &Db) -> Outcome {
    keeps!(
        db,
        otp_verification,
        otp_verification::Model {
            id: vec![9; 16],
            phone: "+4912345".to_owned(),
            spelt: Some("+4912345".to_owned()),
            purpose: "login".to_owned(),
            code_hash: vec![3; 32],
            tries: 2,
            created_at: at(1),
            expires_at: at(2),
            channel: "sms".to_owned(),
            address: Some("192.0.2.0".to_owned()),
            country: Some("DE".to_owned()),
            carrier: None,
            user_id: Some(user(1)),
            consumed_at: None,
        }
    );
    keeps!(db, otp_count, otp_count::Model { scope: "DE".to_owned(), day: 20_000, slot: 3, sent: 7 });
    assert_eq!(otp_count::of_day("DE", 20_000).all(db.read()).await?.len(), 1);
    Ok(())
}

async fn ways_in_are_kept(db: &Db) -> Outcome {
    keeps!(db, password, password::Model { user_id: user(1), phc: "$argon2id$".to_owned(), changed_at: at(1) });
    keeps!(
        db,
        sign_in_delay,
        sign_in_delay::Model { key_hash: vec![1; 32], failures: 3, last_at: at(1), next_at: at(2) }
    );
    assert_eq!(sign_in_delay::among([vec![1; 32], vec![2; 32]]).all(db.read()).await?.len(), 1);
    keeps!(
        db,
        second_factor,
        second_factor::Model {
            user_id: user(1),
            sealed_secret: vec![1],
            last_step: 7,
            created_at: at(1),
            enabled_at: None,
        }
    );
    assert!(second_factor::guarding(user(1)).one(db.read()).await?.is_none());
    keeps!(db, backup_code, backup_code::Model { user_id: user(1), code_hash: vec![1; 32], used_at: Some(at(1)) });
    keeps!(
        db,
        challenge,
        challenge::Model {
            id_hash: vec![1; 32],
            purpose: "secondFactor".to_owned(),
            user_id: Some(user(1)),
            detail: "{}".to_owned(),
            tries: 0,
            created_at: at(1),
            expires_at: at(2),
            used_at: None,
        }
    );
    assert!(challenge::by_hash(&[1; 32], "reset").one(db.read()).await?.is_none());
    keeps!(
        db,
        identity,
        identity::Model {
            issuer: "https://issuer.example".to_owned(),
            subject: "ann".to_owned(),
            provider: "example".to_owned(),
            user_id: user(1),
            email: None,
            linked_at: at(1),
            last_used_at: at(2),
        }
    );
    keeps!(db, sealing_key, sealing_key::Model { id: "1".to_owned(), sealed_key: vec![1], created_at: at(1) });
    Ok(())
}

async fn others_in_ones_life_are_kept(db: &Db) -> Outcome {
    keeps!(
        db,
        contact,
        contact::Model {
            owner_id: user(1),
            user_id: user(2),
            name: Some("Bob from work".to_owned()),
            favourite: true,
            suggested: false,
            removed: false,
            by_number: true,
            user_rev: 1,
            created_at: at(1),
        }
    );
    assert_eq!(contact::listing([user(1), user(2)], user(2)).all(db.read()).await?.len(), 1);
    keeps!(
        db,
        contact_number,
        contact_number::Model {
            owner_id: user(1),
            number_hash: vec![1; 32],
            listed: true,
            listed_rev: 1,
            sealed_name: Some(vec![1]),
            first_at: at(1),
        }
    );
    keeps!(db, arrival, arrival::Model { user_id: user(3), since: at(1), told: Some(user(1)) });
    keeps!(
        db,
        block,
        block::Model {
            owner_id: user(1),
            user_id: user(2),
            removed: false,
            user_rev: 1,
            created_at: at(1),
            changed_at: at(2)
        }
    );
    assert_eq!(block::between(user(2), &[user(1), user(3)]).all(db.read()).await?.len(), 1);
    keeps!(
        db,
        report,
        report::Model {
            id: ReportId::from_uuid(Uuid::from_u128(1)),
            reporter_id: user(1),
            user_id: Some(user(2)),
            message_id: None,
            message_rev: None,
            message_text: None,
            reason: "spam".to_owned(),
            text: String::new(),
            created_at: at(1),
        }
    );
    Ok(())
}

async fn what_is_somebodys_own_is_kept(db: &Db) -> Outcome {
    keeps!(
        db,
        device,
        device::Model {
            user_id: user(1),
            id: "phone".to_owned(),
            platform: "ios".to_owned(),
            name: "Ann's phone".to_owned(),
            app_version: Some("1.0".to_owned()),
            push_provider: None,
            push_token: None,
            push_token_hash: None,
            push_keys: None,
            voip_token: Some("token".to_owned()),
            voip_token_hash: Some(vec![1; 32]),
            created_at: at(1),
            last_seen_at: at(2),
        }
    );
    let export = ExportId::from_uuid(Uuid::from_u128(2));
    keeps!(
        db,
        export,
        export::Model {
            id: export,
            user_id: user(1),
            state: export::ExportState::Done,
            size_bytes: Some(3),
            failure: None,
            created_at: at(1),
            worker: None,
            worker_until: None,
            done_at: Some(at(2)),
            expires_at: Some(at(3)),
        }
    );
    keeps!(db, export_part, export_part::Model { export_id: export, number: 0, bytes: vec![1, 2, 3] });
    Ok(())
}

async fn conversations_are_kept(db: &Db) -> Outcome {
    keeps!(
        db,
        conversation,
        conversation::Model {
            id: conversation(1),
            kind: conversation::ConversationKind::Private,
            name: None,
            description: None,
            pair_key: Some(conversation::pair_key(user(1), user(2))),
            created_by: user(1),
            client_id: None,
            request_hash: Some(vec![1]),
            created_at: at(1),
            updated_at: at(1),
            last_message_at: at(1),
            last_seq: 0,
            last_rev: 1,
            policy_rev: 1,
            participant_count: 2,
            rev: 1,
            blocked: true,
        }
    );
    assert!(conversation::between(user(2), user(1)).one(db.read()).await?.is_some());
    assert_eq!(conversation::among([conversation(1), conversation(2)]).all(db.read()).await?.len(), 1);
    keeps!(
        db,
        participant,
        participant::Model {
            conversation_id: conversation(1),
            user_id: user(2),
            role: participant::Role::Admin,
            from_rev: 1,
            until_rev: Some(2),
            visible_from_seq: 1,
            read_seq: 0,
            delivered_seq: 0,
            marked_unread: true,
            rev: 2,
            user_rev: 3,
            joined_at: at(1),
            left_at: Some(at(2)),
            request: true,
            declined_rev: Some(1),
        }
    );
    assert!(participant::of(conversation(1), user(2)).one(db.read()).await?.is_some());
    Ok(())
}

async fn messages_are_kept(db: &Db) -> Outcome {
    keeps!(db, message, a_message(1));
    keeps!(
        db,
        message,
        message::Model {
            changed: true,
            rev: 9,
            kind: message::MessageKind::System,
            text: None,
            reply_to: Some(message(1)),
            edited_at: Some(at(2)),
            deleted_at: Some(at(3)),
            ..a_message(2)
        }
    );
    keeps!(
        db,
        reaction,
        reaction::Model { message_id: message(1), user_id: user(1), emoji: "👍🏽".to_owned(), created_at: at(1) }
    );
    assert_eq!(reaction::on([message(1), message(2)]).all(db.read()).await?.len(), 1);
    keeps!(db, mention, mention::Model { user_id: user(1), conversation_id: conversation(1), seq: 1 });
    assert_eq!(mention::of_user_in(user(1), conversation(1), 0).all(db.read()).await?.len(), 1);
    Ok(())
}

async fn no_number_is_given_twice(db: &Db) -> Outcome {
    let row = outbox::ActiveModel {
        id: ActiveValue::NotSet,
        conversation_id: ActiveValue::Set(conversation(1)),
        from_rev: ActiveValue::Set(1),
        rev: ActiveValue::Set(2),
        created_at: ActiveValue::Set(at(1)),
    };
    let first = outbox::Entity::insert(row.clone()).exec(db.write()).await?.last_insert_id;
    outbox::Entity::delete_by_id(first).exec(db.write()).await?;
    let second = outbox::Entity::insert(row).exec(db.write()).await?.last_insert_id;
    assert!(second > first, "a number was given twice");
    Ok(())
}
