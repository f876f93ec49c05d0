//! A PostgreSQL server of a story's own, which it may restart, pause, fill, or copy to a replica.
//! Never the one that all stories share.

use super::{free_address, until};
use entities::{Db, Options};
use sea_orm::ConnectionTrait;
use std::cell::RefCell;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Names the folder of PostgreSQL's programs. `tests/run` sets it.
const PROGRAMS: &str = "QUCKCHAT_TEST_POSTGRES_BIN";
/// What no output may ever show.
pub const PASSWORD: &str = "known-to-nobody";

pub struct Server {
    programs: String,
    folder: TempDir,
    pub port: u16,
    process: RefCell<Option<Child>>,
}

impl Server {
    /// Says so on stderr where PostgreSQL's programs are not.
    pub async fn start(settings: &[&str]) -> Option<Server> {
        #[expect(clippy::disallowed_methods, reason = "the test runner says where the programs are")]
        let Ok(programs) = std::env::var(PROGRAMS) else {
            eprintln!("not told: {PROGRAMS} is not set");
            return None;
        };
        let server = Server::empty(programs);
        std::fs::write(server.folder.path().join("password"), PASSWORD).unwrap();
        server.hands_over();
        server.program(
            "initdb",
            &["--pgdata=data", "--username=quckchat", "--auth=password", "--pwfile=password"],
            &["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
        );
        let all = ["fsync=off", "listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=16MB"];
        let mut text = String::new();
        for setting in all.iter().chain(settings) {
            let (name, value) = setting.split_once('=').unwrap();
            text.push_str(&format!("{name} = '{value}'\n"));
        }
        std::fs::write(server.folder.path().join("data/postgresql.auto.conf"), text).unwrap();
        server.goes_up().await;
        Some(server)
    }

    /// A hot standby of this one.
    pub async fn replica(&self) -> Server {
        let server = Server::empty(self.programs.clone());
        server.hands_over();
        let from = format!("--dbname={}", self.url("postgres"));
        server.program(
            "pg_basebackup",
            &["--pgdata=data", "--write-recovery-conf", "--checkpoint=fast"],
            &["--wal-method=stream", "--no-sync", &from],
        );
        server.goes_up().await;
        server
    }

    fn empty(programs: String) -> Server {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_address().port());
        Server { programs, folder, port, process: RefCell::default() }
    }

    /// PostgreSQL does not run as root: there it gets the folder.
    fn hands_over(&self) {
        let folder = self.folder.path();
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o711)).unwrap();
        if is_root() {
            assert!(Command::new("chown").args(["-R", "postgres"]).arg(folder).status().unwrap().success());
        }
    }

    fn command(&self, name: &str) -> Command {
        let program = Path::new(&self.programs).join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig", "INT"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path()).env("LC_ALL", "C").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn program(&self, name: &str, arguments: &[&str], more: &[&str]) {
        assert!(self.command(name).args(arguments).args(more).status().unwrap().success(), "{name}");
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://quckchat:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts it, and awaits that it takes connections.
    pub async fn goes_up(&self) {
        let port = self.port.to_string();
        *self.process.borrow_mut() = Some(self.command("postgres").args(["-D", "data", "-p", &port]).spawn().unwrap());
        until("the server to answer", async || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.answers().await
        })
        .await;
    }

    async fn answers(&self) -> bool {
        use sea_orm::sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};
        let options: PgConnectOptions = self.url("postgres").parse().unwrap();
        match options.connect().await {
            Ok(connection) => connection.close().await.is_ok(),
            Err(_) => false,
        }
    }

    /// Ends it as an operator does who restarts it.
    pub fn goes_down(&self) {
        self.signals("INT", self.pid());
        let _ = self.process.borrow_mut().take().unwrap().wait();
    }

    /// Stops its processes where they are; or lets them go on.
    pub fn pauses(&self, pauses: bool) {
        let signal = if pauses { "STOP" } else { "CONT" };
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid())).unwrap();
        for pid in [self.pid()].into_iter().chain(children.split_whitespace().map(|pid| pid.parse().unwrap())) {
            self.signals(signal, pid);
        }
    }

    fn pid(&self) -> u32 {
        self.process.borrow().as_ref().expect("a server that runs").id()
    }

    fn signals(&self, signal: &str, pid: u32) {
        // One of its processes may have ended by itself.
        let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(Stdio::null()).status();
    }

    /// Runs SQL there, each statement by itself.
    pub async fn runs(&self, database: &str, statements: &[&str]) {
        let db = Db::open(&Options { max_connections: 1, ..Options::new(self.url(database)) }).await.unwrap();
        for statement in statements {
            db.write().execute_unprepared(statement).await.unwrap();
        }
        db.close().await.unwrap();
    }

    /// What a query says there, in the only column of its only row. On a replica too.
    pub async fn says(&self, database: &str, query: &str) -> String {
        use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Connection, Row, postgres::PgConnectOptions};
        let options: PgConnectOptions = self.url(database).parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        let row = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.unwrap();
        let said = row.try_get(0).unwrap();
        connection.close().await.unwrap();
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.get_mut().is_some() {
            let pid = self.pid();
            self.pauses(false);
            self.signals("QUIT", pid);
            let _ = self.process.get_mut().take().map(|mut process| process.wait());
        }
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}
