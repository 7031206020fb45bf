//! All that a data folder or a backup holds, folded from its files alone: no lock is taken, nothing is changed, and sled is not
//! asked. A coordinator may run meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use assay_domain::state::Matrix;
use assay_domain::{Event, MatrixId, State};

use super::AdminError;
use crate::disk::Disk;
use crate::engine::archive::MatrixLine;
use crate::engine::history::{Line, Part, each_line};
use crate::engine::recovery::{Parts, decode_event, decode_parts};
use crate::journal::{JournalError, Look, Record, Seen};
use crate::snapshot::{self, history_path};

/// Tries until a state was read that the coordinator did not replace meanwhile.
const TRIES: usize = 5;

/// Whether damage refuses or ends the reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// Damage is an error.
    Refused,
    /// What comes before the damage is taken, and what was given up is told.
    GivenUp,
}

impl Damage {
    fn allows(self, error: AdminError) -> Result<(), AdminError> {
        match self {
            Self::Refused => Err(error),
            Self::GivenUp => Ok(()),
        }
    }
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Unfinished matrices, workers, the epoch.
    pub(super) state: State,
    /// Finished ones.
    pub(super) archived: BTreeMap<MatrixId, Matrix>,
    /// The newest good snapshot: its sequence and its file's name.
    pub(super) snapshot: Option<(u64, String)>,
    /// The parts of the history that the snapshot lists: their files' names, and whether they were read.
    pub(super) history: Vec<(String, bool)>,
    /// Snapshots that cannot be read, as `PATH: why`.
    pub(super) bad_snapshots: Vec<String>,
    /// The journal from the snapshot on: file names and their whole batches.
    pub(super) segments: Vec<(String, Vec<u8>)>,
    /// The last record taken.
    pub(super) last_sequence: u64,
    /// Where the journal ends; 0 if there is none.
    journal_end: u64,
    /// The highest sequence that a file's name shows to have been durable.
    pub(super) proven_sequence: u64,
    /// What could not be read, in `Damage::GivenUp`.
    pub(super) given_up: Option<String>,
}

impl Stored {
    /// Reads a data folder or a backup.
    pub(super) fn load(disk: &dyn Disk, folder: &Path, damage: Damage) -> Result<Stored, AdminError> {
        for _ in 1..TRIES {
            match Stored::try_load(disk, folder, damage) {
                Err(error) if error.was_replaced() => {}
                loaded => return loaded,
            }
        }
        Stored::try_load(disk, folder, damage)
    }

    fn try_load(disk: &dyn Disk, folder: &Path, damage: Damage) -> Result<Stored, AdminError> {
        let mut stored = Stored::default();
        stored.read_snapshot(disk, &folder.join("snapshots"), damage)?;
        let journal = Look::open(disk, &folder.join("journal"))?;
        stored.proven_sequence = stored.proven_sequence.max(journal.first_sequence().saturating_sub(1));
        let mut whole = true;
        match stored.read_journal(disk, &folder.join("journal"), &journal) {
            Err(error) if damage == Damage::GivenUp && !error.was_replaced() => {
                let place = journal.place_of(stored.last_sequence + 1);
                // What is whole before the damage; if even this fails, the segments before it.
                if let Ok(Some(segment)) = journal.before_damage(disk, place)
                    && segment.first_sequence <= stored.last_sequence + 1
                {
                    stored.take(segment)?;
                }
                stored.give_up(assay_domain::chain(&error));
                whole = false;
            }
            read => read?,
        }
        if stored.journal_end < stored.proven_sequence && whole {
            let error = AdminError::EndsEarly {
                folder: folder.to_path_buf(),
                last: stored.journal_end,
                proven: stored.proven_sequence,
            };
            match damage {
                Damage::Refused => return Err(error),
                Damage::GivenUp => stored.give_up(error.to_string()),
            }
        }
        if stored.journal_end < stored.last_sequence {
            // All that the journal still has is in the snapshot.
            stored.segments.clear();
        }
        Ok(stored)
    }

    fn read_snapshot(&mut self, disk: &dyn Disk, folder: &Path, damage: Damage) -> Result<(), AdminError> {
        let found = match snapshot::look(disk, folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found.map_err(AdminError::io("list", folder))?,
        };
        self.proven_sequence = found.first().map_or(0, |(sequence, _)| *sequence);
        for (sequence, path) in found {
            match snapshot::read(disk, &path, sequence) {
                Ok(bytes) => {
                    let Parts { state, inline, history } = decode_parts(sequence, &bytes)?;
                    self.state = state;
                    inline.into_iter().for_each(|matrix| self.finished(matrix));
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    (self.snapshot, self.last_sequence) = (Some((sequence, name)), sequence);
                    return self.read_history(disk, folder, &history, damage);
                }
                Err(reason) => self.bad_snapshots.push(format!("{}: {reason}", path.display())),
            }
        }
        Ok(())
    }

    fn read_history(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        parts: &[Part],
        damage: Damage,
    ) -> Result<(), AdminError> {
        for part in parts {
            let path = history_path(folder, part.sequence);
            let read = each_line(disk, folder, part, |line| {
                match line {
                    Line::Finished(matrix) => self.finished(*matrix),
                    Line::Happened(event) => self.happened(&event),
                }
                Ok(())
            });
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.history.push((name, read.is_ok()));
            if let Err(error) = read {
                // One that a coordinator has just removed: the newer snapshot is to be read.
                let open = disk.open(&path).map_err(AdminError::io("open", &path));
                let error = open.err().unwrap_or_else(|| error.into());
                self.give_up(assay_domain::chain(&error));
                damage.allows(error)?;
            }
        }
        Ok(())
    }

    fn give_up(&mut self, what: String) {
        let before = self.given_up.take().map(|before| before + "; ").unwrap_or_default();
        self.given_up = Some(before + &what);
    }

    fn finished(&mut self, matrix: Matrix) {
        self.archived.insert(matrix.submitted.id.clone(), matrix);
    }

    /// What an event does to finished matrices.
    fn happened(&mut self, event: &Event) {
        if let Event::HistoryForgotten { before, .. } = event {
            self.archived.retain(|_, matrix| MatrixLine::of(matrix).finished_at >= before.0);
        }
        if let Event::Logged { lease, .. } = event
            && let Some(matrix) = self.archived.get_mut(&lease.job.matrix)
            && let Some(job) = matrix.jobs.get_mut(lease.job.ordinal as usize)
        {
            job.apply(event);
        }
    }

    fn read_journal(&mut self, disk: &dyn Disk, folder: &Path, journal: &Look) -> Result<(), AdminError> {
        let from = self.last_sequence + 1;
        for place in journal.place_of(from)..journal.len() {
            let Some(segment) = journal.segment(disk, place)? else { break };
            if segment.first_sequence > self.last_sequence + 1 {
                return Err(AdminError::Journal(JournalError::Missing {
                    folder: folder.to_path_buf(),
                    sequence: self.last_sequence + 1,
                    next_sequence: segment.first_sequence,
                }));
            }
            self.take(segment)?;
        }
        Ok(())
    }

    fn take(&mut self, segment: Seen) -> Result<(), AdminError> {
        for record in segment.records() {
            if record.sequence > self.last_sequence {
                self.apply(&record)?;
            }
        }
        self.journal_end = segment.last_sequence;
        self.segments.push((segment.name(), segment.bytes));
        Ok(())
    }

    fn apply(&mut self, record: &Record) -> Result<(), AdminError> {
        let event = decode_event(record)?;
        let archived = self.state.apply_taking(&event);
        if let Some(finished) = archived {
            self.finished(finished);
        }
        self.happened(&event);
        self.last_sequence = record.sequence;
        Ok(())
    }

    /// All matrices, finished or not.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.archived.values().chain(&self.state.matrices)
    }
}
