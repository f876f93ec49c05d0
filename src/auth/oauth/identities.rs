//! Whose an identity is here: found by its issuer and subject, linked, listed, unlinked.
//! Never whether it is true: a provider has vouched for it already.

use super::exchange::Arrival;
use super::flow::Intent;
use super::provider::Provider;
use super::{Who, invalid};
use crate::auth::contact::Address;
use crate::auth::texts::News;
use crate::auth::{Auth, accounts, audit, email};
use actors::caller::Identity;
use actors::protocol::command::{LinkAccount, UnlinkAccount};
use actors::protocol::{ErrorCode, Fault, Outcome, view};
use actors::retry::transact;
use entities::{Timestamp, UserId, identity, password, second_factor, user};
use sea_orm::sea_query::{Expr, LockType};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, IntoActiveModel, ModelTrait, QueryFilter,
    QuerySelect, Set, TryInsertResult,
};
use serde_json::json;
use std::net::IpAddr;

/// The longest name that is taken over, in bytes: as of a profile.
const NAME: usize = 100;

/// How somebody came to the account that is theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// To what was theirs before; nothing is new.
    Back,
    /// For the first time this way; the account was theirs.
    Linked,
    /// To a new account.
    New,
}

impl Auth {
    /// The account of an identity; a new one for whom nobody knows.
    ///
    /// # Why the identity's row decides who is new
    /// One person may come twice at once, at two nodes. The row is unique: one makes it, and the account after it; the
    /// other waits for it, and finds the account.
    pub(super) async fn find_or_join(
        &self,
        transaction: &DatabaseTransaction,
        arrival: &Arrival,
        address: Option<IpAddr>,
    ) -> Outcome<(user::Model, Came)> {
        let Arrival { provider, who, .. } = arrival;
        if let Some(known) = identity::by_subject(&who.issuer, &who.subject).one(transaction).await? {
            return Ok((self.returns(transaction, arrival, known).await?, Came::Back));
        }
        let now = self.clock.now();
        let trusted = email(who).filter(|_| provider.trust_email && who.email_verified);
        let held = match &trusted {
            // Our accounts have no address that was not shown to be theirs: so both sides have verified it.
            Some(address) => {
                user::by_email_key(&address.key).one(transaction).await?.filter(|user| user.left_at.is_none())
            }
            None => None,
        };
        if let Some(user) = &held
            && second_factor::guarding(user.id).one(transaction).await?.is_some()
        {
            // They may come in, if they show it. Only who has shown it may leave a way in behind (`link`).
            return Ok((user.clone(), Came::Back));
        }
        let id = held.as_ref().map_or_else(|| self.clock.user_id(), |user| user.id);
        if !insert(transaction, row(provider, who, id, now)).await? {
            let known = identity::by_subject(&who.issuer, &who.subject).one(transaction).await?;
            let known = known.ok_or_else(|| Fault::new("an identity that is taken is not there"))?;
            return Ok((self.returns(transaction, arrival, known).await?, Came::Back));
        }
        let (user, came) = match held {
            Some(user) => (user, Came::Linked),
            None => self.join(transaction, id, who, trusted).await?,
        };
        self.note(transaction, audit::Kind::IdentityLinked, provider, Linker { user: user.id, session: None, address })
            .await?;
        Ok((user, came))
    }

    /// A new account for an identity; with the e-mail address, if that is believed. Whoever was faster to have the address
    /// is the same person: by another provider, or at another node.
    async fn join(
        &self,
        transaction: &DatabaseTransaction,
        id: UserId,
        who: &Who,
        trusted: Option<Address>,
    ) -> Outcome<(user::Model, Came)> {
        let mut new = user::Model::new(id, self.clock.now());
        if let Some(name) = who.name.as_deref().map(str::trim).filter(|name| is_name(name)) {
            (new.display_name, new.name_key) = (name.to_owned(), name.to_lowercase());
        }
        (new.email, new.email_key) = trusted.map(|Address { spelt, key }| (spelt, key)).unzip();
        if accounts::make(transaction, &*self.clock, new.clone()).await? {
            return Ok((new, Came::New));
        }
        let key = new.email_key.as_deref().unwrap_or_default();
        let faster = user::by_email_key(key).one(transaction).await?.filter(|user| user.left_at.is_none());
        let faster = faster.ok_or_else(|| Fault::new("an address that is taken is nobody's"))?;
        let theirs = identity::ActiveModel { user_id: Set(faster.id), ..identity::ActiveModel::default() };
        identity::Entity::update_many().set(theirs).filter(this(who)).exec(transaction).await?;
        Ok((faster, Came::Linked))
    }

    /// Whoever was here before.
    async fn returns(
        &self,
        transaction: &DatabaseTransaction,
        Arrival { provider, who, .. }: &Arrival,
        known: identity::Model,
    ) -> Outcome<user::Model> {
        // Before the identity, as `unlink` has them, so that no two wait for each other.
        let user = user::by_id(known.user_id).lock(LockType::KeyShare).one(transaction).await?;
        let user = user.filter(|user| user.left_at.is_none());
        let user = user.ok_or_else(|| invalid(&provider.name, "its account is gone"))?;
        let used = identity::ActiveModel {
            last_used_at: Set(self.clock.now()),
            // What our configuration calls the issuer may have changed; what the person has there too.
            provider: Set(provider.name.clone()),
            email: Set(email(who).map(|address| address.spelt)),
            ..identity::ActiveModel::default()
        };
        let own = this(who).and(identity::COLUMN.user_id.eq(user.id));
        match identity::Entity::update_many().set(used).filter(own).exec(transaction).await?.rows_affected {
            0 => Err(invalid(&provider.name, "it was unlinked a moment ago")),
            _ => Ok(user),
        }
    }

    /// Links to an account who its owner is elsewhere, and tells them. Once more does nothing.
    ///
    /// # Errors
    /// Those of `arrival`; `auth.identity_taken` where another account has it.
    pub(super) async fn link(
        &self,
        caller: Identity,
        address: Option<IpAddr>,
        command: LinkAccount,
    ) -> Outcome<view::LinkedAccount> {
        let arrival = self.arrival(&command.code, &command.code_verifier, Intent::Link(caller.session)).await?;
        let Arrival { provider, who, .. } = &arrival;
        let (linked, told) = transact(&self.db, &*self.clock, async |transaction| {
            arrival.use_up(transaction, &*self.clock).await?;
            // Held until the identity is there: an account that ends takes all of its identities along.
            let account = user::by_id(caller.user).lock(LockType::KeyShare).one(transaction).await?;
            let account = account.filter(|row| row.left_at.is_none()).ok_or(ErrorCode::AuthSessionRevoked)?;
            let row = row(provider, who, account.id, self.clock.now());
            if insert(transaction, row.clone()).await? {
                let linker = Linker { user: account.id, session: Some(caller.session), address };
                self.note(transaction, audit::Kind::IdentityLinked, provider, linker).await?;
                return Ok((row.into(), Some(account)));
            }
            let known = identity::by_subject(&who.issuer, &who.subject).one(transaction).await?;
            match known {
                Some(known) if known.user_id == account.id => Ok((known.into(), None)),
                _ => Err(ErrorCode::AuthIdentityTaken.into()),
            }
        })
        .await?;
        if let Some(account) = told {
            self.notices.tell(&account, News::IdentityLinked);
        }
        Ok(linked)
    }

    /// Uses up what has shown that somebody is who an account's owner is elsewhere.
    ///
    /// # Errors
    /// Those of `Arrival::use_up`; `auth.identity_taken` where it is another account's, `auth.identity_not_found` where it
    /// is nobody's; a fault of the database.
    pub async fn recognise(&self, transaction: &DatabaseTransaction, arrival: &Arrival, user: UserId) -> Outcome<()> {
        arrival.use_up(transaction, &*self.clock).await?;
        let Who { issuer, subject, .. } = &arrival.who;
        match identity::by_subject(issuer, subject).one(transaction).await? {
            Some(known) if known.user_id == user => self.returns(transaction, arrival, known).await.map(drop),
            Some(_) => Err(ErrorCode::AuthIdentityTaken.into()),
            None => Err(ErrorCode::AuthIdentityNotFound.into()),
        }
    }

    /// Who somebody is elsewhere, the first linked first.
    ///
    /// # Errors
    /// A fault of the database.
    pub(super) async fn linked(&self, user: UserId) -> Outcome<view::Page<view::LinkedAccount>> {
        let rows = identity::of_user(user).all(self.db.read()).await?;
        Ok(view::Page { items: rows.into_iter().map(Into::into).collect(), next_cursor: None })
    }

    /// Forgets who somebody is at a provider, and tells them.
    ///
    /// # Errors
    /// `auth.identity_not_found`; `auth.last_way_in` where they could not come back.
    pub(super) async fn unlink(
        &self,
        caller: Identity,
        address: Option<IpAddr>,
        command: UnlinkAccount,
    ) -> Outcome<()> {
        let account = transact(&self.db, &*self.clock, async |transaction| {
            // Two at once may each leave the other's as the last way in: so one waits for the other.
            let user = user::by_id(caller.user).lock_exclusive().one(transaction).await?;
            let user = user.ok_or(ErrorCode::AuthSessionRevoked)?;
            let all = identity::of_user(user.id).all(transaction).await?;
            let (leaving, staying): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|identity| identity.provider == command.provider);
            if leaving.is_empty() {
                return Err(ErrorCode::AuthIdentityNotFound.into());
            }
            let by_identity = staying.iter().any(|identity| self.oauth.knows(&identity.provider));
            if !by_identity && !has_own_way_in(transaction, &user).await? {
                return Err(ErrorCode::AuthLastWayIn.into());
            }
            for identity in leaving {
                identity.delete(transaction).await?;
            }
            let event = audit::Event {
                kind: audit::Kind::IdentityUnlinked,
                user: Some(user.id),
                session: Some(caller.session),
                address,
                detail: json!({ "provider": command.provider }),
            };
            audit::record(transaction, &*self.clock, event).await?;
            Ok(user)
        })
        .await?;
        self.notices.tell(&account, News::IdentityUnlinked);
        Ok(())
    }

    async fn note(
        &self,
        transaction: &DatabaseTransaction,
        kind: audit::Kind,
        provider: &Provider,
        Linker { user, session, address }: Linker,
    ) -> Result<(), DbErr> {
        let detail = json!({ "provider": provider.name });
        audit::record(transaction, &*self.clock, audit::Event { kind, user: Some(user), session, address, detail })
            .await
    }
}

/// Whose identity is linked, and by whom.
struct Linker {
    user: UserId,
    session: Option<entities::SessionId>,
    address: Option<IpAddr>,
}

fn row(provider: &Provider, who: &Who, user: UserId, now: Timestamp) -> identity::Model {
    identity::Model {
        issuer: who.issuer.clone(),
        subject: who.subject.clone(),
        provider: provider.name.clone(),
        user_id: user,
        email: email(who).map(|address| address.spelt),
        linked_at: now,
        last_used_at: now,
    }
}

/// The row of an identity.
fn this(who: &Who) -> Expr {
    identity::COLUMN.issuer.eq(who.issuer.as_str()).and(identity::COLUMN.subject.eq(who.subject.as_str()))
}

/// Makes an identity's row; tells whether it was not there yet.
async fn insert(transaction: &DatabaseTransaction, row: identity::Model) -> Result<bool, DbErr> {
    let inserted = identity::Entity::insert(row.into_active_model())
        .on_conflict_do_nothing_on([identity::Column::Issuer, identity::Column::Subject])
        .exec_without_returning(transaction)
        .await?;
    Ok(matches!(inserted, TryInsertResult::Inserted(1)))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME && !name.contains('\0')
}

/// Whether somebody can sign in with what is theirs here.
async fn has_own_way_in(transaction: &DatabaseTransaction, user: &user::Model) -> Result<bool, DbErr> {
    if user.phone.is_some() || user.email.is_some() {
        return Ok(true);
    }
    // A password needs a name to go with it.
    Ok(user.username.is_some() && password::of_user(user.id).one(transaction).await?.is_some())
}

/// The e-mail address as told, if it is one.
fn email(who: &Who) -> Option<Address> {
    email::address(who.email.as_deref()?)
}
