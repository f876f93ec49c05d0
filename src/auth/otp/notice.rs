//! Notices as the budgets see them: what tells somebody news of their account costs what a code costs.
//! Never what a notice says, nor who carries it: see `notices`.

use super::budget::{Claim, Item, NOTICE};
use super::{Otp, channel_name};
use crate::auth::contact::Contact;
use actors::protocol::Outcome;
use actors::protocol::command::OtpChannel;
use actors::retry::transact;
use entities::otp_verification;
use sea_orm::{EntityTrait, Set};

impl Otp {
    /// Takes a notice from its contact's budget; one by text, from the country's and the day's too. A letter is not:
    /// it costs next to nothing, and must come even on a day on which strangers had many sent.
    ///
    /// # Errors
    /// `auth.otp_country` for a number of a country that gets none, `auth.otp_budget`; a fault of the database.
    pub async fn admit_notice(&self, contact: &Contact) -> Outcome<()> {
        let country = self.country(contact)?;
        let channel = match contact {
            Contact::Phone(_) => OtpChannel::Sms,
            Contact::Email(_) => OtpChannel::Email,
        };
        let claim = Claim::new(Item::Notice, contact, None, country.as_deref(), false);
        let id: [u8; 16] = self.clock.random();
        transact(&self.db, &*self.clock, async |transaction| {
            let now = self.clock.now();
            self.budgets.claim(transaction, &claim, now).await?;
            // Over as it begins, and for no purpose of a code: nothing can be tried against it.
            let row = otp_verification::ActiveModel {
                id: Set(id.to_vec()),
                phone: Set(contact.key().to_owned()),
                spelt: Set(None),
                purpose: Set(NOTICE.to_owned()),
                code_hash: Set(Vec::new()),
                tries: Set(0),
                created_at: Set(now),
                expires_at: Set(now),
                channel: Set(channel_name(channel).to_owned()),
                address: Set(None),
                country: Set(country.clone()),
                carrier: Set(None),
                user_id: Set(None),
                consumed_at: Set(Some(now)),
            };
            otp_verification::Entity::insert(row).exec_without_returning(transaction).await?;
            if channel == OtpChannel::Sms {
                self.budgets.count(transaction, &*self.clock, &claim, now).await?;
            }
            Ok(())
        })
        .await
    }
}
