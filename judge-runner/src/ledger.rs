//! A local, append-only ledger of paid calls, one file for each job key: what was answered is never asked again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use assay_domain::JobKey;
use assay_judging::records::RawVerdictRecord;

/// The answers that one job has had so far, on this host.
pub(crate) struct Ledger {
    file: File,
    known: BTreeMap<(String, u8), RawVerdictRecord>,
}

impl Ledger {
    /// Opens the ledger of a job. A last line that was cut by a crash is dropped: its call counts as not answered.
    pub(crate) fn open(dir: &Path, key: JobKey) -> io::Result<Self> {
        let path = dir.join(format!("{key}.jsonl"));
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut known = BTreeMap::new();
        for line in bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let record: RawVerdictRecord = serde_json::from_slice(line)?;
            known.insert((record.pair_id.clone(), record.pass), record);
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(whole as u64)?;
        Ok(Self { file, known })
    }

    /// The answer to a presentation.
    pub(crate) fn get(&self, pair_id: &str, pass: u8) -> Option<&RawVerdictRecord> {
        self.known.get(&(pair_id.to_owned(), pass))
    }

    /// Adds an answer; it is on disk when this returns.
    pub(crate) fn add(&mut self, record: &RawVerdictRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.known.insert((record.pair_id.clone(), record.pass), record.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use assay_domain::Digest;
    use assay_judging::records::{Evidence, VerdictStatus};

    use super::*;

    fn record(pair_id: &str) -> RawVerdictRecord {
        RawVerdictRecord {
            pair_id: pair_id.to_owned(),
            pass: 1,
            judge: String::from("j"),
            template: String::from("assay-v1"),
            template_digest: String::new(),
            replicate: 0,
            model: String::from("m"),
            status: VerdictStatus::Ok,
            detail: None,
            evidence: Evidence::Text { text: String::from("{}") },
            prompt_tokens: 1,
            new_tokens: 1,
            seconds: 0.5,
        }
    }

    #[test]
    fn answers_survive_reopening_and_a_cut_line_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let key = JobKey(Digest::of(b"job"));
        Ledger::open(dir.path(), key).unwrap().add(&record("one")).unwrap();
        let path = dir.path().join(format!("{key}.jsonl"));
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"pair_id\":\"two").unwrap();
        let mut ledger = Ledger::open(dir.path(), key).unwrap();
        assert_eq!(ledger.get("one", 1), Some(&record("one")));
        assert_eq!(ledger.get("two", 1), None);
        ledger.add(&record("two")).unwrap();
        assert_eq!(Ledger::open(dir.path(), key).unwrap().get("two", 1), Some(&record("two")));
    }
}
