//! A second witness: the database notes every `rev` that is stamped on a row, in the transaction that stamps it.
//! Never something that a node could leave out, or would notice.

use super::{Id, Row};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbErr, QueryResult, Statement};
use std::collections::BTreeMap;

/// Triggers, beside the schema that the nodes have made.
const WITNESS: &str = "
    CREATE TABLE witness (
        id BIGINT GENERATED ALWAYS AS IDENTITY, conversation TEXT NOT NULL, rev BIGINT NOT NULL, kind TEXT NOT NULL,
        row_id TEXT, seq BIGINT, content TEXT, sender TEXT, client_id TEXT,
        from_rev BIGINT, until_rev BIGINT, visible_from BIGINT, inserted BOOLEAN NOT NULL);
    CREATE FUNCTION witness_message() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO witness (conversation, rev, kind, row_id, seq, content, sender, client_id, inserted) VALUES
            (NEW.conversation_id, NEW.rev, 'message', NEW.id, NEW.seq, NEW.text, NEW.sender_id, NEW.client_id,
            TG_OP = 'INSERT');
        RETURN NULL; END $$;
    CREATE FUNCTION witness_participant() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'UPDATE' AND NEW.rev = OLD.rev THEN RETURN NULL; END IF;
        INSERT INTO witness (conversation, rev, kind, row_id, from_rev, until_rev, visible_from, inserted) VALUES
            (NEW.conversation_id, NEW.rev, 'participant', NEW.user_id, NEW.from_rev, NEW.until_rev,
            NEW.visible_from_seq, TG_OP = 'INSERT');
        RETURN NULL; END $$;
    CREATE FUNCTION witness_settings() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'UPDATE' AND NEW.rev = OLD.rev THEN RETURN NULL; END IF;
        INSERT INTO witness (conversation, rev, kind, inserted) VALUES
            (NEW.id, NEW.rev, 'settings', TG_OP = 'INSERT');
        RETURN NULL; END $$;
    CREATE TRIGGER witness AFTER INSERT OR UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION witness_message();
    CREATE TRIGGER witness AFTER INSERT OR UPDATE ON participants FOR EACH ROW EXECUTE FUNCTION witness_participant();
    CREATE TRIGGER witness AFTER INSERT OR UPDATE ON conversations FOR EACH ROW EXECUTE FUNCTION witness_settings();";

/// A `rev` as it was stamped.
#[derive(Debug, Clone)]
pub struct Stamp {
    pub rev: i64,
    pub row: Row,
    /// Who sent the message, and by which key, if this stamp made it.
    pub made_by: Option<(Id, String)>,
    /// The participant's span.
    pub span: Option<Span>,
}

/// A time within which somebody is a member: from one `rev` to another, and from which `seq` on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub from: i64,
    pub until: Option<i64>,
    pub visible_from: i64,
}

/// A conversation's whole past.
#[derive(Debug, Clone, Default)]
pub struct Past {
    pub last_seq: i64,
    pub last_rev: i64,
    /// Every stamp, in the order in which it was made.
    pub stamps: Vec<Stamp>,
    /// What each transaction has numbered, from the outbox.
    pub batches: Vec<(i64, i64)>,
}

/// Where everything stands, for whoever waits until all know it.
#[derive(Debug, Default, PartialEq)]
pub struct Heads {
    /// By conversation.
    pub last_rev: BTreeMap<Id, i64>,
    /// By user: their counter, and the conversations that they are in, with the first `seq` that they see.
    pub users: BTreeMap<Id, (i64, BTreeMap<Id, i64>)>,
}

/// The way to the database, past everything that breaks.
pub struct Audit(DatabaseConnection);

impl Audit {
    /// Begins to witness.
    pub async fn begin(url: &str) -> Audit {
        let audit = Audit(Database::connect(url).await.unwrap());
        audit.0.execute_unprepared(WITNESS).await.unwrap();
        audit
    }

    /// Looks again after the database was restarted.
    async fn rows(&self, query: &str) -> Result<Vec<QueryResult>, DbErr> {
        self.0.query_all_raw(Statement::from_string(self.0.get_database_backend(), query)).await
    }

    /// Where everything stands; `None` while the database is away.
    pub async fn heads(&self) -> Option<Heads> {
        let mut heads = Heads::default();
        for row in self.rows("SELECT id::text, last_rev FROM conversations").await.ok()? {
            heads.last_rev.insert(row.try_get_by_index(0).ok()?, row.try_get_by_index(1).ok()?);
        }
        for row in self.rows("SELECT id::text, user_rev FROM users").await.ok()? {
            heads.users.insert(row.try_get_by_index(0).ok()?, (row.try_get_by_index(1).ok()?, BTreeMap::new()));
        }
        let members = "SELECT user_id::text, conversation_id::text, visible_from_seq FROM participants
            WHERE until_rev IS NULL";
        for row in self.rows(members).await.ok()? {
            let user: Id = row.try_get_by_index(0).ok()?;
            let theirs = &mut heads.users.get_mut(&user)?.1;
            theirs.insert(row.try_get_by_index(1).ok()?, row.try_get_by_index(2).ok()?);
        }
        Some(heads)
    }

    /// All that was witnessed, by conversation.
    pub async fn pasts(&self) -> BTreeMap<Id, Past> {
        let mut pasts: BTreeMap<Id, Past> = BTreeMap::new();
        for row in self.rows("SELECT id::text, last_seq, last_rev FROM conversations").await.unwrap() {
            let past = Past { last_seq: get(&row, 1), last_rev: get(&row, 2), ..Past::default() };
            pasts.insert(get(&row, 0), past);
        }
        let stamps = "SELECT conversation, rev, kind, row_id, seq, content, sender, client_id, from_rev, until_rev,
            visible_from, inserted FROM witness ORDER BY id";
        for row in self.rows(stamps).await.unwrap() {
            pasts.get_mut(&get::<Id>(&row, 0)).unwrap().stamps.push(stamp(&row));
        }
        let batches = "SELECT conversation_id::text, from_rev, rev FROM outbox ORDER BY id";
        for row in self.rows(batches).await.unwrap() {
            pasts.get_mut(&get::<Id>(&row, 0)).unwrap().batches.push((get(&row, 1), get(&row, 2)));
        }
        pasts
    }
}

fn get<T: sea_orm::TryGetable>(row: &QueryResult, at: usize) -> T {
    row.try_get_by_index(at).unwrap()
}

fn stamp(row: &QueryResult) -> Stamp {
    let kind: String = get(row, 2);
    let id = || get::<Option<Id>>(row, 3).unwrap();
    let until: Option<i64> = get(row, 9);
    let (what, span) = match kind.as_str() {
        "message" => (Row::Message { id: id(), seq: get::<Option<i64>>(row, 4).unwrap(), text: get(row, 5) }, None),
        "participant" => {
            let from = get::<Option<i64>>(row, 8).unwrap();
            let visible_from = get::<Option<i64>>(row, 10).unwrap();
            let span = Span { from, until, visible_from };
            (Row::Participant { user: id(), removed: until.is_some() }, Some(span))
        }
        _ => (Row::Settings, None),
    };
    let made_by = get::<Option<Id>>(row, 6).zip(get(row, 7)).filter(|_| get(row, 11));
    Stamp { rev: get(row, 1), row: what, made_by, span }
}
