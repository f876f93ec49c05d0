//! Making a copy: JSON files into an archive, whose pieces are kept as they come, while the claim holds.
//! Never which files: `content` says that.

use super::archive::Archive;
use super::exports::{Claim, Exports};
use actors::protocol::{Fault, Outcome};
use entities::Timestamp;
use serde::Serialize;

/// A copy that is being made. Of it no more is in memory than a page of rows and a piece of the archive.
pub struct Making<'a> {
    exports: &'a Exports,
    claim: &'a mut Claim,
    archive: Archive,
    /// Items of the list that is being written.
    items: usize,
}

impl<'a> Making<'a> {
    /// An empty one.
    pub fn begin(exports: &'a Exports, claim: &'a mut Claim, at: Timestamp) -> Making<'a> {
        Making { exports, claim, archive: Archive::new(at), items: 0 }
    }

    /// A file with one value.
    ///
    /// # Errors
    /// Those of `Exports::add`.
    pub async fn value(&mut self, name: &str, value: &impl Serialize) -> Outcome<()> {
        self.archive.file(name).await?;
        let mut json = serde_json::to_vec_pretty(value).map_err(Fault::new)?;
        json.push(b'\n');
        self.write(json).await
    }

    /// Begins a file with a list.
    ///
    /// # Errors
    /// Those of `Exports::add`.
    pub async fn list(&mut self, name: &str) -> Outcome<()> {
        self.archive.file(name).await?;
        self.items = 0;
        self.write(b"[".to_vec()).await
    }

    /// Goes on with the list.
    ///
    /// # Errors
    /// Those of `Exports::add`.
    pub async fn items<T: Serialize>(&mut self, page: impl IntoIterator<Item = T>) -> Outcome<()> {
        let mut json = Vec::new();
        for item in page {
            json.extend_from_slice(if self.items == 0 { b"\n" } else { b",\n" });
            serde_json::to_writer(&mut json, &item).map_err(Fault::new)?;
            self.items += 1;
        }
        match json.is_empty() {
            // What is looked through in vain takes time, too.
            true => self.exports.hold(self.claim).await,
            false => self.write(json).await,
        }
    }

    /// Ends the list.
    ///
    /// # Errors
    /// Those of `Exports::add`.
    pub async fn end(&mut self) -> Outcome<()> {
        self.write(b"\n]\n".to_vec()).await
    }

    /// Keeps what is left.
    ///
    /// # Errors
    /// Those of `Exports::add`.
    pub async fn finish(mut self) -> Outcome<()> {
        self.archive.finish().await?;
        self.keep(true).await
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Outcome<()> {
        self.archive.write(bytes).await?;
        self.keep(false).await?;
        self.exports.hold(self.claim).await
    }

    async fn keep(&mut self, last: bool) -> Outcome<()> {
        while let Some(piece) = self.archive.take(last) {
            self.exports.add(self.claim, piece).await?;
        }
        Ok(())
    }
}
