//! Taking somebody whose account has ended out of their conversations, a piece at a time.
//! Never all at once, and never a row by itself: each piece is an item of the journal, of which members hear.
//!
//! # Why every piece may be done again
//! Whoever does this may die between any two pieces, and another begins anew. So going is no change for who has gone,
//! taking back none for what is not there; and who has gone says nothing more, so what was looked through stays so.
//!
//! # What becomes of a conversation that nobody is in
//! Nobody can come in again, so nobody reads there any more: whatever was said in it goes, whoever said it, and what it
//! was called.

use super::Conversations;
use super::change::Change;
use super::read;
use crate::protocol::{ErrorCode, Outcome};
use entities::db::parameter;
use entities::{Backend, ConversationId, Db, MessageId, UserId};
use sea_orm::{ConnectionTrait, DbErr};

/// How many messages of a conversation are looked through for one item.
const SPAN: i64 = 250;

impl Conversations {
    /// Ends somebody's membership; where they were a group's only owner, another member becomes it.
    ///
    /// # Errors
    /// `conversation.not_found`, `conversation.busy`; a fault of the database, after which it may have been done.
    pub async fn depart(&self, user: UserId, conversation: ConversationId) -> Outcome<()> {
        self.change(conversation, user, Change::Depart).await.map(drop)
    }

    /// Takes back the reactions that somebody gave to the next messages above `after_seq`, and what they said among
    /// them if `said`; where nobody is a member any more, what anybody said. Gives where to go on, or none at the end.
    ///
    /// # Errors
    /// Those of `depart`.
    pub async fn withdraw(
        &self,
        user: UserId,
        conversation: ConversationId,
        after_seq: i64,
        said: bool,
    ) -> Outcome<Option<i64>> {
        let counters = read::counters(self.db.read(), &[conversation]).await?;
        let counters = counters.get(&conversation).ok_or(ErrorCode::ConversationNotFound)?;
        let (last_seq, is_deserted) = (counters.last_seq, counters.participant_count == 0);
        let upto = after_seq.saturating_add(SPAN);
        let within = (conversation, after_seq, upto);
        let said = if said || is_deserted { said_within(&self.db, user, within).await? } else { Vec::new() };
        let reacted = reacted_within(&self.db, user, within).await?;
        if !said.is_empty() || !reacted.is_empty() || (is_deserted && after_seq == 0) {
            self.change(conversation, user, Change::Withdraw { said, reacted }).await?;
        }
        Ok((upto < last_seq).then_some(upto))
    }
}

/// A conversation, and the messages above one `seq` up to another.
type Within = (ConversationId, i64, i64);

async fn said_within(db: &Db, user: UserId, within: Within) -> Result<Vec<MessageId>, DbErr> {
    // Of a conversation that nobody is in, whatever was said.
    let sql = "SELECT m.id FROM messages AS m JOIN conversations AS c ON c.id = m.conversation_id \
               WHERE {within} AND (m.sender_id = {user} OR c.participant_count = 0) AND m.deleted_at IS NULL";
    found(db, sql, user, within).await
}

async fn reacted_within(db: &Db, user: UserId, within: Within) -> Result<Vec<MessageId>, DbErr> {
    // Only a message that was changed can have reactions.
    let sql = "SELECT m.id FROM messages AS m WHERE {within} AND m.changed \
               AND EXISTS (SELECT 1 FROM reactions AS r WHERE r.message_id = m.id AND r.user_id = {user})";
    found(db, sql, user, within).await
}

async fn found(db: &Db, sql: &str, user: UserId, (conversation, after, upto): Within) -> Result<Vec<MessageId>, DbErr> {
    let backend: Backend = db.backend();
    let p = |number, cast| parameter(backend, number, cast);
    let within =
        format!("m.conversation_id = {} AND m.seq > {} AND m.seq <= {}", p(1, "uuid"), p(2, "bigint"), p(3, "bigint"));
    let sql = sql.replace("{within}", &within).replace("{user}", &p(4, "uuid"));
    let values = [conversation.into(), after.into(), upto.into(), user.into()];
    let rows = db.read().query_all_raw(backend.statement(sql, values)).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}
