//! The rows of the nodes: who holds which name until when, and who clears away after whom.
//! Never a judgement: each statement says on which state of a row it rests, and tells whether that was so.

use crate::clock::Clock;
use entities::node::{self, ActiveModel, COLUMN, Entity};
use entities::{Backend, Db, Timestamp};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, Set};

/// All nodes that have a row, by name.
///
/// # Errors
/// Those of the database.
pub async fn all(db: &Db) -> Result<Vec<node::Model>, DbErr> {
    node::all().all(db.read()).await
}

/// The node of this name.
pub async fn find(db: &Db, id: &str) -> Result<Option<node::Model>, DbErr> {
    node::by_id(id).one(db.read()).await
}

/// Takes a name that nobody has; tells whether that was so.
pub async fn insert(db: &Db, row: &node::Model) -> Result<bool, DbErr> {
    let free = OnConflict::column(node::Column::Id).do_nothing().to_owned();
    let insert = Entity::insert(row.clone().into_active_model()).on_conflict(free);
    Ok(insert.exec_without_returning(db.write()).await? > 0)
}

/// Takes the name of one that has ended; tells whether it was still as it was `seen`.
pub async fn take_over(db: &Db, seen: &node::Model, row: &node::Model) -> Result<bool, DbErr> {
    use sea_orm::ActiveModelTrait as _;
    let row = ActiveModel { reaper: Set(None), reaper_until: Set(None), ..row.clone().into_active_model().reset_all() };
    let update = Entity::update_many().set(row).filter(still(seen));
    Ok(update.exec(db.write()).await?.rows_affected > 0)
}

/// Renews a lease, or gives the name back; tells whether it was still held.
pub async fn renew(db: &Db, row: &node::Model) -> Result<bool, DbErr> {
    let renewed = ActiveModel {
        address: Set(row.address.clone()),
        sockets: Set(row.sockets),
        rooms: Set(row.rooms),
        load: Set(row.load),
        draining: Set(row.draining),
        stopped: Set(row.stopped),
        renewed_at: Set(row.renewed_at),
        lease_until: Set(row.lease_until),
        ..ActiveModel::default()
    };
    let mine = COLUMN.id.eq(&*row.id).and(COLUMN.incarnation.eq(row.incarnation));
    Ok(Entity::update_many().set(renewed).filter(mine).exec(db.write()).await?.rows_affected > 0)
}

/// Claims to clear away after a node; tells whether it is still as it was `seen`, and nobody else does so.
pub async fn begin_reaping(
    db: &Db,
    seen: &node::Model,
    reaper: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, DbErr> {
    let claimed =
        ActiveModel { reaper: Set(Some(reaper.to_owned())), reaper_until: Set(Some(until)), ..ActiveModel::default() };
    let free = COLUMN.reaper_until.is_null().or(COLUMN.reaper_until.lt(now));
    let update = Entity::update_many().set(claimed).filter(still(seen)).filter(free);
    Ok(update.exec(db.write()).await?.rows_affected > 0)
}

/// Takes the row of a node away, after which nothing of it is left; unless it has come back, or another clears away.
pub async fn remove(db: &Db, seen: &node::Model, reaper: Option<&str>) -> Result<(), DbErr> {
    let by = reaper.map_or(COLUMN.reaper.is_null(), |reaper| COLUMN.reaper.eq(reaper));
    db.heard(Entity::delete_many().filter(still(seen)).filter(by).exec(db.write())).await?;
    Ok(())
}

/// The row of a node, as it was seen.
fn still(seen: &node::Model) -> sea_orm::Condition {
    let same = COLUMN.incarnation.eq(seen.incarnation).and(COLUMN.lease_until.eq(seen.lease_until));
    sea_orm::Condition::all().add(COLUMN.id.eq(&*seen.id)).add(same)
}

/// Learns how far the database's clock is ahead of this machine's. SQLite has this machine's.
///
/// # Errors
/// Those of the database.
pub async fn compare_clocks(db: &Db, clock: &dyn Clock) -> Result<(), DbErr> {
    if db.backend() == Backend::Sqlite {
        return Ok(());
    }
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let before = clock.now().millis();
    let row = db.read().query_one_raw(db.backend().statement(sql, [])).await?;
    let after = clock.now().millis();
    if let Some(theirs) = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()? {
        clock.set_offset_ms(clock.offset_ms() + correction(before, after, theirs));
    }
    Ok(())
}

/// How far to set the clock: as far as is proved. Theirs was read at some moment between, which may be a long time
/// where the database was paused.
fn correction(before: i64, after: i64, theirs: i64) -> i64 {
    let (least, most) = (theirs - Ord::max(after, before), theirs - before);
    Ord::clamp(0, least, most)
}

#[cfg(test)]
mod tests {
    use super::correction;

    #[test]
    fn a_clock_is_set_as_far_as_is_proved() {
        assert_eq!(correction(1000, 1002, 301_001), 299_999);
        assert_eq!(correction(301_000, 301_002, 1001), -299_999);
        assert_eq!(correction(1000, 1010, 1004), 0, "nothing says that it is wrong");
        assert_eq!(correction(1000, 9000, 8999), 0, "the database was paused");
        assert_eq!(correction(1000, 9000, 9500), 500);
    }
}
