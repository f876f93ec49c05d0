//! A node without doors: everything of this crate, put together as the real one is.
//! Never anything that runs unasked beside the journal and the greeter: a test says when a gap is mended.

use super::*;
use actors::clock::Clock;
use actors::conversation::Conversations;
use actors::conversation::actor::Deps;
use actors::entry::{Entries, MendRequests};
use actors::greeter::Greeter;
use actors::hub::Hub;
use actors::journal::Journal;
use actors::limits::Limits;
use actors::mender::Mender;
use actors::metrics::Metrics;
use actors::presence::Presences;
use actors::sockets::Sockets;
use entities::Options;
use tokio::sync::{Mutex, mpsc};

/// What a node is made of.
pub struct Setting {
    pub limits: Limits,
    pub clock: Arc<FakeClock>,
    pub cluster: Arc<dyn Cluster>,
    /// Connections to the database.
    pub connections: u32,
    /// Of the database, where it is not the stage's; then a connection must be there within a second.
    pub url: Option<String>,
}

impl Setting {
    /// A node that is alone.
    pub fn alone() -> Setting {
        Setting::named(&LocalBus::new(), "alone")
    }

    /// A node on a bus.
    pub fn named(bus: &Arc<LocalBus>, name: &str) -> Setting {
        Setting { limits: rows::limits(), clock: FakeClock::new(), cluster: bus.join(name), connections: 8, url: None }
    }

    /// With other bounds.
    pub fn bounded(mut self, change: impl FnOnce(&mut Limits)) -> Setting {
        change(&mut self.limits);
        self
    }

    /// With another node's clock.
    pub fn at(mut self, clock: &Arc<FakeClock>) -> Setting {
        self.clock = clock.clone();
        self
    }
}

/// One node.
pub struct Node {
    /// Its database, for a look at the rows.
    pub rows: Rows,
    pub clock: Arc<FakeClock>,
    pub limits: Arc<Limits>,
    pub entries: Entries,
    pub journal: Journal,
    pub conversations: Conversations,
    pub presences: Presences,
    pub greeter: Greeter,
    pub sockets: Sockets,
    pub hub: Rc<Hub>,
    requests: Mutex<MendRequests>,
}

impl Node {
    pub async fn alone(stage: &Stage) -> Node {
        Node::start(stage, Setting::alone()).await
    }

    pub async fn named(stage: &Stage, bus: &Arc<LocalBus>, name: &str) -> Node {
        Node::start(stage, Setting::named(bus, name)).await
    }

    pub async fn start(stage: &Stage, setting: Setting) -> Node {
        let db = match &setting.url {
            Some(url) => {
                let (max_connections, acquire_timeout) = (setting.connections, Duration::from_secs(1));
                Db::open(&Options { max_connections, acquire_timeout, ..Options::new(url) }).await.unwrap()
            }
            None => stage.open(setting.connections).await,
        };
        let limits = Arc::new(setting.limits);
        let clock: Arc<dyn Clock> = setting.clock.clone();
        let (entries, requests) =
            Entries::new(setting.cluster, clock.clone(), limits.clone(), Arc::new(Metrics::default()));
        let hub = Hub::start(&entries);
        let (journal, lanes) = Journal::new(&db, &clock, &limits, &entries);
        lanes.into_iter().for_each(|lane| drop(actix_rt::spawn(lane)));
        let (greeter, greeting) = Greeter::new(db.clone(), clock.clone());
        actix_rt::spawn(greeting);
        let deps = Deps {
            db: db.clone(),
            clock: clock.clone(),
            limits: limits.clone(),
            entries: entries.clone(),
            journal: journal.clone(),
        };
        Node {
            conversations: Conversations::new(deps, &[7; 32]),
            presences: Presences::new(db.clone(), clock, limits.clone(), entries.clone()),
            rows: Rows { db, clock: setting.clock.clone(), limits: limits.clone() },
            clock: setting.clock,
            limits,
            entries,
            journal,
            greeter,
            sockets: Sockets::default(),
            hub,
            requests: Mutex::new(requests),
        }
    }

    /// Sends a message by way of the room.
    pub async fn says(&self, conversation_id: ConversationId, user: UserId, text: &str) -> view::Message {
        let client_id = self.clock.uuid().to_string();
        self.says_as(conversation_id, user, &client_id, text).await.unwrap().message
    }

    /// The same by a name that the client chose.
    pub async fn says_as(
        &self,
        conversation_id: ConversationId,
        user: UserId,
        client_id: &str,
        text: &str,
    ) -> Outcome<view::Sent> {
        let (text, client_id) = (text.to_owned(), client_id.to_owned());
        self.conversations.send(user, SendMessage { conversation_id, text, client_id, reply_to: None }).await
    }

    pub async fn removes(&self, conversation_id: ConversationId, by: UserId, user_id: UserId) {
        self.conversations.remove_participant(by, RemoveParticipant { conversation_id, user_id }).await.unwrap();
    }

    pub async fn adds(&self, conversation_id: ConversationId, by: UserId, user: UserId) {
        let command = AddParticipant { conversation_id, user_ids: vec![user] };
        self.conversations.add_participant(by, command).await.unwrap();
    }

    /// Awaits that everything handed to the sockets' thread lies in their queues.
    pub async fn is_quiet(&self) {
        let hubs = self.entries.hubs();
        until("the hub to be done", || hubs.iter().all(|hub| hub.waiting_bytes() == 0)).await;
    }

    /// Mends what is asked for by now, and awaits that it is in the queues; tells how many asked.
    pub async fn mends(&self) -> usize {
        self.mends_by(&self.rows.db).await
    }

    /// The same by way of other connections.
    pub async fn mends_by(&self, db: &Db) -> usize {
        let (sender, topics) = mpsc::unbounded_channel();
        let mut requests = self.requests.lock().await;
        let mut asked = 0;
        while let Ok(topic) = requests.try_recv() {
            sender.send(topic).unwrap();
            asked += 1;
        }
        drop((requests, sender));
        Mender { db: db.clone(), ..self.mender() }.run(topics).await;
        self.is_quiet().await;
        asked
    }

    /// Lets the wait for a gap pass, and mends it.
    pub async fn mends_gap(&self) {
        self.clock.let_pass(self.limits.gap_wait).await;
        let (sender, topics) = mpsc::unbounded_channel();
        let topic = within(async { self.requests.lock().await.recv().await }, "a gap to be looked at").await.unwrap();
        sender.send(topic).unwrap();
        drop(sender);
        self.mender().run(topics).await;
        self.mends().await;
    }

    /// How many sockets are ready.
    pub fn sockets_ready(&self) -> i64 {
        self.entries.metrics().sockets.get()
    }

    pub fn mender(&self) -> Mender {
        Mender {
            entries: self.entries.clone(),
            db: self.rows.db.clone(),
            presences: self.presences.clone(),
            clock: self.clock.clone(),
            limits: self.limits.clone(),
        }
    }

    /// Compares all entries with the rows, once, and awaits that it is in the queues.
    pub async fn sweeps(&self) {
        let swept = actix_rt::spawn(self.mender().sweep());
        self.clock.let_pass(self.limits.sweep).await;
        // Either everything is there and the next round waits, or what is only on its way gets its time.
        until("the sweep to look", || self.clock.sleeps(self.limits.sweep) || self.clock.sleeps(self.limits.gap_wait))
            .await;
        if !self.clock.sleeps(self.limits.sweep) {
            self.clock.advance(self.limits.gap_wait);
            until("the sweep to be done", || self.clock.sleeps(self.limits.sweep)).await;
        }
        swept.abort();
        let _ = swept.await;
        self.is_quiet().await;
    }
}

impl std::ops::Deref for Node {
    type Target = Rows;

    fn deref(&self) -> &Rows {
        &self.rows
    }
}
