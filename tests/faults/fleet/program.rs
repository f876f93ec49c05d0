//! A program in a process of its own: started, signalled, and surely gone when its owner is.
//! Never a process that this run did not start.

use crate::wait;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running program.
pub struct Program {
    child: Child,
    name: String,
    /// What ends it at once, with all that it has started.
    last: &'static str,
}

/// Who a program runs as, where that is not whoever runs the tests.
#[derive(Clone, Copy, Default)]
pub struct Owner(pub Option<(u32, u32)>);

/// Where a program is, also one for administrators, whose folder is on few people's path.
pub fn installed(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];
    folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

/// The command that runs a program so that it ends with the thread that started it, however that ends.
pub fn bound(program: impl AsRef<Path>, last: &str, owner: Owner) -> Command {
    let mut command = Command::new("setpriv");
    if let Some((user, group)) = owner.0 {
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
    }
    command.args(["--pdeathsig", last, "--"]).arg(program.as_ref()).stdin(Stdio::null());
    command
}

impl Program {
    /// Runs a command that `bound` made; what it says goes to the end of a file.
    pub fn start(mut command: Command, last: &'static str, log: &Path) -> Program {
        let log = File::options().create(true).append(true).open(log).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let name = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Program { child, name, last }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by the signal's name.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.id().to_string()]).status();
        assert!(sent.unwrap().success(), "no signal {signal} to {}", self.name);
    }

    /// Awaits that it has ended.
    pub async fn ends(mut self) {
        let name = self.name.clone();
        wait::must(&format!("{name} to end"), async || self.child.try_wait().unwrap()).await;
    }

    /// Ends it as nothing can be prepared for.
    pub async fn dies(self) {
        self.signal("KILL");
        self.ends().await;
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // A stopped process takes no other signal than these two.
            for signal in [self.last, "CONT"] {
                let _ = Command::new("kill").args([&format!("-{signal}"), &self.id().to_string()]).status();
            }
            let _ = self.child.wait();
        }
    }
}
