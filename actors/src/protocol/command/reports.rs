//! What people tell the operators of each other.
//! Never what comes of it.

use super::{Access, Command};
use crate::protocol::check;
use crate::protocol::error::{Outcome, Refusal};
use crate::protocol::view;
use entities::{MessageId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why something is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReportReason {
    /// Unwanted advertising.
    Spam,
    /// Insults, threats, harassment.
    Abuse,
    /// Violence, or a call for it.
    Violence,
    /// Harm to a child.
    ChildSafety,
    /// Something else: the text says what.
    Other,
}

impl ReportReason {
    /// As rows and clients name it.
    pub fn name(self) -> &'static str {
        match self {
            ReportReason::Spam => "spam",
            ReportReason::Abuse => "abuse",
            ReportReason::Violence => "violence",
            ReportReason::ChildSafety => "childSafety",
            ReportReason::Other => "other",
        }
    }
}

/// Tells the operators of somebody, or of a message that the caller sees.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whom; the sender of the message unless said.
    pub user_id: Option<UserId>,
    /// Which message. What it says is kept as it is now. Whoever has left may report what they could see.
    pub message_id: Option<MessageId>,
    /// Why.
    pub reason: ReportReason,
    /// The rest in the caller's words, at most 2,000 bytes.
    pub text: Option<String>,
}
command!(Report = "users.report" -> view::Reported; |c| {
    if c.user_id.is_none() && c.message_id.is_none() {
        return Err(Refusal::invalid("userId", "give a userId, a messageId or both").into());
    }
    c.text.as_ref().map_or(Ok(()), |text| check::text("text", text, 0, 2_000))
});

/// A page of what was reported, the newest first.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListReports {
    /// Of this user alone.
    pub user_id: Option<UserId>,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
    /// From the page before.
    pub cursor: Option<String>,
}
command!(ListReports = "users.listReports" -> view::Page<view::ListedReport>, ACCESS: Access::Operator;
    |c| check::limit(c.limit).map(drop));
