//! What an idle connection costs; then, if asked, everyone drops and comes back at once.

use super::Run;
use crate::adapters::Rooms;
use crate::crowd::{Crowd, Plan};
use crate::stats::Meter;
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;

const CALM: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Args)]
pub struct Idle {
    /// Connections, one a user; each user is in a conversation with a neighbour.
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// Reconnect all at once, too.
    #[arg(long)]
    storm: bool,
}

impl Idle {
    pub(crate) fn rooms(&self, run: &Run) -> Rooms {
        run.in_pairs(self.count)
    }

    pub(crate) async fn run(&self, run: &Run) -> Result<Value> {
        let before = run.procs.rss();
        let meter = Meter::start(&run.procs);
        let mut crowd = run.gather(self.count).await?;
        let cpu = meter.read();
        let took = crowd.took.as_secs_f64();
        tokio::time::sleep(CALM).await;
        let calm = Meter::start(&run.procs);
        tokio::time::sleep(CALM).await;
        let calm = calm.read();
        let after = run.procs.rss();
        let mut result = json!({"scenario": "idle", "connections": self.count,
            "connect_s": self.count as f64 / took, "connect_retries": crowd.retries,
            "rss_before_mb": before >> 20, "rss_mb": after >> 20,
            "bytes_per_conn": after.saturating_sub(before) / self.count as u64,
            "cpu": cpu, "cpu_idle": calm,
            "trouble": crowd.heard.trouble()});
        crowd.scatter().await;
        if self.storm {
            let meter = Meter::start(&run.procs);
            let at_once = Plan { count: self.count, parallel: self.count, ..run.plan };
            let mut crowd = Crowd::gather(run.adapter.clone(), at_once).await?;
            let cpu = meter.read();
            tokio::time::sleep(CALM).await;
            result["storm"] = json!({"all_back_s": crowd.took.as_secs_f64(), "retries": crowd.retries,
                "cpu": cpu, "rss_mb": run.procs.rss() >> 20,
                "trouble": crowd.heard.trouble()});
            crowd.scatter().await;
        }
        Ok(result)
    }
}
