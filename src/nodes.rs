//! The list of nodes as operators see it: at the command line and at the operator's door.
//! Never a change of it: each node keeps its own row.

use actors::nodes::list;
use entities::{Db, Timestamp, node};
use sea_orm::DbErr;
use serde::Serialize;
use std::io::{self, Write};

/// How a node's lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lease {
    /// It is renewed.
    Alive,
    /// It ended in order; its people have a moment to come back elsewhere.
    Stopped,
    /// It was not renewed in time.
    Ended,
}

impl Lease {
    fn name(self) -> &'static str {
        match self {
            Lease::Alive => "alive",
            Lease::Stopped => "stopped",
            Lease::Ended => "ended",
        }
    }
}

/// One node.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// What it is called.
    pub id: String,
    /// The program's version.
    pub version: String,
    /// Where it is reached.
    pub address: String,
    /// Sockets that have said hello.
    pub sockets: i64,
    /// Open rooms.
    pub rooms: i64,
    /// How busy the process is, in percent of one core; two busy cores are 200.
    pub load: i64,
    /// Whether it is going away.
    pub draining: bool,
    /// When it started.
    pub since: Timestamp,
    /// How its lease stands.
    pub lease: Lease,
    /// When it ends, or ended.
    pub lease_until: Timestamp,
}

impl Listed {
    fn new(row: node::Model, now: Timestamp) -> Listed {
        let lease = match row {
            _ if row.stopped => Lease::Stopped,
            _ if row.is_alive(now) => Lease::Alive,
            _ => Lease::Ended,
        };
        Listed {
            id: row.id,
            version: row.version,
            address: row.address,
            sockets: row.sockets,
            rooms: row.rooms,
            load: row.load,
            draining: row.draining,
            since: row.started_at,
            lease,
            lease_until: row.lease_until,
        }
    }
}

/// All nodes, by name.
///
/// # Errors
/// Those of the database.
pub async fn listed(db: &Db, now: Timestamp) -> Result<Vec<Listed>, DbErr> {
    Ok(list(db).await?.into_iter().map(|row| Listed::new(row, now)).collect())
}

/// Writes them as a table for people.
///
/// # Errors
/// The output's.
pub fn write_table(nodes: &[Listed], out: &mut impl Write) -> io::Result<()> {
    let head = ["NODE", "VERSION", "ADDRESS", "SOCKETS", "ROOMS", "LOAD", "DRAINING", "SINCE", "LEASE"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(nodes.iter().map(|node| {
        [
            node.id.clone(),
            node.version.clone(),
            node.address.clone(),
            node.sockets.to_string(),
            node.rooms.to_string(),
            format!("{}%", node.load),
            if node.draining { "yes" } else { "no" }.to_owned(),
            node.since.to_string(),
            node.lease.name().to_owned(),
        ]
    }));
    let widths: Vec<usize> =
        (0..head.len()).map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0)).collect();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
