//! The reference: one thread, epoll, frames encoded once, plain `write(2)`s. It has no actors, no JSON and
//! no accounts, so it shows about how fast the machine can do the job at all. What arrived in one turn of
//! the loop goes to each socket in one write.
//!
//! Its protocol: `H` is answered `h`; `S<body>` is said to all; `D<peer>|<id>|<body>` to one, and
//! acknowledged `A<id>`, with `--db` after its commit.

mod frames;
mod store;

use anyhow::Result;
use base64::Engine;
use clap::Parser;
pub use frames::text_frame;
use frames::{ClientFrame, client_frame};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use sha1::{Digest, Sha1};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use store::{Job, Store};

#[derive(Parser)]
#[command(name = "raw", about = "The reference server")]
struct Cli {
    #[arg(long, default_value = "127.0.0.1:9000")]
    addr: SocketAddr,
    /// Store direct messages here before acknowledging them.
    #[arg(long)]
    db: Option<PathBuf>,
    /// Tell every message with so many bytes more, as if it had an envelope: to compare at equal bytes.
    #[arg(long, default_value_t = 0)]
    envelope: usize,
    /// SQLite's `synchronous`.
    #[arg(long, default_value = "FULL")]
    synchronous: String,
}

const LISTENER: Token = Token(usize::MAX);
const WAKE: Token = Token(usize::MAX - 1);
const BACKLOG: i32 = 4096;

/// Runs the reference server until it is killed.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let cli = Cli::parse_from(args);
    anyhow::ensure!(cli.addr.ip().is_loopback(), "loopback only");
    let mut server = Server::open(&cli)?;
    let mut events = Events::with_capacity(1024);
    loop {
        server.poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => server.accept()?,
                WAKE => server.deliver_stored(),
                Token(t) => server.serve(t, event.is_readable(), event.is_writable())?,
            }
        }
        server.broadcast();
    }
}

struct Conn {
    stream: TcpStream,
    user: Option<u64>,
    inbox: Vec<u8>,
    out: Vec<u8>,
}

/// A direct message that may be told: stored, or taken if nothing is stored.
struct Told {
    from: usize,
    id: String,
    to: u64,
    body: String,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    /// An accept failed for want of descriptors.
    starved: bool,
    waker: Arc<Waker>,
    store: Option<Store>,
    told: Arc<Mutex<Vec<Told>>>,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    users: HashMap<u64, usize>,
    /// Read into; kept here so that it is allocated once.
    buf: Vec<u8>,
    /// Put after every message told.
    envelope: Vec<u8>,
    /// Frames for everybody, gathered in this turn.
    said: Vec<u8>,
}

impl Server {
    fn open(cli: &Cli) -> Result<Server> {
        let poll = Poll::new()?;
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&cli.addr.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(socket.into());
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let store = cli.db.as_ref().map(|path| Store::open(path, &cli.synchronous)).transpose()?;
        Ok(Server {
            poll,
            listener,
            starved: false,
            waker,
            store,
            told: Arc::default(),
            conns: vec![],
            free: vec![],
            users: HashMap::new(),
            buf: vec![0; 65536],
            envelope: vec![b'.'; cli.envelope],
            said: vec![],
        })
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) => {
                    self.starved = e.kind() != ErrorKind::WouldBlock;
                    return Ok(());
                }
            };
            let _ = stream.set_nodelay(true);
            let t = self.free.pop().unwrap_or_else(|| {
                self.conns.push(None);
                self.conns.len() - 1
            });
            self.poll.registry().register(&mut stream, Token(t), Interest::READABLE)?;
            self.conns[t] = Some(Conn { stream, user: None, inbox: vec![], out: vec![] });
        }
    }

    fn serve(&mut self, t: usize, readable: bool, writable: bool) -> Result<()> {
        let Some(mut conn) = self.conns[t].take() else {
            return Ok(());
        };
        if writable {
            conn.flush(&self.poll, t);
        }
        let open = !readable || {
            let more = conn.read(&mut self.buf);
            self.upgrade(&mut conn, t);
            self.frames(&mut conn, t)? && more
        };
        if open {
            self.conns[t] = Some(conn);
            return Ok(());
        }
        if let Some(user) = conn.user
            && self.users.get(&user) == Some(&t)
        {
            self.users.remove(&user);
        }
        let _ = self.poll.registry().deregister(&mut conn.stream);
        self.free.push(t);
        drop(conn);
        if self.starved { self.accept() } else { Ok(()) }
    }

    /// Answers the HTTP upgrade once its head is there.
    fn upgrade(&mut self, conn: &mut Conn, t: usize) {
        if conn.user.is_some() {
            return;
        }
        let Some(end) = memchr::memmem::find(&conn.inbox, b"\r\n\r\n") else {
            return;
        };
        let head = String::from_utf8_lossy(&conn.inbox[..end]).into_owned();
        let user = head.split("?u=").nth(1).and_then(|s| s.split(' ').next()?.parse().ok());
        let key = head.lines().find_map(|l| l.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or("");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept_key(key)
        );
        conn.inbox.drain(..end + 4);
        let user = user.unwrap_or(0);
        conn.user = Some(user);
        self.users.insert(user, t);
        conn.write(answer.as_bytes(), &self.poll, t);
    }

    /// Takes the whole frames out of the inbox; false when the client closes.
    fn frames(&mut self, conn: &mut Conn, t: usize) -> Result<bool> {
        let Some(author) = conn.user else {
            return Ok(true);
        };
        let (mut at, mut open) = (0, true);
        while let Some(ClientFrame { mut payload, used, op }) = client_frame(&conn.inbox[at..]) {
            at += used;
            match (op, payload.first()) {
                (8, _) => open = false,
                (1, Some(b'H')) => conn.write(&[0x81, 1, b'h'], &self.poll, t),
                (1, Some(b'S')) => {
                    payload.extend_from_slice(&self.envelope);
                    text_frame(&payload[1..], &mut self.said);
                }
                (1, Some(b'D')) => self.direct(t, author, &payload[1..])?,
                _ => {}
            }
        }
        conn.inbox.drain(..at);
        if conn.inbox.is_empty() {
            conn.inbox = Vec::new();
        }
        Ok(open)
    }

    fn direct(&mut self, from: usize, author: u64, payload: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(payload);
        let mut parts = text.splitn(3, '|');
        let (Some(to), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Ok(());
        };
        let to = to.parse().unwrap_or(0);
        let told = Told { from, id: id.to_owned(), to, body: body.to_owned() };
        let (queue, waker) = (self.told.clone(), self.waker.clone());
        let tell = move |told| {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.push(told);
            if queue.len() == 1 {
                let _ = waker.wake();
            }
        };
        let Some(store) = &self.store else {
            tell(told);
            return Ok(());
        };
        let (chat, author, body) = (to as i64, author as i64, told.body.clone());
        store.put(Job { chat, author, body, done: Box::new(move || tell(told)) })
    }

    fn deliver_stored(&mut self) {
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        let mut frame = vec![];
        for Told { from, id, to, body } in told {
            frame.clear();
            text_frame(format!("A{id}").as_bytes(), &mut frame);
            if let Some(conn) = &mut self.conns[from] {
                conn.write(&frame, &self.poll, from);
            }
            frame.clear();
            let mut body = body.into_bytes();
            body.extend_from_slice(&self.envelope);
            text_frame(&body, &mut frame);
            if let Some(t) = self.users.get(&to)
                && let Some(conn) = &mut self.conns[*t]
            {
                conn.write(&frame, &self.poll, *t);
            }
        }
    }

    fn broadcast(&mut self) {
        if self.said.is_empty() {
            return;
        }
        for (t, conn) in self.conns.iter_mut().enumerate() {
            if let Some(conn) = conn
                && conn.user.is_some()
            {
                conn.write(&self.said, &self.poll, t);
            }
        }
        self.said.clear();
    }
}

impl Conn {
    /// Reads all there is; false at the end of the stream.
    fn read(&mut self, buf: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buf) {
                Ok(0) => return false,
                Ok(n) => {
                    self.inbox.extend_from_slice(&buf[..n]);
                    if n < buf.len() {
                        return true;
                    }
                }
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// Writes now; keeps what the socket won't take.
    fn write(&mut self, data: &[u8], poll: &Poll, t: usize) {
        if !self.out.is_empty() {
            self.out.extend_from_slice(data);
            return;
        }
        let mut at = 0;
        while at < data.len() {
            match self.stream.write(&data[at..]) {
                Ok(n) => at += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.out.extend_from_slice(&data[at..]);
                    let both = Interest::READABLE | Interest::WRITABLE;
                    let _ = poll.registry().reregister(&mut self.stream, Token(t), both);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn flush(&mut self, poll: &Poll, t: usize) {
        let data = std::mem::take(&mut self.out);
        if data.is_empty() {
            return;
        }
        self.write(&data, poll, t);
        if self.out.is_empty() {
            let _ = poll.registry().reregister(&mut self.stream, Token(t), Interest::READABLE);
        }
    }
}

/// RFC 6455, section 4.2.2.
fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_accept_key_is_that_of_the_standard() {
        let accept = super::accept_key("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
