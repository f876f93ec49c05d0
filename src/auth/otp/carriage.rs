//! A code on its way: written in words, handed to its carrier, and the name noted that the carrier gave it.
//! Never whether it may go: see `budget`.

use crate::auth::carriers::{Carriers, Mail, Sms, Unsent};
use crate::auth::contact::Contact;
use crate::auth::texts::Texts;
use actors::protocol::command::OtpChannel;
use entities::{Db, otp_verification};
use sea_orm::{EntityTrait, QueryFilter, Set};
use std::sync::Arc;
use std::time::Duration;

/// A code on its way.
pub struct Parcel {
    pub contact: Contact,
    pub channel: OtpChannel,
    pub id: [u8; 16],
    pub verification_id: String,
    pub code: String,
    pub locale: String,
    pub ttl: Duration,
}

/// Writes the text and hands it over; notes the name that the carrier gave it.
pub async fn carry(carriers: Carriers, texts: Arc<Texts>, db: Db, parcel: Parcel) -> Result<(), Unsent> {
    let Parcel { contact, channel, id, verification_id, code, locale, ttl } = parcel;
    let number = match &contact {
        Contact::Phone(number) => number,
        Contact::Email(address) => {
            let letter = texts.code_letter(&locale, &code, ttl);
            let code = Some((code.as_str(), verification_id.as_str()));
            return carriers.mail.send(Mail { to: &address.spelt, letter: &letter, code }).await;
        }
    };
    let text = texts.code_text(&locale, &code, ttl);
    let sms =
        Sms { to: number, channel, text: &text, code: &code, locale: &locale, ttl, verification_id: &verification_id };
    let Some(named) = carriers.sms.send(sms).await? else { return Ok(()) };
    let name = otp_verification::ActiveModel { carrier: Set(Some(named)), ..otp_verification::ActiveModel::default() };
    let this = otp_verification::COLUMN.id.eq(id.to_vec());
    let named = db.heard(otp_verification::Entity::update_many().set(name).filter(this).exec(db.write())).await;
    // The code is on its way all the same.
    named.map(drop).map_err(|error| Unsent::Perhaps(error.into()))
}

/// Carries what nobody waits for.
pub async fn unattended(carriage: impl Future<Output = Result<(), Unsent>>) {
    if let Err(error) = carriage.await {
        tracing::warn!(%error, "a code could not be sent");
    }
}
