//! One provider: what it is asked for with which client id and secret, and who it says the person is.
//! Never what becomes of that here.

use super::apple::Apple;
use super::facebook::Facebook;
use super::issuer::{Expected, Issuer};
use super::web::{Web, WebError};
use super::{ProviderKind, Who, invalid, unavailable};
use crate::config::oauth as config;
use actors::clock::Clock;
use actors::protocol::{ErrorCode, Fault, Outcome};
use entities::Timestamp;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::url::Url;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};

/// One provider.
pub struct Provider {
    /// What clients and rows call it.
    pub name: String,
    /// Whether the e-mail addresses are believed that it has verified.
    pub trust_email: bool,
    client_id: String,
    client_secret: String,
    audiences: Vec<String>,
    scopes: Vec<String>,
    redirect: RedirectUrl,
    web: Web,
    manner: Manner,
}

/// How it speaks.
enum Manner {
    OpenId(Issuer),
    Apple(Issuer, Apple),
    Facebook(Box<Facebook>),
}

/// What only this flow knows of itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Secrets {
    /// PKCE towards the provider (RFC 7636).
    pub verifier: String,
    /// What its id token must say.
    pub nonce: String,
}

/// What a browser is sent to a provider with.
pub struct Asked<'a> {
    /// Names the flow.
    pub state: &'a str,
    /// What only the flow knows.
    pub secrets: &'a Secrets,
    /// Whether the person is to sign in there anew, though they have.
    pub anew: bool,
}

/// What a browser came back with.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// What tokens are given for.
    pub code: Option<String>,
    /// Why none are.
    pub error: Option<String>,
    /// Who answers (RFC 9207).
    pub iss: Option<String>,
    /// Apple's own: the name, once.
    pub user: Option<String>,
}

/// What a native app brings along.
pub struct Proof<'a> {
    /// An id token.
    pub id_token: &'a str,
    /// The nonce that it must have, if the app asked for one.
    pub nonce: Option<&'a str>,
    /// Since when the person must have signed in there, if it is not all the same.
    pub since: Option<Timestamp>,
}

/// The id token beside the access token (OpenID Connect Core, section 3.1.3.3).
#[derive(Debug, Serialize, Deserialize)]
struct IdToken {
    #[serde(default)]
    id_token: Option<String>,
}
impl ExtraTokenFields for IdToken {}

type Tokens = StandardTokenResponse<IdToken, BasicTokenType>;
type FlowClient = Client<
    BasicErrorResponse,
    Tokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl Provider {
    /// The provider of this section; nobody is asked anything yet.
    ///
    /// # Errors
    /// A private key that is none.
    pub fn open(name: &str, config: &config::Provider, redirect: &str, web: &Web) -> Outcome<Provider> {
        let issuer = || Issuer::new(name, config.issuer(), web);
        let manner = match config.kind {
            ProviderKind::Oidc | ProviderKind::Google => Manner::OpenId(issuer()),
            ProviderKind::Apple => Manner::Apple(issuer(), Apple::open(config)?),
            ProviderKind::Facebook => Manner::Facebook(Box::new(Facebook::open(name, config, web)?)),
        };
        Ok(Provider {
            name: name.to_owned(),
            trust_email: config.trust_email,
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.expose().to_owned(),
            audiences: config.audiences.clone(),
            scopes: config.scopes(),
            redirect: RedirectUrl::new(redirect.to_owned()).map_err(Fault::new)?,
            web: web.clone(),
            manner,
        })
    }

    /// Where a browser is sent to sign in there.
    ///
    /// # Errors
    /// `auth.provider_unavailable`
    pub async fn authorize_url(&self, clock: &dyn Clock, asked: Asked<'_>) -> Outcome<Url> {
        let client = self.client(clock).await?;
        let verifier = PkceCodeVerifier::new(asked.secrets.verifier.clone());
        let request = client
            .authorize_url(|| CsrfToken::new(asked.state.to_owned()))
            .add_scopes(self.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_extra_param("nonce", asked.secrets.nonce.as_str());
        let request = match &self.manner {
            // Apple refuses to tell the e-mail address or the name in any other way:
            // https://developer.apple.com/documentation/signinwithapplerestapi/request-an-authorization-to-the-sign-in-with-apple-server
            Manner::Apple(..) => request.add_extra_param("response_mode", "form_post"),
            // OpenID Connect Core, section 3.1.2.1: as `prompt=login`, which Google refuses, and the token tells of it.
            Manner::OpenId(_) if asked.anew => request.add_extra_param("max_age", "0"),
            // https://developers.facebook.com/docs/facebook-login/guides/advanced/re-authentication
            Manner::Facebook(_) if asked.anew => request.add_extra_param("auth_type", "reauthenticate"),
            Manner::OpenId(_) | Manner::Facebook(_) => request,
        };
        Ok(request.url().0)
    }

    async fn client(&self, clock: &dyn Clock) -> Outcome<FlowClient> {
        let (authorize, token, basic, secret) = match &self.manner {
            Manner::OpenId(issuer) => {
                let metadata = issuer.metadata(clock).await?;
                let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
                // Without a list it is `client_secret_basic` (Discovery, section 3).
                let basic = methods.is_none_or(|all| all.iter().any(|method| method == "client_secret_basic"));
                let secret = self.client_secret.clone();
                (metadata.authorization_endpoint.clone(), metadata.token_endpoint.clone(), basic, secret)
            }
            Manner::Apple(issuer, apple) => {
                let metadata = issuer.metadata(clock).await?;
                let secret = apple.client_secret(&self.client_id, &issuer.url, clock.now())?;
                (metadata.authorization_endpoint.clone(), metadata.token_endpoint.clone(), false, secret)
            }
            Manner::Facebook(facebook) => {
                (facebook.dialog.clone(), facebook.token.clone(), false, self.client_secret.clone())
            }
        };
        let mut client = Client::new(ClientId::new(self.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(authorize))
            .set_token_uri(TokenUrl::from_url(token))
            .set_redirect_uri(self.redirect.clone())
            .set_auth_type(if basic { AuthType::BasicAuth } else { AuthType::RequestBody });
        if !secret.is_empty() {
            client = client.set_client_secret(ClientSecret::new(secret));
        }
        Ok(client)
    }

    /// Who the person is with whom the browser came back, and who has signed in there since then, as far as it is told.
    ///
    /// # Errors
    /// `auth.provider_refused`, `auth.provider_unavailable`, `auth.identity_invalid`
    pub async fn identify(
        &self,
        clock: &dyn Clock,
        answer: &Answer,
        secrets: &Secrets,
        since: Option<Timestamp>,
    ) -> Outcome<Who> {
        self.check_answerer(clock, answer.iss.as_deref()).await?;
        match answer.error.as_deref() {
            Some("temporarily_unavailable" | "server_error") => return Err(unavailable(&self.name, "it says so")),
            Some(_) => return Err(ErrorCode::AuthProviderRefused.into()),
            None => {}
        }
        let code = answer.code.clone().ok_or_else(|| invalid(&self.name, "an answer with no code"))?;
        let tokens = self.exchange(clock, code, &secrets.verifier).await?;
        let access_token = tokens.access_token().secret();
        let (issuer, name) = match &self.manner {
            Manner::Facebook(facebook) => return facebook.me(access_token).await,
            Manner::OpenId(issuer) => (issuer, None),
            Manner::Apple(issuer, _) => (issuer, answer.user.as_deref().and_then(super::apple::name)),
        };
        let id_token = tokens.extra_fields().id_token.as_deref();
        let id_token = id_token.ok_or_else(|| unavailable(&self.name, "it gave no id token"))?;
        let audiences = [self.client_id.as_str()];
        let expected = Expected { audiences: &audiences, nonce: Some(&secrets.nonce), since };
        let who = issuer.check(clock, id_token, expected).await?.who;
        let mut who = self.completed(issuer, clock, who, access_token).await?;
        who.name = who.name.or(name);
        Ok(who)
    }

    /// An e-mail address that was asked for and is not in the token is told on asking, by most issuers. Whoever is not
    /// heard now would be taken for somebody without one: so that is an error.
    async fn completed(&self, issuer: &Issuer, clock: &dyn Clock, who: Who, access_token: &str) -> Outcome<Who> {
        let asked_for = self.scopes.iter().any(|scope| scope == "email");
        let at = issuer.metadata(clock).await?.userinfo_endpoint.clone();
        match at.filter(|_| asked_for && who.email.is_none()) {
            Some(at) => issuer.complete(who, &at, access_token).await,
            None => Ok(who),
        }
    }

    /// RFC 9207: who answers must be who was asked, so that no issuer is given another one's codes.
    async fn check_answerer(&self, clock: &dyn Clock, iss: Option<&str>) -> Outcome<()> {
        let issuer = match &self.manner {
            Manner::OpenId(issuer) | Manner::Apple(issuer, _) => issuer,
            Manner::Facebook(_) => return Ok(()),
        };
        let must_say = issuer.metadata(clock).await?.authorization_response_iss_parameter_supported;
        match iss {
            Some(iss) if iss != issuer.url => Err(invalid(&self.name, "an answer of another issuer")),
            None if must_say => Err(invalid(&self.name, "an answer that does not say from whom")),
            _ => Ok(()),
        }
    }

    async fn exchange(&self, clock: &dyn Clock, code: String, verifier: &str) -> Outcome<Tokens> {
        let client = self.client(clock).await?;
        let verifier = PkceCodeVerifier::new(verifier.to_owned());
        let request = client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(verifier);
        let send = |request| self.web.send(request);
        request.request_async(&send).await.map_err(|error: RequestTokenError<WebError, BasicErrorResponse>| match error
        {
            // What its sentences say may hold what we have sent.
            RequestTokenError::ServerResponse(said) if said.error().as_ref() == "invalid_grant" => {
                invalid(&self.name, "a code that its issuer does not know")
            }
            RequestTokenError::ServerResponse(said) => {
                unavailable(&self.name, format!("the token endpoint: {}", said.error().as_ref()))
            }
            RequestTokenError::Request(error) => unavailable(&self.name, format!("the token endpoint: {error}")),
            RequestTokenError::Parse(error, _) => unavailable(&self.name, format!("the token endpoint: {error}")),
            RequestTokenError::Other(why) => unavailable(&self.name, format!("the token endpoint: {why}")),
        })
    }

    /// Whom an id token names that a native app brings along, and until when it is good.
    ///
    /// # Errors
    /// `auth.identity_invalid`, `auth.provider_unavailable`
    pub async fn vouched(&self, clock: &dyn Clock, proof: Proof<'_>) -> Outcome<super::issuer::Good> {
        let audiences: Vec<&str> = [&self.client_id].into_iter().chain(&self.audiences).map(String::as_str).collect();
        let expected = Expected { audiences: &audiences, nonce: proof.nonce, since: proof.since };
        match &self.manner {
            Manner::OpenId(issuer) | Manner::Apple(issuer, _) => issuer.check(clock, proof.id_token, expected).await,
            Manner::Facebook(facebook) => facebook.check(clock, proof.id_token, expected).await,
        }
    }

    /// Whose Facebook access token a native app brings along.
    ///
    /// # Errors
    /// `request.invalid` at all others; `auth.identity_invalid`, `auth.provider_unavailable`
    pub async fn vouched_by_access(&self, access_token: &str) -> Outcome<Who> {
        match &self.manner {
            Manner::Facebook(facebook) => facebook.whose(access_token).await,
            _ => Err(actors::protocol::Refusal::invalid("accessToken", "this provider gives id tokens").into()),
        }
    }
}
