//! What somebody does to their address book by hand.
//! Never what a sync of numbers makes of it.

use super::{Change, Contacts, owner, raise, save};
use crate::auth::phone;
use actors::privacy::{Relation, Relations, Subject, allows, people};
use actors::protocol::command::{AddContact, ContactFilter, GetContacts, RemoveContact, RenameContact};
use actors::protocol::view::{Contact, ListedContact, Page};
use actors::protocol::{Error, ErrorCode, Outcome, Refusal, check, view};
use actors::retry::transact;
use entities::{UserId, contact, user};
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};

impl Contacts {
    /// `users.addContact`. Whom a sync has brought in, or a proposal, is from now on there by hand.
    ///
    /// # Errors
    /// `user.not_found`, `request.invalid`, `contacts.full`, `contacts.budget`; a fault of the database.
    pub async fn add(&self, by: UserId, command: AddContact) -> Outcome<(Contact, Change)> {
        let user = self.named(by, &command).await?;
        if user == by {
            return Err(Refusal::invalid("userId", "is your own account").into());
        }
        let name = command.name.as_ref().map(|name| name.trim().to_owned());
        transact(&self.db, &*self.clock, async |transaction| {
            let owner = owner(transaction, by).await?;
            let was = contact::of(by, user).one(transaction).await?;
            let listed = was.clone().filter(|row| !row.removed && !row.suggested);
            if listed.is_none() {
                self.check_room(transaction, by, self.limits.most, (1, 0)).await?;
            }
            let (now, user_rev) = (self.clock.now(), owner.user_rev + 1);
            let new = match &listed {
                Some(row) => {
                    contact::Model { name: name.clone().or_else(|| row.name.clone()), by_number: false, ..row.clone() }
                }
                None => contact::Model {
                    name: name.clone(),
                    by_number: false,
                    ..again(was.as_ref(), || entry(by, user, now))
                },
            };
            let change = Change::of((listed.as_ref() != Some(&new)).into(), listed.is_none().into());
            if change != Change::Nothing {
                raise(transaction, &*self.clock, &owner, 1, change).await?;
                save(transaction, [contact::Model { user_rev, ..new.clone() }]).await?;
            }
            Ok((Contact::from_row(&new), change))
        })
        .await
    }

    /// Whom the command names.
    async fn named(&self, by: UserId, command: &AddContact) -> Outcome<UserId> {
        let unknown =
            |field: &'static str| Refusal { field: Some(field.into()), ..Refusal::new(ErrorCode::UserNotFound) };
        let here = |row: &user::Model| row.left_at.is_none();
        let read = self.db.read();
        let (field, row) = match (command.user_id, &command.username, &command.phone_number) {
            (Some(id), ..) => ("userId", user::by_id(id).one(read).await?.filter(here)),
            (_, Some(name), _) => {
                ("username", user::by_username_key(&check::username(name)?).one(read).await?.filter(here))
            }
            (.., number) => ("phoneNumber", self.find(by, "phoneNumber", number.as_deref().unwrap_or_default()).await?),
        };
        Ok(row.ok_or_else(|| unknown(field))?.id)
    }

    /// Whoever has the number of this field, if they let themselves be found by it. Costs the same whether or not
    /// somebody has it.
    ///
    /// # Errors
    /// `request.invalid`, `contacts.budget`; a fault of the database.
    pub async fn find(&self, by: UserId, field: &'static str, number: &str) -> Outcome<Option<user::Model>> {
        let number = phone::normal_form(number)
            .ok_or_else(|| Refusal::invalid(field, "must be a phone number in international form, with its +"))?;
        self.ask(by, &number).await?;
        let found = user::by_phone(&number).one(self.db.read()).await?;
        let whom = found.as_ref().map_or(by, |row| row.id);
        // For nobody this asks how the caller stands to somebody who is not there: the same work.
        let nobody = UserId::from_uuid(uuid::Uuid::nil());
        let relations = Relations::of(self.db.read(), by, &[if whom == by { nobody } else { whom }]).await?;
        let findable = |row: &user::Model| match relations.to(row.id) {
            Relation::Own => true,
            relation => row.left_at.is_none() && allows(&row.privacy, Subject::FoundByNumber, relation),
        };
        Ok(found.filter(findable))
    }

    /// `users.removeContact`; what is not there needs no removal. Only `users.addContact` brings back whom somebody has
    /// removed.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn remove(&self, by: UserId, command: RemoveContact) -> Outcome<((), Change)> {
        transact(&self.db, &*self.clock, async |transaction| {
            let owner = owner(transaction, by).await?;
            let Some(row) = contact::of(by, command.user_id).one(transaction).await?.filter(|row| !row.removed) else {
                return Ok(((), Change::Nothing));
            };
            let change = Change::of(1, (!row.suggested).into());
            raise(transaction, &*self.clock, &owner, 1, change).await?;
            let user_rev = owner.user_rev + 1;
            let row = contact::Model { name: None, favourite: false, removed: true, by_number: false, user_rev, ..row };
            save(transaction, [row]).await?;
            Ok(((), change))
        })
        .await
    }

    /// `users.renameContact`. Whom somebody has named by hand is there by hand.
    ///
    /// # Errors
    /// `contact.not_found`; a fault of the database.
    pub async fn rename(&self, by: UserId, command: RenameContact) -> Outcome<(Contact, Change)> {
        let name = command.name.as_ref().map(|name| Some(name.trim().to_owned()).filter(|name| !name.is_empty()));
        transact(&self.db, &*self.clock, async |transaction| {
            let owner = owner(transaction, by).await?;
            let row = contact::of(by, command.user_id).one(transaction).await?;
            let row = row.filter(|row| !row.removed && !row.suggested).ok_or(ErrorCode::ContactNotFound)?;
            let new = contact::Model {
                by_number: row.by_number && name.is_none(),
                name: name.clone().unwrap_or_else(|| row.name.clone()),
                favourite: command.favourite.unwrap_or(row.favourite),
                ..row.clone()
            };
            let change = Change::of((new != row).into(), 0);
            if change != Change::Nothing {
                raise(transaction, &*self.clock, &owner, 1, change).await?;
                save(transaction, [contact::Model { user_rev: owner.user_rev + 1, ..new.clone() }]).await?;
            }
            Ok((Contact::from_row(&new), change))
        })
        .await
    }

    /// `users.getContacts`.
    ///
    /// # Errors
    /// `request.invalid`; a fault of the database.
    pub async fn list(&self, by: UserId, command: GetContacts) -> Outcome<Page<ListedContact>> {
        let limit = check::limit(command.limit)?;
        let mut query = match command.filter {
            ContactFilter::All => contact::listed_by(by),
            ContactFilter::Favourites => contact::listed_by(by).filter(contact::COLUMN.favourite.eq(true)),
            ContactFilter::Suggested => contact::suggested_to(by),
        };
        if let Some(after) = after(command.cursor.as_deref())? {
            query = query.filter(contact::COLUMN.user_id.gt(after));
        }
        let query = query.order_by_asc(contact::Column::UserId).limit(limit + 1);
        let mut rows = query.all(self.db.read()).await?;
        let more = rows.len() as u64 > limit;
        rows.truncate(limit as usize);
        let next_cursor = rows.last().filter(|_| more).map(|row| row.user_id.to_string());
        let whom: Vec<UserId> = rows.iter().map(|row| row.user_id).collect();
        let mut people = people(self.db.read(), by, &whom).await?;
        let listed = |row: &contact::Model| {
            let (user, relation) = people.remove(&row.user_id)?;
            let user = view::User::from_row(user, relation, self.clock.now());
            Some(ListedContact { contact: Contact::from_row(row), user })
        };
        Ok(Page { items: rows.iter().filter_map(listed).collect(), next_cursor })
    }
}

/// Where a page begins that goes by users' ids.
///
/// # Errors
/// `request.invalid`
pub fn after(cursor: Option<&str>) -> Outcome<Option<UserId>> {
    let foreign = |_| Error::from(Refusal::invalid("cursor", "is not one that a page gave"));
    cursor.map(|cursor| cursor.parse().map_err(foreign)).transpose()
}

/// Somebody who has just come into an address book, by hand.
pub(super) fn entry(owner_id: UserId, user_id: UserId, now: entities::Timestamp) -> contact::Model {
    contact::Model {
        owner_id,
        user_id,
        name: None,
        favourite: false,
        suggested: false,
        removed: false,
        by_number: false,
        user_rev: 0,
        created_at: now,
    }
}

/// An entry that comes back where a sync took it out, as it was; else a new one.
pub(super) fn again(was: Option<&contact::Model>, new: impl FnOnce() -> contact::Model) -> contact::Model {
    match was.filter(|row| row.removed && row.by_number) {
        Some(row) => contact::Model { removed: false, ..row.clone() },
        None => new(),
    }
}

/// Whether somebody was taken out of the address book by hand, and not only off the list of proposals: neither a sync
/// nor their arrival brings them back.
pub(super) fn is_out_by_hand(row: &contact::Model) -> bool {
    row.removed && !row.by_number && !row.suggested
}
