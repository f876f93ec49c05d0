//! What operators, balancers, browsers and tools find beside the API: health, metrics, the document, headers.

use crate::support::*;
use actix_web::http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn with_operations(config: &mut quckchat::config::Config) {
    config.operations.listen = Some(([127, 0, 0, 1], 0).into());
}

/// The value of one line of the metrics page.
fn metric(page: &str, line: &str) -> f64 {
    let found = page.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in\n{page}")).parse().unwrap()
}

stories! {
    async fn a_healthy_node_says_so_of_each_service(stage: Stage) {
        let node = Node::start(&stage).await;
        let health = node.gets("/api/v1/health").await;
        assert_eq!(health.status, 200);
        let health = health.json();
        assert_eq!(health["status"], "up");
        let services = health["services"].as_object().unwrap();
        let there = ["auth", "conversations", "gateway", "messages", "users"];
        let later = ["analytics", "calls", "media", "notifications"];
        assert_eq!(services.len(), 9);
        for name in there {
            assert_eq!(services[name], json!({ "status": "up" }));
            let one = node.gets(&format!("/api/v1/health/{name}")).await;
            assert_eq!((one.status.as_u16(), one.json()), (200, services[name].clone()));
        }
        for name in later {
            assert_eq!(services[name], json!({ "status": "down", "detail": "not part of this version" }));
            assert_eq!(node.gets(&format!("/api/v1/health/{name}")).await.status, 503);
        }
        node.gets("/api/v1/health/astrology").await.answer().is_refused(ErrorCode::RequestNotFound);
        for probe in ["/api/v1/health/live", "/api/v1/health/ready", "/ready"] {
            assert_eq!((node.gets(probe).await.status.as_u16(), probe), (200, probe));
        }
        // The inside is shown at the operators' door alone.
        for inside in ["/metrics", "/health"] {
            assert_eq!(node.gets(inside).await.status, 404);
        }
        assert!(!health.to_string().contains("sqlite") && !health.to_string().contains("postgres"));
    }

    async fn operators_see_the_parts(stage: Stage) {
        let node = Node::start_with(&stage, with_operations).await;
        let [ann] = node.people(["ann"]).await;
        let _anns = ann.connects().await;
        let health = node.operators("/health").await.json();
        assert_eq!((&health["status"], &health["draining"]), (&json!("up"), &json!(false)));
        let backend = if stage.database_url().starts_with("sqlite") { "sqlite" } else { "postgres" };
        assert_eq!(health["database"]["backend"], backend);
        assert!(health["database"]["connections"].as_u64() > Some(0));
        assert_eq!(health["alive"]["sockets"], 1);
        for probe in ["/live", "/ready"] {
            assert_eq!(node.operators(probe).await.status, 200);
        }
        assert!(!health.to_string().contains("password") && !health.to_string().contains("postgres://"));
    }

    async fn metrics_count_what_happens(stage: Stage) {
        let node = Node::start_with(&stage, with_operations).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        for _ in 0..3 {
            anns.says_in(pair, "hello").await;
        }
        ann.says_in(pair, "hello").await;
        anns.sends(pair, "").await.is_refused(ErrorCode::RequestInvalid);
        bob.looks_at("01990000-0000-7000-8000-000000000001".parse().unwrap())
            .await
            .is_refused(ErrorCode::MessageNotFound);
        bobs.hears("message.created").await;

        let page = node.operators("/metrics").await;
        assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text"));
        let page = String::from_utf8(page.body).unwrap();
        assert!(page.ends_with("# EOF\n"));
        for (line, value) in [
            ("quckchat_sockets", 2.0),
            ("quckchat_hellos_total", 2.0),
            ("quckchat_sockets_too_slow_total", 0.0),
            ("quckchat_queue_bytes", 0.0),
            ("quckchat_journal_waiting", 0.0),
            ("quckchat_journal_failures_total", 0.0),
            (r#"quckchat_command_seconds_count{command="messages.send",door="socket"}"#, 4.0),
            (r#"quckchat_command_seconds_count{command="messages.send",door="rest"}"#, 1.0),
            (r#"quckchat_command_seconds_count{command="auth.verifyOtp",door="rest"}"#, 2.0),
            (r#"quckchat_refusals_total{code="request.invalid",door="socket"}"#, 1.0),
            (r#"quckchat_refusals_total{code="message.not_found",door="rest"}"#, 1.0),
            ("quckchat_journal_batch_items_sum", 4.0),
            ("quckchat_exports_waiting", 0.0),
            ("quckchat_exports_failed", 0.0),
            ("quckchat_accounts_due", 0.0),
            ("quckchat_accounts_due_oldest_seconds", 0.0),
            ("quckchat_leaving_left_undone_total", 0.0),
        ] {
            assert_eq!(metric(&page, line), value, "{line}");
        }
        for line in [
            "quckchat_rooms",
            "quckchat_entries",
            "quckchat_journal_batch_items_count",
            "quckchat_database_connections",
            "quckchat_journal_commit_seconds_count",
            "quckchat_journal_commit_seconds_sum",
        ] {
            assert!(metric(&page, line) > 0.0, "{line}");
        }
        for (name, kind) in [
            ("quckchat_command_seconds", "histogram"),
            ("quckchat_refusals", "counter"),
            ("quckchat_queue_bytes", "gauge"),
            ("quckchat_database_wal_bytes", "gauge"),
        ] {
            assert!(page.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        }
    }

    async fn a_node_that_goes_away_is_not_ready(stage: Stage) {
        let node = Node::start_with(&stage, with_operations).await;
        let [ann] = node.people(["ann"]).await;
        let anns = ann.connects().await;
        // A balancer's connection that is open already; and a request under way, which holds the node up.
        let mut probes = tokio::net::TcpStream::connect(node.address).await.unwrap();
        let probe = b"GET /api/v1/health/ready HTTP/1.1\r\nHost: node\r\n\r\n";
        let mut heard = vec![0; 4096];
        probes.write_all(probe).await.unwrap();
        let read = within(probes.read(&mut heard), "an answer").await.unwrap();
        assert!(heard[..read].starts_with(b"HTTP/1.1 200 "));
        let stopping = node.begins_to_stop();
        anns.hears("drain").await;
        probes.write_all(probe).await.unwrap();
        let read = within(probes.read(&mut heard), "an answer").await.unwrap();
        assert!(heard[..read].starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&heard[..read]));
        drop(probes);
        assert_eq!(anns.is_closed().await, 4001);
        within(stopping, "the node to stop").await.unwrap();
    }

    async fn the_document_names_what_is_served(stage: Stage) {
        let node = Node::start(&stage).await;
        let document = node.gets("/api/v1/openapi.json").await.json();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.values().flat_map(|item| item.as_object().unwrap().values());
        let names: Vec<&str> = operations.filter_map(|operation| operation["operationId"].as_str()).collect();
        for name in ["messages.send", "auth.verifyOtp", "conversations.create", "presence.get", "users.changes"] {
            assert_eq!(names.iter().filter(|found| **found == name).count(), 1, "{name} in {names:?}");
        }
        let page = node.gets("/docs/").await;
        assert_eq!(page.status, 200);
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(node.gets("/docs").await.status, 308);
    }

    async fn answers_are_guarded_and_named(stage: Stage) {
        let node = Node::start(&stage).await;
        let named = [("x-request-id", "a-name.of_mine".to_owned())];
        let reply = node.requests(Method::GET, "/api/v1/users/me", &named, "").await;
        for (name, value) in [
            ("x-request-id", "a-name.of_mine"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{name}");
        }
        assert_eq!(reply.answer().is_refused(ErrorCode::AuthUnauthenticated)["requestId"], "a-name.of_mine");
        let odd = [("x-request-id", "<script>".to_owned())];
        let reply = node.requests(Method::GET, "/api/v1/users/me", &odd, "").await;
        assert_ne!(reply.header("x-request-id"), Some("<script>"));
    }

    async fn pages_of_named_origins_may_call_and_others_may_not(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            config.gateway.allowed_origins = vec!["https://chat.example".to_owned()];
        })
        .await;
        let preflight = async |origin: &str, header: &str| {
            let headers = [
                ("origin", origin.to_owned()),
                ("access-control-request-method", "POST".to_owned()),
                ("access-control-request-headers", header.to_owned()),
            ];
            node.requests(Method::OPTIONS, "/api/v1/conversations", &headers, "").await
        };
        for header in ["authorization", "content-type", "idempotency-key", "x-quckchat-session"] {
            let allowed = preflight("https://chat.example", header).await;
            assert!(allowed.status.is_success(), "{header}");
            assert_eq!(allowed.header("access-control-allow-origin"), Some("https://chat.example"));
        }
        for origin in ["https://evil.example", "http://chat.example", "null"] {
            assert_eq!(
                preflight(origin, "authorization").await.header("access-control-allow-origin"),
                None,
                "{origin}"
            );
        }
        assert_eq!(preflight("https://chat.example", "x-evil").await.header("access-control-allow-origin"), None);
        // A page may read refusals, whoever refuses.
        let origin = [("origin", "https://chat.example".to_owned())];
        for (method, path, status) in [
            (Method::GET, "/api/v1/users/me", 401),
            (Method::GET, "/api/v1/nothing", 404),
            (Method::POST, "/api/v1/auth/send-otp", 415),
            (Method::DELETE, "/api/v1/auth/send-otp", 405),
        ] {
            let reply = node.requests(method, path, &origin, "").await;
            let allowed = reply.header("access-control-allow-origin");
            assert_eq!((reply.status.as_u16(), allowed), (status, Some("https://chat.example")), "{path}");
        }
        let reply = node.requests(Method::GET, "/api/v1/users/me", &origin, "").await;
        let exposed = reply.header("access-control-expose-headers").unwrap().to_lowercase();
        for header in ["ratelimit-remaining", "retry-after", "x-request-id"] {
            assert!(exposed.contains(header), "{exposed}");
        }
    }
}
