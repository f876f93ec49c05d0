//! What is said, and how far it was read.
//! Never who may say it.

use super::{Command, Doors};
use crate::protocol::check;
use crate::protocol::error::{Outcome, Refusal};
use crate::protocol::view;
use entities::{ConversationId, MessageId};
use serde::Deserialize;
use utoipa::ToSchema;

/// Says something.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendMessage {
    /// Where.
    pub conversation_id: ConversationId,
    /// 1 byte to 8 KiB of UTF-8.
    pub text: String,
    /// Makes the request safe to repeat; at most 64 bytes, best a UUIDv7.
    pub client_id: String,
    /// A message of the same conversation.
    pub reply_to: Option<MessageId>,
}
command!(SendMessage = "messages.send" -> view::Sent; |c| {
    check::client_id(&c.client_id)?;
    check::text("text", &c.text, 1, check::TEXT_BYTES)
});

/// A page of history: the newest, or before, after or around a `seq`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagesByConversation {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// Messages below this `seq`, the nearest ones.
    pub before_seq: Option<i64>,
    /// Messages above this `seq`, the nearest ones.
    pub after_seq: Option<i64>,
    /// Messages on both sides of this `seq`, itself among them.
    pub around_seq: Option<i64>,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(MessagesByConversation = "messages.getByConversation" -> view::History; |c| {
    check::limit(c.limit)?;
    let named = [("beforeSeq", c.before_seq), ("afterSeq", c.after_seq), ("aroundSeq", c.around_seq)];
    for (field, value) in named {
        check::number(field, value)?;
    }
    let mut given = named.iter().filter(|(_, value)| value.is_some());
    given.next();
    match given.next() {
        Some((field, _)) => Err(Refusal::invalid(*field, "give one of beforeSeq, afterSeq and aroundSeq").into()),
        None => Ok(()),
    }
});

/// Everything of a conversation that changed after a `rev`, in its present state.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// The last `rev` that the client holds.
    pub after_rev: i64,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(Changes = "messages.changes" -> view::Changes; |c| {
    check::number("afterRev", Some(c.after_rev))?;
    check::limit(c.limit).map(drop)
});

/// One message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetMessage {
    /// Which.
    pub message_id: MessageId,
}
command!(GetMessage = "messages.get" -> view::Message);

/// Changes the text of a message of one's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EditMessage {
    /// Which.
    pub message_id: MessageId,
    /// The new text, 1 byte to 8 KiB.
    pub text: String,
}
command!(EditMessage = "messages.edit" -> view::Message; |c| check::text("text", &c.text, 1, check::TEXT_BYTES));

/// Deletes a message for everyone: one's own, or any as an admin. A tombstone remains.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteMessage {
    /// Which.
    pub message_id: MessageId,
}
command!(DeleteMessage = "messages.delete" -> view::Message);

/// Reacts with one emoji; the same one again changes nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddReaction {
    /// To which message.
    pub message_id: MessageId,
    /// One emoji.
    pub emoji: String,
}
command!(AddReaction = "messages.addReaction" -> view::Message; |c| check::emoji(&c.emoji));

/// Takes a reaction back; what is not there changes nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoveReaction {
    /// From which message.
    pub message_id: MessageId,
    /// The emoji.
    pub emoji: String,
}
command!(RemoveReaction = "messages.removeReaction" -> view::Message; |c| check::emoji(&c.emoji));

/// Everything up to `seq` has been read. Only ever raises the mark.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkRead {
    /// In which conversation.
    pub conversation_id: ConversationId,
    /// The last message read.
    pub seq: i64,
}
command!(MarkRead = "messages.markRead" -> view::Mine; |c| check::number("seq", Some(c.seq)).map(drop));

/// Everything up to `seq` has arrived. Only ever raises the mark; not kept above 100 members.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkDelivered {
    /// In which conversation.
    pub conversation_id: ConversationId,
    /// The last message that arrived.
    pub seq: i64,
}
command!(MarkDelivered = "messages.markDelivered" -> view::Mine; |c| check::number("seq", Some(c.seq)).map(drop));

/// The caller is typing, or no longer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Typing {
    /// Where.
    pub conversation_id: ConversationId,
    /// `false` when they stopped; `true` lasts 6 seconds unless said again.
    #[serde(default = "Typing::on")]
    pub typing: bool,
}
command!(Typing = "messages.typing" -> (), DOORS: Doors::Sockets);

impl Typing {
    fn on() -> bool {
        true
    }
}
