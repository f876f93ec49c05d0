//! Sign in with Apple, where it differs: a client secret that we make ourselves, and a name that is told once.
//! Never the tokens' check: Apple is an OpenID Connect issuer otherwise.

use crate::config::oauth as config;
use actors::protocol::{Fault, Outcome};
use entities::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

/// How long a secret is good, in seconds: it is made for one request. Apple takes up to six months.
const SECRET_FOR: i64 = 300;
/// The longest name that is taken over.
const NAME: usize = 100;

/// The team's key.
pub struct Apple {
    team_id: String,
    key_id: String,
    key: EncodingKey,
}

impl Apple {
    /// The key of the configuration.
    ///
    /// # Errors
    /// It is no private key in PKCS#8.
    pub fn open(config: &config::Provider) -> Outcome<Apple> {
        let pem = config.private_key.expose().as_bytes();
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem)
            .map_err(|error| Fault::new(format!("the private_key of a provider is no PKCS#8 in PEM: {error}")))?;
        let key = EncodingKey::from_ec_der(der.secret_pkcs8_der());
        let apple = Apple { team_id: config.team_id.clone(), key_id: config.key_id.clone(), key };
        // What does not sign is found at start.
        apple.client_secret("", "", Timestamp::EPOCH)?;
        Ok(apple)
    }

    /// A client secret: a JWT, as
    /// <https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret> says.
    ///
    /// # Errors
    /// A fault: the key is not one of P-256.
    pub fn client_secret(&self, client_id: &str, audience: &str, now: Timestamp) -> Outcome<String> {
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            iat: i64,
            exp: i64,
            aud: &'a str,
            sub: &'a str,
        }
        let iat = now.millis() / 1000;
        let claims = Claims { iss: &self.team_id, iat, exp: iat + SECRET_FOR, aud: audience, sub: client_id };
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let made = encode(&header, &claims, &self.key);
        Ok(made.map_err(|error| Fault::new(format!("the private_key of a provider does not sign: {error}")))?)
    }
}

/// The person's name in what Apple posts on their first sign-in:
/// <https://developer.apple.com/documentation/signinwithapple/configuring-your-webpage-for-sign-in-with-apple>.
/// Nobody has signed it, so it is good for a name and for nothing else.
pub fn name(user: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct User {
        name: Name,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Name {
        first_name: Option<String>,
        last_name: Option<String>,
    }
    let name = serde_json::from_str::<User>(user).ok()?.name;
    let parts: Vec<String> = [name.first_name, name.last_name].into_iter().flatten().collect();
    let whole = parts.join(" ").trim().to_owned();
    (!whole.is_empty() && whole.len() <= NAME).then_some(whole)
}
