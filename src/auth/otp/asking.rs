//! A code that somebody asks for: where to, from where, and who is to have it.
//! Never whether it may go (see `budget`), nor how it does (see `carriage`).

use crate::auth::contact::Contact;
use actors::protocol::command::{OtpChannel, OtpPurpose};
use entities::UserId;
use std::net::IpAddr;

/// A code that somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// To where it goes.
    pub contact: &'a Contact,
    /// Who is to have it.
    pub recipient: Recipient,
    /// How it travels; by SMS to a number and by e-mail to an address if none is named.
    pub channel: Option<OtpChannel>,
    /// What it is for.
    pub purpose: OtpPurpose,
    /// For whose account: `Passed` gives it back.
    pub user: Option<UserId>,
    /// From where it is asked for.
    pub address: Option<IpAddr>,
    /// The language of its text, BCP 47, or several, the dearest first and with commas between; what the configuration
    /// names if there is none of them.
    pub locale: Option<&'a str>,
}

/// Who is to have a code.
///
/// # Whether the answer waits for the carrier
/// It does where the code goes out whoever has the contact: then it says what the carrier refuses, and a code that its
/// fault kept back does not count. Where a code goes out only if an account has the contact, nobody may be told by time
/// whether one does, nor by a budget: the row is written and the answer given, and the code is carried after that, or not
/// at all; and it counts, whatever becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// Whoever reads what comes there. The answer waits.
    Anybody,
    /// The account that has this contact. The answer does not wait.
    Owner,
    /// Nobody, because no account has it: a decoy. The same work, rows and answer as for `Owner`, and no try passes.
    Nobody,
}

impl Recipient {
    /// The account that has the contact, if there is one.
    pub fn owner(known: bool) -> Recipient {
        if known { Recipient::Owner } else { Recipient::Nobody }
    }
}

impl<'a> Asking<'a> {
    /// The plainest of all: for whoever has the contact, to sign in.
    pub fn to_sign_in(contact: &'a Contact) -> Asking<'a> {
        Asking {
            contact,
            recipient: Recipient::Anybody,
            channel: None,
            purpose: OtpPurpose::SignIn,
            user: None,
            address: None,
            locale: None,
        }
    }
}
