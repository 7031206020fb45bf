//! Verifying: every file that the state stands on is read and checked, and what is wrong is named. Nothing is repaired.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::backup::BACKUP_FILE;
use super::restore::check;
use super::store::{Folder, Objects};
use super::stored::{Damage, Stored};
use super::{AdminError, objects};
use crate::disk::RealDisk;
use crate::index::{Index, ProbeCommand};
use crate::journal::Look;

/// What was found.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Verified {
    /// What is as it should be.
    pub good: Vec<String>,
    /// What is wrong, with file and reason.
    pub wrong: Vec<String>,
}

/// Looks at a data folder or a backup. Without `digests`, objects are only looked at for their length.
///
/// # Errors
/// Only when a folder cannot be read at all: damage is an answer.
pub fn verify(folder: &Path, digests: bool, probe: &ProbeCommand) -> Result<Verified, AdminError> {
    verify_with(folder, Some(&Folder::at(folder)), digests, probe)
}

/// The same with the objects where they are; without any they are not looked at.
pub(super) fn verify_with(
    folder: &Path,
    from: Option<&dyn Objects>,
    digests: bool,
    probe: &ProbeCommand,
) -> Result<Verified, AdminError> {
    let mut found = Verified::default();
    if !folder.join("journal").is_dir() && !folder.join("snapshots").is_dir() {
        return Err(AdminError::NoState { path: folder.to_path_buf() });
    }
    let is_backup = folder.join(BACKUP_FILE).is_file();
    if is_backup {
        match check(folder) {
            Ok(backup) => {
                found
                    .good
                    .push(format!("backup of sequence {}: its files are as written", backup.last_sequence));
            }
            Err(error) => found.wrong.push(assay_domain::chain(&error)),
        }
    }
    segments(folder, &mut found);
    // After damage, what comes before it is looked at all the same.
    let stored = Stored::load(&RealDisk, folder, Damage::GivenUp)?;
    state(&stored, &mut found);
    if !is_backup {
        index(folder, stored.last_sequence, probe, &mut found);
    }
    if let Some(from) = from {
        store(from, &stored, digests, &mut found)?;
    }
    Ok(found)
}

/// All segments, also those before the snapshot.
fn segments(folder: &Path, found: &mut Verified) {
    let folder = folder.join("journal");
    let journal = match Look::open(&RealDisk, &folder) {
        Ok(journal) => journal,
        Err(error) => return found.wrong.push(assay_domain::chain(&error)),
    };
    let mut last = 0;
    for place in 0..journal.len() {
        match journal.segment(&RealDisk, place) {
            Ok(Some(segment)) => {
                last = segment.last_sequence;
                found.good.extend(segment.torn.map(|torn| {
                    format!(
                        "journal {}: {} bytes after sequence {last} are a batch in writing or torn ({}); the next start cuts \
                         them, and nobody has an answer that depends on them",
                        torn.path.display(), torn.cut_bytes, torn.reason
                    )
                }));
            }
            Ok(None) => {}
            Err(error) => found.wrong.push(assay_domain::chain(&error)),
        }
    }
    found.good.push(format!(
        "journal: {} segments, sequences {} to {last}",
        journal.len(),
        journal.first_sequence()
    ));
}

fn state(stored: &Stored, found: &mut Verified) {
    found.wrong.extend(stored.bad_snapshots.iter().map(|bad| format!("snapshot {bad}")));
    found.wrong.extend(stored.given_up.clone());
    found.wrong.dedup();
    let snapshot = stored
        .snapshot
        .as_ref()
        .map_or(String::from("no snapshot"), |(sequence, _)| format!("snapshot at sequence {sequence}"));
    found.good.push(format!(
        "state: {snapshot}, folded to sequence {}; epoch {}, {} unfinished and {} finished matrices",
        stored.last_sequence,
        stored.state.epoch,
        stored.state.matrices.len(),
        stored.archived.len(),
    ));
}

fn index(folder: &Path, last_sequence: u64, probe: &ProbeCommand, found: &mut Verified) {
    match Index::check(&folder.join("index"), probe) {
        Ok(None) => found.good.push(String::from("index: none; the next start builds it")),
        Ok(Some(Ok(applied))) if applied > last_sequence => found.wrong.push(format!(
            "the index shows that sequence {applied} was durable, but the journal ends at {last_sequence}: the next start is \
             refused; restore a backup with `assay admin restore`"
        )),
        Ok(Some(Ok(applied))) => found.good.push(format!("index: whole, as of sequence {applied}")),
        Ok(Some(Err(reason))) => {
            found.wrong.push(format!("index: {reason}; the next start sets it aside and rebuilds it"));
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            found.good.push(String::from("index: not looked at, a coordinator has it open"));
        }
        Err(error) => found.wrong.push(format!("index: cannot be looked at: {error}")),
    }
}

fn store(from: &dyn Objects, stored: &Stored, digests: bool, found: &mut Verified) -> Result<(), AdminError> {
    let named = objects::named(stored.matrices());
    let looked = from.look(&objects::files(&named), digests)?;
    let good = looked.iter().filter(|wrong| wrong.is_none()).count();
    let wrong = named.iter().zip(looked).filter_map(|((key, (_, whose)), wrong)| {
        wrong.map(|wrong| format!("object {key} ({whose}) {wrong}"))
    });
    found.wrong.extend(wrong);
    let how = if digests { "sha256" } else { "length" };
    found.good.push(format!("objects: {good} of {} have their {how}", named.len()));
    Ok(())
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.good.iter().try_for_each(|line| writeln!(f, "ok     {line}"))?;
        self.wrong.iter().try_for_each(|line| writeln!(f, "WRONG  {line}"))?;
        match self.wrong.len() {
            0 => write!(f, "nothing is wrong"),
            1 => write!(f, "1 thing is wrong"),
            count => write!(f, "{count} things are wrong"),
        }
    }
}
