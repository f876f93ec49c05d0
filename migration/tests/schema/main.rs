//! The schema as the entities use it, on scratch databases: SQLite always, and PostgreSQL where
//! `QUCKCHAT_TEST_POSTGRES` holds the URL of a server's maintenance database.
//!
//! Never here: rules.

/// Inserts the row and expects to read the very same.
macro_rules! keeps {
    ($db:expr, $table:ident, $row:expr) => {{
        let row: $table::Model = $row;
        $table::Entity::insert(row.clone().into_active_model()).exec($db.write()).await?;
        let read = $table::Entity::find().all($db.read()).await?;
        assert!(read.contains(&row), "{} kept {read:?}, not {row:?}", stringify!($table));
    }};
}

mod rows;
#[allow(dead_code, reason = "the tests of the database use the rest")]
#[path = "../support/mod.rs"]
mod support;

use entities::*;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryTrait, Statement};
use std::time::Duration;
use support::{Outcome, Scratch, a_message, at, conversation, message, user};

fn a_user(n: u128, name: &str) -> user::Model {
    user::Model {
        name_key: name.to_lowercase(),
        display_name: name.to_owned(),
        user_rev: 0,
        profile_user_rev: 0,
        ..user::Model::new(user(n), at(1))
    }
}

#[tokio::test]
async fn what_must_be_unique_is() -> Outcome {
    for scratch in Scratch::each("unique").await? {
        let db = scratch.migrated().await?;
        keeps!(db, message, a_message(1));
        for twin in [
            message::Model { seq: 1, ..a_message(2) },
            message::Model { id: message(1), ..a_message(2) },
            message::Model { client_id: "client-1".to_owned(), ..a_message(2) },
        ] {
            let refused = message::Entity::insert(twin.into_active_model()).exec(db.write()).await;
            assert!(matches!(
                refused.as_ref().err().and_then(DbErr::sql_err),
                Some(sea_orm::SqlErr::UniqueConstraintViolation(_))
            ));
        }
        scratch.drop(db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn names_are_found_by_their_beginning() -> Outcome {
    for scratch in Scratch::each("names").await? {
        let db = scratch.migrated().await?;
        for (n, name) in ["Zoë", "anna", "Ann-Marie", "an", "Änne", "bob", "anné"].into_iter().enumerate() {
            keeps!(db, user, a_user(n as u128, name));
        }
        let found = user::by_name_prefix("ann").all(db.read()).await?;
        let names: Vec<_> = found.iter().map(|user| user.display_name.as_str()).collect();
        assert_eq!(names, ["Ann-Marie", "anna", "anné"]);
        scratch.drop(db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn ten_nodes_migrate_at_once() -> Outcome {
    for scratch in Scratch::each("nodes").await? {
        let mut nodes = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let options = scratch.options.clone();
            nodes.spawn(async move {
                let db = Db::open(&options).await?;
                let applied = migration::migrate(db.write()).await?;
                db.close().await?;
                Outcome::Ok(applied)
            });
        }
        let mut applied = Vec::new();
        while let Some(node) = nodes.join_next().await {
            applied.push(node??);
        }
        applied.sort_unstable();
        assert_eq!(applied, [0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        let db = Db::open(&scratch.options).await?;
        assert_eq!(migration::pending(db.write()).await?, 0);
        scratch.drop(db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn changes_are_read_from_the_partial_index() -> Outcome {
    for scratch in Scratch::each("plan").await? {
        let db = scratch.migrated().await?;
        let query = message::changed_in(conversation(1), 5, 10).build(db.backend().into());
        let explain = match db.backend() {
            Backend::Sqlite => "EXPLAIN QUERY PLAN",
            Backend::Postgres => "EXPLAIN",
        };
        let reads = db.begin_read().await?;
        if db.backend() == Backend::Postgres {
            reads
                .execute_unprepared("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
                .await?;
        }
        let explained = Statement { sql: format!("{explain} {}", query.sql), ..query };
        let mut plan = String::new();
        for row in reads.query_all_raw(explained).await? {
            plan += &row.try_get_by_index::<String>(if db.backend() == Backend::Sqlite { 3 } else { 0 })?;
        }
        reads.rollback().await?;
        assert!(plan.contains("messages_changed"), "{plan}");
        scratch.drop(db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn raw_values_bind_on_both() -> Outcome {
    for scratch in Scratch::each("values").await? {
        let db = scratch.migrated().await?;
        let rows = db::values_list(db.backend(), 1, 2, &["uuid", "uuid", "bigint"]);
        let insert = format!("INSERT INTO mentions (user_id, conversation_id, seq) VALUES {rows}");
        let values = [1, 2].into_iter().flat_map(|n| [user(n).into(), conversation(n).into(), (n as i64).into()]);
        let write = db.begin_write().await?;
        write.execute_raw(Backend::of(&write).statement(insert, values)).await?;
        write.commit().await?;
        let found = mention::Entity::find().filter(mention::COLUMN.user_id.eq(user(2))).all(db.read()).await?;
        assert_eq!(found, [mention::Model { user_id: user(2), conversation_id: conversation(2), seq: 2 }]);
        scratch.drop(db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_schema_of_a_later_release_is_served() -> Outcome {
    for scratch in Scratch::each("later").await? {
        let db = scratch.migrated().await?;
        let later = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000001_later', 0)";
        db.write().execute_unprepared(later).await?;
        assert_eq!(migration::migrate(db.write()).await?, 0);
        assert_eq!(migration::pending(db.write()).await?, 0);
        // But not one that went another way.
        db.write().execute_unprepared("DELETE FROM seaql_migrations WHERE version LIKE '%outbox'").await?;
        let refused = migration::migrate(db.write()).await.unwrap_err().to_string();
        assert!(refused.contains("another line of releases") && refused.contains("later"), "{refused}");
        scratch.drop(db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn whoever_waits_for_another_to_migrate_is_not_given_up() -> Outcome {
    let Some(mut scratch) = Scratch::postgres("patience").await? else { return Ok(()) };
    scratch.options.lock_timeout = Duration::from_millis(10);
    scratch.options.statement_timeout = Duration::from_millis(100);
    let db = Db::open(&scratch.options).await?;
    let holder = db.begin_write().await?;
    let key = i64::from_be_bytes(*b"quckchat");
    holder.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
    holder.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({key})")).await?;
    let migrating = async { migration::migrate(db.write()).await };
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let ending = async {
        while holder
            .query_one_raw(db.backend().statement(waiting, []))
            .await?
            .ok_or("a row")?
            .try_get_by_index::<i64>(0)?
            == 0
        {}
        // Longer than any of its own limits.
        holder.execute_unprepared("SELECT pg_sleep(0.3)").await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(holder.commit().await?)
    };
    let both = async { tokio::join!(migrating, ending) };
    let (applied, ended) = tokio::time::timeout(Duration::from_secs(30), both).await?;
    ended?;
    assert!(applied? > 0);
    scratch.drop(db).await
}
