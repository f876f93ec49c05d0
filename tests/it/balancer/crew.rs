//! What the stories before a balancer stand on: the nodes behind it, requests that never pause, devices that come back.
//! Never a story.

use crate::support::haproxy::Balancer;
use crate::support::process::Process;
use crate::support::speech::{Request, fresh_key};
use crate::support::*;
use actix_web::http::Method;
use actix_web::rt;
use std::cell::Cell;
use std::rc::Rc;

/// The nodes and what stands before them.
pub struct Crew {
    pub nodes: Vec<Process>,
    pub balancer: Balancer,
}

impl Crew {
    pub async fn starts(stage: &Stage) -> Crew {
        Crew::starts_with(stage, &[]).await
    }

    /// One node after the other: the first brings the schema up to date. They find what others wrote by looking.
    pub async fn starts_with(stage: &Stage, variables: &[(&str, &str)]) -> Crew {
        let mut all = vec![
            ("QUCKCHAT__ROOMS__SWEEP", "200ms"),
            ("QUCKCHAT__DATABASE__CONNECTIONS", "8"),
            ("QUCKCHAT__GATEWAY__TRUSTED_PROXIES", "127.0.0.1"),
            ("QUCKCHAT__GATEWAY__DRAIN_WAIT", "2s"),
            ("QUCKCHAT__LIMITS__REST_PER_USER_PER_SEC", "1000000"),
            ("QUCKCHAT__LIMITS__REST_PER_USER_BURST", "1000000"),
            ("QUCKCHAT__LIMITS__REST_PER_ADDRESS_PER_SEC", "1000000"),
            ("QUCKCHAT__LIMITS__REST_PER_ADDRESS_BURST", "1000000"),
        ];
        all.extend(variables);
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(Process::serves(stage, &all).await);
        }
        let balancer = Balancer::starts(stage, &nodes.iter().collect::<Vec<_>>()).await;
        Crew { nodes, balancer }
    }

    /// People who only know the balancer.
    pub async fn people<const N: usize>(&self, names: [&str; N]) -> [Person; N] {
        self.nodes[0].people(names).await.map(|person| person.at(&self.balancer.node))
    }

    /// Which node's count moves while something is done; it must be one.
    pub async fn who_serves<T>(&self, line: &str, done: impl Future<Output = T>) -> (usize, T) {
        let mut before = Vec::new();
        for process in &self.nodes {
            before.push(process.node.counts(line).await);
        }
        let outcome = done.await;
        let mut moved = Vec::new();
        for (at, process) in self.nodes.iter().enumerate() {
            if process.node.counts(line).await > before[at] {
                moved.push(at);
            }
        }
        assert_eq!(moved.len(), 1, "{line} at {moved:?}");
        (moved[0], outcome)
    }

    /// Where a request of REST goes that carries this.
    pub async fn serves_request(&self, person: &Person, headers: &[(&str, String)]) -> (usize, Option<String>) {
        let mut headers = headers.to_vec();
        headers.push(("authorization", format!("Bearer {}", person.access_token())));
        let asked = self.balancer.node.requests(Method::GET, "/api/v1/users/me", &headers, "");
        let (at, reply) = self.who_serves(REQUESTS, asked).await;
        assert_eq!(reply.status, 200);
        (at, reply.header("set-cookie").map(str::to_owned))
    }

    /// Where a socket goes.
    pub async fn serves_socket(&self, person: &Person, dial: Dial) -> (usize, Socket) {
        let opened = async { Socket::begin(Wire::open(&person.node, dial).await, json!({})).await };
        self.who_serves("quckchat_hellos_total", opened).await
    }
}

const REQUESTS: &str = r#"quckchat_command_seconds_count{command="users.getProfile",door="rest"}"#;

/// Requests without a pause, until told to end; none of them may fail. Gives the keys of what was said.
pub struct Stream {
    goes_on: Rc<Cell<bool>>,
    asked: Rc<Cell<usize>>,
    tasks: Vec<rt::task::JoinHandle<Vec<String>>>,
}

impl Stream {
    /// All read; who is named first also says things in the conversation.
    pub fn begins(people: &[Person], within: ConversationId) -> Stream {
        Stream::of(people, within, true)
    }

    /// All only read.
    pub fn reads(people: &[Person], within: ConversationId) -> Stream {
        Stream::of(people, within, false)
    }

    pub fn of(people: &[Person], within: ConversationId, first_speaks: bool) -> Stream {
        let (goes_on, asked) = (Rc::new(Cell::new(true)), Rc::new(Cell::new(0)));
        let tasks = people.iter().enumerate().map(|(at, person)| {
            let (person, goes_on, asked) = (person.clone(), goes_on.clone(), asked.clone());
            rt::spawn(async move {
                let mut said = Vec::new();
                while goes_on.get() {
                    let get = Request::of("conversations.get", json!({ "conversationId": within }));
                    person.node.asks(Some(&person.access_token()), get).await.ok_with(200);
                    if at == 0 && first_speaks {
                        let key = fresh_key();
                        person.sends_as(within, &key, &key).await.ok_with(201);
                        said.push(key);
                    }
                    asked.set(asked.get() + 1);
                }
                said
            })
        });
        Stream { tasks: tasks.collect(), goes_on, asked }
    }

    /// Awaits that as many more were answered.
    pub async fn goes_on_for(&self, requests: usize) {
        let enough = self.asked.get() + requests;
        let answered = async {
            while self.asked.get() < enough && !self.has_failed() {
                rt::task::yield_now().await
            }
        };
        within(answered, "requests to be answered").await;
    }

    pub fn has_failed(&self) -> bool {
        self.tasks.iter().any(|task| task.is_finished())
    }

    pub async fn ends(self) -> Vec<String> {
        self.goes_on.set(false);
        let mut said = Vec::new();
        for task in self.tasks {
            said.extend(task.await.unwrap());
        }
        said
    }
}

/// Somebody's device, and where its socket is.
pub struct Device {
    pub person: Person,
    pub socket: Socket,
    replica: Replica,
    pub home: usize,
}

impl Device {
    pub async fn arrives(crew: &Crew, person: &Person, group: ConversationId) -> Device {
        let (home, socket) = crew.serves_socket(person, person.dial()).await;
        Device { person: person.clone(), socket, replica: Replica::afresh(person, group).await, home }
    }

    /// Opens another socket, and catches up.
    pub async fn comes_back(&mut self, group: ConversationId) {
        self.replica.hears(&self.socket.heard());
        self.socket = self.person.connects_with(json!({ "known": self.replica.known() })).await;
        self.replica.catches_up(&self.socket, group).await;
    }

    /// Holds what the rows hold.
    pub async fn holds(&mut self, truth: &Replica, group: ConversationId) {
        self.socket.stays_open();
        self.replica.hears(&self.socket.heard());
        self.replica.catches_up(&self.socket, group).await;
        assert_eq!(self.replica, *truth);
    }
}

/// Everybody, at nodes of which two are not empty.
pub async fn devices(crew: &Crew, people: &[Person], group: ConversationId) -> Vec<Device> {
    let mut devices = Vec::new();
    for person in people {
        devices.push(Device::arrives(crew, person, group).await);
    }
    assert!(devices.iter().any(|device| device.home != devices[0].home), "all users at one node");
    devices
}

/// All of it is there, once, in order.
pub fn has_all(truth: &Replica, group: ConversationId, said: &[String]) {
    let rows = truth.of(group).messages();
    let seqs: Vec<i64> = rows.iter().map(|row| row["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=rows.len() as i64).collect::<Vec<i64>>());
    let keys: Vec<&str> = rows.iter().map(|row| row["clientId"].as_str().unwrap()).collect();
    assert_eq!(keys, said);
}
