//! Start: state is a fold over the newest good snapshot and the journal after it; the index is brought to the same place,
//! or rebuilt.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use assay_domain::state::Matrix;
use assay_domain::{Epoch, Event, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::EngineError;
use super::archive::Archive;
use crate::disk::Disk;
use crate::index::{Index, IndexOpen, IndexWriter, ProbeCommand};
use crate::journal::{Journal, JournalConfig, Record};
use crate::snapshot::{Loaded, Snapshots};

/// The stored form of a snapshot. Fields are added with a serde default, never renamed or reused.
const SNAPSHOT_VERSION: u32 = 1;

#[derive(Serialize)]
struct SnapshotRef<'a> {
    version: u32,
    state: &'a State,
    archived: &'a [Matrix],
}

#[derive(Deserialize)]
struct SnapshotOwned<'a> {
    version: u32,
    state: State,
    /// As written: only an index that has to be rebuilt needs it, and it may be most of the file.
    #[serde(borrow)]
    archived: &'a RawValue,
}

/// Everything that is stored, opened.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) journal: Journal,
    pub(crate) snapshots: Snapshots,
    pub(crate) archive: Archive,
    pub(crate) snapshot_sequence: u64,
}

/// Opens what a data folder holds, or begins it.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    probe: &ProbeCommand,
    config: JournalConfig,
) -> Result<Recovered, EngineError> {
    let (snapshots, loaded) = Snapshots::open(Arc::clone(disk), &data_dir.join("snapshots"))?;
    let (snapshot_sequence, start) = decode_snapshot(&loaded)?;
    let (state, archived) =
        start.map_or((State::default(), None), |start| (start.state, Some(start.archived)));
    let (mut archive, damaged) = open_index(&data_dir.join("index"), probe)?;
    let known_durable = loaded.proven_sequence.max(archive.applied_sequence());
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
        archive.rebuild(snapshot_sequence, &decode_archived(snapshot_sequence, archived)?)?;
    } else if damaged {
        tracing::warn!("the index is rebuilt from the journal");
    }
    let state = replay(&journal, snapshot_sequence, state, &mut archive)?;
    let recovered = Recovered { state, journal, snapshots, archive, snapshot_sequence };
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
pub(crate) fn encode_snapshot(state: &State, archived: &[Matrix]) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(&SnapshotRef { version: SNAPSHOT_VERSION, state, archived })
        .map_err(|source| EngineError::Encode { source })
}

/// The event that begins a new cluster's history.
pub(super) fn first_event(state: &State) -> Option<Event> {
    (state.epoch == Epoch::default()).then_some(Event::EpochRaised { epoch: Epoch(1) })
}

/// The newest good snapshot's sequence and content; 0 and none in a new folder.
fn decode_snapshot(loaded: &Loaded) -> Result<(u64, Option<SnapshotOwned<'_>>), EngineError> {
    for bad in &loaded.bad {
        tracing::warn!(path = %bad.path.display(), reason = bad.reason, "a snapshot could not be used");
    }
    let Some(snapshot) = &loaded.snapshot else { return Ok((0, None)) };
    Ok((snapshot.sequence, Some(decode(snapshot.sequence, &snapshot.state)?)))
}

fn decode(sequence: u64, bytes: &[u8]) -> Result<SnapshotOwned<'_>, EngineError> {
    let decoded: SnapshotOwned<'_> =
        serde_json::from_slice(bytes).map_err(|source| EngineError::SnapshotRecord { sequence, source })?;
    if decoded.version != SNAPSHOT_VERSION {
        return Err(EngineError::SnapshotVersion { given: decoded.version, supported: SNAPSHOT_VERSION });
    }
    Ok(decoded)
}

fn decode_archived(sequence: u64, archived: Option<&RawValue>) -> Result<Vec<Matrix>, EngineError> {
    let read = archived.map(|archived| serde_json::from_str(archived.get())).transpose();
    Ok(read.map_err(|source| EngineError::SnapshotRecord { sequence, source })?.unwrap_or_default())
}

/// The state and the finished matrices in a snapshot.
pub(crate) fn decode_parts(sequence: u64, bytes: &[u8]) -> Result<(State, Vec<Matrix>), EngineError> {
    let decoded = decode(sequence, bytes)?;
    Ok((decoded.state, decode_archived(sequence, Some(decoded.archived))?))
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
) -> Result<State, EngineError> {
    let applied = archive.applied_sequence();
    for record in journal.read_from(snapshot_sequence + 1) {
        let record = record?;
        let event = decode_event(&record)?;
        if record.sequence > applied {
            replay_archived(record.sequence, &state, &event, archive)?;
        }
        state.apply(&event);
    }
    if journal.last_sequence() > archive.applied_sequence() {
        archive.apply(journal.last_sequence(), &[], &BTreeMap::new())?;
    }
    Ok(state)
}

/// What an event changes in the index.
fn replay_archived(
    sequence: u64,
    state: &State,
    event: &Event,
    archive: &mut Archive,
) -> Result<(), EngineError> {
    if let Some(finished) = archived_by(state, event) {
        return archive.apply(sequence, std::slice::from_ref(&finished), &BTreeMap::new());
    }
    if let Event::HistoryForgotten { before, .. } = event {
        archive.forget(*before)?;
        return archive.apply(sequence, &[], &BTreeMap::new());
    }
    if let Event::Logged { lease, .. } = event
        && state.matrix(&lease.job.matrix).is_none()
        && let Some(mut record) = archive.job(&lease.job)?
    {
        record.state.apply(event);
        return archive.apply(sequence, &[], &BTreeMap::from([(lease.job.clone(), record)]));
    }
    Ok(())
}

/// The matrix that an event moves from the state to the index.
pub(crate) fn archived_by(state: &State, event: &Event) -> Option<Matrix> {
    let Event::MatrixArchived { matrix, .. } = event else { return None };
    state.matrix(matrix).cloned()
}
