//! A seeded history of processes on a simulated disk: each opens journal, snapshots and objects, checks that nothing
//! promised is gone and nothing is there in part, works, and ends in a kill or a power cut.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use assay_coordinator::disk::{CrashDisk, Disk, Fault, SyncSite};
use assay_coordinator::journal::{Journal, JournalConfig, JournalError};
use assay_coordinator::objects::local::{Expected, LocalObjects, ObjectError, ObjectKey, Stored};
use assay_coordinator::snapshot::{SnapshotError, Snapshots, history_path, read};
use sha2::{Digest, Sha256};

use crate::random::Random;

const LIMITS: JournalConfig =
    JournalConfig { segment_max_bytes: 700, batch_max_bytes: 64 << 10, segments_kept: 1 };
const LIVES: usize = 8;

/// What happened in a history, to show that histories are not empty.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) batches: usize,
    pub(crate) snapshots: usize,
    pub(crate) objects: usize,
    pub(crate) segments_removed: usize,
    pub(crate) recovered_in_flight: usize,
    pub(crate) lost_in_flight: usize,
}

/// What was promised, and what may or may not have happened.
#[derive(Default)]
struct Promises {
    records: Vec<Vec<u8>>,
    in_flight: Option<Vec<Vec<u8>>>,
    objects: BTreeMap<String, Vec<u8>>,
    tried_objects: BTreeMap<String, Vec<Vec<u8>>>,
}

/// How a step ended that did not go through.
enum Stop {
    /// The process has stopped, as it was arranged to, or had to after an error that was arranged.
    Process,
    Violation(String),
}

struct World {
    disk: CrashDisk,
    random: Random,
    promises: Promises,
    tally: Tally,
    /// An input or output error was arranged in this life.
    faulty: bool,
}

struct Process {
    journal: Journal,
    snapshots: Snapshots,
    objects: LocalObjects,
}

/// Runs the history of a seed; `Err` says which promise was broken.
pub(crate) fn run(seed: u64, left_out: Option<SyncSite>) -> Result<Tally, String> {
    let disk = CrashDisk::new();
    if let Some(site) = left_out {
        disk.inject(Fault::LeaveOut(site));
    }
    let mut world = World {
        disk,
        random: Random(seed),
        promises: Promises::default(),
        tally: Tally::default(),
        faulty: false,
    };
    for life in 0..LIVES {
        match world.live(life == LIVES - 1) {
            Err(Stop::Violation(violation)) => return Err(format!("seed {seed}, life {life}: {violation}")),
            Err(Stop::Process) | Ok(()) => {}
        }
        world.disk = match world.random.chance(50) {
            true => world.disk.kill(),
            false => world.disk.power_cut(world.random.next()),
        };
    }
    Ok(world.tally)
}

impl World {
    fn live(&mut self, last: bool) -> Result<(), Stop> {
        self.faulty = false;
        if !last {
            self.arrange_fault();
        }
        let mut process = self.open()?;
        for _ in 0..self.random.below(30) {
            match self.random.below(10) {
                0..=4 => self.append(&mut process)?,
                5..=6 => self.snapshot(&mut process)?,
                7..=8 => self.put(&process)?,
                _ => self.stat(&process)?,
            }
        }
        Ok(())
    }

    fn arrange_fault(&mut self) {
        let after = self.random.below(60);
        let kind = if self.random.chance(50) { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        match self.random.below(10) {
            0..=6 => self.disk.inject(Fault::Stop { after }),
            7 => self.disk.inject(Fault::Write { after: after / 3, kind }),
            8 => self.disk.inject(Fault::Sync { after: after / 3, kind }),
            _ => return,
        }
        self.faulty = true;
    }

    /// An error ends the process if one was arranged, and is a violation otherwise.
    fn failed(&self, what: &str, error: &dyn std::error::Error) -> Stop {
        // Damage is never an acceptable answer here: no fault destroys what was durable.
        let text = format!("{what}: {error}, {:?}", error.source().map(ToString::to_string));
        let is_damage =
            text.contains("damaged") || text.contains("ends at sequence") || text.contains("has no sequence");
        if self.faulty && !is_damage { Stop::Process } else { Stop::Violation(text) }
    }

    fn open(&mut self) -> Result<Process, Stop> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (snapshots, loaded) = Snapshots::open(Arc::clone(&disk), Path::new("/data/snapshots"))
            .map_err(|error| self.failed("snapshots", &error))?;
        if let Some(bad) = loaded.bad.first()
            && !bad.reason.contains("stopped")
        {
            return Err(Stop::Violation(format!("bad snapshot: {}", bad.reason)));
        }
        let (sequence, mut records) = match loaded.snapshot {
            Some(snapshot) => {
                let part = history_path(Path::new("/data/snapshots"), snapshot.sequence);
                match read(&*disk, &part, snapshot.sequence) {
                    Ok(lines) if lines == snapshot.state => {}
                    Err(reason) if reason.contains("stopped") => return Err(Stop::Process),
                    read => return Err(Stop::Violation(format!("a part of the history is gone: {read:?}"))),
                }
                (snapshot.sequence, split(&snapshot.state))
            }
            None => (0, Vec::new()),
        };
        let index_has = if self.random.chance(50) { self.promises.records.len() as u64 } else { 0 };
        let known = loaded.proven_sequence.max(index_has);
        let journal = Journal::open(Arc::clone(&disk), Path::new("/data/journal"), LIMITS, sequence, known)
            .map_err(|error| self.failed("journal", &error))?;
        for record in journal.read_from(sequence + 1) {
            records.push(record.map_err(|error| self.failed("reading the journal", &error))?.bytes);
        }
        if journal.last_sequence() != records.len() as u64 {
            return Err(Stop::Violation(format!("{} is not {}", journal.last_sequence(), records.len())));
        }
        self.check_records(records)?;
        let objects = LocalObjects::open_store(disk, Path::new("/data/objects"))
            .map_err(|error| self.failed("objects", &error))?;
        let process = Process { journal, snapshots, objects };
        self.check_objects(&process)?;
        Ok(process)
    }

    /// All that was acknowledged is there, in order; what was in flight is there whole or not at all. From here on, what
    /// was found is promised: answers depend on it.
    fn check_records(&mut self, found: Vec<Vec<u8>>) -> Result<(), Stop> {
        let promised = self.promises.records.len();
        if found.len() < promised || found[..promised] != self.promises.records[..] {
            return Err(Stop::Violation(format!(
                "{} of {promised} records are there, or differ",
                found.len()
            )));
        }
        let in_flight = self.promises.in_flight.take().unwrap_or_default();
        match &found[promised..] {
            [] if in_flight.is_empty() => {}
            [] => self.tally.lost_in_flight += 1,
            extra if extra == in_flight => self.tally.recovered_in_flight += 1,
            extra => {
                let violation = format!("{} of {} unacknowledged records", extra.len(), in_flight.len());
                return Err(Stop::Violation(violation));
            }
        }
        self.promises.records = found;
        Ok(())
    }

    fn check_objects(&mut self, process: &Process) -> Result<(), Stop> {
        for (key, bytes) in &self.promises.objects {
            let found = self.read_object(process, key)?;
            if found.as_ref() != Some(bytes) {
                return Err(Stop::Violation(format!("object {key} is gone or differs")));
            }
        }
        for key in self.promises.tried_objects.keys().cloned().collect::<Vec<_>>() {
            self.stat_key(process, &key)?;
        }
        Ok(())
    }

    fn read_object(&self, process: &Process, key: &str) -> Result<Option<Vec<u8>>, Stop> {
        let reader = match process.objects.open(&parse(key)) {
            Ok(reader) => reader,
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed("opening an object", &error)),
        };
        let mut bytes = vec![0; reader.size_bytes() as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += reader
                .read_at(filled as u64, &mut bytes[filled..])
                .map_err(|error| self.failed("reading an object", &error))?;
        }
        Ok(Some(bytes))
    }

    fn append(&mut self, process: &mut Process) -> Result<(), Stop> {
        let count = 1 + self.random.below(4);
        let largest = if self.random.chance(10) { 3000 } else { 150 };
        let batch: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let length = self.random.below(largest);
                self.random.bytes(length)
            })
            .collect();
        match process.journal.append(&batch) {
            Ok(sequence) => {
                self.promises.records.extend(batch);
                self.tally.batches += 1;
                assert_eq!(sequence, self.promises.records.len() as u64);
                Ok(())
            }
            Err(error) => {
                self.promises.in_flight = Some(batch);
                let again = process.journal.append(&[vec![1]]);
                assert!(matches!(again, Err(JournalError::Poisoned { .. })), "{again:?}");
                Err(self.failed("append", &error))
            }
        }
    }

    fn snapshot(&mut self, process: &mut Process) -> Result<(), Stop> {
        let (state, sequence) = (join(&self.promises.records), self.promises.records.len() as u64);
        // What a snapshot lists is there before it: here one part, whose content is that of the state.
        let snapshots = &mut process.snapshots;
        let part = snapshots.write_history(sequence, &state);
        let written = part.and_then(|()| snapshots.write(sequence, &state));
        match written.and_then(|()| snapshots.keep_history(&[sequence])) {
            Ok(()) => self.tally.snapshots += 1,
            Err(error @ SnapshotError::Poisoned { .. }) => return Err(self.failed("snapshot", &error)),
            Err(error) => self.carry_on("snapshot", &error)?,
        }
        if let Some(through) = process.snapshots.removable_through() {
            match process.journal.remove_through(through) {
                Ok(removed) => self.tally.segments_removed += removed,
                Err(error) => self.carry_on("removing segments", &error)?,
            }
        }
        Ok(())
    }

    /// After an arranged error that harms nothing the process goes on, unless it has stopped.
    fn carry_on(&self, what: &str, error: &dyn std::error::Error) -> Result<(), Stop> {
        let stop = self.failed(what, error);
        let goes_on = matches!(stop, Stop::Process) && self.disk.list(Path::new("/")).is_ok();
        if goes_on { Ok(()) } else { Err(stop) }
    }

    fn put(&mut self, process: &Process) -> Result<(), Stop> {
        let key = format!("m{}/j{}/o{}", self.random.below(3), self.random.below(3), self.random.below(4));
        let bytes = vec![self.random.below(2) as u8; 100 + 2000 * self.random.below(2) as usize];
        let expected = Expected { size_bytes: bytes.len() as u64, sha256: Sha256::digest(&bytes).into() };
        let put = || {
            let mut upload = process.objects.upload(&parse(&key), expected)?;
            bytes.chunks(700).try_for_each(|chunk| upload.write(chunk))?;
            upload.finish()
        };
        let promised = self.promises.objects.get(&key);
        let violation = |found: &str| Err(Stop::Violation(format!("put of {key}: {found}")));
        match put() {
            Ok(Stored::Created) if promised.is_some() => violation("created twice"),
            Ok(Stored::AlreadyThere) if promised.is_some_and(|promised| *promised != bytes) => {
                violation("other bytes taken for a repeat")
            }
            Ok(_) => {
                self.promises.objects.insert(key, bytes);
                self.tally.objects += 1;
                Ok(())
            }
            Err(ObjectError::Conflict { .. }) if promised == Some(&bytes) => {
                violation("conflict with itself")
            }
            Err(ObjectError::Conflict { .. }) => Ok(()),
            Err(error) => {
                self.promises.tried_objects.entry(key).or_default().push(bytes);
                if matches!(error, ObjectError::Poisoned { .. }) {
                    return Err(self.failed("put", &error));
                }
                self.carry_on("put", &error)
            }
        }
    }

    fn stat(&mut self, process: &Process) -> Result<(), Stop> {
        let keys: Vec<String> = self.promises.tried_objects.keys().cloned().collect();
        keys.iter().try_for_each(|key| self.stat_key(process, key))
    }

    /// An object that was tried is there whole or not at all; once it was seen, it is promised.
    fn stat_key(&mut self, process: &Process, key: &str) -> Result<(), Stop> {
        match process.objects.stat(&parse(key)) {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => {}
            Err(error) => return Err(self.failed("stat", &error)),
        }
        let found = self.read_object(process, key)?.unwrap_or_default();
        let tried = self.promises.tried_objects.get(key).is_some_and(|tried| tried.contains(&found));
        let promised = self.promises.objects.get(key) == Some(&found);
        if !tried && !promised {
            return Err(Stop::Violation(format!("object {key} has bytes that nobody wrote")));
        }
        self.promises.objects.insert(key.to_owned(), found);
        Ok(())
    }
}

fn parse(key: &str) -> ObjectKey {
    ObjectKey::parse(key).expect("a good key")
}

fn join(records: &[Vec<u8>]) -> Vec<u8> {
    let mut state = Vec::new();
    for record in records {
        state.extend_from_slice(&(record.len() as u32).to_le_bytes());
        state.extend_from_slice(record);
    }
    state
}

fn split(mut state: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some((length, rest)) = state.split_first_chunk::<4>() {
        let (record, later) = rest.split_at(u32::from_le_bytes(*length) as usize);
        records.push(record.to_vec());
        state = later;
    }
    records
}
