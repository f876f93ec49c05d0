//! Where somebody can be reached: a phone number or an e-mail address, in its one normal form.
//! Never whether somebody has it.

use super::{email, phone};
use actors::protocol::{Outcome, Refusal};

/// A number or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// A phone number, E.164 with its `+`.
    Phone(String),
    /// An e-mail address.
    Email(Address),
}

/// An e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// As its owner spelt it, without spaces around; its domain in the form of the DNS.
    pub spelt: String,
    /// In its normal form, by which addresses are compared.
    pub key: String,
}

impl Contact {
    /// The number that this text writes.
    ///
    /// # Errors
    /// `request.invalid` for `phoneNumber` if there can be no such number.
    pub fn phone(text: &str) -> Outcome<Contact> {
        let number = phone::normal_form(text).ok_or_else(|| {
            Refusal::invalid("phoneNumber", "must be a phone number in international form, with its +")
        })?;
        Ok(Contact::Phone(number))
    }

    /// The address that this text writes.
    ///
    /// # Errors
    /// `request.invalid` for `email` if there can be no such address.
    pub fn email(text: &str) -> Outcome<Contact> {
        let address = email::address(text).ok_or_else(|| Refusal::invalid("email", "must be an e-mail address"))?;
        Ok(Contact::Email(address))
    }

    /// What rows name it by: no number has an `@`, and every address has one.
    pub fn key(&self) -> &str {
        match self {
            Contact::Phone(key) | Contact::Email(Address { key, .. }) => key,
        }
    }

    /// As it is written to.
    pub fn spelt(&self) -> &str {
        match self {
            Contact::Phone(spelt) | Contact::Email(Address { spelt, .. }) => spelt,
        }
    }

    /// The contact that was spelt so when it was checked.
    pub fn of_spelt(spelt: String) -> Contact {
        match spelt.contains('@') {
            true => Contact::Email(Address { key: email::key(&spelt), spelt }),
            false => Contact::Phone(spelt),
        }
    }
}
