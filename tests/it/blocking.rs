//! Blocks: what neither of the two hears of the other any more, and what stays as it was.

use crate::support::speech::id_of;
use crate::support::*;

stories! {
    async fn nothing_is_said_between_two_of_whom_one_blocks_the_other(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs: MessageId = id_of(&bob.says_in(pair, "hello").await);
        let first = bob.sends_as(pair, "hello again", "key").await.ok();
        let anns: MessageId = id_of(&ann.says_in(pair, "hello, bob").await);
        ann.blocks(&bob).await.ok_with(200);
        ann.blocks(&bob).await.ok();
        let blocked = ErrorCode::ConversationBlocked;
        for person in [&ann, &bob] {
            for door in person.doors().await {
                door.sends(pair, "are you there?").await.is_refused(blocked);
                door.edits(if person.id == ann.id { anns } else { bobs }, "changed").await.is_refused(blocked);
                door.reacts(bobs, "☕").await.is_refused(blocked);
                door.takes_back(bobs, "☕").await.is_refused(blocked);
                if let Door::Socket(socket) = &door {
                    let typing = json!({ "conversationId": pair, "typing": true });
                    socket.calls("messages.typing", typing).await.is_refused(blocked);
                }
                // What was said is there, and what one has read is one's own.
                assert_eq!(door.history(pair).await.ok()["items"].as_array().unwrap().len(), 3);
                assert_eq!(door.reads(pair, 3).await.ok()["readSeq"], 3);
                assert_eq!(id_of::<ConversationId>(&door.creates("private", &[&ann, &bob]).await.ok()), pair);
            }
        }
        // A repeat of what was said before gets its answer.
        let again = bob.sends_as(pair, "hello again", "key").await.ok();
        assert_eq!(again["message"]["id"], first["message"]["id"]);
        ann.unblocks(&bob).await.ok_with(204);
        bob.says_in(pair, "thank you").await;
    }
}
