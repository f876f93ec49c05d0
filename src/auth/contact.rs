//! Where somebody can be reached: a phone number or an e-mail address, in its one normal form.
//! Never whether somebody has it.

use super::phone;
use actors::protocol::{Outcome, Refusal};

/// A number or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// A phone number, E.164 with its `+`.
    Phone(String),
    /// An e-mail address, in its normal form.
    Email(String),
}

impl Contact {
    /// The number that this text writes.
    ///
    /// # Errors
    /// `request.invalid` if there can be no such number.
    pub fn phone(text: &str) -> Outcome<Contact> {
        let number = phone::normal_form(text).ok_or_else(|| {
            Refusal::invalid("phoneNumber", "must be a phone number in international form, with its +")
        })?;
        Ok(Contact::Phone(number))
    }

    /// What rows name it by: no number has an `@`, and every address has one.
    pub fn key(&self) -> &str {
        match self {
            Contact::Phone(key) | Contact::Email(key) => key,
        }
    }

    /// The contact that a row names so.
    pub fn of_key(key: String) -> Contact {
        if key.contains('@') { Contact::Email(key) } else { Contact::Phone(key) }
    }
}
