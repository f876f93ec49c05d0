//! Starts servers and generators, waits for them with an end, and ends them: only its own children.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";
const STEP: Duration = Duration::from_secs(600);
const START: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where things are, and how long they may take.
pub struct Place {
    /// The node's program; none to leave it out.
    pub node: Option<PathBuf>,
    /// Its configuration.
    pub config: PathBuf,
    /// Data folders are made here.
    pub work: PathBuf,
    /// Bytes that the reference adds to every message it tells.
    pub envelope: usize,
    /// Shorter steps.
    pub quick: bool,
    /// All must be over by then.
    pub deadline: Instant,
}

/// Everything that a step needs.
pub struct Bench {
    place: Place,
    work: TempDir,
    /// Servers and generators get a core each.
    pinned: bool,
    names: Cell<u32>,
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Bench {
    /// Makes the folder for this run, and finds out whether processes can be pinned.
    pub fn new(place: Place) -> Result<Bench> {
        Bench::pinning(place, true)
    }

    /// The same; where `pins` is false, nothing is pinned.
    pub fn pinning(place: Place, pins: bool) -> Result<Bench> {
        let work = tempfile::Builder::new().prefix("load-").tempdir_in(&place.work)?;
        if !pins {
            return Ok(Bench { place, work, pinned: false, names: Cell::new(0) });
        }
        let cores = std::thread::available_parallelism()?.get();
        let pins = |core| {
            let status = Command::new("taskset").args(["-c", core, "true"]).status();
            status.is_ok_and(|s| s.success())
        };
        let pinned = cores > 1 && pins(SERVER_CORE) && pins(GENERATOR_CORE);
        if !pinned {
            eprintln!("no two cores to pin to (or no taskset): figures will be rough");
        }
        Ok(Bench { place, work, pinned, names: Cell::new(0) })
    }

    /// The node's program.
    pub fn node(&self) -> Option<&Path> {
        self.place.node.as_deref()
    }

    /// Whether steps should be short.
    pub fn quick(&self) -> bool {
        self.place.quick
    }

    /// Bytes that the reference adds to every message it tells.
    pub fn envelope(&self) -> usize {
        self.place.envelope
    }

    /// Whether servers and generators had a core each.
    pub fn pinned(&self) -> bool {
        self.pinned
    }

    /// A path in this run's folder that nothing else uses.
    pub fn fresh(&self, name: &str) -> PathBuf {
        self.names.set(self.names.get() + 1);
        self.work.path().join(format!("{name}-{}", self.names.get()))
    }

    /// The reference server, storing what it acknowledges if asked to.
    pub fn start_raw(&self, stored: bool) -> Result<Server> {
        let addr = free_addr()?;
        let mut args = vec![OsString::from("raw"), "--addr".into(), addr.to_string().into()];
        args.extend(["--envelope".into(), self.place.envelope.to_string().into()]);
        if stored {
            args.extend(["--db".into(), self.fresh("raw.db").into()]);
        }
        let exe = std::env::current_exe()?;
        self.start(exe.as_os_str(), &args, &[], addr, |addr| TcpStream::connect_timeout(&addr, LOOK_EVERY).is_ok())
    }

    /// The node on this data folder.
    pub fn start_node(&self, data: &Path) -> Result<Server> {
        self.start_node_with(data, &[])
    }

    /// The same with settings in its environment.
    pub fn start_node_with(&self, data: &Path, settings: &[(&str, &str)]) -> Result<Server> {
        let addr = free_addr()?;
        let args = [
            "--config".into(),
            self.place.config.clone().into(),
            "--data".into(),
            data.into(),
            "--listen".into(),
            addr.to_string().into(),
        ];
        let node = self.node().context("no node")?;
        self.start(node.as_os_str(), &args, settings, addr, is_ready)
    }

    /// Makes users in the node's data folder; the file that describes them.
    pub fn seed(&self, data: &Path, users: usize) -> Result<PathBuf> {
        self.seed_with(data, users, &[])
    }

    /// The same with settings in the environment.
    pub fn seed_with(&self, data: &Path, users: usize, settings: &[(&str, &str)]) -> Result<PathBuf> {
        let (people, log) = (self.fresh("people.jsonl"), self.fresh("seed.log"));
        let child = Command::new(self.node().context("no node")?)
            .args(["admin", "seed", "--users", &users.to_string(), "--data"])
            .arg(data)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(&people)?)
            .stderr(File::create(&log)?)
            .spawn()
            .context("admin seed")?;
        let status = self.wait(child)?;
        ensure!(status.success(), "admin seed: {status}\n{}", tail(&log));
        Ok(people)
    }

    /// Runs the generator against a server; its result.
    pub fn generate<S: AsRef<OsStr>>(&self, server: &Server, args: &[S]) -> Result<Value> {
        let out = self.fresh("result.json");
        let exe = std::env::current_exe()?;
        let child = self
            .command(GENERATOR_CORE, exe.as_os_str())
            .args(["loadgen", "--addr", &server.addr.to_string()])
            .args(["--server-pid", &server.pid().to_string()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .spawn()
            .context("loadgen")?;
        let status = self.wait(child)?;
        ensure!(status.success(), "loadgen: {status}; the server's log ends:\n{}", tail(&server.log));
        let text = std::fs::read_to_string(&out)?;
        let last = text.lines().last().context("loadgen said nothing")?;
        serde_json::from_str(last).context("loadgen's result")
    }

    fn command(&self, core: &str, program: &OsStr) -> Command {
        if !self.pinned {
            return Command::new(program);
        }
        // taskset becomes the program, so the process id is the program's.
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program);
        command
    }

    fn start(
        &self,
        program: &OsStr,
        args: &[OsString],
        settings: &[(&str, &str)],
        addr: SocketAddr,
        up: impl Fn(SocketAddr) -> bool,
    ) -> Result<Server> {
        let log = self.fresh("server.log");
        let file = File::create(&log)?;
        let child = self
            .command(SERVER_CORE, program)
            .args(args)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{program:?}"))?;
        let mut server = Server { child, log, addr };
        let end = Instant::now() + START;
        while !up(addr) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{program:?} ended with {status}:\n{}", tail(&server.log));
            }
            ensure!(Instant::now() < end, "{program:?} is not up:\n{}", tail(&server.log));
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(server)
    }

    /// Waits for a child of ours, but not beyond the step's or the run's end.
    fn wait(&self, mut child: Child) -> Result<ExitStatus> {
        let end = (Instant::now() + STEP).min(self.place.deadline);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > end {
                child.kill()?;
                child.wait()?;
                bail!("it took too long and was ended");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Server {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where all that it says goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_addr() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Whether the node's readiness probe says 200.
fn is_ready(addr: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&addr, LOOK_EVERY)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let head = "GET /api/v1/health/ready HTTP/1.1\r\nConnection: close\r\n";
        write!(stream, "{head}Host: {addr}\r\n\r\n")?;
        let mut status = [0u8; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
