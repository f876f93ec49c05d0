//! Access tokens: short-lived JWTs as RFC 9068 says, signed with EdDSA and nothing else.
//! Never whether the session still stands (see `sessions`), and never a refresh token (see `refresh`).

use super::keys::{Jwks, Keys};
use crate::config;
use actors::caller::Identity;
use actors::clock::Clock;
use actors::protocol::{Error, ErrorCode, Fault, Outcome};
use aws_lc_rs::digest::{SHA256, digest};
use entities::{SessionId, Timestamp, UserId};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// RFC 9068, section 2.1.
const TYPE: &str = "at+jwt";
/// Which client tokens are given to: our own, there is no other yet (RFC 9068 asks for the claim).
const CLIENT: &str = "quckchat";
/// Longer ones are not ours; ours have some 500 bytes.
const LONGEST: usize = 2048;

/// Gives access tokens, and checks them.
pub struct Tokens {
    /// What they are signed with.
    pub keys: Keys,
    clock: Arc<dyn Clock>,
    issuer: String,
    audience: String,
    ttl: Duration,
    validation: Validation,
    /// What was checked already, by the token's SHA-256: a signature costs a hundred times as much.
    seen: Cache<[u8; 32], Seen>,
}

/// A token whose signature was checked.
#[derive(Clone, Copy)]
struct Seen {
    identity: Identity,
    /// Until when its key counts.
    until: Option<Timestamp>,
    /// Of which keys that was said.
    epoch: u64,
}

#[derive(Serialize)]
struct Given<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: UserId,
    sid: SessionId,
    client_id: &'a str,
    jti: Uuid,
    iat: i64,
    exp: i64,
}

#[derive(Deserialize)]
struct Presented {
    sub: UserId,
    sid: SessionId,
    exp: i64,
}

impl Tokens {
    /// Tokens of this issuer, with these keys.
    pub fn new(keys: Keys, clock: Arc<dyn Clock>, config: &config::Auth) -> Tokens {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Time is told by our clock alone: see `verify`.
        validation.validate_exp = false;
        Tokens {
            keys,
            clock,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            ttl: config.access_ttl,
            validation,
            seen: Cache::builder().max_capacity(config.token_cache).time_to_live(config.access_ttl).build(),
        }
    }

    /// How long a token is good.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A token for a session.
    ///
    /// # Errors
    /// A fault where there is no key to sign with.
    pub fn issue(&self, user: UserId, session: SessionId) -> Outcome<String> {
        self.issue_for(user, session, self.ttl)
    }

    /// A token for a session that is good for so long.
    ///
    /// # Errors
    /// A fault where there is no key to sign with.
    pub fn issue_for(&self, user: UserId, session: SessionId, ttl: Duration) -> Outcome<String> {
        let now = self.clock.now();
        let claims = Given {
            iss: &self.issuer,
            aud: &self.audience,
            sub: user,
            sid: session,
            client_id: CLIENT,
            jti: self.clock.uuid(),
            iat: seconds(now),
            exp: seconds(now.plus(ttl)),
        };
        self.keys.with_signer(now, |key| {
            let mut header = Header::new(Algorithm::EdDSA);
            header.typ = Some(TYPE.to_owned());
            header.kid = Some(key.kid.clone());
            encode(&header, &claims, &key.private).map_err(|err| Error::Fault(Fault::new(err)))
        })
    }

    /// Who a token says is there, if it is one of ours and not over at `now`. Waits for nothing.
    ///
    /// # Errors
    /// `auth.unauthenticated`; `auth.token_expired` for one that was good.
    pub fn verify(&self, token: &str, now: Timestamp) -> Outcome<Identity> {
        if token.len() > LONGEST {
            return Err(ErrorCode::AuthUnauthenticated.into());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        // Asked before the keys are: what they said then is not believed of later ones.
        let epoch = self.keys.epoch();
        let counts = |seen: &Seen| seen.epoch == epoch && seen.until.is_none_or(|until| until > now);
        let known = self.seen.get(&hash).filter(counts);
        let seen = known.or_else(|| self.check(token, now, epoch)).ok_or(ErrorCode::AuthUnauthenticated)?;
        if seen.identity.expires_at <= now {
            return Err(ErrorCode::AuthTokenExpired.into());
        }
        if known.is_none() {
            self.seen.insert(hash, seen);
        }
        Ok(seen.identity)
    }

    /// All but the time.
    fn check(&self, token: &str, now: Timestamp, epoch: u64) -> Option<Seen> {
        let header = decode_header(token).ok()?;
        let typed =
            header.typ.is_some_and(|typ| typ.strip_prefix("application/").unwrap_or(&typ).eq_ignore_ascii_case(TYPE));
        if header.alg != Algorithm::EdDSA || !typed {
            return None;
        }
        let (decoded, until) = self
            .keys
            .with_key(&header.kid?, now, |key| (decode(token, &key.public, &self.validation), key.retires_at()))?;
        let Presented { sub, sid, exp } = decoded.ok()?.claims;
        let expires_at = Timestamp::from_millis(exp.checked_mul(1000)?);
        Some(Seen { identity: Identity { user: sub, session: sid, expires_at }, until, epoch })
    }

    /// The public keys, for others who check our tokens.
    pub fn jwks(&self) -> Jwks {
        self.keys.jwks(self.clock.now())
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.millis().div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::secrets::Secrets;
    use crate::auth::testing::{FakeClock, Scratch, code};
    use crate::config::Config;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, jwk::JwkSet};
    use serde_json::{Value, json};

    const HOUR: Duration = Duration::from_secs(3600);

    async fn tokens(scratch: &Scratch, clock: &Arc<FakeClock>) -> Tokens {
        let secrets = Secrets::from_master(b"a master secret");
        let keys = Keys::open(scratch.db.clone(), clock.clone(), &secrets).await.unwrap();
        Tokens::new(keys, clock.clone(), &Config::shipped().unwrap().auth)
    }

    fn someone(clock: &dyn Clock) -> (UserId, SessionId) {
        (clock.user_id(), clock.session_id())
    }

    fn part(token: &str, index: usize) -> Value {
        let part = token.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[actix_web::test]
    async fn a_token_says_what_rfc_9068_asks_for() {
        let scratch = Scratch::sqlite().await;
        let clock = FakeClock::new();
        let tokens = tokens(&scratch, &clock).await;
        let (user, session) = someone(&*clock);
        let token = tokens.issue(user, session).unwrap();
        let (header, claims) = (part(&token, 0), part(&token, 1));
        assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
        assert_eq!(header["kid"], tokens.jwks().keys[0].kid);
        for claim in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
            assert!(!claims[claim].is_null(), "{claim}");
        }
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 15 * 60);

        let identity = tokens.verify(&token, clock.now()).unwrap();
        assert_eq!((identity.user, identity.session), (user, session));
        let later = clock.now().plus(HOUR);
        assert_eq!(code(tokens.verify(&token, later)), Some(ErrorCode::AuthTokenExpired));
        assert_eq!(code(tokens.verify(&token, later)), Some(ErrorCode::AuthTokenExpired), "from the memory too");

        // Others check it with what is published.
        let set: JwkSet = serde_json::from_value(serde_json::to_value(tokens.jwks()).unwrap()).unwrap();
        let key = jsonwebtoken::DecodingKey::from_jwk(&set.keys[0]).unwrap();
        assert!(decode::<Value>(&token, &key, &tokens.validation).is_ok());
        scratch.drop().await;
    }

    #[actix_web::test]
    async fn a_token_is_believed_no_longer_than_its_key_counts() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let tokens = tokens(&scratch, &clock).await;
            let (user, session) = someone(&*clock);
            let long = tokens.issue_for(user, session, 24 * HOUR).unwrap();
            assert!(tokens.verify(&long, clock.now()).is_ok());
            clock.advance(HOUR);
            let rotation = tokens.keys.rotate(tokens.ttl()).await.unwrap();
            clock.advance(rotation.others_end_at.since(clock.now()) - Duration::from_millis(1));
            assert!(tokens.verify(&long, clock.now()).is_ok());
            clock.advance(Duration::from_millis(1));
            assert_eq!(
                code(tokens.verify(&long, clock.now())),
                Some(ErrorCode::AuthUnauthenticated),
                "also from memory"
            );
            assert!(tokens.verify(&tokens.issue(user, session).unwrap(), clock.now()).is_ok());
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn what_is_not_ours_is_refused() {
        let scratch = Scratch::sqlite().await;
        let clock = FakeClock::new();
        let tokens = tokens(&scratch, &clock).await;
        let (user, session) = someone(&*clock);
        let good = tokens.issue(user, session).unwrap();
        let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
        let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let with = |changed: &dyn Fn(&mut Value, &mut Value), key: Option<&EncodingKey>| {
            let (mut header, mut claims) = (part(&good, 0), part(&good, 1));
            changed(&mut header, &mut claims);
            let message = format!("{}.{}", encoded(header), encoded(claims));
            let sign =
                |key: &EncodingKey| jsonwebtoken::crypto::sign(message.as_bytes(), key, Algorithm::EdDSA).unwrap();
            let own = |key: &super::super::keys::Key| Ok(sign(&key.private));
            let signature = key.map_or_else(|| tokens.keys.with_signer(clock.now(), own).unwrap(), sign);
            format!("{message}.{signature}")
        };
        let unchanged = with(&|_, _| (), None);
        assert!(tokens.verify(&unchanged, clock.now()).is_ok(), "the forger's workshop works");

        let seed: [u8; 32] = (&*clock as &dyn Clock).random();
        let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let stranger = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
        let none = encoded(json!({"typ": "at+jwt", "alg": "none", "kid": tokens.jwks().keys[0].kid}));
        let hmac = {
            // The public key as an HMAC secret.
            let mut header = Header::new(Algorithm::HS256);
            (header.typ, header.kid) = (Some(TYPE.to_owned()), Some(tokens.jwks().keys[0].kid.clone()));
            let secret = URL_SAFE_NO_PAD.decode(&tokens.jwks().keys[0].x).unwrap();
            encode(&header, &part(&good, 1), &EncodingKey::from_secret(&secret)).unwrap()
        };
        for (what, token) in [
            ("nothing", String::new()),
            ("no token", "a.b.c".to_owned()),
            ("two parts", format!("{header}.{claims}")),
            ("no signature", format!("{header}.{claims}.")),
            ("alg none", format!("{none}.{claims}.")),
            ("alg none, signed", format!("{none}.{claims}.{signature}")),
            ("hmac with the public key", hmac),
            ("another key", with(&|_, _| (), Some(&stranger))),
            ("a key that nobody knows", with(&|header, _| header["kid"] = json!("?"), Some(&stranger))),
            ("no key named", with(&|header, _| drop(header.as_object_mut().unwrap().remove("kid")), None)),
            ("an id token", with(&|header, _| header["typ"] = json!("JWT"), None)),
            ("no type", with(&|header, _| drop(header.as_object_mut().unwrap().remove("typ")), None)),
            ("another issuer", with(&|_, claims| claims["iss"] = json!("mallory"), None)),
            ("another audience", with(&|_, claims| claims["aud"] = json!("mallory"), None)),
            ("no audience", with(&|_, claims| drop(claims.as_object_mut().unwrap().remove("aud")), None)),
            ("no expiry", with(&|_, claims| drop(claims.as_object_mut().unwrap().remove("exp")), None)),
            ("an endless expiry", with(&|_, claims| claims["exp"] = json!(i64::MAX), None)),
            ("no user", with(&|_, claims| claims["sub"] = json!("ann"), None)),
            ("longer than any of ours", "a".repeat(1 << 20)),
        ] {
            assert_eq!(code(tokens.verify(&token, clock.now())), Some(ErrorCode::AuthUnauthenticated), "{what}");
        }
        scratch.drop().await;
    }
}
