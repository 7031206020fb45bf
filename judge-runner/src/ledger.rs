//! What was asked and what was answered: a local, append-only file for each job key, synced with every answer.
//!
//! Answers are found by what was asked, not by whom it is about: see [`EntryKey`]. Only a verdict counts as answered. What is
//! written here is also stored part by part, for an attempt on another host.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use assay_agent::StoredLines as Stored;
use assay_domain::JobKey;

pub(crate) use self::entry::{Answered, Asked, Entry, EntryKey, Identity, read_entries};

/// The exchanges of one job, on this host.
pub(crate) struct Ledger {
    file: File,
    answers: BTreeMap<String, Answered>,
    /// Asked, and not answered when the file was opened.
    in_flight: BTreeSet<String>,
    /// What goes to the store as well.
    stored: Option<Stored>,
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
        let mut ledger = Self { file, answers: BTreeMap::new(), in_flight: BTreeSet::new(), stored: None };
        for entry in read_entries(&bytes[..whole])? {
            ledger.know(entry);
        }
        Ok(ledger)
    }

    /// Takes in what earlier attempts stored, perhaps on other hosts; then everything new is stored through `stored`, beginning
    /// with what only this host has.
    pub(crate) fn share(&mut self, known: Vec<Entry>, stored: Stored) -> io::Result<()> {
        let elsewhere: BTreeSet<String> = known.iter().filter_map(Entry::answer).map(str::to_owned).collect();
        for entry in known {
            if entry.answer().is_none_or(|key| !self.answers.contains_key(key)) {
                self.append(&entry)?;
                self.know(entry);
            }
        }
        self.file.sync_data()?;
        for answered in self.answers.values().filter(|one| !elsewhere.contains(&one.key)) {
            stored.add(&serde_json::to_string(&Entry::Answered(Box::new(answered.clone())))?)?;
        }
        self.stored = Some(stored);
        Ok(())
    }

    /// The answer to a question, when it had a verdict.
    pub(crate) fn get(&self, key: &EntryKey) -> Option<&Answered> {
        self.answers.get(&key.key)
    }

    /// Calls that were under way when the last attempt ended: they may have been paid for nothing.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Says that a call is about to be made. Not synced: it survives this process, and a machine that stops has lost the
    /// answers on their way in any case.
    pub(crate) fn asked(&mut self, asked: Asked) -> io::Result<()> {
        self.append(&Entry::Asked(asked))
    }

    /// Adds an exchange; it is on disk when this returns.
    pub(crate) fn answered(&mut self, answered: Answered) -> io::Result<()> {
        let entry = Entry::Answered(Box::new(answered));
        self.append(&entry)?;
        self.file.sync_data()?;
        self.know(entry);
        Ok(())
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
        match entry {
            Entry::Asked(asked) => {
                self.in_flight.insert(asked.key);
            }
            Entry::Answered(answered) => {
                self.in_flight.remove(&answered.key);
                if answered.counts() {
                    self.answers.insert(answered.key.clone(), *answered);
                }
            }
        }
    }
}
