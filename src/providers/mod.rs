//! What serves the node from outside: the real thing and its stand-in side by side, chosen by `provider = "..."`.
//! Never a trait: each sits with its caller.

use crate::auth::carriers::Carriers;
use crate::config::Config;
use actors::clock::Clock;
use std::sync::Arc;

pub mod mail;
pub mod redis;
pub mod sms;

/// Whoever takes codes and letters to people, as the configuration chose.
///
/// # Errors
/// What is configured cannot be used: a file that is missing, an address that is none.
pub fn carriers(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Carriers> {
    Ok(Carriers { sms: sms::from_config(config, clock)?, mail: mail::from_config(&config.mail, clock)? })
}

/// The stand-ins, for work of operators that sends nothing.
pub fn nobody() -> Carriers {
    Carriers { sms: Arc::new(sms::LogSender), mail: Arc::new(mail::LogMailer) }
}
