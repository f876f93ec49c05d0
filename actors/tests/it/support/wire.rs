//! A wire between a node and its PostgreSQL that can be cut at the worst moment.
//! Never a change of what passes through it.

use super::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes everything on, until it is told to lose an answer.
pub struct Wire {
    /// The database's URL by way of this wire.
    pub url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    loses_commit: AtomicBool,
    lost: AtomicUsize,
    cut: watch::Sender<bool>,
}

impl Wire {
    /// A wire to the server that the URL names.
    pub async fn to(url: &str) -> Wire {
        let (before, rest) = url.split_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let (server, shared) = (server.to_owned(), state.clone());
        actix_rt::spawn(async move {
            let mut cut = shared.cut.subscribe();
            loop {
                let client = tokio::select! {
                    _ = cut.wait_for(|cut| *cut) => return,
                    accepted = listener.accept() => accepted.unwrap().0,
                };
                let database = TcpStream::connect(&server).await.unwrap();
                actix_rt::spawn(pass(client, database, shared.clone()));
            }
        });
        Wire { url: format!("{before}@{address}/{name}"), state }
    }

    /// The answer to the next COMMIT is lost, and the connection with it: what was committed stays so.
    pub fn loses_next_commit(&self) {
        self.state.loses_commit.store(true, Ordering::SeqCst);
    }

    /// Ends every connection, and takes no new ones.
    pub fn is_cut(&self) {
        self.state.cut.send_replace(true);
    }

    /// How many answers were lost so far.
    pub fn lost(&self) -> usize {
        self.state.lost.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, mut database: TcpStream, state: Arc<State>) {
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut loses = false;
    let mut cut = state.cut.subscribe();
    loop {
        tokio::select! {
            _ = cut.wait_for(|cut| *cut) => return,
            read = client.read(&mut asked) => {
                let Ok(count @ 1..) = read else { return };
                let commits = asked[..count].windows(6).any(|word| word == b"COMMIT");
                loses |= commits && state.loses_commit.swap(false, Ordering::SeqCst);
                if database.write_all(&asked[..count]).await.is_err() {
                    return;
                }
            }
            read = database.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if loses && answered[..count].windows(6).any(|word| word == b"COMMIT") {
                    state.lost.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if client.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
