//! A PostgreSQL of the run's own, which may be restarted without hurting anybody else.
//! Never data that outlives the run: nothing is synced to disk.

use super::ports;
use super::program::{Owner, Program, bound};
use crate::wait;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::net::TcpStream;

const USER: &str = "quckchat";

/// A server and its folder.
pub struct Postgres {
    /// Where it listens.
    pub address: SocketAddr,
    folder: PathBuf,
    password: String,
    owner: Owner,
    program: Option<Program>,
}

/// The folder of the newest server's programs, of version 15 or later.
pub fn programs() -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok().filter(|version| *version >= 15);
    let installed = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = installed.filter(|path| version(path).is_some()).max_by_key(|path| version(path))?;
    Some(newest.join("bin")).filter(|bin| bin.join("postgres").exists() && bin.join("initdb").exists())
}

/// Whom the server runs as: it refuses to run as root.
fn owner(folder: &Path) -> Owner {
    if folder.metadata().unwrap().uid() != 0 {
        return Owner::default();
    }
    let id = |flag: &str| {
        let told = Command::new("id").args([flag, "postgres"]).output().ok()?;
        String::from_utf8(told.stdout).ok()?.trim().parse::<u32>().ok()
    };
    const NOBODY: u32 = 65_534;
    Owner(Some((id("-u").unwrap_or(NOBODY), id("-g").unwrap_or(NOBODY))))
}

impl Postgres {
    /// Makes a cluster below this folder, and starts a server on it.
    pub async fn start(within: &Path) -> Postgres {
        let folder = within.join("postgres");
        std::fs::create_dir(&folder).unwrap();
        let password = std::iter::repeat_with(fastrand::alphanumeric).take(24).collect::<String>();
        std::fs::write(folder.join("password"), &password).unwrap();
        let owner = owner(within);
        if let Owner(Some((user, group))) = owner {
            // Whoever it runs as must find the way to its folder.
            std::fs::set_permissions(within, PermissionsExt::from_mode(0o711)).unwrap();
            for path in [folder.join("password"), folder.clone()] {
                chown(path, Some(user), Some(group)).unwrap();
            }
        }
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
        let mut initdb = bound(programs().unwrap().join("initdb"), "KILL", owner);
        initdb.args(["--pgdata=data", "--auth=password", "--pwfile=password", "--encoding=UTF8"]);
        initdb.args(["--locale=C.UTF-8", "--no-sync", &format!("--username={USER}")]);
        let made = initdb.env("LC_ALL", "C").current_dir(&folder).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut postgres = Postgres { address: ports::free(), folder, password, owner, program: None };
        postgres.serves().await;
        postgres
    }

    /// The URL of its database, at whichever address a proxy of it listens.
    pub fn url(&self, at: SocketAddr) -> String {
        format!("postgres://{USER}:{}@{at}/postgres", self.password)
    }

    /// Starts the server on the same port and data, and awaits that it answers.
    pub async fn serves(&mut self) {
        let mut command = bound(programs().unwrap().join("postgres"), "QUIT", self.owner);
        command.current_dir(&self.folder).env("LC_ALL", "C").args(["-D", "data", "-p"]);
        command.arg(self.address.port().to_string());
        let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "fsync=off"];
        for setting in settings {
            command.args(["-c", setting]);
        }
        self.program = Some(Program::start(command, "QUIT", &self.folder.join("../postgres.log")));
        let (user, address) = (USER, self.address);
        let ready = programs().unwrap().join("pg_isready");
        wait::must("PostgreSQL to answer", async || {
            TcpStream::connect(address).await.ok()?;
            let mut asking = Command::new(&ready);
            asking.args(["-q", "-h", "127.0.0.1", "-U", user, "-p"]).arg(address.port().to_string());
            asking.status().ok()?.success().then_some(())
        })
        .await;
    }

    /// Shuts it down at once, as for a restart: connections are cut, what is committed stays.
    pub async fn stops(&mut self) {
        let program = self.program.take().expect("a server that runs");
        program.signal("INT");
        program.ends().await;
    }
}
