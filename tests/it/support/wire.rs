//! A bare WebSocket, for what a well-behaved client would not do: no hello of its own, no heartbeat, any frame.
//! Never an answer to anything but pings.

use super::{Node, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, Request};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

/// How a client knocks.
#[derive(Clone, Default)]
pub struct Dial {
    path: Option<String>,
    headers: Vec<(&'static str, String)>,
    receive_bytes: Option<u32>,
}

impl Dial {
    /// At `/ws`, without a token.
    pub fn new() -> Dial {
        Dial::default()
    }

    /// At another path.
    pub fn at(mut self, path: impl Into<String>) -> Dial {
        self.path = Some(path.into());
        self
    }

    /// With a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Dial {
        self.headers.push((name, value.into()));
        self
    }

    /// With a token, as clients send it that may set headers.
    pub fn bearer(self, token: &str) -> Dial {
        self.with("authorization", format!("Bearer {token}"))
    }

    /// With a small receive buffer, so that what is not read soon waits at the node.
    pub fn hearing_little(mut self) -> Dial {
        self.receive_bytes = Some(4096);
        self
    }

    async fn stream(&self, address: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = self.receive_bytes {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn request(&self, address: SocketAddr) -> Request<()> {
        let url = format!("ws://{address}{}", self.path.as_deref().unwrap_or("/ws"));
        let mut request = url.into_client_request().unwrap();
        for (name, value) in &self.headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }
}

/// An open WebSocket, before hello or without one.
pub struct Wire {
    pub stream: WebSocketStream<TcpStream>,
    /// What the node answered the handshake with.
    pub headers: HeaderMap,
}

impl Wire {
    /// Shakes hands; a refusal gives the status and the problem.
    pub async fn dial(node: &Node, dial: Dial) -> Result<Wire, (u16, Value)> {
        let stream = dial.stream(node.address).await;
        let handshake = tokio_tungstenite::client_async(dial.request(node.address), stream);
        match within(handshake, "the handshake").await {
            Ok((stream, response)) => Ok(Wire { stream, headers: response.headers().clone() }),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err((response.status().as_u16(), serde_json::from_slice(body).unwrap_or(Value::Null)))
            }
            Err(error) => panic!("no handshake: {error}"),
        }
    }

    /// The same, where nothing is to be refused.
    pub async fn open(node: &Node, dial: Dial) -> Wire {
        Wire::dial(node, dial).await.unwrap()
    }

    /// Sends a frame of the protocol.
    pub async fn says(&mut self, frame: Value) {
        self.sends(Message::text(frame.to_string())).await;
    }

    /// Says hello with this `data`; nothing is awaited.
    pub async fn says_hello(&mut self, data: Value) {
        self.says(json!({ "cmd": "hello", "data": data })).await;
    }

    /// Says hello and awaits `ready`; gives its data.
    pub async fn is_ready(&mut self, hello: Value) -> Value {
        self.says_hello(hello).await;
        let ready = self.hears().await;
        assert_eq!(ready["event"], "ready", "{ready}");
        ready["data"].clone()
    }

    /// Sends a text frame of these bytes, be they text or not.
    pub async fn says_bytes(&mut self, bytes: Vec<u8>) {
        self.sends(Message::Frame(Frame::message(bytes, OpCode::Data(Data::Text), true))).await;
    }

    /// Sends exactly these bytes.
    pub async fn says_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    /// The same, where the node may have closed; tells whether it took them.
    pub async fn may_say_raw(&mut self, bytes: &[u8]) -> bool {
        within(self.stream.get_mut().write_all(bytes), "bytes to be taken").await.is_ok()
    }

    /// Sends a text in parts of so many bytes, a frame each.
    pub async fn says_in_parts(&mut self, text: &str, bytes: usize) {
        let parts: Vec<&[u8]> = text.as_bytes().chunks(bytes).collect();
        for (at, part) in parts.iter().enumerate() {
            let opcode = if at == 0 { Data::Text } else { Data::Continue };
            let frame = Frame::message(part.to_vec(), OpCode::Data(opcode), at + 1 == parts.len());
            // The node may have heard enough before it was all said.
            if self.stream.send(Message::Frame(frame)).await.is_err() {
                return;
            }
        }
    }

    /// Sends several frames at once, so that the node reads them at once.
    pub async fn says_at_once(&mut self, frames: impl IntoIterator<Item = Value>) {
        for frame in frames {
            within(self.stream.feed(Message::text(frame.to_string())), "a frame to be taken").await.unwrap();
        }
        within(self.stream.flush(), "frames to be sent").await.unwrap();
    }

    pub async fn sends(&mut self, message: Message) {
        within(self.stream.send(message), "a frame to be sent").await.unwrap();
    }

    /// The next text frame.
    pub async fn hears(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) => return serde_json::from_str(&text).unwrap(),
                Some(Message::Close(frame)) => panic!("closed: {frame:?}"),
                Some(_) => {}
                None => panic!("the connection ended"),
            }
        }
    }

    /// The next frame as it stands on the wire, answered by nothing: its opcode and what it carries.
    pub async fn next_unanswered(&mut self) -> (u8, Vec<u8>) {
        let stream = self.stream.get_mut();
        let frame = async {
            let opcode = stream.read_u8().await.unwrap() & 0x0f;
            let length = match stream.read_u8().await.unwrap() {
                126 => usize::from(stream.read_u16().await.unwrap()),
                127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
                short => usize::from(short),
            };
            let mut carried = vec![0; length];
            stream.read_exact(&mut carried).await.unwrap();
            (opcode, carried)
        };
        within(frame, "the next frame").await
    }

    /// The next message of any kind; `None` when the connection is over.
    pub async fn next(&mut self) -> Option<Message> {
        within(self.stream.next(), "the node to say something").await.map(Result::unwrap)
    }

    /// Reads on until the node closes; gives its code.
    pub async fn is_closed(&mut self) -> u16 {
        loop {
            match within(self.stream.next(), "the node to close").await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                ended => panic!("not closed by a code: {ended:?}"),
            }
        }
    }
}
