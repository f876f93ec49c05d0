//! What people are told when something happened to their account, so that they notice if it was not they.
//! Never waited for: a notice is sent after the commit, and one that does not arrive changes nothing.

use super::asking::locale_of;
use super::carriers::{Carriers, Mail};
use super::contact::{Address, Contact};
use super::texts::{News, Texts};
use entities::user;
use std::sync::Arc;

/// Sends notices.
pub struct Notices {
    carriers: Carriers,
    texts: Arc<Texts>,
}

impl Notices {
    /// By these carriers, in these words.
    pub fn new(carriers: Carriers, texts: Arc<Texts>) -> Notices {
        Notices { carriers, texts }
    }

    /// Tells whoever has the account, as its row was before: by e-mail if it had an address, else by a text.
    /// To be called once what happened is committed.
    pub fn tell(&self, account: &user::Model, news: News) {
        let email = account.email.clone().zip(account.email_key.clone());
        let email = email.map(|(spelt, key)| Contact::Email(Address { spelt, key }));
        let contact = email.or_else(|| account.phone.clone().map(Contact::Phone));
        if let Some(contact) = contact {
            self.tell_at(contact, locale_of(account), news);
        }
    }

    /// Tells whoever reads what comes there.
    pub fn tell_at(&self, contact: Contact, locale: Option<&str>, news: News) {
        let (carriers, texts) = (self.carriers.clone(), self.texts.clone());
        let locale = texts.locale(locale).to_owned();
        tokio::spawn(async move {
            let told = match &contact {
                Contact::Phone(number) => carriers.sms.tell(number, &texts.notice_text(&locale, news)).await,
                Contact::Email(address) => {
                    let letter = texts.notice_letter(&locale, news);
                    carriers.mail.send(Mail { to: &address.spelt, letter: &letter, code: None }).await
                }
            };
            if let Err(error) = told {
                tracing::warn!(%error, ?news, "a notice could not be sent");
            }
        });
    }
}
