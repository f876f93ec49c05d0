//! How a node goes away behind a balancer: it says so first, serves on, sends its sockets away, and closes last.

use crate::support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NOTICED: Duration = secs(47);

/// Awaits that the node says, at the clients' door, that it goes away.
async fn goes_away(node: &Node) {
    until("the node not to be ready", async || node.gets("/ready").await.status == 503).await;
}

/// Reads the head of an answer, and what came with it.
async fn hears_head(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let head = async {
        while !heard.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut heard).await.unwrap() > 0, "the connection ended");
        }
    };
    within(head, "an answer").await;
    String::from_utf8(heard).unwrap()
}

stories! {
    async fn until_its_balancer_has_noticed_a_node_serves_all_but_new_sockets(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            config.gateway.drain_wait = NOTICED;
            config.operations.listen = Some(([127, 0, 0, 1], 0).into());
        })
        .await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let anns = ann.connects().await;

        let stopping = node.begins_to_stop();
        goes_away(&node).await;
        assert_eq!(node.operators("/ready").await.status, 503);
        assert_eq!(node.operators("/health").await.json()["draining"], true);
        for at in 0..5 {
            // By REST, by a socket that is open already; and what is said is heard there.
            bob.says_in(pair, &format!("by REST {at}")).await;
            anns.hears_said(&format!("by REST {at}")).await;
            anns.says_in(pair, &format!("by socket {at}")).await;
            let Err((status, problem)) = Wire::dial(&node, bob.dial()).await else { panic!("a socket was opened") };
            assert_eq!((status, &problem["code"], &problem["retryAfterMs"]), (503, &json!("server.unavailable"), &json!(1000)));
        }
        // Nobody keeps a connection to a node that goes away.
        for path in ["/api/v1/health/live", "/api/v1/users/me", "/ready"] {
            let mut stream = TcpStream::connect(node.address).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes()).await.unwrap();
            let head = hears_head(&mut stream).await.to_lowercase();
            assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        }
        let upgrade = "GET /ws HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let head = hears_head(&mut stream).await.to_lowercase();
        assert!(head.starts_with("http/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/problem+json\r\n"), "{head}");
        assert!(anns.is_open() && !anns.has_heard("drain"));

        node.clock.let_pass(NOTICED).await;
        let drain = anns.hears("drain").await;
        assert!(drain["data"]["reconnectAfterMs"].as_u64().unwrap() < 5000, "{drain}");
        assert_eq!(anns.is_closed().await, 4001);
        within(stopping, "the node to stop").await.unwrap();
        assert!(TcpStream::connect(node.address).await.is_err());
        let again = Node::start(&stage).await;
        assert_eq!(Replica::afresh(&ann.at(&again), pair).await.of(pair).texts().len(), 10);
    }

    async fn a_request_under_way_is_answered_by_a_node_whose_door_is_closed(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let body = json!({ "text": "said slowly", "clientId": "slow" }).to_string();
        let (begun, rest) = body.split_at(10);
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let head = format!(
            "POST /api/v1/conversations/{pair}/messages HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            ann.access_token(),
            body.len(),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(hears_head(&mut stream).await.starts_with("HTTP/1.1 100 "));
        stream.write_all(begun.as_bytes()).await.unwrap();

        let stopping = node.begins_to_stop();
        until("the door to be closed", async || TcpStream::connect(node.address).await.is_err()).await;
        stream.write_all(rest.as_bytes()).await.unwrap();
        let answer = hears_head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
        within(stopping, "the node to stop").await.unwrap();
        let again = Node::start(&stage).await;
        assert_eq!(Replica::afresh(&bob.at(&again), pair).await.of(pair).texts(), [Some("said slowly")]);
    }
}
