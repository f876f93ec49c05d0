//! A WebSocket of a client: knocking, hello, commands out, frames in.
//! Never what the frames mean.

use crate::wait;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// What takes longer than this is given up: another door may open faster.
const STEP: Duration = Duration::from_secs(3);

/// An open socket.
pub struct Link {
    stream: WebSocketStream<TcpStream>,
    commands: u64,
}

/// What came in.
pub enum Incoming {
    Frame(Value),
    /// The end, with the code if the node gave one.
    Closed(Option<u16>),
}

impl Link {
    /// Knocks and says hello; gives the `data` of `ready`, or what came of it instead.
    pub async fn open(door: SocketAddr, token: &str, hello: Value) -> Result<(Link, Value), String> {
        let opening = async {
            let stream = TcpStream::connect(door).await.map_err(|error| format!("no connection: {error}"))?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            let mut request = format!("ws://{door}/ws").into_client_request().unwrap();
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            let (stream, _) = tokio_tungstenite::client_async(request, stream)
                .await
                .map_err(|error| format!("no socket: {error}"))?;
            let mut link = Link { stream, commands: 0 };
            link.says(json!({ "cmd": "hello", "data": hello })).await.ok_or("gone before hello")?;
            match link.next().await {
                Incoming::Frame(ready) if ready["event"] == "ready" => Ok((link, ready["data"].clone())),
                Incoming::Frame(other) => Err(format!("hello answered with {other}")),
                Incoming::Closed(code) => Err(format!("closed with {code:?} after hello")),
            }
        };
        timeout(STEP, opening).await.unwrap_or_else(|_| Err(format!("not open within {STEP:?}")))
    }

    /// The same while nothing is broken: it tries again, as clients do, until it is open. A first hello may take long on
    /// a machine that has to read the programs from its disk.
    pub async fn opens(door: SocketAddr, token: &str) -> Link {
        let mut last = String::new();
        let opened = wait::until(Instant::now() + wait::PATIENCE, async || {
            Link::open(door, token, json!({})).await.map_err(|why| last = why).ok()
        });
        match opened.await {
            Some((link, _)) => link,
            None => panic!("waited in vain for a socket: {last}"),
        }
    }

    /// Sends a frame; `None` if the connection is over.
    pub async fn says(&mut self, frame: Value) -> Option<()> {
        timeout(STEP, self.stream.send(Message::text(frame.to_string()))).await.ok()?.ok()
    }

    /// Sends a command; gives the id that its reply will have.
    pub async fn commands(&mut self, command: &str, data: &Value) -> Option<String> {
        self.commands += 1;
        let id = format!("c{}", self.commands);
        self.says(json!({ "id": id, "cmd": command, "data": data })).await?;
        Some(id)
    }

    /// The next frame, or the end.
    pub async fn next(&mut self) -> Incoming {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Incoming::Frame(serde_json::from_str(&text).expect("a node speaks JSON"));
                }
                Some(Ok(Message::Close(frame))) => return Incoming::Closed(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Incoming::Closed(None),
            }
        }
    }

    /// Sends a command and awaits its reply, over whatever else is said; a refusal fails the run.
    pub async fn asks(&mut self, command: &str, data: Value) -> Value {
        let id = self.commands(command, &data).await.expect("a connection");
        let answered = async {
            loop {
                match self.next().await {
                    Incoming::Frame(frame) if frame["re"] == *id => return frame,
                    Incoming::Frame(_) => {}
                    Incoming::Closed(code) => panic!("closed with {code:?} before the reply to {command}"),
                }
            }
        };
        let reply = timeout(wait::PATIENCE, answered).await.expect(command);
        assert!(reply.get("ok").is_some(), "{command} {data}: {reply}");
        reply["ok"].clone()
    }

    /// Everything that `messages.changes` tells of a conversation from its beginning.
    pub async fn reads_all(&mut self, conversation: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), Value::from(0));
        loop {
            let asked = json!({ "conversationId": conversation, "afterRev": after, "limit": 100 });
            let mut page = self.asks("messages.changes", asked).await;
            items.extend(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
            after = page["nextRev"].take();
            if page["more"] != true {
                return items;
            }
        }
    }
}
