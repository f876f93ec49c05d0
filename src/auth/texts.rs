//! What the node writes to people, in their language.
//! Never to whom, nor when.

use super::carriers::Letter;
use crate::config;
use std::time::Duration;

/// What happened to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It has another password.
    PasswordChanged,
    /// It has another e-mail address.
    EmailChanged,
    /// It has another number.
    PhoneChanged,
    /// It asks for a second factor now.
    SecondFactorEnabled,
    /// It asks for none any more.
    SecondFactorDisabled,
}

/// Why texts cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TextsError(String);

/// The texts of every language.
pub struct Texts {
    default: String,
}

impl Texts {
    /// Those that were compiled in.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn new(config: &config::Auth) -> Result<Texts, TextsError> {
        Ok(Texts { default: config.locale.clone() })
    }

    /// The language in which somebody is written to who asked for this one (BCP 47).
    pub fn locale(&self, _asked: Option<&str>) -> &str {
        &self.default
    }

    /// A text message with a code.
    pub fn code_text(&self, _locale: &str, code: &str, _ttl: Duration) -> String {
        format!("{code} is your QuckChat code. Give it to nobody.")
    }

    /// A letter with a code.
    pub fn code_letter(&self, locale: &str, code: &str, ttl: Duration) -> Letter {
        let text = self.code_text(locale, code, ttl);
        Letter { subject: text.clone(), html: format!("<p>{text}</p>"), text }
    }

    /// A text message with news.
    pub fn notice_text(&self, _locale: &str, news: News) -> String {
        format!("{news:?}")
    }

    /// A letter with news.
    pub fn notice_letter(&self, locale: &str, news: News) -> Letter {
        let text = self.notice_text(locale, news);
        Letter { subject: text.clone(), html: format!("<p>{text}</p>"), text }
    }
}
