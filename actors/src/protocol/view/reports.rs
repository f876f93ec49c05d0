//! What was reported: to whoever reported it, and to operators.
//! Never to whom it is about.

use super::Message;
use entities::{MessageId, ReportId, Timestamp, UserId};
use serde::Serialize;
use utoipa::ToSchema;

/// A report was taken.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reported {
    /// What names it.
    pub report_id: ReportId,
    /// When.
    pub reported_at: Timestamp,
}

/// A report, as operators see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedReport {
    /// What names it.
    pub report_id: ReportId,
    /// When.
    pub reported_at: Timestamp,
    /// Who reports.
    pub reporter_id: UserId,
    /// Whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Which message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The message as it was when it was reported; absent where the report is of no message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The message as it is now; absent where the report is of no message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// Why, in a word.
    pub reason: String,
    /// The rest, in the reporter's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What a message said when it was reported, whatever its sender has made of it since.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Its `rev` then: where it is still the same, nothing was changed.
    pub rev: i64,
    /// Its text then; absent if it was deleted already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}
