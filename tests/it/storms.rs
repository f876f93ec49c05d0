//! Much at once at several nodes, and what a network or a database may do meanwhile: nothing is lost, and everybody
//! ends with the same.

use crate::support::speech::id_of;
use crate::support::*;
use actix_web::rt;

stories! {
    async fn lost_hints_are_healed_by_the_sweep(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.at(&fleet[1]).connects().await;
        ann.says_in(pair, "heard").await;
        bobs.hears_said("heard").await;
        let mut replica = Replica::afresh(&bob, pair).await;

        fleet.bus.lose_hints(true);
        for text in ["lost", "lost too", "gone"] {
            ann.says_in(pair, text).await;
        }
        fleet.bus.lose_hints(false);
        fleet.clock.let_pass_for(2, secs(11)).await;
        fleet.clock.let_pass(millis(50)).await;
        let changes = bobs.hears("conversation.changes").await;
        assert_eq!((&changes["fromRev"], &changes["rev"]), (&json!(5), &json!(7)));
        assert_eq!((&changes["data"]["fromRev"], &changes["data"]["rev"]), (&json!(5), &json!(7)));
        assert_eq!(changes["data"]["items"].as_array().unwrap().len(), 3);
        replica.hears(&[changes]);
        assert_eq!(replica, Replica::afresh(&bob, pair).await);
        ann.says_in(pair, "heard again").await;
        assert_eq!(bobs.hears_said("heard again").await["rev"], 8);
    }

    async fn a_gap_is_filled_without_waiting_for_the_sweep(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.at(&fleet[1]).connects().await;
        fleet.bus.lose_hints(true);
        ann.says_in(pair, "lost").await;
        fleet.bus.lose_hints(false);
        ann.says_in(pair, "above the gap").await;
        fleet.clock.let_pass(millis(50)).await;
        let filled = bobs.hears("conversation.changes").await;
        assert_eq!(filled["data"]["items"][0]["text"], "lost");
        let mut replica = Replica::default();
        replica.follows(pair, 3);
        ann.says_in(pair, "done").await;
        bobs.hears_said("done").await;
        replica.hears(&bobs.heard());
        assert_eq!(replica.of(pair).texts(), [Some("lost"), Some("above the gap"), Some("done")]);
    }

    async fn a_lost_word_of_ones_own_is_healed_by_the_sweep(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        ann.says_in(pair, "hello").await;
        let there = bob.at(&fleet[1]).connects().await;
        fleet.bus.lose_hints(true);
        bob.reads(pair, 1).await.ok();
        let group = ann.creates_group("tea", &[&bob]).await;
        fleet.bus.lose_hints(false);
        fleet.clock.let_pass_for(2, secs(11)).await;
        fleet.clock.let_pass(millis(50)).await;
        assert_eq!(there.hears("conversation.mine").await["data"]["readSeq"], 1);
        assert_eq!(there.hears("conversation.added").await["conversationId"], json!(group));
        ann.says_in(group, "welcome").await;
        there.hears_said("welcome").await;
    }

    async fn a_lost_removal_is_healed_by_the_sweep(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let (group, pair) = (ann.creates_group("tea", &[&bob]).await, ann.meets(&bob).await);
        let bobs = bob.at(&fleet[1]).connects().await;
        fleet.bus.lose_hints(true);
        ann.removes(&bob, group).await.ok();
        ann.says_in(group, "without bob").await;
        fleet.bus.lose_hints(false);
        fleet.clock.let_pass_for(2, secs(11)).await;
        fleet.clock.let_pass(millis(50)).await;
        bobs.hears("conversation.removed").await;
        ann.says_in(group, "still without bob").await;
        ann.says_in(pair, "with bob").await;
        bobs.hears_said("with bob").await;
        assert!(!json!(bobs.heard()).to_string().contains("without bob"), "{:?}", bobs.heard_of(group));
    }

    async fn a_lost_removal_and_return_leave_out_what_was_between(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let bobs = bob.at(&fleet[1]).connects().await;
        fleet.bus.lose_hints(true);
        ann.removes(&bob, group).await.ok();
        ann.says_in(group, "without bob").await;
        ann.adds(&[&bob], group).await.ok();
        ann.says_in(group, "with bob").await;
        fleet.bus.lose_hints(false);
        fleet.clock.let_pass_for(2, secs(11)).await;
        fleet.clock.let_pass(millis(50)).await;
        let added = bobs.hears("conversation.added").await;
        assert_eq!(added["data"]["lastMessage"]["text"], "with bob");
        ann.says_in(group, "and still").await;
        bobs.hears_said("and still").await;
        let mut replica = Replica::default();
        replica.catches_up(&bob, group).await;
        assert_eq!(replica.of(group).texts(), [Some("with bob"), Some("and still")]);
        assert!(!json!(bobs.heard()).to_string().contains("without bob"), "{:?}", bobs.heard_of(group));
    }

    async fn a_lost_revocation_is_found_by_the_heartbeat(stage: Stage) {
        let fleet = Fleet::start_with(&stage, 2, |config| config.sockets.heartbeat = secs(25)).await;
        let [ann] = fleet[0].people(["ann"]).await;
        let there = ann.at(&fleet[1]).connects().await;
        fleet.bus.lose_hints(true);
        ann.signs_out().await.ok();
        fleet.bus.lose_hints(false);
        fleet.clock.let_pass(secs(25)).await;
        assert_eq!(there.is_closed().await, 4403);
    }

    async fn a_storm_at_both_nodes_leaves_everybody_with_the_same(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        let (bob, cid) = (bob.at(&fleet[1]), cid.at(&fleet[1]));
        let group = ann.creates_group("storm", &[&bob]).await;
        ann.makes(&bob, "admin", group).await.ok();
        let (anns, bobs, cids) = (ann.connects().await, bob.connects().await, cid.connects().await);
        let begun = Replica::afresh(&ann, group).await;

        let tide = rt::spawn({
            let (ann, cid) = (ann.clone(), cid.clone());
            async move {
                for _ in 0..12 {
                    ann.adds(&[&cid], group).await.ok();
                    ann.says_in(group, "with cid").await;
                    ann.removes(&cid, group).await.ok();
                    ann.says_in(group, "without cid").await;
                }
                ann.adds(&[&cid], group).await.ok();
            }
        });
        let wind = [bob.clone(), bob.at(&fleet[0])].map(|bob| {
            rt::spawn(async move {
                let socket = bob.connects().await;
                for round in 0..20 {
                    let message: MessageId = id_of(&socket.says_in(group, &format!("round {round}")).await);
                    socket.reacts(message, "🌊").await.ok();
                    socket.edits(message, &format!("round {round}, edited")).await.ok();
                    match round % 4 {
                        0 => drop(socket.deletes(message).await.ok()),
                        1 => drop(socket.renames(group, &format!("storm {round}")).await.ok()),
                        2 => drop(socket.takes_back(message, "🌊").await.ok()),
                        _ => {}
                    }
                }
            })
        });
        let spray = rt::spawn({
            let cids = cids.clone();
            async move {
                for round in 0..40 {
                    let answer = cids.sends(group, &format!("spray {round}")).await;
                    if let Err(error) = answer.result {
                        assert_eq!(error["code"], ErrorCode::ConversationNotFound.as_str());
                    }
                }
            }
        });
        tide.await.unwrap();
        for gust in wind {
            gust.await.unwrap();
        }
        spray.await.unwrap();
        // Cid is in again, and has heard so.
        let last = ann.opens(group).await.ok();
        let me =
            last["participants"].as_array().unwrap().iter().find(|member| member["userId"] == json!(cid.id)).unwrap();
        let joined = me["rev"].as_i64().unwrap();
        let added =
            cids.hears_that("conversation.added", |frame| frame["data"]["lastRev"].as_i64() >= Some(joined)).await;
        ann.says_in(group, "calm").await;
        let truth = Replica::afresh(&ann, group).await;

        for socket in [&anns, &bobs] {
            socket.hears_of("calm").await;
            let mut replica = begun.clone();
            replica.hears(&socket.heard());
            assert_eq!(replica, truth);
        }
        cids.hears_of("calm").await;
        let heard = cids.heard_of(group);
        let since = heard.iter().position(|frame| *frame == added).unwrap();
        let from = added["data"]["lastRev"].as_i64().unwrap();
        let (mut hearing, mut reading) = (Replica::default(), Replica::default());
        hearing.follows(group, from);
        hearing.hears(&heard[since..]);
        reading.follows(group, from);
        reading.catches_up(&cid, group).await;
        assert_eq!(hearing, reading);
        // Never a word of the times between.
        let texts: Vec<&Value> = heard.iter().map(|frame| &frame["data"]).collect();
        assert!(!json!(texts).to_string().contains("without cid"));
    }

    async fn many_who_send_at_both_nodes_are_numbered_without_a_gap(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let pair = ann.meets(&bob).await;
        let listening = [cid.connects().await, cid.at(&fleet[1]).connects().await];
        let mut talking = Vec::new();
        for (person, node) in [(&ann, 0), (&bob, 1), (&ann, 1), (&bob, 0)] {
            let person = person.at(&fleet[node]);
            talking.push(rt::spawn(async move {
                let socket = person.connects().await;
                for at in 0..25 {
                    socket.says_in(group, &format!("{} {at} at {node}", person.name)).await;
                    socket.says_in(pair, &at.to_string()).await;
                }
            }));
        }
        for talk in talking {
            talk.await.unwrap();
        }
        ann.says_in(group, "done").await;
        let truth = Replica::afresh(&cid, group).await;
        let seqs: Vec<i64> =
            truth.of(group).messages().iter().map(|message| message["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, (1..=101).collect::<Vec<i64>>());
        assert_eq!(Replica::afresh(&ann, pair).await.of(pair).messages().len(), 100);
        for socket in listening {
            socket.hears_of("done").await;
            let mut replica = Replica::default();
            replica.follows(group, 4);
            replica.hears(&socket.heard());
            assert_eq!(replica.of(group).messages(), truth.of(group).messages());
        }
    }
}

/// A database server that is restarted: PostgreSQL alone has one.
#[actix_web::test]
async fn what_is_acknowledged_outlives_the_connections_to_the_database() {
    if let Some(stage) = Stage::on_postgres().await {
        stage.play(connections_are_cut).await;
    }
}

async fn connections_are_cut(stage: Stage) {
    let fleet = Fleet::in_real_time(&stage, 2).await;
    let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
    let pair = ann.meets(&bob).await;
    let listening = [bob.connects().await, bob.at(&fleet[1]).connects().await];
    let begun = Replica::afresh(&ann, pair).await;
    let talking = [0, 1].map(|node| {
        let ann = ann.at(&fleet[node]);
        rt::spawn(async move {
            let socket = ann.connects().await;
            let mut said = Vec::new();
            for at in 0..60 {
                let key = format!("{at} at {node}");
                // As a client does: again, with the same key, until it is known.
                loop {
                    let answer = socket.sends_as(pair, &key, &key).await;
                    match answer.result {
                        Ok(sent) => break said.push(sent["message"].clone()),
                        Err(error) => assert_eq!(error["retryable"], true, "{error}"),
                    }
                }
            }
            said
        })
    });
    for at in [10, 30, 50] {
        let key = format!("{at} at 0");
        listening[0].hears_of(&key).await;
        stage.cuts_connections().await;
    }
    let mut said = Vec::new();
    for talk in talking {
        said.extend(talk.await.unwrap());
    }
    loop {
        if ann.sends_as(pair, "done", "done").await.result.is_ok() {
            break;
        }
    }
    let truth = Replica::afresh(&ann, pair).await;
    let rows = truth.of(pair).messages();
    assert_eq!(rows.len(), said.len() + 1);
    let seqs: Vec<i64> = rows.iter().map(|row| row["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=121).collect::<Vec<i64>>());
    for message in said {
        assert!(rows.iter().any(|row| (&row["id"], &row["seq"]) == (&message["id"], &message["seq"])), "{message}");
    }
    for socket in listening {
        socket.hears_of("done").await;
        let mut replica = begun.clone();
        replica.hears(&socket.heard());
        assert_eq!(replica, truth);
    }
}

/// A database server that is away for a while.
#[actix_web::test]
async fn a_database_that_is_away_is_told_and_waited_for() {
    if let Some(stage) = Stage::on_postgres().await {
        stage.play(the_database_is_away).await;
    }
}

async fn the_database_is_away(stage: Stage) {
    let node = Node::in_real_time(&stage, |_| ()).await;
    let [ann, bob] = node.people(["ann", "bob"]).await;
    let pair = ann.meets(&bob).await;
    let (anns, bobs) = (ann.connects().await, bob.connects().await);
    anns.says_in(pair, "before").await;
    bobs.hears_said("before").await;
    stage.opens_database(false).await;
    for door in [Door::Rest(ann.clone()), Door::Socket(anns.clone())] {
        door.sends_as(pair, "meanwhile", "key").await.is_refused(ErrorCode::ServerUnavailable);
        door.history(pair).await.is_refused(ErrorCode::ServerUnavailable);
    }
    let health = node.gets("/api/v1/health").await;
    assert_eq!((health.status.as_u16(), &health.json()["services"]["messages"]["status"]), (503, &json!("down")));
    assert_eq!(node.gets("/api/v1/health/ready").await.status, 503);
    assert_eq!(node.gets("/api/v1/health/live").await.status, 200);
    stage.opens_database(true).await;
    // Whoever stayed goes on where it was.
    let sent = loop {
        if let Ok(sent) = anns.sends_as(pair, "meanwhile", "key").await.result {
            break sent;
        }
    };
    assert_eq!(sent["message"]["seq"], 2);
    assert_eq!(bobs.hears_said("meanwhile").await["seq"], 2);
}
