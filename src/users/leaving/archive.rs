//! A ZIP that is made a little at a time: what is written goes in compressed, and comes out in pieces of one size.
//! Never where the pieces are kept, and never what stands in the files.
//!
//! # Why it compresses elsewhere
//! A page of messages takes milliseconds to compress, for which nothing else of the thread would go on. So each piece of
//! work goes to the threads for what blocks, and comes back; no more than one is ever in memory.

use actors::protocol::{Fault, Outcome};
use entities::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use std::io::{self, Write};
use std::sync::Arc;
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};
use zip::{CompressionMethod, DateTime};

/// How large each piece is, but for the last.
pub const PIECE: usize = 1 << 20;

/// Where the compressed bytes gather.
#[derive(Clone, Default)]
struct Made(Arc<Mutex<Vec<u8>>>);

impl Write for Made {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Zip = ZipWriter<StreamWriter<Made>>;

/// A ZIP that is being made.
pub struct Archive {
    /// None while it is at work elsewhere; for ever, if that work failed.
    zip: Option<Zip>,
    made: Made,
    at: DateTime,
}

impl Archive {
    /// An empty one, whose files are of this moment.
    pub fn new(at: Timestamp) -> Archive {
        let made = Made::default();
        Archive { zip: Some(ZipWriter::new_stream(made.clone())), made, at: local(at) }
    }

    /// Begins the next file; the one before it is complete.
    ///
    /// # Errors
    /// A fault: an earlier step has failed.
    pub async fn file(&mut self, name: &str) -> Outcome<()> {
        let (name, at) = (name.to_owned(), self.at);
        // Nobody knows beforehand how long a file becomes, so each may become longer than 4 GiB (ZIP64).
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(at)
            .unix_permissions(0o644)
            .large_file(true);
        self.works(move |zip| Ok(zip.start_file(name, options)?)).await
    }

    /// Goes on with the file.
    ///
    /// # Errors
    /// A fault: an earlier step has failed.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Outcome<()> {
        self.works(move |zip| zip.write_all(&bytes)).await
    }

    /// Ends the ZIP: what is left to take is the last piece.
    ///
    /// # Errors
    /// A fault: an earlier step has failed.
    pub async fn finish(&mut self) -> Outcome<()> {
        let zip = self.zip.take().ok_or_else(broken)?;
        blocking(move || zip.finish()).await?.map_err(Fault::new)?;
        Ok(())
    }

    /// Takes a piece that is full, if there is one; the `last` may be shorter.
    pub fn take(&mut self, last: bool) -> Option<Vec<u8>> {
        let mut made = self.made.0.lock();
        if made.len() >= PIECE {
            let rest = made.split_off(PIECE);
            return Some(std::mem::replace(&mut made, rest));
        }
        (last && !made.is_empty()).then(|| std::mem::take(&mut *made))
    }

    async fn works(&mut self, work: impl FnOnce(&mut Zip) -> io::Result<()> + Send + 'static) -> Outcome<()> {
        let mut zip = self.zip.take().ok_or_else(broken)?;
        let worked = blocking(move || work(&mut zip).map(|()| zip)).await?;
        self.zip = Some(worked.map_err(Fault::new)?);
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(Fault::new)?)
}

fn broken() -> Fault {
    Fault::new("an archive is gone on with that has failed")
}

/// A moment as ZIP has it: without a zone, here UTC. What it cannot say is its first day.
fn local(at: Timestamp) -> DateTime {
    let read = || {
        let at = jiff::Timestamp::from_millisecond(at.millis()).ok()?.to_zoned(TimeZone::UTC).datetime();
        let part = |value: i8| u8::try_from(value).ok();
        let (year, month, day) = (u16::try_from(at.year()).ok()?, part(at.month())?, part(at.day())?);
        DateTime::from_date_and_time(year, month, day, part(at.hour())?, part(at.minute())?, part(at.second())?).ok()
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read};

    #[actix_web::test]
    async fn pieces_of_one_size_make_a_zip_that_opens() {
        let mut archive = Archive::new(Timestamp::from_millis(1_770_000_000_000));
        let mut pieces = Vec::new();
        // What does not compress: a generator's numbers.
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(300_000)
        .collect();
        for name in ["one.json", "folder/two.json"] {
            archive.file(name).await.unwrap();
            for _ in 0..5 {
                archive.write(noise.clone()).await.unwrap();
                pieces.extend(std::iter::from_fn(|| archive.take(false)));
            }
        }
        archive.file("empty.json").await.unwrap();
        archive.finish().await.unwrap();
        pieces.extend(std::iter::from_fn(|| archive.take(true)));
        let (last, full) = pieces.split_last().unwrap();
        assert!(full.len() == 2 && full.iter().all(|piece| piece.len() == PIECE) && last.len() < PIECE);
        assert!(archive.write(Vec::new()).await.is_err());

        let mut zip = zip::ZipArchive::new(Cursor::new(pieces.concat())).unwrap();
        assert_eq!(zip.len(), 3);
        for (at, name, times) in [(0, "one.json", 5), (1, "folder/two.json", 5), (2, "empty.json", 0)] {
            let mut file = zip.by_index(at).unwrap();
            let mut read = Vec::new();
            file.read_to_end(&mut read).unwrap();
            assert_eq!((&*file.name().unwrap(), read == noise.repeat(times)), (name, true));
            assert_eq!(file.last_modified().unwrap().to_string(), "2026-02-02 02:40:00");
        }
    }
}
