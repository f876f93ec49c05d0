//! Signing in elsewhere, by REST: redirects, what a provider posts, and the cookie that ties a flow to its browser.
//! Never a rule of the flow: a handler hands its command to the wrapper.

use super::flow::{AWAY, Intent, hash};
use crate::app::App;
use crate::auth::http::signed_in;
use crate::auth::sessions::Origin;
use crate::gateway::dispatch::Run;
use crate::gateway::error::Failure;
use crate::gateway::extract::{Body, Call, Reply, reply};
use crate::gateway::query::Params;
use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use actors::caller::Caller;
use actors::protocol::command::{
    LinkAccount, LinkedAccounts, OauthCallback, OauthExchange, OauthMobile, OauthStart, UnlinkAccount,
};
use actors::protocol::{Command, Fault, Outcome, view};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::url::form_urlencoded;
use utoipa::OpenApi;

/// What the cookie of each flow begins with; what follows is of the flow's state, so that several may be under way.
const COOKIE: &str = "quckchat_oauth_";

/// What this slice serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/auth/oauth/exchange").post(exchange))
        .service(web::resource("/auth/oauth/mobile").post(mobile))
        .service(web::resource("/auth/oauth/{provider}/start").get(start))
        .service(web::resource("/auth/oauth/{provider}/callback").get(callback).post(posted))
        .service(web::resource("/auth/linked-accounts").get(linked).post(link))
        .service(web::resource("/auth/linked-accounts/{provider}").delete(unlink));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(start, callback, posted, exchange, mobile, linked, link, unlink))]
pub struct Paths;

/// Sends a browser to a provider, to sign in there; it comes back to `redirectUri`.
#[utoipa::path(
    get, path = "/auth/oauth/{provider}/start", operation_id = OauthStart::NAME, tag = "auth",
    params(("provider" = String, Path, description = "As this node calls it"), OauthStart),
    responses((status = 302, description = "To the provider; back with `error` if that cannot be")),
)]
async fn start(
    app: web::Data<App>,
    call: Call<OauthStart>,
    provider: web::Path<String>,
    Params(mut command): Params<OauthStart>,
) -> Result<HttpResponse, Failure> {
    let browser = URL_SAFE_NO_PAD.encode(app.clock.random::<32>());
    (command.provider, command.browser) = (provider.into_inner(), browser.clone());
    let view::OauthStarted { location, state } = app.dispatch(&call, command).await?;
    let mut response = to(&location);
    if let Some(state) = state {
        let life = i64::try_from(AWAY.as_secs()).unwrap_or_default();
        give(&mut response, cookie(&state, browser, CookieDuration::seconds(life)))?;
    }
    Ok(response)
}

/// Where a provider sends a browser back to. It is sent on to the client's `redirectUri`, with `code` or `error`.
#[utoipa::path(
    get, path = "/auth/oauth/{provider}/callback", operation_id = OauthCallback::NAME, tag = "auth",
    params(("provider" = String, Path, description = "As this node calls it"), OauthCallback),
    responses((status = 302, description = "To the client")),
)]
async fn callback(
    req: HttpRequest,
    app: web::Data<App>,
    call: Call<OauthCallback>,
    provider: web::Path<String>,
    Params(mut command): Params<OauthCallback>,
) -> Result<HttpResponse, Failure> {
    let state = command.state.clone().unwrap_or_default();
    command.provider = provider.into_inner();
    command.browser = req.cookie(&cookie_name(&state)).map(|held| held.value().to_owned()).into_iter().collect();
    let view::Redirection { location } = app.dispatch(&call, command).await?;
    let mut response = to(&location);
    give(&mut response, cookie(&state, String::new(), CookieDuration::ZERO))?;
    Ok(response)
}

/// The same where a provider lets the browser post a form. From another site a POST brings no cookie along, and so
/// nothing that shows whose browser it is: what was posted is sealed, and the browser comes by with both.
#[utoipa::path(
    post, path = "/auth/oauth/{provider}/callback", operation_id = "oauthPosted", tag = "auth",
    params(("provider" = String, Path, description = "As this node calls it")),
    request_body(content = OauthCallback, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "To the same path by GET")),
)]
async fn posted(
    app: web::Data<App>,
    provider: web::Path<String>,
    form: web::Form<OauthCallback>,
) -> Result<HttpResponse, Failure> {
    let mut posted = form.into_inner();
    posted.provider = provider.into_inner();
    posted.check()?;
    let state = posted.state.clone().unwrap_or_default();
    let sealed = app.auth.seal_posted(posted).await?;
    let query =
        form_urlencoded::Serializer::new(String::new()).extend_pairs([("state", state), ("posted", sealed)]).finish();
    // Relative to itself: the same path, by whatever name the browser knows this node.
    Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, format!("?{query}"))).finish())
}

/// Signs in with the one-time code that a browser came back with.
#[utoipa::path(
    post, path = "/auth/oauth/exchange", operation_id = OauthExchange::NAME, tag = "auth", request_body = OauthExchange,
    params(("X-Quckchat-Session" = Option<String>, Header, description = "`cookie`: the refresh token goes into a cookie")),
    responses((status = 200, description = "Signed in", body = view::SignedIn)),
)]
async fn exchange(
    req: HttpRequest,
    app: web::Data<App>,
    call: Call<OauthExchange>,
    body: Body<OauthExchange>,
) -> HttpResponse {
    let outcome = app.dispatch(&call, body.0).await;
    signed_in(&req, &app, outcome)
}

/// Signs in with what a provider's SDK has given a native app.
#[utoipa::path(
    post, path = "/auth/oauth/mobile", operation_id = OauthMobile::NAME, tag = "auth", request_body = OauthMobile,
    params(("X-Quckchat-Session" = Option<String>, Header, description = "`cookie`: the refresh token goes into a cookie")),
    responses((status = 200, description = "Signed in", body = view::SignedIn)),
)]
async fn mobile(
    req: HttpRequest,
    app: web::Data<App>,
    call: Call<OauthMobile>,
    body: Body<OauthMobile>,
) -> HttpResponse {
    let outcome = app.dispatch(&call, body.0).await;
    signed_in(&req, &app, outcome)
}

/// Who the caller is elsewhere, the first linked first.
#[utoipa::path(
    get, path = "/auth/linked-accounts", operation_id = LinkedAccounts::NAME, tag = "auth",
    responses((status = 200, description = "All of them", body = view::Page<view::LinkedAccount>)),
)]
async fn linked(app: web::Data<App>, call: Call<LinkedAccounts>) -> Reply<view::Page<view::LinkedAccount>> {
    reply(app.dispatch(&call, LinkedAccounts {}).await)
}

/// Links to the caller's account who they are elsewhere, with the code of a flow begun with `linkSession`.
#[utoipa::path(
    post, path = "/auth/linked-accounts", operation_id = LinkAccount::NAME, tag = "auth", request_body = LinkAccount,
    responses((status = 200, description = "It is linked", body = view::LinkedAccount)),
)]
async fn link(app: web::Data<App>, call: Call<LinkAccount>, body: Body<LinkAccount>) -> Reply<view::LinkedAccount> {
    reply(app.dispatch(&call, body.0).await)
}

/// Forgets who the caller is at a provider.
#[utoipa::path(
    delete, path = "/auth/linked-accounts/{provider}", operation_id = UnlinkAccount::NAME, tag = "auth",
    params(("provider" = String, Path, description = "As this node calls it")),
    responses((status = 204, description = "It is forgotten")),
)]
async fn unlink(app: web::Data<App>, call: Call<UnlinkAccount>, provider: web::Path<String>) -> Reply<()> {
    reply(app.dispatch(&call, UnlinkAccount { provider: provider.into_inner() }).await)
}

impl Run for OauthStart {
    async fn run(self, app: &App, _: &Caller) -> Outcome<view::OauthStarted> {
        app.auth.start(self).await
    }
}

impl Run for OauthCallback {
    async fn run(self, app: &App, _: &Caller) -> Outcome<view::Redirection> {
        app.auth.come_back(self).await
    }
}

impl Run for OauthExchange {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::SignedIn> {
        let arrival = app.auth.arrival(&self.code, &self.code_verifier, Intent::SignIn).await?;
        app.auth.let_in_by(&arrival, Origin::of(caller, self.device)).await
    }
}

impl Run for OauthMobile {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::SignedIn> {
        let origin = Origin::of(caller, self.device.clone());
        app.auth.mobile(self, origin).await
    }
}

impl Run for LinkAccount {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::LinkedAccount> {
        app.auth.link(caller.identity()?, caller.address, self).await
    }
}

impl Run for LinkedAccounts {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Page<view::LinkedAccount>> {
        app.auth.linked(caller.user()?).await
    }
}

impl Run for UnlinkAccount {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<()> {
        app.auth.unlink(caller.identity()?, caller.address, self).await
    }
}

fn to(location: &str) -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, location)).finish()
}

fn give(response: &mut HttpResponse, cookie: Cookie<'static>) -> Outcome<()> {
    Ok(response.add_cookie(&cookie).map_err(|error| Fault::new(error.to_string()))?)
}

fn cookie_name(state: &str) -> String {
    format!("{COOKIE}{}", &hash(state)[..16])
}

/// Only for this, only in its browser, and no longer than the flow: `Lax`, since the provider's redirect is a GET that
/// another site has asked for.
fn cookie(state: &str, value: String, life: CookieDuration) -> Cookie<'static> {
    Cookie::build(cookie_name(state), value)
        .path("/api/v1/auth/oauth")
        .http_only(true)
        .secure(true)
        .same_site(SameSite::Lax)
        .max_age(life)
        .finish()
}
