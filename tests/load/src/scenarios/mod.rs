//! What is driven and measured, one file a scenario.

mod fanout;
mod idle;
mod pairs;
mod slow;

use crate::adapters::{Adapter, Rooms};
use crate::crowd::{Crowd, Plan};
use crate::stats::Procs;
use anyhow::Result;
pub use fanout::Fanout;
pub use idle::Idle;
pub use pairs::Pairs;
pub use slow::Slow;
use std::ops::Range;
use std::rc::Rc;

/// Whom a scenario is run against.
pub struct Run {
    /// How the server speaks.
    pub adapter: Rc<dyn Adapter>,
    /// How the crowd gathers; each scenario sets its own count.
    pub plan: Plan,
    /// The server's processes.
    pub procs: Procs,
}

impl Run {
    async fn gather(&self, count: usize) -> Result<Crowd> {
        Crowd::gather(self.adapter.clone(), Plan { count, ..self.plan }).await
    }

    fn users(&self, count: usize) -> Range<usize> {
        self.plan.first_user..self.plan.first_user + count
    }

    fn one_room(&self, count: usize) -> Rooms {
        Rooms::One(self.users(count))
    }

    fn in_pairs(&self, count: usize) -> Rooms {
        Rooms::Pairs(self.users(count))
    }
}
