//! The parts of an attempt's log, metrics and ledger that lie in the store: uploaded with each checkpoint, every so often, and at the end.
//!
//! A log is worth less than its run: what goes wrong here is said and tried again later, and fails nothing.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use assay_domain::LogSegment;
use assay_domain::segment::Lines;
use assay_proto::convert::{lease_ref, to_json};
use assay_proto::v1::{LoggedBatch, LoggedItem, worker_message::Body};
use tokio::sync::Mutex;

use crate::courier::Courier;
use crate::link::Refusal;
use crate::log::Written;

/// A file that only grows, by whole lines.
pub(crate) trait Growing: Send + Sync {
    /// Where it is.
    fn path(&self) -> &Path;

    /// How much is in it.
    fn written(&self) -> Written;
}

pub(crate) struct Segments {
    of: Lines,
    log: Arc<dyn Growing>,
    courier: Courier,
    /// Where a part waits while it is uploaded.
    folder: PathBuf,
    sent: Mutex<Sent>,
}

/// What the coordinator has heard of.
#[derive(Default)]
struct Sent {
    /// Number and first byte of each segment that no later one covers.
    kept: Vec<(u32, u64)>,
    /// What lies in the store.
    through: Written,
    /// One that was uploaded, perhaps, and not heard of: under its number there can be no other bytes.
    pending: Option<Part>,
    /// The coordinator wants no more.
    closed: bool,
}

#[derive(Clone)]
struct Part {
    number: u32,
    first_byte: u64,
    through: Written,
}

impl Segments {
    pub(crate) fn new(of: Lines, log: Arc<dyn Growing>, courier: Courier, folder: PathBuf) -> Self {
        Self { of, log, courier, folder, sent: Mutex::default() }
    }

    /// Uploads what is new every so often, for as long as it is polled.
    pub(crate) async fn keep(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(self.courier.limits.log_segment_ms)).await;
            self.upload().await;
        }
    }

    /// Uploads what is new.
    pub(crate) async fn upload(&self) {
        let mut sent = self.sent.lock().await;
        self.upload_next(&mut sent).await;
    }

    /// Uploads all that is left, if the coordinator takes it in time.
    pub(crate) async fn finish(&self) {
        let all = async {
            let mut sent = self.sent.lock().await;
            // At most twice: what was under way, and the rest.
            while self.upload_next(&mut sent).await {}
        };
        let limit = Duration::from_millis(self.courier.limits.log_end_ms);
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(
                limit_ms = self.courier.limits.log_end_ms,
                of = self.of.as_str(),
                "the end was not uploaded"
            );
        }
    }

    /// Whether there was something new, and it is safe.
    async fn upload_next(&self, sent: &mut Sent) -> bool {
        let Some(part) = sent.next(self.log.written()) else { return false };
        match self.send(&part).await {
            Ok(Ok(())) => {
                sent.heard(part);
                true
            }
            Ok(Err(rejection)) => {
                tracing::info!(%rejection, of = self.of.as_str(), "the coordinator takes no more parts");
                sent.closed = true;
                false
            }
            Err(why) => {
                tracing::warn!(
                    why,
                    of = self.of.as_str(),
                    number = part.number,
                    "a part was not uploaded: it is tried again"
                );
                false
            }
        }
    }

    async fn send(&self, part: &Part) -> Result<Result<(), Refusal>, String> {
        let (source, into) = (self.log.path().to_owned(), self.folder.join(part.number.to_string()));
        let (from, to, copy) = (part.first_byte, part.through.bytes, into.clone());
        let copied = tokio::task::spawn_blocking(move || copy_part(&source, from, to, &copy)).await;
        copied.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let uploaded =
            self.courier.upload(self.of.as_str(), &into).await.map_err(|failure| failure.reason)?;
        let [file] = uploaded.files.as_slice() else { return Err(String::from("not one file")) };
        let segment = LogSegment {
            number: part.number,
            last_line: part.through.lines,
            digest: file.digest,
            bytes: file.bytes,
            of: self.of,
        };
        let lease = Some(lease_ref(&self.courier.lease));
        let item = LoggedItem { lease, segment_json: to_json(&segment) };
        let heard = self.courier.link.until_heard(Body::Logged(LoggedBatch { items: vec![item] })).await;
        // The file goes with the attempt's folder at the latest.
        let _ = tokio::fs::remove_file(&into).await;
        Ok(heard)
    }
}

impl Sent {
    /// What is to be uploaded next: what is pending, or what was written since with what the new number covers.
    fn next(&mut self, written: Written) -> Option<Part> {
        if self.closed {
            return None;
        }
        if self.pending.is_none() && written.bytes > self.through.bytes {
            let number = self.kept.last().map_or(0, |(last, _)| *last) + 1;
            let covered = number - LogSegment::covers(number);
            let first_byte = self.kept.iter().find(|(kept, _)| *kept > covered);
            let first_byte = first_byte.map_or(self.through.bytes, |(_, first_byte)| *first_byte);
            self.pending = Some(Part { number, first_byte, through: written });
        }
        self.pending.clone()
    }

    fn heard(&mut self, part: Part) {
        self.kept.retain(|(_, first_byte)| *first_byte < part.first_byte);
        self.kept.push((part.number, part.first_byte));
        self.through = part.through;
        self.pending = None;
    }
}

fn copy_part(source: &Path, from: u64, to: u64, into: &Path) -> io::Result<()> {
    let mut source = File::open(source)?;
    source.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    source.take(to - from).read_to_end(&mut bytes)?;
    if let Some(folder) = into.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(into, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eighth_part_holds_the_seven_before_it_again() {
        let mut sent = Sent::default();
        let mut parts = Vec::new();
        for number in 1..=17 {
            let written = Written { bytes: number * 100, lines: number };
            let part = sent.next(written).unwrap();
            // Until it is heard, it is the same part whatever was written since.
            let again = sent.next(Written { bytes: 10_000, lines: 100 }).unwrap();
            assert_eq!((again.number, again.through), (part.number, part.through));
            parts.push((part.first_byte, part.through.bytes));
            sent.heard(part);
            assert!(sent.next(written).is_none(), "nothing is new");
        }
        assert_eq!(parts[..2], [(0, 100), (100, 200)]);
        assert_eq!(parts[6..9], [(600, 700), (0, 800), (800, 900)]);
        assert_eq!(parts[15..], [(800, 1600), (1600, 1700)]);
        assert_eq!(sent.kept, [(8, 0), (16, 800), (17, 1600)]);
    }
}
