//! What people are told when something happened to their account, so that they notice if it was not they.
//! Never waited for: a notice is sent after the commit, and one that does not arrive changes nothing.
//!
//! # Why budgets
//! A text costs money, and whoever has an account with a number can make news of it as often as they please. So a notice
//! is taken from the same budgets as a code (see `Otp::admit_notice`); beyond them, and beyond those that may be under way
//! at once, it is dropped and counted.

use super::asking::locale_of;
use super::carriers::{Carriers, Mail};
use super::contact::{Address, Contact};
use super::otp::Otp;
use super::texts::{News, Texts};
use actors::protocol::Error;
use entities::user;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Notices of this node that may be under way at once.
const AT_ONCE: usize = 256;

/// What the operator sees of it; a clone shares the counts.
#[derive(Clone, Default)]
pub struct Meters {
    /// Notices that went to nobody, because there had been enough of them or too many were under way.
    pub dropped: Counter,
}

impl Meters {
    /// Names them in a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Notices to people that were dropped, beyond a budget or beyond those under way at once";
        registry.register("notices_dropped", help, self.dropped.clone());
    }
}

/// Sends notices.
pub struct Notices {
    carriers: Carriers,
    texts: Arc<Texts>,
    otp: Arc<Otp>,
    places: Arc<Semaphore>,
    meters: Meters,
}

impl Notices {
    /// By these carriers, in these words, from the budgets of these codes.
    pub fn new(carriers: Carriers, texts: Arc<Texts>, otp: Arc<Otp>) -> Notices {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Notices { carriers, texts, otp, places, meters: Meters::default() }
    }

    /// What the operator sees.
    pub fn meters(&self) -> &Meters {
        &self.meters
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

    /// Tells whoever reads what comes there; a number only where texts are carried that have no code.
    pub fn tell_at(&self, contact: Contact, locale: Option<&str>, news: News) {
        if matches!(contact, Contact::Phone(_)) && !self.carriers.sms.tells() {
            return;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.meters.dropped.inc();
            tracing::warn!(?news, "a notice was dropped: too many are under way");
            return;
        };
        let (carriers, texts, otp) = (self.carriers.clone(), self.texts.clone(), self.otp.clone());
        let locale = texts.locale(locale).to_owned();
        let dropped = self.meters.dropped.clone();
        actix_web::rt::spawn(async move {
            let _place = place;
            if let Err(error) = otp.admit_notice(&contact).await {
                dropped.inc();
                tracing::warn!(%error, ?news, "a notice was dropped");
                return;
            }
            let told = match &contact {
                Contact::Phone(number) => carriers.sms.tell(number, &texts.notice_text(&locale, news)).await,
                Contact::Email(address) => {
                    let letter = texts.notice_letter(&locale, news);
                    let mail = Mail { to: &address.spelt, letter: &letter, code: None };
                    carriers.mail.send(mail).await.map_err(Error::from)
                }
            };
            if let Err(error) = told {
                tracing::warn!(%error, ?news, "a notice could not be sent");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::carriers::{Sms, SmsSender, Unsent};
    use crate::auth::testing::{FakeClock, Pocket, Scratch};
    use crate::config::Config;
    use actors::protocol::Outcome;
    use actors::protocol::command::OtpChannel;

    /// Takes a text and never answers.
    struct Stuck;

    #[async_trait::async_trait]
    impl SmsSender for Stuck {
        fn channels(&self) -> &[OtpChannel] {
            &[OtpChannel::Sms]
        }

        async fn send(&self, _: Sms<'_>) -> Result<Option<String>, Unsent> {
            Ok(None)
        }

        async fn tell(&self, _: &str, _: &str) -> Outcome<()> {
            std::future::pending().await
        }
    }

    #[actix_web::test]
    async fn no_more_notices_than_a_bound_are_under_way_at_once() {
        let scratch = Scratch::sqlite().await;
        let config = Config::shipped().unwrap().auth;
        let texts = Arc::new(Texts::new(&config).unwrap());
        let carriers = Carriers { sms: Arc::new(Stuck), mail: Arc::new(Pocket::default()) };
        let otp = Otp::new(scratch.db.clone(), FakeClock::new(), [7; 32], carriers.clone(), texts.clone(), &config);
        let notices = Notices::new(carriers, texts, Arc::new(otp));
        for n in 0..AT_ONCE + 3 {
            notices.tell_at(Contact::Phone(format!("+49151{:08}", 10_000_000 + n)), None, News::PasswordChanged);
        }
        assert_eq!(notices.meters().dropped.get(), 3);
    }
}
