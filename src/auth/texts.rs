//! What the node writes to people, in their language: Fluent's texts in `texts/`, one file a language, compiled in.
//! Never to whom, nor when.

use super::carriers::Letter;
use crate::config;
use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use fluent_langneg::{NegotiationStrategy, accepted_languages, negotiate_languages};
use html_escape::encode_safe;
use std::borrow::Cow;
use std::time::Duration;
use unic_langid::LanguageIdentifier;

/// The languages that there are.
pub const LOCALES: [&str; 4] = ["en", "de", "es", "fr"];

const SOURCES: [(&str, &str); 4] = [
    ("en", include_str!("texts/en.ftl")),
    ("de", include_str!("texts/de.ftl")),
    ("es", include_str!("texts/es.ftl")),
    ("fr", include_str!("texts/fr.ftl")),
];

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
    /// It can be signed in to by another provider.
    IdentityLinked,
    /// It can be by one less.
    IdentityUnlinked,
    /// It is going to be deleted, unless its owner thinks again.
    DeletionAsked,
}

impl News {
    #[cfg(test)]
    const ALL: [News; 8] = [
        News::PasswordChanged,
        News::EmailChanged,
        News::PhoneChanged,
        News::SecondFactorEnabled,
        News::SecondFactorDisabled,
        News::IdentityLinked,
        News::IdentityUnlinked,
        News::DeletionAsked,
    ];

    fn message(self) -> &'static str {
        match self {
            News::PasswordChanged => "news-password-changed",
            News::EmailChanged => "news-email-changed",
            News::PhoneChanged => "news-phone-changed",
            News::SecondFactorEnabled => "news-second-factor-enabled",
            News::SecondFactorDisabled => "news-second-factor-disabled",
            News::IdentityLinked => "news-identity-linked",
            News::IdentityUnlinked => "news-identity-unlinked",
            News::DeletionAsked => "news-deletion-asked",
        }
    }
}

/// Why texts cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the texts in {locale}: {reason}")]
pub struct TextsError {
    locale: String,
    reason: String,
}

/// The texts of every language.
pub struct Texts {
    languages: Vec<Language>,
    /// Which of them serves whoever asked for none that there is.
    default: usize,
    ending: Ending,
}

struct Language {
    name: &'static str,
    id: LanguageIdentifier,
    bundle: FluentBundle<FluentResource>,
}

/// What a text with a code ends with, for phones that fill it in by themselves.
enum Ending {
    Nothing,
    /// Google's SMS Retriever: the hash of the app that may read it
    /// (<https://developers.google.com/identity/sms-retriever/verify>).
    AppHash(String),
    /// The host whose page or app it may be filled into
    /// (<https://wicg.github.io/sms-one-time-codes/>): the last line is `@host #code`.
    Domain(String),
}

impl Texts {
    /// Those that were compiled in.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn new(config: &config::Auth) -> Result<Texts, TextsError> {
        let languages = SOURCES.into_iter().map(|(name, source)| Language::read(name, source));
        let ending = match (config.otp_app_hash.as_str(), config.otp_domain.as_str()) {
            ("", "") => Ending::Nothing,
            (hash, "") => Ending::AppHash(hash.to_owned()),
            (_, domain) => Ending::Domain(domain.to_owned()),
        };
        let default = LOCALES.iter().position(|locale| *locale == config.locale).unwrap_or_default();
        Ok(Texts { languages: languages.collect::<Result<_, _>>()?, default, ending })
    }

    /// The language in which somebody is written to who asked for these: a tag of BCP 47, or several, the dearest first
    /// and with commas between.
    pub fn locale(&self, asked: Option<&str>) -> &str {
        self.language(asked.unwrap_or_default()).name
    }

    fn language(&self, asked: &str) -> &Language {
        let asked = accepted_languages::parse(asked);
        let ids: Vec<&LanguageIdentifier> = self.languages.iter().map(|language| &language.id).collect();
        let found = negotiate_languages(&asked, &ids, None, NegotiationStrategy::Lookup);
        let chosen = found.first().and_then(|id| self.languages.iter().find(|language| &language.id == **id));
        chosen.unwrap_or(&self.languages[self.default])
    }

    /// A text message with a code.
    pub fn code_text(&self, locale: &str, code: &str, ttl: Duration) -> String {
        let text = self.language(locale).say("code-text", &about(code, ttl));
        match &self.ending {
            Ending::Nothing => text,
            Ending::AppHash(hash) => format!("{text}\n\n{hash}"),
            Ending::Domain(domain) => format!("{text}\n\n@{domain} #{code}"),
        }
    }

    /// A letter with a code.
    pub fn code_letter(&self, locale: &str, code: &str, ttl: Duration) -> Letter {
        let language = self.language(locale);
        let about = about(code, ttl);
        let [subject, lead, rest, stranger] =
            ["code-subject", "code-lead", "code-rest", "code-stranger"].map(|message| language.say(message, &about));
        language.letter(subject, &[Part::Plain(&lead), Part::Code(code), Part::Plain(&rest), Part::Plain(&stranger)])
    }

    /// A text message with news.
    pub fn notice_text(&self, locale: &str, news: News) -> String {
        self.language(locale).say(news.message(), &FluentArgs::new())
    }

    /// A letter with news.
    pub fn notice_letter(&self, locale: &str, news: News) -> Letter {
        let language = self.language(locale);
        let [subject, what, advice] =
            ["news-subject", news.message(), "news-advice"].map(|message| language.say(message, &FluentArgs::new()));
        language.letter(subject, &[Part::Plain(&what), Part::Plain(&advice)])
    }
}

fn about<'a>(code: &'a str, ttl: Duration) -> FluentArgs<'a> {
    let mut args = FluentArgs::new();
    args.set("code", code);
    args.set("minutes", ttl.as_secs().div_ceil(60));
    args
}

/// A paragraph of a letter.
enum Part<'a> {
    Plain(&'a str),
    Code(&'a str),
}

impl Language {
    fn read(name: &'static str, source: &str) -> Result<Language, TextsError> {
        let wrong = |reason: String| TextsError { locale: name.to_owned(), reason };
        let id: LanguageIdentifier = name.parse().map_err(|error| wrong(format!("{error}")))?;
        let resource =
            FluentResource::try_new(source.to_owned()).map_err(|(_, errors)| wrong(format!("{errors:?}")))?;
        let mut bundle = FluentBundle::new_concurrent(vec![id.clone()]);
        // The marks around what is filled in are beyond the alphabet of SMS, and hide codes from phones.
        bundle.set_use_isolating(false);
        bundle.add_resource(resource).map_err(|errors| wrong(format!("{errors:?}")))?;
        Ok(Language { name, id, bundle })
    }

    /// A message with this filled in. That there is each in every language, a test holds.
    fn say(&self, message: &str, args: &FluentArgs<'_>) -> String {
        let pattern = self.bundle.get_message(message).and_then(|message| message.value());
        let said = pattern.map(|pattern| self.bundle.format_pattern(pattern, Some(args), &mut Vec::new()));
        said.map_or_else(|| message.to_owned(), Cow::into_owned)
    }

    fn letter(&self, subject: String, parts: &[Part<'_>]) -> Letter {
        let paragraphs = parts.iter().map(|part| match part {
            Part::Plain(text) | Part::Code(text) => *text,
        });
        let text = paragraphs.collect::<Vec<_>>().join("\n\n") + "\n";
        let html = parts.iter().map(|part| match part {
            Part::Plain(text) => format!("<p>{}</p>\n", encode_safe(text)),
            Part::Code(code) => {
                format!("<p style=\"font-size:2em;letter-spacing:.2em\"><strong>{}</strong></p>\n", encode_safe(code))
            }
        });
        let html = format!(
            "<!doctype html>\n<html lang=\"{}\">\n<head><meta charset=\"utf-8\"><title>{}</title></head>\n\
             <body style=\"font-family:sans-serif;max-width:36em\">\n{}</body>\n</html>\n",
            self.name,
            encode_safe(&subject),
            html.collect::<String>(),
        );
        Letter { subject, text, html }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const TTL: Duration = Duration::from_secs(300);

    fn texts(set: impl FnOnce(&mut config::Auth)) -> Texts {
        let mut config = Config::shipped().unwrap().auth;
        set(&mut config);
        Texts::new(&config).unwrap()
    }

    #[test]
    fn every_language_says_everything_in_words_of_its_own() {
        let texts = texts(|_| ());
        let all = |locale: &str| {
            let code = texts.code_letter(locale, "123456", TTL);
            let mut all = vec![texts.code_text(locale, "123456", TTL)];
            for letter in News::ALL.map(|news| texts.notice_letter(locale, news)).into_iter().chain([code]) {
                all.extend([letter.subject, letter.text]);
            }
            all
        };
        let each = LOCALES.map(all);
        for said in each.iter().flatten() {
            let raw = said.contains(['{', '$', '\u{2068}']) || said.contains("code-") || said.contains("news-");
            assert!(!raw, "{said}");
        }
        for (at, said) in each.iter().enumerate() {
            let same = each[..at].iter().find(|other| other.iter().zip(said).any(|(one, other)| one == other));
            assert!(same.is_none(), "{same:?}");
        }
        assert_eq!(each[0][0], "123456 is your QuckChat code. It is good for 5 minutes. Give it to nobody.");
        assert_eq!(
            texts.code_text("de", "123456", Duration::from_secs(30)),
            "123456 ist dein QuckChat-Code. Er gilt eine Minute. Gib ihn niemandem."
        );
    }

    #[test]
    fn people_are_written_to_in_the_nearest_language() {
        let texts = texts(|config| config.locale = "de".to_owned());
        for (asked, locale) in [
            ("fr", "fr"),
            ("fr-CA", "fr"),
            ("ES-419", "es"),
            ("en-GB", "en"),
            ("nl", "de"),
            ("nl,fr,en", "fr"),
            ("", "de"),
            ("no language", "de"),
            ("\0", "de"),
        ] {
            assert_eq!(texts.locale(Some(asked)), locale, "{asked}");
        }
        assert_eq!(texts.locale(None), "de");
    }

    #[test]
    fn a_code_ends_as_phones_expect() {
        let by_hash = texts(|config| config.otp_app_hash = "FA+9qCX9VSu".to_owned());
        assert!(by_hash.code_text("en", "123456", TTL).ends_with("nobody.\n\nFA+9qCX9VSu"));
        let by_domain = texts(|config| config.otp_domain = "chat.example.org".to_owned());
        assert!(by_domain.code_text("fr", "123456", TTL).ends_with("personne.\n\n@chat.example.org #123456"));
    }

    #[test]
    fn html_is_escaped() {
        let letter = texts(|_| ()).code_letter("fr", "<1&2>", TTL);
        assert!(letter.html.contains("&lt;1&amp;2&gt;") && !letter.html.contains("<1&2>"), "{}", letter.html);
        assert!(letter.html.contains("<html lang=\"fr\">") && letter.text.contains("<1&2>"));
    }

    #[test]
    fn texts_fit_into_one_sms() {
        // 3GPP TS 23.038, 6.2.1, without the characters that count twice.
        const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
        let texts = texts(|config| config.otp_domain = "chat.example.org".to_owned());
        for locale in LOCALES {
            let code = texts.code_text(locale, "123456", Duration::from_secs(3600));
            for text in News::ALL.map(|news| texts.notice_text(locale, news)).into_iter().chain([code]) {
                assert!(text.chars().count() <= 160, "{text}");
                let strange: Vec<char> = text.chars().filter(|c| !GSM.contains(*c)).collect();
                assert!(strange.is_empty(), "{strange:?} in {text}");
            }
        }
    }
}
