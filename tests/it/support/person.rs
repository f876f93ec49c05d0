//! Somebody with a phone number, who signs in by a code and speaks at both doors.
//! Never what they hold: a socket keeps what it hears.

use super::answer::Answer;
use super::speech::{Door, Request, id_of};
use super::wire::{Dial, Wire};
use super::{Node, Socket, Speaks, UserId};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;

/// One sign-in of a person at a node. A clone is the same sign-in.
#[derive(Clone)]
pub struct Person {
    pub id: UserId,
    pub name: String,
    pub phone: String,
    pub node: Node,
    tokens: Rc<RefCell<Tokens>>,
}

#[derive(Clone)]
struct Tokens {
    access: String,
    refresh: String,
    session: String,
}

impl Tokens {
    fn of(reply: &Value) -> Tokens {
        let text = |field: &str| reply[field].as_str().unwrap_or_else(|| panic!("no {field}: {reply}")).to_owned();
        Tokens { access: text("accessToken"), refresh: text("refreshToken"), session: text("sessionId") }
    }
}

impl Person {
    /// Registers with a number of their own, and takes a name.
    pub async fn arrives(node: &Node, name: &str) -> Person {
        let phone = node.stage.phone_number();
        let reply = Person::signs_in(node, &phone).await.ok();
        let person = Person::of(node, name, &phone, &reply);
        // Two people of a story may have one name; usernames they have none.
        person.calls("users.updateProfile", json!({ "userId": "me", "displayName": name })).await.ok();
        person
    }

    /// Whom a door has let in.
    pub fn of(node: &Node, name: &str, phone: &str, reply: &Value) -> Person {
        Person {
            id: id_of(&reply["user"]),
            name: name.to_owned(),
            phone: phone.to_owned(),
            node: node.clone(),
            tokens: Rc::new(RefCell::new(Tokens::of(reply))),
        }
    }

    /// Whom `admin seed` made.
    pub fn seeded(node: &Node, name: &str, line: &Value) -> Person {
        Person {
            id: line["userId"].as_str().unwrap().parse().unwrap(),
            name: name.to_owned(),
            phone: String::new(),
            node: node.clone(),
            tokens: Rc::new(RefCell::new(Tokens::of(line))),
        }
    }

    /// Asks for a code and gives it back.
    pub async fn signs_in(node: &Node, phone: &str) -> Answer {
        let sent = node.says("auth.sendOtp", json!({ "phoneNumber": phone })).await.ok();
        let verification = sent["verificationId"].as_str().unwrap();
        let code = node.letters.code(verification).expect("a code that was sent");
        let data = json!({ "verificationId": verification, "code": code, "device": { "name": "a phone" } });
        node.says("auth.verifyOtp", data).await
    }

    /// The same person on another device: a session of its own.
    pub async fn on_another_device(&self) -> Person {
        let reply = Person::signs_in(&self.node, &self.phone).await.ok();
        assert_eq!(reply["isNewUser"], false);
        Person::of(&self.node, &self.name, &self.phone, &reply)
    }

    /// The same sign-in at another node.
    pub fn at(&self, node: &Node) -> Person {
        Person { node: node.clone(), ..self.clone() }
    }

    pub fn access_token(&self) -> String {
        self.tokens.borrow().access.clone()
    }

    pub fn refresh_token(&self) -> String {
        self.tokens.borrow().refresh.clone()
    }

    pub fn session(&self) -> String {
        self.tokens.borrow().session.clone()
    }

    /// Spends a refresh token, whether it is the newest or not.
    pub async fn spends(&self, token: &str) -> Answer {
        self.node.says("auth.refreshToken", json!({ "refreshToken": token })).await
    }

    /// Refreshes, and goes on with what it got.
    pub async fn refreshes(&self) {
        let reply = self.spends(&self.refresh_token()).await.ok();
        *self.tokens.borrow_mut() = Tokens::of(&reply);
    }

    pub async fn signs_out(&self) -> Answer {
        let data = json!({ "refreshToken": self.refresh_token() });
        self.node.says("auth.logout", data).await
    }

    /// How this person's clients knock: with their token in the header.
    pub fn dial(&self) -> Dial {
        Dial::new().bearer(&self.access_token())
    }

    /// A socket at `/ws`.
    pub async fn connects(&self) -> Socket {
        self.connects_with(json!({})).await
    }

    /// The same with more to say in the hello.
    pub async fn connects_with(&self, hello: Value) -> Socket {
        Socket::begin(Wire::open(&self.node, self.dial()).await, hello).await
    }

    /// A socket at another path.
    pub async fn connects_at(&self, path: &'static str) -> Socket {
        Socket::begin(Wire::open(&self.node, self.dial().at(path)).await, json!({})).await
    }

    /// This person at each of the doors.
    pub async fn doors(&self) -> [Door; 2] {
        [Door::Rest(self.clone()), Door::Socket(self.connects().await)]
    }
}

impl Speaks for Person {
    async fn calls(&self, command: &str, data: Value) -> Answer {
        self.node.asks(Some(&self.access_token()), Request::of(command, data)).await
    }
}
