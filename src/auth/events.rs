//! What happened to accounts, as their owners and the operator see it; and how long it is kept.
//! Never what is noted: whoever does something says that (see `audit`).

use super::Auth;
use super::session_list::before;
use crate::app::App;
use crate::auth::roles;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::protocol::command::ListEvents;
use actors::protocol::{Outcome, check, view};
use entities::{AuditEventId, Timestamp, UserId, audit_event};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// Rows that one statement deletes.
const SWEPT_AT_ONCE: u64 = 500;

impl Auth {
    /// A page of what concerns a user, or of everything. Ids are made in the order of time.
    async fn events(
        &self,
        of: Option<UserId>,
        cursor: Option<&str>,
        limit: u64,
    ) -> Outcome<view::Page<view::SecurityEvent>> {
        let mut query = audit_event::Entity::find().order_by_desc(audit_event::COLUMN.id);
        if let Some(user) = of {
            query = query.filter(audit_event::COLUMN.user_id.eq(user));
        }
        if let Some(cursor) = cursor {
            query = query.filter(audit_event::COLUMN.id.lt(before::<AuditEventId>(cursor)?));
        }
        // One more than asked tells whether there is a next page.
        let mut rows = query.limit(limit + 1).all(self.db.read()).await?;
        let more = rows.len() as u64 > limit;
        rows.truncate(limit as usize);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(view::Page { items: rows.into_iter().map(view::SecurityEvent::from_row).collect(), next_cursor })
    }

    /// Deletes what was kept for as long as the configuration says; tells how many rows.
    pub(super) async fn sweep_events(&self) -> Result<u64, DbErr> {
        let kept_since = self.clock.now().minus(self.events_keep);
        let mut swept = 0;
        loop {
            let oldest: Vec<(AuditEventId, Timestamp)> = audit_event::Entity::find()
                .select_only()
                .column(audit_event::Column::Id)
                .column(audit_event::Column::At)
                .order_by_asc(audit_event::COLUMN.id)
                .limit(SWEPT_AT_ONCE)
                .into_tuple()
                .all(self.db.read())
                .await?;
            let old: Vec<AuditEventId> =
                oldest.into_iter().filter(|(_, at)| *at < kept_since).map(|(id, _)| id).collect();
            let full = old.len() as u64 == SWEPT_AT_ONCE;
            if !old.is_empty() {
                let delete = audit_event::Entity::delete_many().filter(audit_event::Column::Id.is_in(old));
                swept += self.db.heard(delete.exec(self.db.write())).await?.rows_affected;
            }
            if !full {
                return Ok(swept);
            }
        }
    }
}

impl Run for ListEvents {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Page<view::SecurityEvent>> {
        let own = caller.user()?;
        let of = if self.all { self.user_id } else { Some(self.user_id.unwrap_or(own)) };
        if of != Some(own) {
            roles::demand(app.db.read(), own, roles::OPERATOR).await?;
        }
        app.auth.events(of, self.cursor.as_deref(), check::limit(self.limit)?).await
    }
}

#[cfg(test)]
mod tests {
    use crate::auth::audit;
    use crate::auth::testing::Setting;
    use std::time::Duration;

    #[actix_web::test]
    async fn events_come_in_pages_and_are_kept_for_a_while() {
        for Setting { scratch, clock, auth, config, .. } in Setting::each().await {
            let dyn_clock: &dyn actors::clock::Clock = &*clock;
            let (ann, bob) = (dyn_clock.user_id(), dyn_clock.user_id());
            for (at, user) in [Some(ann), Some(bob), None, Some(ann), Some(ann)].into_iter().enumerate() {
                let detail = serde_json::json!({ "at": at });
                let event = audit::Event { user, detail, ..audit::Event::of(audit::Kind::SignedIn) };
                audit::record(scratch.db.write(), dyn_clock, event).await.unwrap();
                clock.advance(Duration::from_secs(86_400));
            }
            let page = async |of, cursor: Option<&str>| {
                let page = auth.events(of, cursor, 2).await.unwrap();
                let told = page.items.iter().map(|item| item.detail.get().to_owned()).collect::<Vec<_>>().concat();
                (told, page.next_cursor)
            };
            let (first, next) = page(Some(ann), None).await;
            assert_eq!(first, r#"{"at":4}{"at":3}"#);
            assert_eq!(page(Some(ann), next.as_deref()).await, (r#"{"at":0}"#.to_owned(), None));
            assert_eq!(page(None, None).await.0, r#"{"at":4}{"at":3}"#);
            assert!(auth.events(None, Some("x"), 2).await.is_err());

            clock.advance(config.auth.events_keep - Duration::from_secs(3 * 86_400));
            assert_eq!(auth.sweep_events().await.unwrap(), 2);
            assert_eq!(auth.sweep_events().await.unwrap(), 0);
            assert_eq!(page(Some(ann), None).await, (r#"{"at":4}{"at":3}"#.to_owned(), None));
            assert_eq!(page(Some(bob), None).await, (String::new(), None));
            scratch.drop().await;
        }
    }
}
