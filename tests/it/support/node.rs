//! A whole node, as its clients find it, and the text messages that it sends.
//! Never what is inside: stories go through its doors.

use super::answer::Answer;
use super::bus::Bus;
use super::clock::FakeClock;
use super::speech::Request;
use super::{Person, Stage, until, within};
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use actors::clock::{Clock, SystemClock};
use actors::protocol::command::OtpChannel;
use actors::protocol::{ErrorCode, Fault, Outcome};
use parking_lot::Mutex;
use quckchat::auth::carriers::{Carriers, Mail, Mailer, Sms, SmsSender, Unsent};
use quckchat::config::Config;
use quckchat::node::{self, Surroundings};
use serde_json::Value;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A running node.
#[derive(Clone)]
pub struct Node(Rc<Inner>);

pub struct Inner {
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Where operators reach it.
    pub operations: Option<SocketAddr>,
    /// Its time, where that is the story's to pass.
    pub clock: Arc<FakeClock>,
    pub stage: Stage,
    pub letters: Arc<Letters>,
    http: awc::Client,
    /// Where the stage keeps it; none if it is a process of its own.
    place: Option<usize>,
}

impl std::ops::Deref for Node {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Several nodes on one database, with one clock, that tell each other what happens.
pub struct Fleet {
    nodes: Vec<Node>,
    pub bus: Bus,
    pub clock: Arc<FakeClock>,
}

impl std::ops::Index<usize> for Fleet {
    type Output = Node;

    fn index(&self, at: usize) -> &Node {
        &self.nodes[at]
    }
}

/// What a fleet has in common.
struct Common {
    bus: Bus,
    clock: Arc<FakeClock>,
    /// The machine's clock instead.
    real: bool,
    letters: Arc<Letters>,
}

impl Common {
    fn new(real: bool) -> Common {
        Common { bus: Bus::new(), clock: FakeClock::new(), real, letters: Arc::default() }
    }
}

impl Fleet {
    /// So many nodes, whose time is the story's to pass.
    pub async fn start(stage: &Stage, count: usize) -> Fleet {
        Fleet::start_with(stage, count, |_| ()).await
    }

    /// The same with other settings.
    pub async fn start_with(stage: &Stage, count: usize, set: impl FnOnce(&mut Config)) -> Fleet {
        let mut config = stage.config();
        set(&mut config);
        Fleet::raise(stage, count, config, Common::new(false)).await
    }

    /// The same in the machine's time, for stories in which many things happen at once.
    pub async fn in_real_time(stage: &Stage, count: usize) -> Fleet {
        Fleet::in_real_time_with(stage, count, |_| ()).await
    }

    /// The same with other settings.
    pub async fn in_real_time_with(stage: &Stage, count: usize, set: impl FnOnce(&mut Config)) -> Fleet {
        let mut config = stage.config();
        set(&mut config);
        Fleet::raise(stage, count, config, Common::new(true)).await
    }

    async fn raise(stage: &Stage, count: usize, config: Config, common: Common) -> Fleet {
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(Node::raise(stage, config.clone(), &stage.node_name(), &common).await);
        }
        Fleet { nodes, bus: common.bus, clock: common.clock }
    }
}

impl Node {
    /// A node that nobody is limited at.
    pub async fn start(stage: &Stage) -> Node {
        Node::start_with(stage, |_| ()).await
    }

    /// The same with other settings.
    pub async fn start_with(stage: &Stage, set: impl FnOnce(&mut Config)) -> Node {
        let mut config = stage.config();
        set(&mut config);
        Node::raise(stage, config, &stage.node_name(), &Common::new(false)).await
    }

    /// The same in the machine's time, for stories in which many things happen at once.
    pub async fn in_real_time(stage: &Stage, set: impl FnOnce(&mut Config)) -> Node {
        let mut config = stage.config();
        set(&mut config);
        // Of several that start at once none is kept yet, by whose number the next would be called.
        let name = Some(config.cluster.node.clone()).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| stage.node_name());
        Node::raise(stage, config, &name, &Common::new(true)).await
    }

    async fn raise(stage: &Stage, config: Config, name: &str, common: &Common) -> Node {
        config.validate().unwrap();
        let clock: Arc<dyn Clock> = match common.real {
            true => Arc::new(SystemClock::default()),
            false => common.clock.clone(),
        };
        let cluster = common.bus.join(stage, &config, name).await;
        let surroundings = Surroundings { clock, cluster, carriers: common.letters.carriers() };
        let node = within(Box::pin(node::Node::start(config, surroundings)), "the node to start").await.unwrap();
        let (address, operations) = (node.address, node.operations);
        Node(Rc::new(Inner {
            address,
            operations,
            clock: common.clock.clone(),
            stage: stage.clone(),
            letters: common.letters.clone(),
            http: http(),
            place: Some(stage.keep(node)),
        }))
    }

    /// A node that runs in a process of its own, or a balancer that answers for nodes.
    pub fn at(stage: &Stage, address: SocketAddr, operations: Option<SocketAddr>) -> Node {
        Node(Rc::new(Inner {
            address,
            operations,
            clock: FakeClock::new(),
            stage: stage.clone(),
            letters: Arc::default(),
            http: http(),
            place: None,
        }))
    }

    fn taken(&self) -> node::Node {
        self.place.and_then(|place| self.stage.take(place)).expect("a node that runs")
    }

    /// Stops it in order.
    pub async fn stop(&self) {
        within(self.taken().stop(), "the node to stop").await;
    }

    /// Stops it in order while the story goes on.
    pub fn begins_to_stop(&self) -> actix_web::rt::task::JoinHandle<()> {
        actix_web::rt::spawn(self.taken().stop())
    }

    /// People who have just signed in, each by a code.
    pub async fn people<const N: usize>(&self, names: [&str; N]) -> [Person; N] {
        let mut people = Vec::with_capacity(N);
        for name in names {
            people.push(Person::arrives(self, name).await);
        }
        people.try_into().ok().expect("as many people as names")
    }

    /// What somebody says who has not signed in.
    pub async fn says(&self, command: &str, data: Value) -> Answer {
        self.asks(None, Request::of(command, data)).await
    }

    /// The code of a verification. Where nobody may be told by time whether there is an account, it leaves after the
    /// answer.
    pub async fn code_of(&self, verification: &str) -> String {
        until("a code to go out", async || self.letters.code(verification).is_some()).await;
        self.letters.code(verification).unwrap()
    }

    /// A request of the API.
    pub async fn asks(&self, token: Option<&str>, request: Request) -> Answer {
        let method = Method::from_bytes(request.method.as_bytes()).unwrap();
        let mut headers: Vec<(&str, String)> = Vec::new();
        if let Some(token) = token {
            headers.push(("authorization", format!("Bearer {token}")));
        }
        let path = format!("/api/v1{}", request.path);
        let reply = match request.body {
            Some(body) => {
                headers.push(("content-type", "application/json".to_owned()));
                self.requests(method, &path, &headers, body.to_string()).await
            }
            None => self.requests(method, &path, &headers, String::new()).await,
        };
        reply.answer()
    }

    /// Any request of HTTP at the clients' door.
    pub async fn requests(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        self.requests_at(self.address, method, path, headers, body).await
    }

    /// A plain GET.
    pub async fn gets(&self, path: &str) -> Reply {
        self.requests(Method::GET, path, &[], "").await
    }

    /// The same at the door of the operators.
    pub async fn operators(&self, path: &str) -> Reply {
        self.requests_at(self.operations.expect("a door for operators"), Method::GET, path, &[], "").await
    }

    /// What the metrics say of one line; nothing was counted where there is none.
    pub async fn counts(&self, line: &str) -> f64 {
        let page = String::from_utf8(self.operators("/metrics").await.body).unwrap();
        let found = page.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
        found.map_or(0.0, |count| count.parse().unwrap())
    }

    async fn requests_at(
        &self,
        address: SocketAddr,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        // A connection each: none is left open that the node would wait for when it stops.
        let mut request = self.http.request(method, format!("http://{address}{path}")).force_close();
        for (name, value) in headers {
            request = request.append_header((*name, value.as_str()));
        }
        let exchange = async {
            let mut response = request.send_body(body.into()).await.unwrap();
            let body = response.body().limit(16 << 20).await.unwrap();
            Reply { status: response.status(), headers: response.headers().clone(), body: body.to_vec() }
        };
        within(exchange, path).await
    }

    /// Exactly these bytes, for what no HTTP client would send; gives the answer's head and what follows it.
    pub async fn hears_bytes(&self, bytes: &[u8]) -> (u16, Value) {
        let exchange = async {
            let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut heard = Vec::new();
            loop {
                let read = stream.read_buf(&mut heard).await.unwrap();
                let text = String::from_utf8_lossy(&heard);
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                    if let Ok(body) = serde_json::from_str(body) {
                        return (status, body);
                    }
                }
                assert!(read > 0, "the connection ended: {text}");
            }
        };
        within(exchange, "an answer of HTTP").await
    }
}

fn http() -> awc::Client {
    awc::Client::builder().timeout(super::PATIENCE).disable_redirects().finish()
}

/// An answer of HTTP.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{} with no JSON ({error}): {text}", self.status))
    }

    /// As a command's answer: a reply, or a problem that is whole.
    #[track_caller]
    pub fn answer(self) -> Answer {
        let status = Some(self.status.as_u16());
        if self.status.is_success() {
            let reply = if self.body.is_empty() { Value::Null } else { self.json() };
            return Answer { status, result: Ok(reply) };
        }
        let problem = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{problem}");
        let code = problem["code"].as_str().unwrap_or_else(|| panic!("no code: {problem}"));
        assert!(ErrorCode::ALL.iter().any(|known| known.as_str() == code), "{problem}");
        assert_eq!(problem["type"], format!("urn:quckchat:error:{code}"), "{problem}");
        assert_eq!(problem["status"], self.status.as_u16(), "{problem}");
        assert_eq!(problem["requestId"].as_str(), self.header("x-request-id"), "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        Answer { status, result: Err(problem) }
    }
}

/// The text messages and letters that a node sent.
#[derive(Default)]
pub struct Letters {
    /// By verification.
    codes: Mutex<Vec<(String, String)>>,
    /// Without a code: to whom, and what.
    notices: Mutex<Vec<(String, String)>>,
    /// Whether nobody takes them.
    are_stuck: AtomicBool,
    /// What the last one with a code said.
    words: Mutex<String>,
}

impl Letters {
    fn carriers(self: &Arc<Letters>) -> Carriers {
        Carriers { sms: self.clone(), mail: self.clone() }
    }

    /// The code of a verification, if one was sent.
    pub fn code(&self, verification_id: &str) -> Option<String> {
        let sent = self.codes.lock();
        sent.iter().find(|(id, _)| id == verification_id).map(|(_, code)| code.clone())
    }

    /// From now on nobody takes them to where they go; or somebody does again.
    pub fn are_stuck(&self, stuck: bool) {
        self.are_stuck.store(stuck, Ordering::Relaxed);
    }

    fn leave(&self) -> Result<(), Unsent> {
        match self.are_stuck.load(Ordering::Relaxed) {
            true => Err(Unsent::Surely(Fault::new("nobody takes letters").into())),
            false => Ok(()),
        }
    }

    /// The words of the last letter or text with a code.
    pub fn last_words(&self) -> String {
        self.words.lock().clone()
    }

    /// How many codes were sent.
    pub fn count(&self) -> usize {
        self.codes.lock().len()
    }

    /// What a number or an address was told: a text, or a letter's subject.
    pub fn notices(&self, to: &str) -> Vec<String> {
        let sent = self.notices.lock();
        sent.iter().filter(|(told, _)| told == to).map(|(_, what)| what.clone()).collect()
    }
}

#[async_trait::async_trait]
impl SmsSender for Letters {
    fn channels(&self) -> &[OtpChannel] {
        &[OtpChannel::Sms]
    }

    async fn send(&self, sms: Sms<'_>) -> Result<Option<String>, Unsent> {
        self.leave()?;
        *self.words.lock() = sms.text.to_owned();
        self.codes.lock().push((sms.verification_id.to_owned(), sms.code.to_owned()));
        Ok(None)
    }

    async fn tell(&self, to: &str, text: &str) -> Outcome<()> {
        self.notices.lock().push((to.to_owned(), text.to_owned()));
        Ok(())
    }
}

#[async_trait::async_trait]
impl Mailer for Letters {
    async fn send(&self, mail: Mail<'_>) -> Result<(), Unsent> {
        self.leave()?;
        match mail.code {
            Some((code, id)) => {
                *self.words.lock() = mail.letter.text.clone();
                self.codes.lock().push((id.to_owned(), code.to_owned()));
            }
            None => self.notices.lock().push((mail.to.to_owned(), mail.letter.subject.clone())),
        }
        Ok(())
    }
}
