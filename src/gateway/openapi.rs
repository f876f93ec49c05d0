//! One document for all doors (OpenAPI 3.1): the routes, and the frames of the sockets.
//! Never a rule: what it says of access and shapes comes from the commands themselves.

mod refusals;

use super::dispatch::{COMMANDS, Served};
use super::error::{PROBLEM_JSON, Problem};
use crate::{auth, conversations, health, messages, presence, users};
use actors::protocol::command::{Access, Hello};
use actors::protocol::{error, event, view};
use std::collections::BTreeMap;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as OpenApiDocument, Ref, RefOr, Response, Schema};
use utoipa::{OpenApi, ToSchema};

/// The path under which REST is served.
pub const BASE: &str = "/api/v1";

const BEARER: &str = "bearer";

#[derive(OpenApi)]
#[openapi(info(title = "QuckChat", description = include_str!("sockets.md")))]
struct Head;

/// Each slice's routes.
const SLICES: &[fn() -> OpenApiDocument] = &[
    auth::http::Paths::openapi,
    auth::second_factor::http::Paths::openapi,
    auth::sessions_http::Paths::openapi,
    auth::oauth::http::Paths::openapi,
    auth::contact_points_http::Paths::openapi,
    auth::password_http::Paths::openapi,
    users::http::Paths::openapi,
    users::contacts::http::Paths::openapi,
    users::settings_http::Paths::openapi,
    users::devices_http::Paths::openapi,
    users::reports::Paths::openapi,
    users::leaving::http::Paths::openapi,
    conversations::Paths::openapi,
    messages::Paths::openapi,
    presence::Paths::openapi,
    health::Paths::openapi,
];

/// The document.
pub fn document() -> OpenApiDocument {
    let mut document = Head::openapi();
    SLICES.iter().for_each(|slice| document.merge(slice()));
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (under_base(path), completed(item))).collect();

    let mut components = document.components.take().unwrap_or_default();
    let token = "An access token (RFC 9068), from `auth.verifyOtp` or `auth.refreshToken`.";
    let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(token)).build();
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    components.schemas.extend(frames());
    components.schemas.extend(COMMANDS.iter().flat_map(commands));
    document.components = Some(components);
    document
}

/// What `path` takes, as the `Allow` header says it.
pub fn methods(item: &PathItem) -> impl Iterator<Item = &'static str> {
    [("GET", &item.get), ("POST", &item.post), ("PUT", &item.put), ("PATCH", &item.patch), ("DELETE", &item.delete)]
        .into_iter()
        .filter_map(|(method, operation)| operation.as_ref().map(|_| method))
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

fn under_base(path: String) -> String {
    match path.starts_with("/.well-known/") || path.starts_with(BASE) {
        true => path,
        false => format!("{BASE}{path}"),
    }
}

/// Says of each operation what follows from its command.
fn completed(mut item: PathItem) -> PathItem {
    for operation in operations(&mut item) {
        let name = operation.operation_id.clone().unwrap_or_default();
        match COMMANDS.iter().find(|served| served.name == name) {
            Some(served) => complete(operation, served),
            // Probes and keys are no commands. What looks like a command and is none stays, for the test to find.
            None if !name.contains('.') => {
                operation.operation_id = None;
                operation.security = Some(Vec::new());
            }
            None => {}
        }
    }
    item
}

fn complete(operation: &mut Operation, served: &Served) {
    operation.security = Some(match served.access {
        Access::Public => Vec::new(),
        Access::User | Access::Fresh | Access::Operator => vec![SecurityRequirement::new(BEARER, [] as [&str; 0])],
    });
    let mut by_status = BTreeMap::<u16, Vec<&str>>::new();
    for code in refusals::of(operation, served) {
        let codes = by_status.entry(code.status()).or_default();
        if !codes.contains(&code.as_str()) {
            codes.push(code.as_str());
        }
    }
    for (status, codes) in by_status {
        let codes: Vec<_> = codes.into_iter().map(|code| format!("`{code}`")).collect();
        let problem = Content::new(Some(Ref::from_schema_name(Problem::name())));
        let response = Response::builder().description(codes.join(", ")).content(PROBLEM_JSON, problem).build();
        operation.responses.responses.entry(status.to_string()).or_insert(RefOr::T(response));
    }
}

type Named = Vec<(String, RefOr<Schema>)>;

/// What a socket hears and says besides commands, and errors at either door.
fn frames() -> Named {
    let mut named = Vec::new();
    add::<Problem>(&mut named);
    add::<error::Body>(&mut named);
    add::<Hello>(&mut named);
    add::<event::Ready>(&mut named);
    add::<event::Heads>(&mut named);
    add::<event::Hints>(&mut named);
    add::<event::Heartbeat>(&mut named);
    add::<event::Drain>(&mut named);
    add::<event::Typist>(&mut named);
    add::<event::Receipt>(&mut named);
    add::<event::UserUpdated>(&mut named);
    add::<event::SessionRevoked>(&mut named);
    add::<view::Export>(&mut named);
    add::<event::ConversationChanges>(&mut named);
    add::<event::Event<view::Item>>(&mut named);
    add::<view::Presence>(&mut named);
    add::<view::Item>(&mut named);
    add::<view::UserItem>(&mut named);
    named
}

fn add<T: ToSchema>(named: &mut Named) {
    T::schemas(named);
    named.push((T::name().into_owned(), T::schema()));
}

/// A command's request under its name, its reply under that and `.reply`, and what both refer to.
fn commands(served: &Served) -> Named {
    let shapes = (served.shapes)();
    let mut named = shapes.named;
    named.push((served.name.to_owned(), shapes.request));
    named.push((format!("{}.reply", served.name), shapes.reply));
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use actors::protocol::Door;
    use serde_json::Value;

    fn json() -> Value {
        serde_json::to_value(document()).unwrap()
    }

    fn each_operation(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
        let paths = document["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter();
            operations.map(move |(method, operation)| (path, method, operation))
        })
    }

    #[test]
    fn commands_routes_and_dispatch_are_one() {
        let document = json();
        let operations = each_operation(&document);
        let mut routes: Vec<_> = operations.filter_map(|(_, _, operation)| operation["operationId"].as_str()).collect();
        let mut commands: Vec<_> = COMMANDS
            .iter()
            .filter(|served| served.doors.serve(served.name, Door::Rest))
            .map(|served| served.name)
            .collect();
        routes.sort_unstable();
        commands.sort_unstable();
        assert_eq!(routes, commands);
    }

    #[test]
    fn every_command_of_the_sockets_has_its_schemas() {
        let document = json();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for served in COMMANDS {
            assert!(schemas.contains_key(served.name), "{}", served.name);
        }
    }

    #[test]
    fn no_two_shapes_share_a_name() {
        let of_slices = SLICES.iter().flat_map(|slice| slice().components.unwrap_or_default().schemas);
        let all = of_slices.chain(frames()).chain(COMMANDS.iter().flat_map(commands));
        let mut seen = std::collections::HashMap::new();
        for (name, shape) in all {
            let shape = serde_json::to_value(shape).unwrap();
            let first = seen.entry(name.clone()).or_insert_with(|| shape.clone());
            assert_eq!(*first, shape, "{name}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str));
                    fields.values().for_each(|field| walk(field, found));
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
                _ => {}
            }
        }
        let document = json();
        let mut found = Vec::new();
        walk(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect(reference);
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_operation_says_who_may_and_how_it_is_refused() {
        let document = json();
        assert_eq!(document["openapi"].as_str().map(|version| &version[..4]), Some("3.1."));
        for (path, method, operation) in each_operation(&document) {
            assert!(path.starts_with(BASE) || path.starts_with("/.well-known/"), "{path}");
            assert!(operation["security"].is_array(), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
            if operation["operationId"].is_string() {
                let limited = &operation["responses"]["429"]["content"][PROBLEM_JSON]["schema"]["$ref"];
                assert_eq!(limited, "#/components/schemas/Problem", "{method} {path}");
            }
        }
        let send = &document["paths"]["/api/v1/conversations/{conversationId}/messages"]["post"];
        assert_eq!(send["security"][0][BEARER], Value::Array(Vec::new()));
        assert_eq!(
            send["responses"]["404"]["description"],
            "`conversation.not_found`, `message.not_found`, `user.not_found`"
        );
        for status in ["200", "201", "400", "401", "409", "413", "415", "422", "503"] {
            assert!(send["responses"][status].is_object(), "{status}");
        }
    }
}
