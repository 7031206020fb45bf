//! Start: state is a fold over the newest good snapshot and the journal after it; the index is brought to the same place,
//! or rebuilt.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use assay_domain::state::Matrix;
use assay_domain::{Epoch, Event, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::EngineError;
use super::archive::Archive;
use super::history::{History, Part};
use super::rebuild;
use crate::disk::Disk;
use crate::index::{Index, IndexOpen, IndexWriter, LOCK_TRIES, ProbeCommand, pause_for_lock};
use crate::journal::{Journal, JournalConfig, Record};
use crate::snapshot::{Loaded, Snapshot, SnapshotError, Snapshots};

/// The stored form of a snapshot. Fields are added with a serde default, never renamed or reused. Version 1 held the finished matrices
/// themselves, version 2 lists the parts of the history that do.
const SNAPSHOT_VERSION: u32 = 2;

#[derive(Serialize)]
struct SnapshotRef<'a> {
    version: u32,
    state: &'a State,
    history: &'a [Part],
}

#[derive(Deserialize)]
struct SnapshotOwned {
    version: u32,
    state: State,
    /// As written: only an index that has to be rebuilt needs it, and it may be most of the file.
    #[serde(default)]
    archived: Option<Box<RawValue>>,
    #[serde(default)]
    history: Vec<Part>,
}

/// A state and the past that goes with it.
pub(crate) struct Parts {
    pub(crate) state: State,
    /// Finished matrices in the snapshot itself.
    pub(crate) inline: Vec<Matrix>,
    /// Where all others are.
    pub(crate) history: Vec<Part>,
}

/// Where a replay starts.
#[derive(Default)]
struct Start {
    sequence: u64,
    /// The highest sequence that a snapshot, good or bad, shows to have been durable.
    proven_sequence: u64,
    state: State,
    inline: Option<Box<RawValue>>,
    history: Vec<Part>,
}

/// Everything that is stored, opened.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) journal: Journal,
    pub(crate) snapshots: Snapshots,
    pub(crate) archive: Archive,
    pub(crate) history: History,
    pub(crate) snapshot_sequence: u64,
}

/// Tries for a moment: of a predecessor that was killed, the process that it had begun to start for its index has the lock until that
/// process runs.
fn lock(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Snapshots, SnapshotError> {
    for _ in 1..LOCK_TRIES {
        match Snapshots::lock(Arc::clone(disk), folder) {
            Err(SnapshotError::InUse { .. }) => pause_for_lock(),
            locked => return locked,
        }
    }
    Snapshots::lock(Arc::clone(disk), folder)
}

/// Opens what a data folder holds, or begins it.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    probe: &ProbeCommand,
    config: JournalConfig,
) -> Result<Recovered, EngineError> {
    let folder = data_dir.join("snapshots");
    let mut snapshots = lock(disk, &folder)?;
    // The index is read whole, by a process of its own, while the snapshot is decoded.
    let (index, start) = thread::scope(|scope| {
        let index = scope.spawn(|| open_index(&data_dir.join("index"), probe));
        let start = load(&mut snapshots);
        (index.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), start)
    });
    let Start { sequence: snapshot_sequence, proven_sequence, state, inline, history: parts } = start?;
    let (mut archive, damaged) = index?;
    let known_durable = proven_sequence.max(archive.applied_sequence());
    let journal =
        Journal::open(Arc::clone(disk), &data_dir.join("journal"), config, snapshot_sequence, known_durable)?;
    if let Some(cut) = journal.cut_tail() {
        tracing::warn!(path = %cut.path.display(), offset_bytes = cut.offset_bytes, cut_bytes = cut.cut_bytes,
            reason = cut.reason, "a torn tail of the journal was cut; nobody had an answer that depended on it");
    }
    if archive.applied_sequence() < snapshot_sequence {
        tracing::warn!(
            applied = archive.applied_sequence(),
            snapshot_sequence,
            "the index is behind the snapshot: it is rebuilt"
        );
        archive.add_finished(&decode_archived(snapshot_sequence, inline.as_deref())?)?;
        rebuild::tell(&**disk, &folder, &parts, &mut archive)?;
        archive.apply(snapshot_sequence, &[], &BTreeMap::new())?;
    } else if damaged {
        tracing::warn!("the index is rebuilt from the journal");
    }
    let mut history = History::new(parts, inline.is_some());
    let state = replay(&journal, snapshot_sequence, state, &mut archive, &mut history)?;
    let recovered = Recovered { state, journal, snapshots, archive, history, snapshot_sequence };
    tracing::info!(
        snapshot_sequence,
        last_sequence = recovered.journal.last_sequence(),
        matrices = recovered.state.matrices.len(),
        epoch = recovered.state.epoch.0,
        "state recovered"
    );
    Ok(recovered)
}

/// The bytes of a snapshot.
pub(crate) fn encode_snapshot(state: &State, history: &[Part]) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(&SnapshotRef { version: SNAPSHOT_VERSION, state, history })
        .map_err(|source| EngineError::Encode { source })
}

/// The event that begins a new cluster's history.
pub(super) fn first_event(state: &State) -> Option<Event> {
    (state.epoch == Epoch::default()).then_some(Event::EpochRaised { epoch: Epoch(1) })
}

/// The newest good snapshot; nothing in a new folder.
fn load(snapshots: &mut Snapshots) -> Result<Start, EngineError> {
    let Loaded { snapshot, bad, proven_sequence } = snapshots.load()?;
    for bad in &bad {
        tracing::warn!(path = %bad.path.display(), reason = bad.reason, "a snapshot could not be used");
    }
    let Some(Snapshot { sequence, state }) = snapshot else {
        return Ok(Start { proven_sequence, ..Start::default() });
    };
    let SnapshotOwned { state, archived: inline, history, .. } = decode(sequence, &state)?;
    Ok(Start { sequence, proven_sequence, state, inline, history })
}

fn decode(sequence: u64, bytes: &[u8]) -> Result<SnapshotOwned, EngineError> {
    let decoded: SnapshotOwned =
        serde_json::from_slice(bytes).map_err(|source| EngineError::SnapshotRecord { sequence, source })?;
    if !(1..=SNAPSHOT_VERSION).contains(&decoded.version) {
        return Err(EngineError::SnapshotVersion { given: decoded.version, supported: SNAPSHOT_VERSION });
    }
    Ok(decoded)
}

fn decode_archived(sequence: u64, archived: Option<&RawValue>) -> Result<Vec<Matrix>, EngineError> {
    let read = archived.map(|archived| serde_json::from_str(archived.get())).transpose();
    Ok(read.map_err(|source| EngineError::SnapshotRecord { sequence, source })?.unwrap_or_default())
}

/// What a snapshot says.
pub(crate) fn decode_parts(sequence: u64, bytes: &[u8]) -> Result<Parts, EngineError> {
    let SnapshotOwned { state, archived, history, .. } = decode(sequence, bytes)?;
    Ok(Parts { state, inline: decode_archived(sequence, archived.as_deref())?, history })
}

/// The event in a record of the journal.
pub(crate) fn decode_event(record: &Record) -> Result<Event, EngineError> {
    serde_json::from_slice(&record.bytes)
        .map_err(|source| EngineError::JournalRecord { sequence: record.sequence, source })
}

fn open_index(folder: &Path, probe: &ProbeCommand) -> Result<(Archive, bool), EngineError> {
    let failed = |source| EngineError::IndexFolder { folder: folder.to_path_buf(), source };
    let reason = match Index::open(folder, probe).map_err(failed)? {
        IndexOpen::Opened { writer, .. } => return Ok((Archive::new(writer), false)),
        IndexOpen::Damaged { reason } => reason,
    };
    let aside = Index::set_aside(folder).map_err(failed)?;
    tracing::warn!(reason, aside = %aside.display(), "the index is damaged: it was set aside and is rebuilt");
    Ok((Archive::new(open_again(folder, probe)?), true))
}

fn open_again(folder: &Path, probe: &ProbeCommand) -> Result<IndexWriter, EngineError> {
    let failed = |source| EngineError::IndexFolder { folder: folder.to_path_buf(), source };
    match Index::open(folder, probe).map_err(failed)? {
        IndexOpen::Opened { writer, .. } => Ok(writer),
        IndexOpen::Damaged { reason } => Err(failed(std::io::Error::other(reason))),
    }
}

fn replay(
    journal: &Journal,
    snapshot_sequence: u64,
    mut state: State,
    archive: &mut Archive,
    history: &mut History,
) -> Result<State, EngineError> {
    let applied = archive.applied_sequence();
    for record in journal.read_from(snapshot_sequence + 1) {
        let record = record?;
        let event = decode_event(&record)?;
        if is_about_the_past(&state, &event) {
            history.happened(&event)?;
            if record.sequence > applied {
                archive.happened(record.sequence, &event)?;
            }
        }
        if let Some(finished) = state.apply_taking(&event) {
            history.finished(&finished)?;
            if record.sequence > applied {
                archive.apply(record.sequence, std::slice::from_ref(&finished), &BTreeMap::new())?;
            }
        }
    }
    if journal.last_sequence() > archive.applied_sequence() {
        archive.apply(journal.last_sequence(), &[], &BTreeMap::new())?;
    }
    Ok(state)
}

/// Whether an event changes what is not in the state any more.
pub(crate) fn is_about_the_past(state: &State, event: &Event) -> bool {
    if let Event::Logged { lease, .. } = event {
        return state.matrix(&lease.job.matrix).is_none();
    }
    matches!(event, Event::HistoryForgotten { .. })
}
