//! A writer of SQLite that commits in groups: whatever queued up during one commit goes into the next.

use anyhow::{Context, Result};
use rusqlite::Connection;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

const MOST_PER_COMMIT: usize = 256;
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS message(
    id INTEGER PRIMARY KEY, chat INTEGER NOT NULL, author INTEGER NOT NULL, sent INTEGER NOT NULL, body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS message_chat ON message(chat, id);";
const INSERT: &str = "INSERT INTO message(chat, author, sent, body) VALUES (?1, ?2, 0, ?3)";

/// One message to store.
pub struct Job {
    /// Whom it is for.
    pub chat: i64,
    /// Who wrote it.
    pub author: i64,
    /// Its text.
    pub body: String,
    /// Called on the writer's thread after the commit.
    pub done: Box<dyn FnOnce() + Send>,
}

/// The way to the writer's thread.
pub struct Store(Sender<Job>);

impl Store {
    /// Opens or creates the file (WAL) and starts the writer.
    pub fn open(path: &Path, synchronous: &str) -> Result<Store> {
        let db = Connection::open(path)?;
        db.execute_batch(&format!("PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; {SCHEMA}"))?;
        let (tx, rx) = channel();
        std::thread::spawn(move || {
            if let Err(e) = write(&db, &rx) {
                eprintln!("raw: the writer stopped: {e}");
            }
        });
        Ok(Store(tx))
    }

    /// Hands a job to the writer; fails once the writer has stopped.
    pub fn put(&self, job: Job) -> Result<()> {
        self.0.send(job).ok().context("the writer has stopped")
    }
}

fn write(db: &Connection, jobs: &Receiver<Job>) -> rusqlite::Result<()> {
    let mut insert = db.prepare(INSERT)?;
    let mut done = Vec::with_capacity(MOST_PER_COMMIT);
    while let Ok(first) = jobs.recv() {
        db.execute_batch("BEGIN")?;
        let mut next = Some(first);
        while let Some(job) = next {
            insert.execute((job.chat, job.author, &job.body))?;
            done.push(job.done);
            next = if done.len() < MOST_PER_COMMIT { jobs.try_recv().ok() } else { None };
        }
        db.execute_batch("COMMIT")?;
        done.drain(..).for_each(|told| told());
    }
    Ok(())
}
