//! Three nodes, each a process of its own, behind the real HAProxy with the shipped file: who comes where, and that
//! nobody loses anything when a node goes. Told on PostgreSQL, where haproxy is installed.

mod crew;

use crate::support::haproxy::Balancer;
use crate::support::*;
use actix_web::http::Method;
use crew::{Crew, Device, Stream, devices, has_all};

/// Tells a story where both PostgreSQL and HAProxy are there.
async fn told<S: Future<Output = ()>>(story: impl FnOnce(Stage) -> S) {
    if Balancer::is_there()
        && let Some(stage) = Stage::on_postgres().await
    {
        stage.play(story).await;
    }
}

const NAMES: [&str; 8] = ["ann", "bob", "cid", "dan", "eve", "fay", "gil", "hal"];

/// All of them in a group, each with a device at the node where they belong.
async fn gathered(stage: &Stage) -> (Crew, [Person; 8], ConversationId, Vec<Device>) {
    let crew = Crew::starts(stage).await;
    let people = crew.people(NAMES).await;
    let others: Vec<&Person> = people[1..].iter().collect();
    let group = people[0].creates_group("tea", &others).await;
    let devices = devices(&crew, &people, group).await;
    (crew, people, group, devices)
}

#[actix_web::test]
async fn one_user_comes_to_one_node_by_whatever_token() {
    told(async |stage| {
        let crew = Crew::starts(&stage).await;
        let mut homes = Vec::new();
        for person in crew.people(NAMES).await {
            let (home, cookie) = crew.serves_request(&person, &[]).await;
            assert_eq!(cookie, None, "only browsers are given a cookie");
            let (at, _socket) = crew.serves_socket(&person, person.dial()).await;
            assert_eq!(at, home);
            let old = person.access_token();
            person.refreshes().await;
            assert_ne!(old, person.access_token());
            assert_eq!(crew.serves_request(&person, &[]).await.0, home);
            for list in [
                format!("quckchat.v1, bearer.{}", person.access_token()),
                format!("bearer.{},quckchat.v1", person.access_token()),
            ] {
                let dial = Dial::new().with("sec-websocket-protocol", list);
                let (at, _socket) = crew.serves_socket(&person, dial).await;
                assert_eq!(at, home);
            }
            // What is no browser does not choose.
            for node in ["node1", "node2", "node3"] {
                let cookie = [("cookie", format!("quckchat_node={node}"))];
                assert_eq!(crew.serves_request(&person, &cookie).await.0, home);
            }
            homes.push(home);
        }
        assert!(homes.iter().any(|home| *home != homes[0]), "all users at one node");
    })
    .await;
}

#[actix_web::test]
async fn a_browser_stays_at_its_node() {
    told(async |stage| {
        let crew = Crew::starts(&stage).await;
        let people = crew.people(NAMES).await;
        let browser = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)".to_owned());
        let (home, cookie) = crew.serves_request(&people[0], std::slice::from_ref(&browser)).await;
        let cookie = cookie.expect("a cookie");
        assert!(cookie.starts_with(&format!("quckchat_node=node{}; ", home + 1)), "{cookie}");
        for part in ["HttpOnly", "SameSite=Lax", "path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let kept = ("cookie", cookie.split(';').next().unwrap().to_owned());
        // Whoever uses it.
        for person in &people {
            let (at, again) = crew.serves_request(person, &[browser.clone(), kept.clone()]).await;
            assert_eq!((at, again), (home, None));
            let origin = format!("http://{}", crew.balancer.node.address);
            let dial = person.dial().with("origin", origin).with("cookie", kept.1.clone());
            assert_eq!(crew.serves_socket(person, dial).await.0, home);
        }
        // Its node goes: it is given another one.
        let Crew { mut nodes, balancer } = crew;
        nodes.remove(home).dies().await;
        let headers = [browser, kept, ("authorization", format!("Bearer {}", people[0].access_token()))];
        let reply = balancer.node.requests(Method::GET, "/api/v1/users/me", &headers, "").await;
        assert_eq!(reply.status, 200);
        let cookie = reply.header("set-cookie").expect("another cookie");
        assert!(
            cookie.starts_with("quckchat_node=node") && !cookie.contains(&format!("node{};", home + 1)),
            "{cookie}"
        );
    })
    .await;
}

#[actix_web::test]
async fn a_node_that_goes_away_gets_nothing_new_and_nobody_notices() {
    told(async |stage| {
        let (crew, people, group, mut devices) = gathered(&stage).await;
        let stream = Stream::begins(&people, group);
        stream.goes_on_for(50).await;

        let Crew { mut nodes, balancer } = crew;
        let home = devices[0].home;
        let going = nodes.remove(home);
        going.is_told_to_stop();
        // A signal takes its time to arrive.
        until("the node to know that it goes", async || going.node.gets("/ready").await.status == 503).await;
        // From now on a new socket of somebody who belongs there goes elsewhere, whether the balancer knows yet or not.
        let early = people[0].connects().await;
        balancer.finds(home + 1, "DOWN").await;
        let before = balancer.sees(home + 1, "stot").await;
        stream.goes_on_for(50).await;
        let late = people[0].connects().await;
        assert_eq!(balancer.sees(home + 1, "stot").await, before);
        // What is open there goes on until the node itself ends it.
        for device in devices.iter_mut().filter(|device| device.home == home) {
            assert_eq!(device.socket.is_closed().await, 4001);
            assert!(device.socket.has_heard("drain"));
            device.comes_back(group).await;
        }
        assert!(within(going.ends(), "the node to end").await.success());
        stream.goes_on_for(50).await;
        let said = stream.ends().await;
        let truth = Replica::afresh(&people[0], group).await;
        has_all(&truth, group, &said);
        for device in &mut devices {
            device.holds(&truth, group).await;
        }
        early.stays_open();
        late.stays_open();
    })
    .await;
}

#[actix_web::test]
async fn a_killed_node_is_passed_over() {
    told(async |stage| {
        let (crew, people, group, mut devices) = gathered(&stage).await;
        let home = devices[0].home;
        // Only what may be asked twice: whether a POST was done that died with its node, nobody can know.
        let stream = Stream::reads(&people, group);
        stream.goes_on_for(50).await;
        let said = people[1].says_in(group, "before").await;
        assert_eq!(said["seq"], 1);

        let Crew { mut nodes, balancer } = crew;
        nodes.remove(home).dies().await;
        for device in devices.iter_mut().filter(|device| device.home == home) {
            device.socket.is_over().await;
            device.comes_back(group).await;
        }
        people[0].says_in(group, "after").await;
        stream.goes_on_for(50).await;
        balancer.finds(home + 1, "DOWN").await;
        stream.goes_on_for(50).await;
        stream.ends().await;
        let truth = Replica::afresh(&people[0], group).await;
        assert_eq!(truth.of(group).texts(), [Some("before"), Some("after")]);
        for device in &mut devices {
            device.holds(&truth, group).await;
        }
    })
    .await;
}

#[actix_web::test]
async fn a_reload_keeps_open_sockets_and_loses_no_request() {
    told(async |stage| {
        let (crew, people, group, mut devices) = gathered(&stage).await;
        let stream = Stream::begins(&people, group);
        for _ in 0..3 {
            stream.goes_on_for(30).await;
            crew.balancer.reloads().await;
        }
        stream.goes_on_for(30).await;
        let mut said = stream.ends().await;
        for device in &devices {
            let message = device.socket.says_in(group, &device.person.name).await;
            said.push(message["clientId"].as_str().unwrap().to_owned());
        }
        let truth = Replica::afresh(&people[0], group).await;
        has_all(&truth, group, &said);
        for device in &mut devices {
            device.holds(&truth, group).await;
        }
        // And whoever comes now comes to the same node as before.
        for device in &devices {
            assert_eq!(crew.serves_socket(&device.person, device.person.dial()).await.0, device.home);
        }
        assert!(crew.balancer.stops().await.success());
    })
    .await;
}

#[actix_web::test]
async fn what_is_inside_stays_inside_and_nobody_forges_an_address() {
    told(async |stage| {
        let few =
            [("QUCKCHAT__LIMITS__REST_PER_ADDRESS_PER_SEC", "1"), ("QUCKCHAT__LIMITS__REST_PER_ADDRESS_BURST", "5")];
        let crew = Crew::starts_with(&stage, &few).await;
        for inside in ["/metrics", "/health", "/ready", "/live", "/METRICS"] {
            crew.balancer.node.gets(inside).await.answer().is_refused(ErrorCode::RequestNotFound);
        }
        assert_eq!(crew.balancer.node.gets("/api/v1/health/ready").await.status, 200);
        let metrics = crew.balancer.node.operators("/metrics").await;
        assert!(String::from_utf8(metrics.body).unwrap().contains("haproxy_server_status"));
        // Another client each time, as they say; one, as is true.
        let mut clients = 0;
        until("one of them to have asked too often", async || {
            clients += 1;
            let forged = [("x-forwarded-for", format!("203.0.{}.{}", clients / 250, clients % 250))];
            let reply = crew.balancer.node.requests(Method::GET, "/api/v1/users/me", &forged, "").await;
            reply.status == 429
        })
        .await;
        // Without a node the balancer speaks for itself, as the nodes do.
        let Crew { nodes, balancer } = crew;
        for process in nodes {
            process.dies().await;
        }
        balancer.node.gets("/api/v1/users/me").await.answer().is_refused(ErrorCode::ServerUnavailable);
    })
    .await;
}
