//! Faults: three nodes, a crowd that talks, and something that breaks; afterwards the whole history is judged.
//! Never a stand-in: nodes, PostgreSQL, Redis and HAProxy are the real programs, started and ended here.
//!
//! # Why a binary of its own
//! Cargo runs test binaries one after another. So a fault has the machine for itself, and the seconds until all is
//! well again mean something; among the stories of `it` they would not. `QUCKCHAT_TEST_SEED` repeats a run,
//! `tests/run --faults N` tells each fault with N seeds, at length.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a run that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "the table's rows")]

mod asked;
mod chance;
mod crowd;
mod fault;
mod fleet;
mod history;
mod run;
mod wait;

use crowd::plan::Size;
use fault::Fault;

macro_rules! faults {
    ($($name:ident: $fault:ident;)+) => {$(
        #[actix_web::test]
        async fn $name() {
            run::tell(Fault::$fault).await;
        }
    )+};
}

faults! {
    a_node_is_killed_and_restarted: NodeKilled;
    a_node_stands_still_for_a_while: NodeStopped;
    redis_is_killed_and_comes_back_empty: RedisKilled;
    redis_does_not_answer_for_a_while: RedisPaused;
    hints_are_lost_on_their_way: HintsLost;
    connections_to_redis_are_cut: RedisCut;
    one_node_does_not_reach_redis: RedisParted;
    postgres_is_restarted: PostgresRestarted;
    postgres_does_not_answer_for_a_while: PostgresPaused;
    connections_to_postgres_are_cut: PostgresCut;
    the_balancer_is_reloaded: BalancerReloaded;
    the_balancer_is_restarted: BalancerRestarted;
    all_nodes_are_restarted_one_after_another: RollingRestart;
    a_clock_is_five_minutes_ahead: ClockAhead;
    a_clock_is_five_minutes_behind: ClockBehind;
}

/// With a release build: `tests/run --crowd`.
#[actix_web::test]
#[ignore = "3,000 clients want a release build: tests/run --crowd"]
async fn three_thousand_clients_outlive_a_rolling_restart() {
    run::tell_to(Fault::RollingRestart, Size::TOWN).await;
}
