//! TLS, by the node itself and by the balancer: both doors behind it, a certificate that is replaced under open sockets,
//! and files that cannot be used.

use crate::support::certificate::Pair;
use crate::support::haproxy::Balancer;
use crate::support::process::{Process, runs};
use crate::support::speech::fresh_key;
use crate::support::*;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

impl Pair {
    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    /// Connects as a client that trusts this certificate and no other.
    async fn connects(&self, address: SocketAddr, version: &'static SupportedProtocolVersion) -> TlsStream<TcpStream> {
        self.tries(address, version).await.unwrap()
    }

    async fn tries(
        &self,
        address: SocketAddr,
        version: &'static SupportedProtocolVersion,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        within(TlsConnector::from(Arc::new(config)).connect(name, tcp), "TLS to be agreed on").await
    }

    /// A socket that has heard `ready`.
    async fn opens(&self, address: SocketAddr, person: &Person) -> Secure {
        let stream = self.connects(address, &rustls::version::TLS13).await;
        let mut request = format!("wss://localhost:{}/ws", address.port()).into_client_request().unwrap();
        let token = format!("Bearer {}", person.access_token()).parse().unwrap();
        request.headers_mut().insert("authorization", token);
        let (stream, _) = within(tokio_tungstenite::client_async(request, stream), "the handshake").await.unwrap();
        let mut secure = Secure(stream);
        secure.says(json!({ "cmd": "hello", "data": {} })).await;
        assert_eq!(secure.hears().await["event"], "ready");
        secure
    }
}

/// A socket over TLS.
struct Secure(WebSocketStream<TlsStream<TcpStream>>);

impl Secure {
    async fn says(&mut self, frame: Value) {
        within(self.0.send(Message::text(frame.to_string())), "a frame to be sent").await.unwrap();
    }

    async fn sends(&mut self, to: ConversationId, text: &str) -> String {
        let key = fresh_key();
        let data = json!({ "conversationId": to, "text": text, "clientId": key });
        self.says(json!({ "id": key, "cmd": "messages.send", "data": data })).await;
        key
    }

    async fn hears(&mut self) -> Value {
        match within(self.0.next(), "a frame").await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }

    async fn hears_that(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.hears().await;
            if fits(&frame) {
                return frame;
            }
        }
    }

    async fn is_closed(&mut self) -> u16 {
        loop {
            match within(self.0.next(), "the close").await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                ended => panic!("not closed by a code: {ended:?}"),
            }
        }
    }
}

/// A request of REST; gives the whole answer.
async fn asks(mut stream: TlsStream<TcpStream>, person: &Person) -> String {
    let request = format!(
        "GET /api/v1/users/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        person.access_token()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer), "the answer").await.unwrap();
    answer
}

stories! {
    async fn both_doors_are_behind_tls(stage: Stage) {
        let pair = Pair::new();
        let plain = Process::serves(&stage, &[]).await;
        let [ann, bob] = plain.people(["ann", "bob"]).await;
        let chat = ann.meets(&bob).await;
        plain.stops().await;
        let process = Process::serves(&stage, &pair.is_put(stage.folder()).variables()).await;
        let address = process.node.address;
        assert!(process.greeting.contains(&format!("https://{address}/api/v1")), "{}", process.greeting);
        assert!(process.greeting.contains(&format!("wss://{address}/ws")), "{}", process.greeting);
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let stream = pair.connects(address, version).await;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            let answer = asks(stream, &ann).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&ann.id.to_string()), "{answer}");
        }
        // Who trusts another certificate does not talk to this node; nor does who speaks without TLS.
        assert!(Pair::new().tries(address, &rustls::version::TLS13).await.is_err());
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut heard = Vec::new();
        let _ = within(plain.read_to_end(&mut heard), "the end").await;
        assert!(!heard.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&heard));

        // Each reads while it writes, more than one record and more than the system's buffers hold.
        let (mut anns, mut bobs) = (pair.opens(address, &ann).await, pair.opens(address, &bob).await);
        let long = "x".repeat(4000);
        let mut keys = Vec::new();
        for _ in 0..30 {
            keys.push(anns.sends(chat, &long).await);
        }
        for key in &keys {
            let told = bobs.hears_that(|frame| frame["event"] == "message.created").await;
            assert_eq!((told["data"]["clientId"].as_str(), told["data"]["text"].as_str()), (Some(&**key), Some(&*long)));
        }
        // Replies come in any order.
        while !keys.is_empty() {
            let reply = anns.hears_that(|frame| frame["re"].is_string()).await;
            let at = keys.iter().position(|key| reply["re"] == **key).unwrap();
            assert!(reply.get("ok").is_some(), "{reply}");
            keys.swap_remove(at);
        }
        assert!(process.stops().await.success());
        for mut socket in [anns, bobs] {
            socket.hears_that(|frame| frame["event"] == "drain").await;
            assert_eq!(socket.is_closed().await, 4001);
        }
    }

    async fn a_certificate_is_replaced_under_open_sockets(stage: Stage) {
        let (old, new) = (Pair::new(), Pair::new());
        let files = old.is_put(stage.folder());
        let process = Process::serves(&stage, &files.variables()).await;
        let address = process.node.address;
        let [ann] = process.people(["ann"]).await;
        let mut socket = old.opens(address, &ann).await;
        // First one file, then the other, as they are copied: between the two nothing changes.
        std::fs::write(&files.certificate, &new.certificate).unwrap();
        process.is_told_to_look();
        process.logs("the certificate stays as it was").await;
        assert!(asks(old.connects(address, &rustls::version::TLS13).await, &ann).await.starts_with("HTTP/1.1 200 "));
        std::fs::write(&files.key, &new.key).unwrap();
        process.is_told_to_look();
        process.logs("a new certificate").await;
        assert!(old.tries(address, &rustls::version::TLS13).await.is_err());
        let stream = new.connects(address, &rustls::version::TLS13).await;
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap(), [new.der()]);
        assert!(asks(stream, &ann).await.starts_with("HTTP/1.1 200 "));
        socket.says(json!({ "id": "c1", "cmd": "users.getProfile", "data": { "userId": "me" } })).await;
        assert_eq!(socket.hears_that(|frame| frame["re"] == "c1").await["ok"]["id"], ann.id.to_string());
        assert!(process.stops().await.success());
    }

    async fn the_balancer_speaks_tls(stage: Stage) {
        if !Balancer::is_there() {
            return;
        }
        let pair = Pair::new();
        let file = stage.folder().join("balancer.pem");
        std::fs::write(&file, format!("{}{}", pair.certificate, pair.key)).unwrap();
        let process = Process::serves(&stage, &[]).await;
        let variables = [("QUCKCHAT_BALANCER_CRT", file.to_str().unwrap())];
        let balancer = Balancer::starts_with(&stage, &[&process], &variables).await;
        let [ann] = process.people(["ann"]).await;
        let stream = pair.connects(balancer.node.address, &rustls::version::TLS13).await;
        assert!(asks(stream, &ann).await.starts_with("HTTP/1.1 200 "));
        let mut socket = pair.opens(balancer.node.address, &ann).await;
        socket.says(json!({ "id": "c1", "cmd": "users.getProfile", "data": { "userId": "me" } })).await;
        assert_eq!(socket.hears_that(|frame| frame["re"] == "c1").await["ok"]["id"], ann.id.to_string());
    }
}

#[actix_web::test]
async fn files_that_cannot_be_used_are_refused_by_name() {
    let stage = Stage::on_sqlite().await;
    let (pair, other) = (Pair::new(), Pair::new());
    let files = pair.is_put(stage.folder());
    let written = |name: &str, text: &str| {
        let file = stage.folder().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let [(_, certificate), (_, key)] = files.variables().map(|(name, file)| (name, file.to_owned()));
    let empty = String::new();
    let others = written("other.pem", &other.key);
    let no_pem = written("no.pem", "not a certificate, and not a key");
    let broken = written("broken.pem", &pair.certificate[..pair.certificate.len() / 2]);
    let absent = "/no/such/file.pem".to_owned();
    for (certificate, key, named, why) in [
        (&certificate, &empty, "gateway.tls_key", "must name a file"),
        (&empty, &key, "gateway.tls_certificate", "must name a file"),
        (&absent, &key, "gateway.tls_certificate", "No such file"),
        (&certificate, &absent, "gateway.tls_key", "No such file"),
        (&no_pem, &key, "gateway.tls_certificate", "there is no certificate in it"),
        (&certificate, &no_pem, "gateway.tls_key", "there is no private key in it"),
        (&broken, &key, "gateway.tls_certificate", "no whole PEM file"),
        (&certificate, &others, "gateway.tls_key", "not the key of the certificate"),
    ] {
        let variables = [
            ("QUCKCHAT__GATEWAY__TLS_CERTIFICATE", certificate.as_str()),
            ("QUCKCHAT__GATEWAY__TLS_KEY", key.as_str()),
        ];
        let ended = runs(&stage, &["serve", "--listen", "127.0.0.1:0"], &variables).await;
        assert!(!ended.status.success());
        assert!(ended.log.contains(named) && ended.log.contains(why), "{named}, {why}: {}", ended.log);
        assert!(!ended.log.contains("panicked") && !ended.log.contains("PRIVATE KEY-"), "{}", ended.log);
    }
}
