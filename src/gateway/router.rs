//! The HTTP doors: one line a slice, and around all of them the edge, which names, guards, logs and words the errors.
//! Never a handler of a slice.

use super::error::Failure;
use super::extract::{self, RequestId};
use super::{limits, openapi, socket};
use crate::app::App;
use crate::config::Gateway;
use crate::{auth, conversations, health, messages, presence, users};
use actix_cors::Cors;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{HttpServiceFactory, ResourceDef, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::{Next, from_fn};
use actix_web::{HttpMessage, HttpResponse, web};
use actors::protocol::{Door, ErrorCode, Refusal};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What answers of REST may do in a browser: nothing.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";
/// What the pages of `/docs` may do. Swagger UI sets styles on its elements; scripts come from this node alone.
const DOCS_PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything that clients may reach, for one worker.
pub fn configure(cfg: &mut web::ServiceConfig, app: &web::Data<App>) {
    let document = openapi::document();
    let known = Known::of(&document);
    let json = web::Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let swagger = utoipa_swagger_ui::Config::from("../api/v1/openapi.json").validator_url("none");
    cfg.app_data(app.clone()).service(
        web::scope("")
            .app_data(web::Data::new(json))
            .app_data(web::Data::new(swagger))
            .wrap(from_fn(move |req, next| edge(known.clone(), req, next)))
            .service(web::resource(socket::PATHS.map(|(path, _)| path).to_vec()).get(no_upgrade))
            .service(web::resource("/docs").get(to_docs))
            .service(web::resource("/docs/{file:.*}").get(docs))
            .service(web::resource("/ready").get(health::ready))
            .service(web::scope("/.well-known").wrap(cors(app)).configure(auth::http::well_known_routes))
            .service(rest(app)),
    );
}

/// What only operators may reach, on a listener of its own.
pub fn configure_operations(cfg: &mut web::ServiceConfig, app: &web::Data<App>) {
    let known = Rc::new(Known::default());
    cfg.app_data(app.clone()).service(
        web::scope("")
            .wrap(from_fn(move |req, next| edge(known.clone(), req, next)))
            .configure(health::operations_routes),
    );
}

/// `/api/v1`. Probes and the document are not counted against anybody.
fn rest(app: &web::Data<App>) -> impl HttpServiceFactory + 'static {
    web::scope(openapi::BASE)
        .wrap(cors(app))
        .configure(health::routes)
        .service(web::resource("/openapi.json").get(document))
        .service(
            web::scope("")
                .wrap(from_fn(limits::limited))
                .configure(auth::http::routes)
                .configure(users::http::routes)
                .configure(conversations::routes)
                .configure(messages::routes)
                .configure(presence::routes),
        )
}

fn cors(app: &web::Data<App>) -> Cors {
    let config = app.config.clone();
    let cors = Cors::default()
        .allowed_origin_fn(move |origin, head| {
            let host = head.headers().get(header::HOST).and_then(|host| host.to_str().ok());
            origin.to_str().is_ok_and(|origin| config.gateway.allows_origin(origin, host))
        })
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers(["authorization", "content-type", "idempotency-key", "x-quckchat-session", "x-request-id"])
        .expose_headers(["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after", "x-request-id"])
        .max_age(3600);
    // The cookie of a refresh; where any page may call, none may bring one along.
    if any_origin(&app.config.gateway) { cors } else { cors.supports_credentials() }
}

fn any_origin(gateway: &Gateway) -> bool {
    gateway.allowed_origins.iter().any(|origin| origin == "*")
}

/// The paths of the document and what each takes, so that a wrong method is told from an unknown path.
#[derive(Default)]
struct Known(Vec<(ResourceDef, HeaderValue)>);

impl Known {
    fn of(document: &utoipa::openapi::OpenApi) -> Rc<Known> {
        let allow = |item| openapi::methods(item).collect::<Vec<_>>().join(", ");
        let known = document.paths.paths.iter().filter_map(|(path, item)| {
            let allow = HeaderValue::try_from(allow(item)).ok()?;
            Some((ResourceDef::new(path.as_str()), allow))
        });
        Rc::new(Known(known.collect()))
    }

    /// The `Allow` of a path, if it is one of ours.
    fn allow(&self, path: &str) -> Option<&HeaderValue> {
        self.0.iter().find(|(pattern, _)| pattern.is_match(path)).map(|(_, allow)| allow)
    }
}

/// The outermost layer: names the request, survives panics, words errors, sets headers, logs.
async fn edge(
    known: Rc<Known>,
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let started = Instant::now();
    let app = extract::app(req.request()).map_err(Failure::from)?.clone();
    let id = RequestId::sent(req.headers()).unwrap_or_else(|| RequestId::new(&app));
    req.extensions_mut().insert(id.clone());
    let method = req.method().clone();
    if method == Method::HEAD {
        // As GET, whose body the connection leaves out: it knows what was asked.
        req.head_mut().method = Method::GET;
    }

    let response = match AssertUnwindSafe(async { next.call(req).await }).catch_unwind().await {
        Ok(Ok(response)) => finished(&app, &known, &id, response),
        // Without a response there is no request either: what can be said is said by the error itself.
        Ok(Err(error)) => {
            let failure = error.as_error::<Failure>().cloned();
            return Err(failure.unwrap_or_else(|| ErrorCode::ServerUnavailable.into()).named(&id.0).into());
        }
        Err(_) => {
            tracing::error!(%method, request_id = %id.0, "a handler panicked");
            return Err(Failure::from(ErrorCode::ServerUnavailable).named(&id.0).into());
        }
    };
    log(&method, &response, &id, started);
    Ok(response)
}

fn finished<B: MessageBody + 'static>(
    app: &App,
    known: &Known,
    id: &RequestId,
    response: ServiceResponse<B>,
) -> ServiceResponse<BoxBody> {
    let mut response = match Failure::of_response(response.response()) {
        Some(failure) => worded(app, known, failure, id, response),
        None => response.map_into_boxed_body(),
    };
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if app.nodes.is_draining() && !switched {
        // The next request is another node's: nobody keeps a connection that is about to end.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    if !switched {
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, NO_PAGE),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            if !headers.contains_key(&name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
    }
    response
}

/// The response as problem+json.
fn worded<B>(
    app: &App,
    known: &Known,
    failure: Failure,
    id: &RequestId,
    response: ServiceResponse<B>,
) -> ServiceResponse<BoxBody> {
    // What nobody refused in words was not routed: either there is no such path, or it does not take the method.
    let unrouted = response.response().error().is_none();
    let allow = known.allow(response.request().path()).filter(|_| unrouted).cloned();
    let failure = match &allow {
        Some(_) if failure.code() == ErrorCode::RequestNotFound => ErrorCode::RequestMethodNotAllowed.into(),
        _ => failure,
    };
    app.metrics.refused(Door::Rest, failure.code());
    let mut response = failure.fill(response, &id.0);
    if let Some(allow) = allow.filter(|_| failure.code() == ErrorCode::RequestMethodNotAllowed) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// One line a request: by the route's pattern, since paths name people and queries may hold anything. What balancers
/// and monitors ask all day long is told only to who wants all.
fn log(method: &Method, response: &ServiceResponse<BoxBody>, id: &RequestId, started: Instant) {
    let status = response.status();
    let logged = tracing::enabled!(target: "quckchat::access", tracing::Level::INFO);
    // A session has lines of its own.
    if !logged || status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let route = response.request().match_pattern();
    let (route, code) = (route.as_deref().unwrap_or("-"), status.as_u16());
    let ms = started.elapsed().as_micros() as f64 / 1000.0;
    if is_routine(route, status) {
        tracing::debug!(target: "quckchat::access", %method, route, status = code, ms, request_id = %id.0);
    } else {
        tracing::info!(target: "quckchat::access", %method, route, status = code, ms, request_id = %id.0);
    }
}

/// Whether an answer is one that somebody asks for every second or so, and that says nothing new.
fn is_routine(route: &str, status: StatusCode) -> bool {
    let route = route.strip_prefix("/api/v1").unwrap_or(route);
    match status {
        StatusCode::OK => route.starts_with("/health") || ["/live", "/ready", "/metrics", "/nodes"].contains(&route),
        // Why a node is not ready has lines of its own.
        StatusCode::SERVICE_UNAVAILABLE => route.ends_with("/ready"),
        _ => false,
    }
}

async fn document(json: web::Data<web::Bytes>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(json.get_ref().clone())
}

/// Sockets pass the web framework by (see `socket`): what comes here asked for no WebSocket.
async fn no_upgrade() -> Result<HttpResponse, Failure> {
    Err(Refusal::new(ErrorCode::RequestMalformed).saying("Open it as a WebSocket (RFC 6455).").into())
}

async fn to_docs() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "docs/")).finish()
}

/// The document to browse: Swagger UI's own files, as they are compiled in.
async fn docs(file: web::Path<String>, swagger: web::Data<utoipa_swagger_ui::Config<'static>>) -> HttpResponse {
    let swagger: Arc<_> = swagger.into_inner();
    match utoipa_swagger_ui::serve(&file, swagger) {
        Ok(Some(file)) => HttpResponse::Ok()
            .content_type(file.content_type)
            .insert_header((header::CONTENT_SECURITY_POLICY, DOCS_PAGE))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(file.bytes.into_owned()),
        Ok(None) => HttpResponse::NotFound().finish(),
        Err(error) => {
            tracing::error!(%error, "a page of the documentation could not be made");
            HttpResponse::InternalServerError().finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_all_day_long_is_no_news() {
        for route in ["/ready", "/live", "/health", "/metrics", "/nodes", "/api/v1/health", "/api/v1/health/ready"] {
            assert!(is_routine(route, StatusCode::OK), "{route}");
        }
        assert!(is_routine("/ready", StatusCode::SERVICE_UNAVAILABLE));
        assert!(is_routine("/api/v1/health/ready", StatusCode::SERVICE_UNAVAILABLE));
        assert!(!is_routine("/health", StatusCode::SERVICE_UNAVAILABLE));
        assert!(!is_routine("/metrics", StatusCode::INTERNAL_SERVER_ERROR));
        assert!(!is_routine("/api/v1/conversations", StatusCode::OK));
    }
}
