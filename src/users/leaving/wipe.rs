//! The tables that hold something of somebody and of nobody else, and how their rows are deleted: a few at a time.
//! Never what others have in common with them: conversations are told by the journal, address books by their owners.

use entities::db::parameter;
use entities::{Db, UserId};
use sea_orm::{ConnectionTrait, DbErr};

/// Rows that one statement deletes.
const AT_ONCE: u64 = 500;

/// One table.
pub struct Table {
    name: &'static str,
    /// What names a row.
    key: &'static str,
    /// Which rows are somebody's, who stands for `{user}`.
    theirs: &'static str,
}

const fn table(name: &'static str, key: &'static str, theirs: &'static str) -> Table {
    Table { name, key, theirs }
}

/// What goes when an account ends. `export_parts` before the rows that name them.
pub const OWN: &[Table] = &[
    table("passwords", "user_id", "user_id = {user}"),
    table("second_factors", "user_id", "user_id = {user}"),
    table("backup_codes", "user_id, code_hash", "user_id = {user}"),
    table("challenges", "id_hash", "user_id = {user}"),
    table("identities", "issuer, subject", "user_id = {user}"),
    table("otp_verifications", "id", "user_id = {user}"),
    table("user_roles", "user_id, role", "user_id = {user}"),
    table("devices", "user_id, id", "user_id = {user}"),
    table("contacts", "owner_id, user_id", "owner_id = {user}"),
    table("contact_numbers", "owner_id, number_hash", "owner_id = {user}"),
    table("arrivals", "user_id", "user_id = {user}"),
    table("blocks", "owner_id, user_id", "owner_id = {user}"),
    table("mentions", "user_id, conversation_id, seq", "user_id = {user}"),
    table("export_parts", "export_id, number", "export_id IN (SELECT id FROM exports WHERE user_id = {user})"),
    table("exports", "id", "user_id = {user}"),
    table("refresh_tokens", "token_hash", "session_id IN (SELECT id FROM sessions WHERE user_id = {user})"),
];

/// What stays a while longer: by these rows other nodes learn that its sockets are to close.
pub const SESSIONS: &[Table] = &[table("sessions", "id", "user_id = {user}")];

/// What the audit trail keeps of an account that has ended: what was done and when, but not from where.
const ANONYMISED: &str = "UPDATE audit_events SET address = NULL, session_id = NULL, detail = '{}' WHERE id IN (\
     SELECT id FROM audit_events WHERE user_id = {user} AND (address IS NOT NULL OR session_id IS NOT NULL \
     OR detail <> '{}') LIMIT {most})";

/// What a session's row keeps.
const NAMELESS: &str = "UPDATE sessions SET device_id = NULL, device_name = NULL, platform = NULL, address = NULL, \
     user_agent = NULL WHERE id IN (SELECT id FROM sessions WHERE user_id = {user} AND (device_id IS NOT NULL \
     OR device_name IS NOT NULL OR platform IS NOT NULL OR address IS NOT NULL OR user_agent IS NOT NULL) LIMIT {most})";

/// Deletes some of somebody's rows in a table; tells whether there may be more.
///
/// # Errors
/// Those of the database.
pub async fn wipe(db: &Db, table: &Table, user: UserId) -> Result<bool, DbErr> {
    let Table { name, key, theirs } = table;
    step(
        db,
        &format!("DELETE FROM {name} WHERE ({key}) IN (SELECT {key} FROM {name} WHERE {theirs} LIMIT {{most}})"),
        user,
    )
    .await
}

/// Takes out of some of somebody's events and sessions where they were and what they called from; tells whether there
/// may be more.
///
/// # Errors
/// Those of the database.
pub async fn anonymise(db: &Db, user: UserId) -> Result<bool, DbErr> {
    Ok(step(db, ANONYMISED, user).await? || step(db, NAMELESS, user).await?)
}

async fn step(db: &Db, sql: &str, user: UserId) -> Result<bool, DbErr> {
    let sql = sql.replace("{user}", &parameter(db.backend(), 1, "uuid")).replace("{most}", &AT_ONCE.to_string());
    let done = db.write().execute_raw(db.backend().statement(sql, [user.into()]));
    Ok(db.heard(done).await?.rows_affected() >= AT_ONCE)
}
