//! What was asked and what was answered: a local, append-only file for each job key, synced with every answer.
//!
//! Answers are found by what was asked, not by whom it is about: see [`EntryKey`]. Only a verdict counts as answered. What is
//! written here is also stored part by part, for an attempt on another host.

mod entry;
mod spent;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use assay_agent::StoredLines as Stored;
use assay_domain::JobKey;

pub(crate) use self::entry::{
    Answered, Asked, BatchCancel, BatchEnd, CutOff, Entry, EntryKey, Identity, Intent, Made, Stop, StopClass,
    read_entries,
};
use self::spent::Spent;

/// The exchanges of one job, on this host.
pub(crate) struct Ledger {
    file: File,
    answers: BTreeMap<String, Answered>,
    /// All batches that were ever intended, oldest first.
    batches: Vec<KnownBatch>,
    spent: Spent,
    /// The marks of all entries.
    marks: BTreeSet<String>,
    /// What the file held when it was opened, until it is known what of it is stored.
    found: Vec<Entry>,
    /// What goes to the store as well.
    stored: Option<Stored>,
}

/// A batch as far as the ledger knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KnownBatch {
    pub(crate) intent: Intent,
    /// The lab's id, once it was heard.
    pub(crate) id: Option<String>,
    pub(crate) ended: bool,
    /// Whether its lab was told to cancel it.
    pub(crate) cancelled: bool,
}

impl KnownBatch {
    /// One that was not made yet, as far as is known.
    pub(crate) const fn intended(intent: Intent) -> Self {
        Self { intent, id: None, ended: false, cancelled: false }
    }
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
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(whole as u64)?;
        let mut ledger = Self {
            file,
            answers: BTreeMap::new(),
            batches: Vec::new(),
            spent: Spent::default(),
            marks: BTreeSet::new(),
            found: read_entries(&bytes[..whole])?,
            stored: None,
        };
        for entry in ledger.found.clone() {
            ledger.know(entry);
        }
        Ok(ledger)
    }

    /// Takes in what was stored before, perhaps on other hosts: by equal jobs of earlier matrices, and by this job's `own`
    /// attempts. Then everything new is stored through `stored`, beginning with what this job has not stored yet.
    pub(crate) fn share(&mut self, earlier: Vec<Entry>, own: Vec<Entry>, stored: Stored) -> io::Result<()> {
        let mut safe: BTreeSet<String> = own.iter().map(Entry::mark).collect();
        let known = std::mem::take(&mut self.found).into_iter().chain(earlier.iter().cloned());
        for entry in known {
            if safe.insert(entry.mark()) {
                stored.add(&serde_json::to_string(&entry)?)?;
            }
        }
        for entry in earlier.into_iter().chain(own) {
            if !self.marks.contains(&entry.mark()) {
                self.append(&entry)?;
                self.know(entry);
            }
        }
        self.file.sync_data()?;
        self.stored = Some(stored);
        Ok(())
    }

    /// The answer to a question, when it had a verdict.
    pub(crate) fn get(&self, key: &EntryKey) -> Option<&Answered> {
        self.answers.get(&key.key)
    }

    /// Calls that were under way when the last attempt ended: they may have been paid for nothing.
    pub(crate) fn in_flight(&self) -> usize {
        self.spent.in_flight()
    }

    /// What may have to be paid so far, USD: what was answered, what is under way, and what was cut off.
    pub(crate) fn usd(&self) -> f64 {
        self.spent.usd()
    }

    /// All batches that were ever intended, oldest first.
    pub(crate) fn batches(&self) -> &[KnownBatch] {
        &self.batches
    }

    /// Says that a call is about to be made. Not synced: it survives this process, and a machine that stops has lost the
    /// answers on their way in any case.
    pub(crate) fn asked(&mut self, asked: Asked) -> io::Result<()> {
        let entry = Entry::Asked(asked);
        self.append(&entry)?;
        self.know(entry);
        Ok(())
    }

    /// Adds what happened; it is on disk when this returns.
    pub(crate) fn add(&mut self, entry: Entry) -> io::Result<()> {
        self.append(&entry)?;
        self.file.sync_data()?;
        self.know(entry);
        Ok(())
    }

    /// Adds those that are not known yet, as when a batch's results are read again; all are on disk when this returns.
    pub(crate) fn add_new(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        for entry in entries {
            if !self.marks.contains(&entry.mark()) {
                self.append(&entry)?;
                self.know(entry);
            }
        }
        self.file.sync_data()
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_string(entry)?;
        if let Some(stored) = &self.stored {
            stored.add(&line)?;
        }
        line.push('\n');
        // One write: a line is whole or it is the last.
        self.file.write_all(line.as_bytes())
    }

    fn know(&mut self, entry: Entry) {
        self.marks.insert(entry.mark());
        match entry {
            Entry::Asked(asked) => self.spent.asked(asked.key, asked.usd_max),
            Entry::Cut(cut) => self.spent.cut(&cut.key, cut.reached),
            Entry::Answered(answered) => {
                self.spent.answered(&answered.key, answered.usd.unwrap_or_default());
                if answered.counts() {
                    self.answers.insert(answered.key.clone(), *answered);
                }
            }
            Entry::BatchIntended(intent) => {
                self.spent.intended(&intent.tag, intent.usd_max);
                self.batches.push(KnownBatch::intended(intent));
            }
            Entry::BatchMade(made) => {
                if let Some(batch) = self.batch(&made.tag) {
                    batch.id = Some(made.id);
                }
            }
            Entry::BatchCancelled(cancel) => {
                if let Some(batch) = self.batch(&cancel.tag) {
                    batch.cancelled = true;
                }
            }
            Entry::BatchEnded(end) => {
                self.spent.ended(&end.tag);
                if let Some(batch) = self.batch(&end.tag) {
                    batch.ended = true;
                }
            }
            Entry::Stopped(_) => {}
        }
    }

    fn batch(&mut self, tag: &str) -> Option<&mut KnownBatch> {
        self.batches.iter_mut().find(|batch| batch.intent.tag == tag)
    }
}
