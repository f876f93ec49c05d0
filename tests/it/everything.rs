//! Every command at every door, in one life each: the node's own meters say that none was left out.
//! Never the rules of a command: those have stories of their own.

use crate::support::browser::{BACK, exchanges, linking};
use crate::support::speech::{Door, id_of};
use crate::support::*;

/// Ann, who does everything, at one door; and those whom she does it with.
struct Life<'a> {
    node: Node,
    issuer: &'a Issuer,
    ann: Person,
    door: Door,
    bob: Person,
    cid: Person,
}

/// The verification that was answered, with its code.
async fn code(node: &Node, sent: Value) -> Value {
    let verification = sent["verificationId"].as_str().unwrap();
    json!({ "verificationId": verification, "code": node.code_of(verification).await })
}

fn with(mut data: Value, more: Value) -> Value {
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    data
}

impl<'a> Life<'a> {
    async fn begins(node: &Node, issuer: &'a Issuer, at: usize) -> Life<'a> {
        let stage = &node.stage;
        let phone = stage.phone_number();
        let asked = json!({ "phoneNumber": phone, "purpose": "register" });
        let shown = code(node, node.says("auth.sendOtp", asked).await.ok()).await;
        let made = node.says("auth.register", with(shown, json!({ "password": GOOD }))).await.ok();
        let ann = Person::of(node, "ann", &phone, &made);
        let granted = process::runs(stage, &["admin", "grant", &ann.id.to_string(), "operator"], &[]).await;
        assert!(granted.status.success(), "{}", granted.log);
        let [bob, cid] = node.people(["bob", "cid"]).await;
        let [rest, socket] = ann.doors().await;
        let door = if at == 0 { rest } else { socket };
        Life { node: node.clone(), issuer, ann, door, bob, cid }
    }

    async fn does(&self, command: &str, data: Value) -> Value {
        let answer = self.door.calls(command, data).await;
        if let Err(error) = &answer.result {
            panic!("{command} at {}: {error}", self.door.name());
        }
        answer.ok()
    }

    async fn says_of_herself(&self) {
        self.does("users.getProfile", json!({ "userId": "me" })).await;
        self.does("users.updateProfile", json!({ "userId": "me", "displayName": "Ann", "bio": "tea" })).await;
        self.does("users.search", json!({ "q": "bob" })).await;
        self.does("users.changes", json!({ "afterUserRev": 0 })).await;
        self.does("users.setStatus", json!({ "text": "at sea", "emoji": "⛵", "expiresInSecs": 60 })).await;
        self.does("users.getSettings", json!({})).await;
        self.does("users.updateSettings", json!({ "theme": "dark" })).await;
        self.does("users.getPrivacy", json!({})).await;
        self.does("users.updatePrivacy", json!({ "bio": "contacts" })).await;
    }

    async fn keeps_company(&self) {
        let bob = json!({ "userId": self.bob.id });
        self.does("users.addContact", bob.clone()).await;
        self.does("users.renameContact", with(bob.clone(), json!({ "name": "Bob", "favourite": true }))).await;
        self.does("users.getContacts", json!({})).await;
        let listed = json!({ "contacts": [{ "phoneNumber": self.cid.phone, "name": "Cid" }] });
        assert_eq!(self.does("users.syncContacts", listed).await["matched"].as_array().unwrap().len(), 1);
        self.does("users.removeContact", bob.clone()).await;
        self.does("users.block", bob.clone()).await;
        self.does("users.listBlocked", json!({})).await;
        self.does("users.unblock", bob.clone()).await;
        self.does("users.report", with(bob, json!({ "reason": "spam" }))).await;
        self.does("users.listReports", json!({})).await;
    }

    async fn has_devices(&self) {
        let pad = json!({ "deviceId": "pad" });
        let more = json!({ "platform": "ios", "name": "a pad", "push": { "provider": "fcm", "token": "one" } });
        self.does("users.registerDevice", with(pad.clone(), more)).await;
        self.does("users.listDevices", json!({})).await;
        self.does("users.renameDevice", with(pad.clone(), json!({ "name": "the pad" }))).await;
        let push = json!({ "push": { "provider": "fcm", "token": format!("of {}", self.ann.id) }, "voipToken": "v" });
        self.does("users.updatePushToken", with(pad, push)).await;
        // The one that she speaks from is another: removing it would end this.
        let other = json!({ "deviceId": "old", "platform": "web", "name": "an old one" });
        self.does("users.registerDevice", other).await;
        self.ann.connects().await.is_served().await;
    }

    async fn talks(&self) {
        let group = json!({ "kind": "group", "name": "tea", "participantIds": [self.bob.id] });
        let group: ConversationId = id_of(&self.does("conversations.create", group).await);
        let there = json!({ "conversationId": group });
        let cid = with(there.clone(), json!({ "userId": self.cid.id }));
        self.does("conversations.get", there.clone()).await;
        self.does("conversations.getByUser", json!({})).await;
        self.does("conversations.update", with(there.clone(), json!({ "name": "cake" }))).await;
        self.does("conversations.updateMine", with(there.clone(), json!({ "markedUnread": true }))).await;
        self.takes_requests().await;
        self.does("conversations.addParticipant", with(there.clone(), json!({ "userIds": [self.cid.id] }))).await;
        self.does("conversations.listParticipants", there.clone()).await;
        self.does("conversations.setRole", with(cid.clone(), json!({ "role": "admin" }))).await;
        self.does("conversations.removeParticipant", cid).await;
        self.writes(group).await;
        let bob = with(there.clone(), json!({ "userId": self.bob.id }));
        self.does("conversations.transferOwnership", bob).await;
        self.does("conversations.leave", there).await;
    }

    async fn takes_requests(&self) {
        self.does("users.updatePrivacy", json!({ "privateChats": "nobody" })).await;
        let asked = json!({ "conversationId": self.bob.meets(&self.ann).await });
        self.does("conversations.decline", asked.clone()).await;
        self.does("conversations.accept", asked).await;
    }

    async fn writes(&self, group: ConversationId) {
        let there = json!({ "conversationId": group });
        let said = with(there.clone(), json!({ "text": "hello", "clientId": "one" }));
        let message = self.does("messages.send", said).await["message"].clone();
        let it = json!({ "messageId": message["id"] });
        self.does("messages.getByConversation", there.clone()).await;
        self.does("messages.changes", with(there.clone(), json!({ "afterRev": 0 }))).await;
        self.does("messages.get", it.clone()).await;
        self.does("messages.edit", with(it.clone(), json!({ "text": "hello all" }))).await;
        let emoji = with(it.clone(), json!({ "emoji": "👍" }));
        self.does("messages.addReaction", emoji.clone()).await;
        self.does("messages.removeReaction", emoji).await;
        let seq = with(there.clone(), json!({ "seq": message["seq"] }));
        self.does("messages.markDelivered", seq.clone()).await;
        // A socket's marks go out once a second.
        self.node.clock.advance(secs(1));
        self.does("messages.markRead", seq).await;
        self.does("messages.delete", it).await;
        let bob = json!({ "userIds": [self.bob.id] });
        self.does("presence.get", bob.clone()).await;
        self.does("presence.set", json!({ "status": "busy" })).await;
        if let Door::Socket(_) = self.door {
            self.does("messages.typing", with(there, json!({ "typing": true }))).await;
            self.does("presence.watch", bob.clone()).await;
            self.does("presence.unwatch", bob).await;
            self.ann.refreshes().await;
            self.does("auth.renew", json!({ "accessToken": self.ann.access_token() })).await;
        }
    }

    async fn changes_how_she_signs_in(&self) {
        let sent = self.does_at_rest("auth.sendOtp", json!({ "purpose": "reauthenticate" })).await;
        code(&self.node, sent).await;
        self.does("auth.reauthenticate", json!({ "password": GOOD })).await;
        self.does("auth.changePassword", json!({ "newPassword": BETTER })).await;
        let sent = self.does("auth.changeEmail", json!({ "email": format!("{}@example.org", self.ann.id) })).await;
        self.does("auth.verifyEmail", code(&self.node, sent).await).await;
        let number = self.node.stage.phone_number();
        let asked = json!({ "phoneNumber": number, "purpose": "changePhone" });
        let sent = self.does_at_rest("auth.sendOtp", asked).await;
        self.does("users.changePhone", code(&self.node, sent).await).await;
        self.does("auth.linkedAccounts", json!({})).await;
        let more = format!("&linkSession={}", self.ann.session());
        let browser = Browser::sets_out(&self.node, "issuer", &more).await;
        let subject = json!({ "sub": self.ann.id });
        let back = browser.signs_in_at(self.issuer, subject).await;
        self.does("auth.linkAccount", linking(&back["code"])).await;
        self.does("auth.unlinkAccount", json!({ "provider": "issuer" })).await;
        self.guards_herself(&number).await;
    }

    /// What is public has no place on a socket.
    async fn does_at_rest(&self, command: &str, data: Value) -> Value {
        self.ann.calls(command, data).await.ok()
    }

    async fn guards_herself(&self, number: &str) {
        let setup = self.does("auth.setup2fa", json!({})).await;
        let app = Authenticator::of(&setup);
        let shown = |steps: i64| json!({ "code": app.shows(&self.node, steps) });
        self.does("auth.enable2fa", shown(0)).await;
        let codes = self.does("auth.regenerateBackupCodes", shown(1)).await["backupCodes"].clone();
        let signed_in = self.node.says("auth.login", json!({ "identifier": number, "password": BETTER })).await.ok();
        let answer = json!({ "challengeToken": signed_in["challengeToken"], "code": codes[0] });
        let other = self.node.says("auth.verify2fa", answer).await.ok();
        self.does("auth.listSessions", json!({})).await;
        self.does("auth.validate", json!({ "accessToken": other["accessToken"] })).await;
        self.does("auth.revokeSession", json!({ "sessionId": other["sessionId"] })).await;
        self.does("auth.listEvents", json!({})).await;
        self.node.clock.advance(STEP);
        self.does("auth.disable2fa", shown(1)).await;
    }

    async fn leaves(&self) {
        let export = self.does("users.exportData", json!({})).await;
        self.does("users.listExports", json!({})).await;
        self.does("users.cancelExport", json!({ "exportId": export["id"] })).await;
        self.does("users.deleteAccount", json!({ "messages": "keep" })).await;
        self.does("users.cancelDeletion", json!({})).await;
        self.does("auth.logoutAll", json!({})).await;
        self.does("users.removeDevice", json!({ "deviceId": "pad" })).await;
    }
}

/// What is done by whoever has not signed in yet.
async fn comes_in_by_each_way(node: &Node, issuer: &Issuer) {
    let [dan] = node.people(["dan"]).await;
    let sent = node.says("auth.forgotPassword", json!({ "identifier": dan.phone })).await.ok();
    let reset = with(code(node, sent).await, json!({ "newPassword": GOOD }));
    node.says("auth.resetPassword", reset).await.ok();
    Person::signs_in(node, &dan.phone).await.ok();
    let signed_in = node.says("auth.login", json!({ "identifier": dan.phone, "password": GOOD })).await.ok();
    let refreshed = node.says("auth.refreshToken", json!({ "refreshToken": signed_in["refreshToken"] })).await.ok();
    node.says("auth.logout", json!({ "refreshToken": refreshed["refreshToken"] })).await.ok();
    let browser = Browser::sets_out(node, "issuer", "").await;
    let back = browser.signs_in_at(issuer, json!({ "sub": "eve" })).await;
    exchanges(node, &back["code"]).await.ok();
    let token = issuer.signs(&issuer.claims(node, json!({ "sub": "fay" })));
    node.says("auth.oauthMobile", json!({ "provider": "issuer", "idToken": token, "nonce": "n" })).await.ok();
}

/// What the meters count of each command at each of its doors.
async fn counted(node: &Node) -> Vec<(String, f64)> {
    let page = String::from_utf8(node.operators("/metrics").await.body).unwrap();
    let counts = page.lines().filter_map(|line| line.strip_prefix("quckchat_command_seconds_count"));
    let counts = counts.filter_map(|line| line.rsplit_once(' '));
    counts.map(|(labels, count)| (labels.to_owned(), count.parse().unwrap())).collect()
}

stories! {
    async fn every_command_is_served_at_each_of_its_doors(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = Node::start_with(&stage, |config| {
            config.operations.listen = Some(([127, 0, 0, 1], 0).into());
            config.oauth.base_url = "http://node.example".to_owned();
            config.oauth.redirect_allow = vec![BACK.to_owned()];
            config.oauth.providers = [("issuer".to_owned(), issuer.section())].into();
        })
        .await;
        for at in 0..2 {
            let life = Life::begins(&node, &issuer, at).await;
            life.says_of_herself().await;
            life.keeps_company().await;
            life.has_devices().await;
            life.talks().await;
            life.changes_how_she_signs_in().await;
            life.leaves().await;
        }
        comes_in_by_each_way(&node, &issuer).await;

        let counted = counted(&node).await;
        assert!(counted.len() > 150, "{}", counted.len());
        let left_out: Vec<_> = counted.into_iter().filter(|(_, count)| *count == 0.0).collect();
        assert!(left_out.is_empty(), "{left_out:?}");
    }
}
