//! Who may see what of a user, and do what with them: one table for every door, and how two people stand to each other.
//! Never what somebody has chosen (see `entities::privacy`), and never whether they are in one conversation.

use crate::sql::Table;
use entities::{Audience, Privacy, Timestamp, UserId, block, contact, user};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryResult, QuerySelect, Set,
};
use std::collections::HashMap;

/// How somebody who looks stands to the person whom they look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// It is the person.
    Own,
    /// The person has them in their own address book.
    Contact,
    /// Anybody else.
    Stranger,
    /// One of the two blocks the other.
    Blocked,
}

/// What privacy decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Whether the person is there, and when they last were.
    LastSeen,
    /// The picture.
    Photo,
    /// What the person says about themselves, and their status.
    Bio,
    /// The phone number.
    PhoneNumber,
    /// Being found by it.
    FoundByNumber,
    /// What the person has read.
    ReadReceipts,
    /// Adding the person to a group.
    AddedToGroups,
    /// Calling.
    Called,
    /// A private chat that opens as one; else it lands as a request.
    PrivateChats,
}

impl Subject {
    /// All of them.
    pub const ALL: [Subject; 9] = [
        Subject::LastSeen,
        Subject::Photo,
        Subject::Bio,
        Subject::PhoneNumber,
        Subject::FoundByNumber,
        Subject::ReadReceipts,
        Subject::AddedToGroups,
        Subject::Called,
        Subject::PrivateChats,
    ];

    /// Whom the person has chosen for it.
    pub fn audience(self, privacy: &Privacy) -> Audience {
        match self {
            Subject::LastSeen => privacy.last_seen,
            Subject::Photo => privacy.photo,
            Subject::Bio => privacy.bio,
            Subject::PhoneNumber => privacy.phone_number,
            Subject::FoundByNumber => privacy.found_by_number,
            Subject::ReadReceipts => privacy.read_receipts,
            Subject::AddedToGroups => privacy.added_to_groups,
            Subject::Called => privacy.called,
            Subject::PrivateChats => privacy.private_chats,
        }
    }
}

/// Whether somebody who stands so to a person may see or do this.
pub fn allows(privacy: &Privacy, subject: Subject, relation: Relation) -> bool {
    match (relation, subject.audience(privacy)) {
        (Relation::Own, _) => true,
        (Relation::Blocked, _) => false,
        (_, Audience::Everyone) => true,
        (Relation::Contact, Audience::Contacts) => true,
        (Relation::Stranger, Audience::Contacts) | (_, Audience::Nobody) => false,
    }
}

/// How one person stands to others.
#[derive(Debug, Clone)]
pub struct Relations {
    viewer: UserId,
    others: HashMap<UserId, Relation>,
}

impl Relations {
    /// How `viewer` stands to each of these: two statements, however many they are.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of(on: &impl ConnectionTrait, viewer: UserId, whom: &[UserId]) -> Result<Relations, DbErr> {
        let mut others = HashMap::new();
        let whom: Vec<UserId> = whom.iter().copied().filter(|user| *user != viewer).collect();
        if !whom.is_empty() {
            let listing = contact::listing(whom.iter().copied(), viewer);
            let listing: Vec<UserId> =
                listing.select_only().column(contact::Column::OwnerId).into_tuple().all(on).await?;
            others.extend(listing.into_iter().map(|owner| (owner, Relation::Contact)));
            let blocks = block::between(viewer, &whom).select_only();
            let blocks = blocks.columns([block::Column::OwnerId, block::Column::UserId]);
            let blocks: Vec<(UserId, UserId)> = blocks.into_tuple().all(on).await?;
            let other = |(owner, user): (UserId, UserId)| if owner == viewer { user } else { owner };
            others.extend(blocks.into_iter().map(|pair| (other(pair), Relation::Blocked)));
        }
        Ok(Relations { viewer, others })
    }

    /// Somebody who looks at nobody but themselves.
    pub fn own(viewer: UserId) -> Relations {
        Relations { viewer, others: HashMap::new() }
    }

    /// How they stand to this one.
    pub fn to(&self, user: UserId) -> Relation {
        if user == self.viewer {
            return Relation::Own;
        }
        self.others.get(&user).copied().unwrap_or(Relation::Stranger)
    }
}

/// SQL for how `viewer` stands to `owner`, each of them an expression: read by `relation`.
pub(crate) fn relation_sql(viewer: &str, owner: &str) -> String {
    let blocks = |one: &str, other: &str| {
        format!("EXISTS (SELECT 1 FROM blocks AS b WHERE b.owner_id = {one} AND b.user_id = {other} AND NOT b.removed)")
    };
    format!(
        "CASE WHEN {viewer} = {owner} THEN 'own' WHEN {} OR {} THEN 'blocked' \
         WHEN EXISTS (SELECT 1 FROM contacts AS a WHERE a.owner_id = {owner} AND a.user_id = {viewer} \
         AND NOT a.removed AND NOT a.suggested) THEN 'contact' ELSE 'stranger' END",
        blocks(owner, viewer),
        blocks(viewer, owner),
    )
}

/// What `relation_sql` says.
pub(crate) fn relation(text: &str) -> Relation {
    match text {
        "own" => Relation::Own,
        "contact" => Relation::Contact,
        "stranger" => Relation::Stranger,
        _ => Relation::Blocked,
    }
}

/// How somebody who looks stands to each of many, and whom those let see and do what.
pub type Standings = HashMap<(UserId, UserId), (Relation, Privacy)>;

/// How each viewer stands to the other one of the pair, and whom that one lets see and do what; who does not exist is
/// left out. One statement for up to 1,024 pairs.
///
/// # Errors
/// Those of the database.
pub async fn standings(on: &impl ConnectionTrait, pairs: &[(UserId, UserId)]) -> Result<Standings, DbErr> {
    let relation_of = relation_sql("k.column1", "k.column2");
    let sql = move |values: &str| {
        format!(
            "SELECT k.column1, k.column2, {relation_of}, u.privacy FROM (VALUES {values}) AS k \
             JOIN users AS u ON u.id = k.column2"
        )
    };
    let rows = table(pairs).select(on, &["uuid", "uuid"], sql).await?;
    let standing = |row: &QueryResult| {
        let text: String = row.try_get_by_index(2)?;
        let pair = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        Ok((pair, (relation(&text), row.try_get_by_index(3)?)))
    };
    rows.iter().map(standing).collect()
}

/// These people, and how `viewer` stands to each; who does not exist is left out. One statement for up to 1,024 people.
///
/// # Errors
/// Those of the database.
pub async fn people(
    on: &impl ConnectionTrait,
    viewer: UserId,
    whom: &[UserId],
) -> Result<HashMap<UserId, (user::Model, Relation)>, DbErr> {
    let pairs: Vec<(UserId, UserId)> = whom.iter().map(|user| (viewer, *user)).collect();
    let relation_of = relation_sql("k.column1", "k.column2");
    let sql = move |values: &str| {
        format!("SELECT {relation_of}, u.* FROM (VALUES {values}) AS k JOIN users AS u ON u.id = k.column2")
    };
    let rows = table(&pairs).select(on, &["uuid", "uuid"], sql).await?;
    let person = |row: &QueryResult| {
        let text: String = row.try_get_by_index(0)?;
        let row = user::Model::from_query_result(row, "")?;
        Ok((row.id, (row, relation(&text))))
    };
    rows.iter().map(person).collect()
}

fn table(pairs: &[(UserId, UserId)]) -> Table {
    let mut table = Table::new(2);
    pairs.iter().for_each(|(viewer, owner)| table.push([(*viewer).into(), (*owner).into()]));
    table
}

/// Stamps that it has changed who may see what of these users. In the transaction that changed their privacy, contacts
/// or blocks, or in which they took up a request; after it `Entries::audience_changed` tells of each, and where that is
/// lost, the sweep finds the stamp.
///
/// # Errors
/// Those of the database.
pub async fn audience_changed(on: &impl ConnectionTrait, now: Timestamp, users: &[UserId]) -> Result<(), DbErr> {
    let changed = user::ActiveModel { audience_changed_at: Set(Some(now)), ..Default::default() };
    let stamp = user::Entity::update_many().set(changed).filter(user::COLUMN.id.is_in(users.to_vec()));
    stamp.exec(on).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cell: what each relation may, for each audience. By hand, not by the rule.
    const TABLE: [(Relation, Audience, bool); 12] = [
        (Relation::Own, Audience::Everyone, true),
        (Relation::Own, Audience::Contacts, true),
        (Relation::Own, Audience::Nobody, true),
        (Relation::Contact, Audience::Everyone, true),
        (Relation::Contact, Audience::Contacts, true),
        (Relation::Contact, Audience::Nobody, false),
        (Relation::Stranger, Audience::Everyone, true),
        (Relation::Stranger, Audience::Contacts, false),
        (Relation::Stranger, Audience::Nobody, false),
        (Relation::Blocked, Audience::Everyone, false),
        (Relation::Blocked, Audience::Contacts, false),
        (Relation::Blocked, Audience::Nobody, false),
    ];

    fn with(subject: Subject, audience: Audience, others: Audience) -> Privacy {
        let mut privacy = Privacy {
            last_seen: others,
            photo: others,
            bio: others,
            phone_number: others,
            found_by_number: others,
            read_receipts: others,
            added_to_groups: others,
            called: others,
            private_chats: others,
        };
        let field = match subject {
            Subject::LastSeen => &mut privacy.last_seen,
            Subject::Photo => &mut privacy.photo,
            Subject::Bio => &mut privacy.bio,
            Subject::PhoneNumber => &mut privacy.phone_number,
            Subject::FoundByNumber => &mut privacy.found_by_number,
            Subject::ReadReceipts => &mut privacy.read_receipts,
            Subject::AddedToGroups => &mut privacy.added_to_groups,
            Subject::Called => &mut privacy.called,
            Subject::PrivateChats => &mut privacy.private_chats,
        };
        *field = audience;
        privacy
    }

    #[test]
    fn each_thing_is_for_those_whom_its_own_setting_names() {
        for subject in Subject::ALL {
            for (relation, audience, may) in TABLE {
                // Whatever the other settings say.
                for others in [Audience::Everyone, Audience::Nobody] {
                    let privacy = with(subject, audience, others);
                    assert_eq!(allows(&privacy, subject, relation), may, "{subject:?} {relation:?} {audience:?}");
                }
            }
        }
    }
}
