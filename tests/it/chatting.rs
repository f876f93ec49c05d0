//! People who talk: what is said, changed and read, and that everybody hears the same.

use crate::support::*;

stories! {
    async fn a_message_reaches_every_device_of_every_member(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let (phone, laptop, bobs) = (ann.connects().await, ann.connects().await, bob.connects().await);
        let sent = phone.sends(pair, "hello").await.ok_with(201);
        assert_eq!(sent["duplicate"], false);
        for device in [&phone, &laptop, &bobs] {
            let told = device.hears_said("hello").await;
            assert_eq!(told["seq"], 1);
            assert_eq!(told["data"]["id"], sent["message"]["id"]);
        }
    }
}
