//! In which language people are written to: what they say, what their account says, what their client says.

use crate::support::*;
use actix_web::http::Method;

const NUMBER: &str = "+4915112345678";
const EMAIL: &str = "ann@example.org";

/// What a text or a letter with a code says in each language.
const WORDS: [(&str, &str); 8] = [
    ("en", "is your QuckChat code"),
    ("en", "This is your code:"),
    ("de", "ist dein QuckChat-Code"),
    ("de", "Das ist dein Code:"),
    ("es", "es tu clave"),
    ("es", "Esta es tu clave:"),
    ("fr", "est votre code"),
    ("fr", "Voici votre code"),
];

/// Asks for a code with a client that likes these languages; gives the one that its text is in.
async fn language(node: &Node, path: &str, person: Option<&Person>, liked: Option<&str>, body: Value) -> &'static str {
    let mut headers = vec![("content-type", "application/json".to_owned())];
    headers.extend(liked.map(|liked| ("accept-language", liked.to_owned())));
    headers.extend(person.map(|person| ("authorization", format!("Bearer {}", person.access_token()))));
    let before = node.letters.count();
    let asked = node.requests(Method::POST, &format!("/api/v1/auth/{path}"), &headers, body.to_string()).await;
    asked.answer().ok_with(200);
    // Where nobody may be told by time whether there is an account, the code leaves after the answer.
    until("the code to leave", async || node.letters.count() > before).await;
    let said = node.letters.last_words();
    WORDS.iter().find(|(_, words)| said.contains(words)).unwrap_or_else(|| panic!("{said}")).0
}

stories! {
    async fn a_code_is_in_the_language_that_the_client_likes_best(stage: Stage) {
        let node = Node::start_with(&stage, |config| (config.auth.otp_per_hour, config.auth.otp_per_day) = (50, 50)).await;
        let asked = json!({ "phoneNumber": NUMBER });
        for (liked, expected) in [
            (None, "en"),
            (Some("de"), "de"),
            (Some("fr-CA"), "fr"),
            (Some("es;q=0.2, nl, fr;q=0.9"), "fr"),
            (Some("de;q=0, es;q=0.1"), "es"),
            (Some("nl, *;q=0.5, es;q=0.1"), "en"),
            (Some("nonsense;;q=x"), "en"),
        ] {
            assert_eq!(language(&node, "send-otp", None, liked, asked.clone()).await, expected, "{liked:?}");
        }
        // What the command says comes first; what it says in vain does not stand in the way.
        for (said, expected) in [("de", "de"), ("nl", "fr")] {
            let asked = json!({ "phoneNumber": NUMBER, "locale": said });
            assert_eq!(language(&node, "send-otp", None, Some("fr"), asked).await, expected);
        }
    }

    async fn the_language_of_an_account_comes_before_that_of_a_client(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            (config.auth.otp_per_hour, config.auth.otp_per_day) = (50, 50);
            config.auth.locale = "fr".to_owned();
        })
        .await;
        let [ann] = node.people(["ann"]).await;
        let sent = ann.calls("auth.changeEmail", json!({ "email": EMAIL })).await.ok();
        let id = sent["verificationId"].as_str().unwrap();
        let right = json!({ "verificationId": id, "code": node.letters.code(id).unwrap() });
        ann.calls("auth.verifyEmail", right).await.ok();

        let new = json!({ "email": "ann@new.example" });
        let ways = [
            ("send-otp", None, json!({ "phoneNumber": ann.phone })),
            ("send-otp", None, json!({ "email": EMAIL })),
            ("forgot-password", None, json!({ "identifier": ann.phone })),
            ("forgot-password", None, json!({ "identifier": EMAIL })),
            ("send-otp", Some(&ann), json!({ "purpose": "reauthenticate" })),
            ("send-otp", Some(&ann), json!({ "purpose": "changeEmail", "email": "ann@new.example" })),
            ("change-email", Some(&ann), new),
        ];
        for (path, person, body) in &ways {
            assert_eq!(language(&node, path, *person, None, body.clone()).await, "fr", "{path} {body}");
            assert_eq!(language(&node, path, *person, Some("de, en;q=0.5"), body.clone()).await, "de", "{path} {body}");
        }
        ann.calls("users.updateSettings", json!({ "locale": "es" })).await.ok();
        for (path, person, mut body) in ways {
            assert_eq!(language(&node, path, person, Some("de"), body.clone()).await, "es", "{path} {body}");
            body["locale"] = json!("en");
            assert_eq!(language(&node, path, person, Some("de"), body.clone()).await, "en", "{path} {body}");
        }
    }
}
