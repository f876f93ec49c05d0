//! `[oauth]`: who vouches for people, what this node is called there, and where browsers may be sent afterwards.
//! Never whether a provider can be reached, or whether what it was told is right.

use super::layers::ConfigError;
use super::rules::is_origin;
use super::{Profile, Secret};
use oauth2::url::Url;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Schemes that browsers take for a script or a document.
const NOT_PLACES: [&str; 6] = ["javascript", "data", "blob", "file", "about", "vbscript"];

/// `[oauth]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// Where browsers reach this node: an origin.
    pub base_url: String,
    /// Where they may be sent when a sign-in elsewhere is over.
    pub redirect_allow: Vec<String>,
    /// Who vouches for people, by what clients call it.
    pub providers: BTreeMap<String, Provider>,
}

/// `[oauth.providers.NAME]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What it speaks.
    pub kind: ProviderKind,
    /// Its URL; empty is the kind's own. See `issuer`.
    pub issuer: String,
    /// What it calls this node.
    pub client_id: String,
    /// The secret that both share.
    pub client_secret: Secret,
    /// Apple: whose key it is.
    pub team_id: String,
    /// Apple: which key it is.
    pub key_id: String,
    /// Apple: the key, PKCS#8 as PEM.
    pub private_key: Secret,
    /// What it calls native apps.
    pub audiences: Vec<String>,
    /// What it is asked for; empty is the kind's own. See `scopes`.
    pub scopes: Vec<String>,
    /// Whether the e-mail addresses are believed that it has verified.
    pub trust_email: bool,
    /// Facebook: its Graph API.
    pub graph_url: String,
}

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// OpenID Connect, with a discovery document.
    Oidc,
    /// The same, at Google.
    Google,
    /// The same with manners of its own.
    Apple,
    /// OAuth 2.0 and the Graph API.
    Facebook,
}

impl Provider {
    /// The issuer's URL, as its tokens name it.
    pub fn issuer(&self) -> &str {
        match (self.issuer.as_str(), self.kind) {
            ("", ProviderKind::Google) => "https://accounts.google.com",
            ("", ProviderKind::Apple) => "https://appleid.apple.com",
            ("", ProviderKind::Facebook) => "https://www.facebook.com",
            (issuer, _) => issuer,
        }
    }

    /// Where Facebook's Graph API is.
    pub fn graph_url(&self) -> &str {
        if self.graph_url.is_empty() { "https://graph.facebook.com" } else { &self.graph_url }
    }

    /// What is asked for.
    pub fn scopes(&self) -> Vec<String> {
        let default: &[&str] = match self.kind {
            _ if !self.scopes.is_empty() => return self.scopes.clone(),
            ProviderKind::Oidc | ProviderKind::Google => &["openid", "email", "profile"],
            ProviderKind::Apple => &["openid", "email", "name"],
            ProviderKind::Facebook => &["public_profile", "email"],
        };
        default.iter().map(|scope| (*scope).to_owned()).collect()
    }

    fn check(&self, name: &str, profile: Profile, wrong: &mut ConfigError) {
        let key = |field: &str| format!("oauth.providers.{name}.{field}");
        let is_url = |text: &str| {
            let url = Url::parse(text).ok().filter(|url| url.query().is_none() && url.fragment().is_none());
            let scheme = url.as_ref().map(Url::scheme);
            scheme == Some("https") || (scheme == Some("http") && profile == Profile::Development)
        };
        for (field, url) in [("issuer", self.issuer()), ("graph_url", self.graph_url())] {
            if !is_url(url) {
                wrong.add(key(field), "must be a URL that begins with https:// (in development also http://)");
            }
        }
        let needed: &[(&str, bool)] = match self.kind {
            // A public client of an issuer has no secret.
            ProviderKind::Oidc => &[],
            ProviderKind::Google | ProviderKind::Facebook => &[("client_secret", self.client_secret.is_empty())],
            ProviderKind::Apple => &[
                ("team_id", self.team_id.is_empty()),
                ("key_id", self.key_id.is_empty()),
                ("private_key", self.private_key.is_empty()),
            ],
        };
        for (field, missing) in [("client_id", self.client_id.is_empty())].iter().chain(needed) {
            if *missing {
                wrong.add(key(field), "must not be empty");
            }
        }
        let speaks_oidc = matches!(self.kind, ProviderKind::Oidc | ProviderKind::Google | ProviderKind::Apple);
        if speaks_oidc && !self.scopes().iter().any(|scope| scope == "openid") {
            wrong.add(key("scopes"), "must have \"openid\", or be empty");
        }
    }
}

impl OAuth {
    /// Refuses what cannot work or would send people anywhere.
    pub(super) fn check(&self, profile: Profile, wrong: &mut ConfigError) {
        for place in self.redirect_allow.iter().filter(|place| !is_place(place)) {
            wrong.add("oauth.redirect_allow", format!("{place:?} is no URI to send a browser to"));
        }
        let base_url = &self.base_url;
        let missing = base_url.is_empty() && !self.providers.is_empty();
        if missing || (!base_url.is_empty() && (base_url == "*" || !is_origin(base_url))) {
            wrong.add("oauth.base_url", "must be where browsers reach this node: https://host or https://host:port");
        }
        if profile == Profile::Production && base_url.starts_with("http://") {
            wrong.add("oauth.base_url", "must begin with https:// in production");
        }
        for (name, provider) in &self.providers {
            provider.check(name, profile, wrong);
        }
    }

    /// Every secret, by its key.
    pub(super) fn secrets(&self) -> Vec<(String, &Secret)> {
        let each = self.providers.iter().flat_map(|(name, provider)| {
            let fields = [("client_secret", &provider.client_secret), ("private_key", &provider.private_key)];
            fields.map(|(field, secret)| (format!("oauth.providers.{name}.{field}"), secret))
        });
        each.collect()
    }
}

/// Whether a browser may be sent there: an absolute URI without a fragment (RFC 6749, section 3.1.2).
fn is_place(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    url.fragment().is_none() && !NOT_PLACES.contains(&url.scheme())
}

#[cfg(test)]
mod tests {
    use crate::config::layers::Layer;
    use crate::config::{Config, ConfigError};
    use std::collections::BTreeMap;

    const GOOGLE: &str = "[oauth]\nbase_url = 'https://chat.example'\n
        [oauth.providers.google]\nkind = 'google'\nclient_id = 'us'\nclient_secret = 'in-no-output'\n";

    fn file(text: &str) -> Result<Config, ConfigError> {
        Config::layered(vec![Layer::toml("node.toml", text)?])
    }

    #[test]
    fn providers_come_from_files_and_from_the_environment() {
        let variables: BTreeMap<_, _> = [
            ("QUCKCHAT__OAUTH__PROVIDERS__GOOGLE__AUDIENCES", "ios, android"),
            ("QUCKCHAT__OAUTH__PROVIDERS__MY_OWN__ISSUER", "https://issuer.example/realm"),
            ("QUCKCHAT__OAUTH__PROVIDERS__MY_OWN__CLIENT_ID", "us"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let environment = config::Environment::default().source(Some(variables.into_iter().collect()));
        let layers = vec![Layer::toml("node.toml", GOOGLE).unwrap(), Layer::environment(environment).unwrap()];
        let oauth = Config::layered(layers).unwrap().oauth;
        assert_eq!(oauth.providers.keys().collect::<Vec<_>>(), ["google", "my_own"]);
        let google = &oauth.providers["google"];
        assert_eq!(
            (google.issuer(), google.audiences.join(" ")),
            ("https://accounts.google.com", "ios android".into())
        );
        assert_eq!(oauth.providers["my_own"].scopes(), ["openid", "email", "profile"]);
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let with = |text: &str| file(&format!("{GOOGLE}{text}")).err();
        assert_eq!(with(""), None);
        for (text, key) in [
            ("issuer = 'accounts.google.com'", "issuer"),
            ("issuer = 'https://a.example/?b'", "issuer"),
            ("scopes = ['email']", "scopes"),
            ("graph_url = 'ftp://graph'", "graph_url"),
        ] {
            assert!(with(text).unwrap().names(&format!("oauth.providers.google.{key}")), "{text}");
        }
        let apple = "[oauth]\nbase_url = 'https://chat.example/there'\nredirect_allow = ['javascript:alert()', '/in']\n
            [oauth.providers.apple]\nkind = 'apple'";
        let error = file(apple).unwrap_err();
        for key in ["client_id", "team_id", "key_id", "private_key"] {
            assert!(error.names(&format!("oauth.providers.apple.{key}")), "{error}");
        }
        assert!(error.names("oauth.base_url") && error.names("oauth.redirect_allow"), "{error}");
        let plain = GOOGLE.replace("https:", "http:").replace("in-no-output", "change-me");
        assert!(file(&plain).is_ok());
        let error = file(&format!("profile = 'production'\n{plain}\nissuer = 'http://a.example'")).unwrap_err();
        for key in ["base_url", "providers.google.issuer", "providers.google.client_secret"] {
            assert!(error.names(&format!("oauth.{key}")), "{error}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_and_hides_their_secrets() {
        let config =
            file(&format!("{GOOGLE}trust_email = true\n[oauth.providers.a]\nissuer = 'https://a'\nclient_id = 'b'"));
        let printed = config.unwrap().to_toml();
        assert!(!printed.contains("in-no-output") && printed.contains("client_secret = \"***\""), "{printed}");
        assert!(printed.contains("[oauth.providers.google]\nkind = \"google\""), "{printed}");
        assert_eq!(file(&printed).unwrap().to_toml(), printed);
        // A copy of the shipped file changes nothing.
        assert_eq!(file(crate::config::BASE).unwrap().to_toml(), Config::shipped().unwrap().to_toml());
    }
}
