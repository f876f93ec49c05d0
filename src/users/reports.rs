//! What people tell the operators of each other.
//! Never to whom it is about, and never of what the reporter cannot see.

use super::counters;
use crate::app::App;
use crate::auth::audit;
use crate::gateway::dispatch::Run;
use crate::gateway::extract::{Body, Call, Reply, reply};
use crate::gateway::query::Params;
use actix_web::web;
use actors::caller::{Caller, Identity};
use actors::conversation::read;
use actors::protocol::command::{ListReports, Report};
use actors::protocol::view::{Evidence, ListedReport, Page, Reported};
use actors::protocol::{Command, Error, ErrorCode, Outcome, Refusal, check, view};
use actors::retry::transact;
use entities::{MessageId, ReportId, UserId, message, participant, report, user};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use utoipa::OpenApi;

/// For so long a report counts against its reporter's next ones.
const DAY: Duration = Duration::from_secs(86_400);

/// What this part serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/reports").get(list).post(make));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(list, make))]
pub struct Paths;

/// What was reported, the newest first: for operators.
#[utoipa::path(
    get, path = "/reports", operation_id = ListReports::NAME, tag = "reports", params(ListReports),
    responses((status = 200, description = "A page", body = view::Page<view::ListedReport>)),
)]
async fn list(
    app: web::Data<App>,
    call: Call<ListReports>,
    Params(command): Params<ListReports>,
) -> Reply<Page<ListedReport>> {
    reply(app.dispatch(&call, command).await)
}

/// Tells the operators of somebody, or of a message that the caller sees. Nobody else hears of it.
#[utoipa::path(
    post, path = "/reports", operation_id = Report::NAME, tag = "reports", request_body = Report,
    responses((status = 200, description = "It was taken", body = view::Reported)),
)]
async fn make(app: web::Data<App>, call: Call<Report>, Body(command): Body<Report>) -> Reply<Reported> {
    reply(app.dispatch(&call, command).await)
}

impl Run for Report {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<Reported> {
        let by = caller.identity()?;
        let id = ReportId::from_uuid(app.clock.uuid());
        transact(&app.db, &*app.clock, async |transaction| {
            counters::lock(transaction, [by.user]).await?;
            let (user_id, message) = concerned(transaction, by.user, &self).await?;
            check_day(transaction, app, by).await?;
            let row = report::Model {
                id,
                reporter_id: by.user,
                user_id: Some(user_id),
                message_id: self.message_id,
                message_rev: message.as_ref().map(|message| message.rev),
                message_text: message.and_then(|message| message.text),
                reason: self.reason.name().to_owned(),
                text: self.text.clone().unwrap_or_default().trim().to_owned(),
                created_at: app.clock.now(),
            };
            let event = audit::Event {
                kind: audit::Kind::Reported,
                user: Some(by.user),
                session: Some(by.session),
                address: caller.address,
                detail: json!({ "reportId": id, "reason": row.reason, "userId": user_id, "messageId": row.message_id }),
            };
            audit::record(transaction, &*app.clock, event).await?;
            let reported_at = row.created_at;
            report::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await?;
            Ok(Reported { report_id: id, reported_at })
        })
        .await
    }
}

/// Whom a report is about, and the message, if the reporter sees what they report.
async fn concerned(
    transaction: &DatabaseTransaction,
    by: UserId,
    command: &Report,
) -> Outcome<(UserId, Option<message::Model>)> {
    let Report { user_id, message_id, .. } = command;
    let message = match message_id {
        None => None,
        Some(id) => Some(seen(transaction, by, *id).await?.ok_or(ErrorCode::MessageNotFound)?),
    };
    let sender = message.as_ref().map(|message| message.sender_id);
    if sender.is_some() && user_id.is_some() && *user_id != sender {
        return Err(Refusal::invalid("userId", "is not who sent the message").into());
    }
    let whom = sender.or(*user_id).ok_or(ErrorCode::UserNotFound)?;
    if whom == by {
        return Err(Refusal::invalid("userId", "is your own account").into());
    }
    user::by_id(whom).one(transaction).await?.ok_or(ErrorCode::UserNotFound)?;
    Ok((whom, message))
}

/// A message that somebody sees, or saw before they left.
async fn seen(transaction: &DatabaseTransaction, by: UserId, id: MessageId) -> Outcome<Option<message::Model>> {
    let Some(row) = message::by_id(id).one(transaction).await? else { return Ok(None) };
    let Some(span) = participant::of(row.conversation_id, by).one(transaction).await? else { return Ok(None) };
    let was_there = match (span.until_rev, span.left_at) {
        (None, _) => true,
        // Of one that was changed since, the row does not say any more with which `rev` it was sent.
        (Some(_), Some(left_at)) if row.changed => row.created_at <= left_at,
        (Some(until_rev), _) => row.rev < until_rev,
    };
    Ok((was_there && row.seq >= span.visible_from_seq).then_some(row))
}

async fn check_day(transaction: &DatabaseTransaction, app: &App, by: Identity) -> Outcome<()> {
    let (now, most) = (app.clock.now(), u64::from(app.config.limits.reports_per_day));
    let lately = report::by_reporter(by.user).filter(report::COLUMN.created_at.gt(now.minus(DAY)));
    if lately.clone().count(transaction).await? < most {
        return Ok(());
    }
    let oldest = lately.order_by_asc(report::Column::CreatedAt).one(transaction).await?;
    let wait = oldest.map_or(DAY, |row| row.created_at.plus(DAY).since(now));
    Err(Refusal::new(ErrorCode::ReportTooMany).after(wait).into())
}

impl Run for ListReports {
    async fn run(self, app: &App, _: &Caller) -> Outcome<Page<ListedReport>> {
        let limit = check::limit(self.limit)?;
        let mut query = report::newest_first();
        if let Some(user) = self.user_id {
            query = query.filter(report::COLUMN.user_id.eq(user));
        }
        if let Some(cursor) = &self.cursor {
            let foreign = |_| Error::from(Refusal::invalid("cursor", "is not one that a page gave"));
            let before: uuid::Uuid = cursor.parse().map_err(foreign)?;
            query = query.filter(report::COLUMN.id.lt(ReportId::from_uuid(before)));
        }
        let mut rows = query.limit(limit + 1).all(app.db.read()).await?;
        let more = rows.len() as u64 > limit;
        rows.truncate(limit as usize);
        let next_cursor = rows.last().filter(|_| more).map(|row| row.id.to_string());
        let ids = rows.iter().filter_map(|row| row.message_id);
        let messages = message::Entity::find().filter(message::Column::Id.is_in(ids)).all(app.db.read()).await?;
        let messages = read::message_views(app.db.read(), messages, true).await?;
        let messages: HashMap<MessageId, view::Message> = messages.into_iter().map(|it| (it.id, it)).collect();
        Ok(Page { items: rows.into_iter().map(|row| listed(row, &messages)).collect(), next_cursor })
    }
}

fn listed(row: report::Model, messages: &HashMap<MessageId, view::Message>) -> ListedReport {
    ListedReport {
        report_id: row.id,
        reported_at: row.created_at,
        reporter_id: row.reporter_id,
        user_id: row.user_id,
        message: row.message_id.and_then(|id| messages.get(&id).cloned()),
        message_id: row.message_id,
        evidence: row.message_rev.map(|rev| Evidence { rev, text: row.message_text }),
        reason: row.reason,
        text: row.text,
    }
}
