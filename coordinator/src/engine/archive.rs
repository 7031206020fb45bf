//! Finished matrices in the index: one record for each matrix, its resolved text and each group of its jobs; and the ways in by
//! submit key, by job key and by time. Records are written once, so that writing them again changes nothing; only the last of an
//! attempt's log may come later.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use assay_domain::job::Usage;
use assay_domain::state::{FinishedJob, JobState, Matrix};
use assay_domain::{
    Artifact, Digest, Event, JobId, JobKey, MatrixId, PlannedJob, SubmitKey, UnixMillis, WorkKind,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::EngineError;
use crate::index::{Change, Index, IndexWriter, Order, PageRequest, VALUE_MAX_BYTES};

mod group;

/// The matrix without its text and jobs.
const MATRICES: &str = "matrices";
/// The resolved text, by matrix.
const SPECS: &str = "specs";
/// Planned jobs and their states, some in one record, by matrix and the first one's ordinal.
const JOB_GROUPS: &str = "job_groups";
/// A planned job and its state, by matrix and ordinal: of a group that is too large, and of all in indexes of earlier builds. What
/// a group says counts.
const JOBS: &str = "jobs";
/// A line of the list, newest first.
const LINES: &str = "lines";
const SUBMIT_KEYS: &str = "submit_keys";
/// A finished job by its key, as the matrix has it that was archived last.
const JOB_KEYS: &str = "job_keys";
/// The ordinal of a finished job, by its key and each matrix that has it.
const JOB_HOLDERS: &str = "job_holders";
/// Judge jobs that were tried, by key, newest first.
const JUDGED: &str = "judged";

/// Entries read at once.
const PAGE_ENTRIES: usize = 256;

/// Equal judge jobs that are looked at.
const JUDGED_READ: usize = 16;

/// Attempts kept of a record that is too large.
const ATTEMPTS_KEPT: usize = 100;

/// A matrix in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MatrixLine {
    pub(crate) id: MatrixId,
    pub(crate) name: String,
    pub(crate) submitted_at: u64,
    /// 0: not finished.
    pub(crate) finished_at: u64,
    pub(crate) cancelled: bool,
    /// Only while it is not finished.
    #[serde(skip)]
    pub(crate) paused: bool,
    /// The budget that holds it back; only while it is not finished.
    #[serde(skip)]
    pub(crate) held: String,
    pub(crate) jobs: BTreeMap<String, u32>,
}

impl MatrixLine {
    pub(crate) fn of(matrix: &Matrix) -> Self {
        let summary = assay_proto::convert::matrix_summary(matrix);
        Self {
            id: matrix.submitted.id.clone(),
            name: summary.name,
            submitted_at: summary.submitted_at_unix_ms,
            finished_at: summary.finished_at_unix_ms,
            cancelled: summary.cancelled,
            paused: summary.paused,
            held: summary.held,
            jobs: summary.jobs.into_iter().collect(),
        }
    }

    pub(crate) fn cursor(&self) -> Cursor {
        Cursor { submitted_at: self.submitted_at, id: self.id.clone() }
    }
}

/// A place in the list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) submitted_at: u64,
    pub(crate) id: MatrixId,
}

impl Cursor {
    pub(crate) fn of(matrix: &Matrix) -> Self {
        Self { submitted_at: matrix.submitted.at.0, id: matrix.submitted.id.clone() }
    }

    /// Ascending keys are descending times.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = (!self.submitted_at).to_be_bytes().to_vec();
        key.extend(self.id.as_str().as_bytes());
        key
    }
}

#[derive(Serialize)]
struct JobRecordRef<'a> {
    planned: &'a PlannedJob,
    state: &'a JobState,
}

/// A job of a finished matrix.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct JobRecord {
    pub(crate) planned: PlannedJob,
    pub(crate) state: JobState,
}

/// A finished job by its key. Its first fields are those of [`FinishedJob`], as which it is read.
#[derive(Serialize, Deserialize)]
struct Held {
    job: JobId,
    outputs: Vec<Artifact>,
    usage: Option<Usage>,
    /// The matrix from whose record this is; none in indexes of earlier builds.
    #[serde(default)]
    held_by: Option<MatrixId>,
}

impl Held {
    fn of(finished: FinishedJob, matrix: &MatrixId) -> Self {
        let FinishedJob { job, outputs, usage } = finished;
        Self { job, outputs, usage, held_by: Some(matrix.clone()) }
    }
}

/// Finished matrices.
#[derive(Debug)]
pub(crate) struct Archive {
    writer: IndexWriter,
    index: Index,
}

impl Archive {
    pub(crate) fn new(writer: IndexWriter) -> Self {
        let index = writer.reader();
        Self { writer, index }
    }

    pub(crate) fn applied_sequence(&self) -> u64 {
        self.writer.applied_sequence()
    }

    /// Adds finished matrices, and finished jobs whose logs have grown, as of a journal sequence.
    pub(crate) fn apply(
        &mut self,
        sequence: u64,
        finished: &[Matrix],
        amended: &BTreeMap<JobId, JobRecord>,
    ) -> Result<(), EngineError> {
        let mut changes = Vec::new();
        for matrix in finished {
            push_changes(matrix, &mut changes)?;
        }
        self.push_amended(amended, &mut changes)?;
        Ok(self.writer.apply(sequence, changes)?)
    }

    fn push_amended(
        &self,
        amended: &BTreeMap<JobId, JobRecord>,
        changes: &mut Vec<Change>,
    ) -> Result<(), EngineError> {
        let mut groups = BTreeMap::new();
        for (id, job) in amended {
            let key = group_key(id);
            let group = match groups.entry(key) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(place) => {
                    let packed = self.index.get(JOB_GROUPS, place.key())?;
                    place.insert(packed.map(|packed| group::unpack(&packed)).transpose()?.unwrap_or_default())
                }
            };
            match group.iter_mut().find(|known| known.planned.ordinal == id.ordinal) {
                Some(known) => *known = job.clone(),
                None => {
                    let value = job_record(&job.planned, &job.state)?;
                    changes.push(Change::Put { tree: JOBS, key: job_key(id), value });
                }
            }
        }
        for (key, group) in groups.into_iter().filter(|(_, group)| !group.is_empty()) {
            push_group(key, group.iter().map(|job| (&job.planned, &job.state)), changes)?;
        }
        Ok(())
    }

    /// Adds finished matrices one by one; the sequence stays.
    pub(crate) fn add_finished(&mut self, finished: &[Matrix]) -> Result<(), EngineError> {
        let sequence = self.applied_sequence();
        let mut one = finished.iter().map(std::slice::from_ref);
        one.try_for_each(|matrix| self.apply(sequence, matrix, &BTreeMap::new()))
    }

    /// Takes in what finished matrices change; the sequence stays.
    pub(super) fn change(&mut self, changes: Vec<Change>) -> Result<(), EngineError> {
        Ok(self.writer.apply(self.applied_sequence(), changes)?)
    }

    /// Takes in what happened to finished matrices, as of a sequence.
    pub(crate) fn happened(&mut self, sequence: u64, event: &Event) -> Result<(), EngineError> {
        let mut amended = BTreeMap::new();
        if let Event::HistoryForgotten { before, .. } = event {
            self.forget(*before)?;
        }
        if let Event::Logged { lease, .. } = event
            && let Some(mut record) = self.job(&lease.job)?
        {
            record.state.apply(event);
            amended.insert(lease.job.clone(), record);
        }
        self.apply(sequence, &[], &amended)
    }

    /// Whether a finished matrix ended before a time.
    pub(crate) fn has_older(&self, before: UnixMillis) -> Result<bool, EngineError> {
        Ok(!self.older(before)?.is_empty())
    }

    /// Removes the finished matrices that ended before a time, one by one; the sequence stays, so that an interruption does no
    /// harm. A job that a matrix which stays has as well is still found by its key.
    pub(crate) fn forget(&mut self, before: UnixMillis) -> Result<(), EngineError> {
        for line in self.older(before)? {
            let Some(matrix) = self.matrix(&line.id)? else { continue };
            let mut changes = Vec::new();
            let mut delete = |tree, key: &[u8]| changes.push(Change::Delete { tree, key: key.to_vec() });
            for planned in &matrix.submitted.plan {
                let id = JobId { matrix: line.id.clone(), ordinal: planned.ordinal };
                delete(JOB_GROUPS, &group_key(&id));
                delete(JOBS, &job_key(&id));
                delete(JUDGED, &judged_key(&planned.key, matrix.submitted.at, &id));
                delete(JOB_HOLDERS, &holder_key(&planned.key, &line.id));
            }
            let id = line.id.as_str().as_bytes();
            delete(SPECS, id);
            delete(MATRICES, id);
            delete(LINES, &line.cursor().key());
            delete(SUBMIT_KEYS, matrix.submitted.submit_key.as_str().as_bytes());
            for planned in &matrix.submitted.plan {
                changes.extend(self.without(&planned.key, &line.id)?);
            }
            self.writer.apply(self.applied_sequence(), changes)?;
        }
        Ok(())
    }

    /// What becomes of a key when a matrix is forgotten: another that has the job takes it over.
    fn without(&self, key: &JobKey, matrix: &MatrixId) -> Result<Option<Change>, EngineError> {
        let Some(held) = self.value::<Held>(JOB_KEYS, key.0.as_bytes())? else { return Ok(None) };
        // Before there were holders, whoever ran it had it.
        if held.held_by.as_ref().unwrap_or(&held.job.matrix) != matrix {
            return Ok(None);
        }
        let mut others = Vec::new();
        self.each(JOB_HOLDERS, key.0.as_bytes(), |holder| {
            others.push(decode::<JobId>(holder)?);
            Ok(())
        })?;
        let key = key.0.as_bytes().to_vec();
        for id in others.into_iter().filter(|id| id.matrix != *matrix) {
            if let Some(finished) = self.job(&id)?.and_then(|record| record.state.finished(&id)) {
                let value = encode(&Held::of(finished, &id.matrix))?;
                return Ok(Some(Change::Put { tree: JOB_KEYS, key, value }));
            }
        }
        Ok(Some(Change::Delete { tree: JOB_KEYS, key }))
    }

    fn older(&self, before: UnixMillis) -> Result<Vec<MatrixLine>, EngineError> {
        let mut older = Vec::new();
        self.each(LINES, &[], |line| {
            let line: MatrixLine = decode(line)?;
            if line.finished_at < before.0 {
                older.push(line);
            }
            Ok(())
        })?;
        Ok(older)
    }

    /// Hands all to the operating system, so that the index is never behind the journal's first record.
    pub(crate) fn flush(&self) -> Result<(), EngineError> {
        Ok(self.writer.flush()?)
    }

    pub(crate) fn matrix(&self, id: &MatrixId) -> Result<Option<Matrix>, EngineError> {
        let Some(mut matrix) = self.value::<Matrix>(MATRICES, id.as_str().as_bytes())? else {
            return Ok(None);
        };
        let spec = self.index.get(SPECS, id.as_str().as_bytes())?.unwrap_or_default();
        matrix.submitted.spec_json =
            String::from_utf8(spec).map_err(|source| EngineError::IndexText { source })?;
        for record in self.jobs(id)?.into_values() {
            matrix.submitted.plan.push(record.planned);
            matrix.jobs.push(record.state);
        }
        Ok(Some(matrix))
    }

    fn jobs(&self, id: &MatrixId) -> Result<BTreeMap<u32, JobRecord>, EngineError> {
        let mut jobs = BTreeMap::new();
        self.each(JOBS, &job_prefix(id), |record| {
            let record: JobRecord = decode(record)?;
            jobs.insert(record.planned.ordinal, record);
            Ok(())
        })?;
        self.each(JOB_GROUPS, &job_prefix(id), |packed| {
            jobs.extend(group::unpack(packed)?.into_iter().map(|record| (record.planned.ordinal, record)));
            Ok(())
        })?;
        Ok(jobs)
    }

    /// A job of a finished matrix.
    pub(crate) fn job(&self, id: &JobId) -> Result<Option<JobRecord>, EngineError> {
        match self.index.get(JOB_GROUPS, &group_key(id))? {
            Some(packed) => group::unpack_one(&packed, id.ordinal),
            None => self.value(JOBS, &job_key(id)),
        }
    }

    /// The matrix that has a submit key, with the digest it stands for.
    pub(crate) fn by_submit_key(&self, key: &SubmitKey) -> Result<Option<(MatrixId, Digest)>, EngineError> {
        self.value(SUBMIT_KEYS, key.as_str().as_bytes())
    }

    /// The finished job with a key.
    pub(crate) fn finished(&self, key: &JobKey) -> Result<Option<FinishedJob>, EngineError> {
        self.value(JOB_KEYS, key.0.as_bytes())
    }

    /// Judge jobs with a key, whether they finished or not: the newest.
    pub(crate) fn judged(&self, key: &JobKey) -> Result<Vec<JobId>, EngineError> {
        let (prefix, limit) = (key.0.as_bytes(), JUDGED_READ);
        let request = PageRequest { tree: JUDGED, prefix, after: None, order: Order::Ascending, limit };
        self.index.page(&request)?.entries.iter().map(|(_, id)| decode(id)).collect()
    }

    /// A page of the list, newest first.
    pub(crate) fn list(&self, before: Option<&Cursor>, count: usize) -> Result<Vec<MatrixLine>, EngineError> {
        let after = before.map(Cursor::key);
        let request = PageRequest {
            tree: LINES,
            prefix: &[],
            after: after.as_deref(),
            order: Order::Ascending,
            limit: count,
        };
        self.index.page(&request)?.entries.iter().map(|(_, line)| decode(line)).collect()
    }

    /// All finished matrices.
    pub(crate) fn all(&self) -> Result<Vec<Matrix>, EngineError> {
        let mut ids = Vec::new();
        self.each(LINES, &[], |line| {
            ids.push(decode::<MatrixLine>(line)?.id);
            Ok(())
        })?;
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            all.extend(self.matrix(&id)?);
        }
        Ok(all)
    }

    fn value<T: DeserializeOwned>(&self, tree: &str, key: &[u8]) -> Result<Option<T>, EngineError> {
        self.index.get(tree, key)?.map(|bytes| decode(&bytes)).transpose()
    }

    fn each(
        &self,
        tree: &str,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (order, limit) = (Order::Ascending, PAGE_ENTRIES);
            let request = PageRequest { tree, prefix, after: after.as_deref(), order, limit };
            let page = self.index.page(&request)?;
            for (_, value) in &page.entries {
                visit(value)?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

/// What a finished matrix changes in the index.
pub(super) fn push_changes(matrix: &Matrix, changes: &mut Vec<Change>) -> Result<(), EngineError> {
    let jobs: Vec<_> = matrix.submitted.plan.iter().zip(&matrix.jobs).collect();
    for group in jobs.chunks(group::JOBS) {
        let id = JobId { matrix: matrix.submitted.id.clone(), ordinal: group[0].0.ordinal };
        push_group(group_key(&id), group.iter().copied(), changes)?;
    }
    let id = matrix.submitted.id.as_str().as_bytes();
    let mut put = |tree, key: &[u8], value| changes.push(Change::Put { tree, key: key.to_vec(), value });
    for (planned, state) in jobs {
        let id = JobId { matrix: matrix.submitted.id.clone(), ordinal: planned.ordinal };
        if planned.work.kind() == WorkKind::Judge && !state.attempts.is_empty() {
            put(JUDGED, &judged_key(&planned.key, matrix.submitted.at, &id), encode(&id)?);
        }
        if let Some(finished) = matrix.finished_job(planned.ordinal) {
            put(JOB_HOLDERS, &holder_key(&planned.key, &id.matrix), encode(&id)?);
            put(JOB_KEYS, planned.key.0.as_bytes(), encode(&Held::of(finished, &id.matrix))?);
        }
    }
    put(SPECS, id, matrix.submitted.spec_json.clone().into_bytes());
    put(SUBMIT_KEYS, matrix.submitted.submit_key.as_str().as_bytes(), {
        encode(&(&matrix.submitted.id, matrix.submitted.spec_digest))?
    });
    let line = MatrixLine::of(matrix);
    put(LINES, &line.cursor().key(), encode(&line)?);
    let mut head = matrix.submitted.clone();
    head.spec_json.clear();
    head.plan.clear();
    put(
        MATRICES,
        id,
        encode(&Matrix {
            submitted: head,
            jobs: Vec::new(),
            cancelled_at: matrix.cancelled_at,
            paused_at: matrix.paused_at,
            budget: matrix.budget,
            held_by: None,
        })?,
    );
    Ok(())
}

/// Sets a group, or each of its jobs where they are too large for one.
fn push_group<'a>(
    key: Vec<u8>,
    jobs: impl Iterator<Item = (&'a PlannedJob, &'a JobState)>,
    changes: &mut Vec<Change>,
) -> Result<(), EngineError> {
    let record = |(planned, state): (&PlannedJob, _)| Ok((planned.ordinal, job_record(planned, state)?));
    let (ordinals, records): (Vec<u32>, Vec<_>) = jobs.map(record).collect::<Result<_, EngineError>>()?;
    if let Some(value) = group::pack(&records)? {
        changes.push(Change::Put { tree: JOB_GROUPS, key, value });
        return Ok(());
    }
    for (ordinal, value) in ordinals.into_iter().zip(records) {
        let key = [&key[..key.len() - size_of::<u32>()], &ordinal.to_be_bytes()].concat();
        changes.push(Change::Put { tree: JOBS, key, value });
    }
    changes.push(Change::Delete { tree: JOB_GROUPS, key });
    Ok(())
}

/// A job's record. One that is too large for the index, after very many attempts or checkpoints, keeps what counts: the
/// newest attempts, and the outputs, which name the checkpoints' adapters too.
fn job_record(planned: &PlannedJob, state: &JobState) -> Result<Vec<u8>, EngineError> {
    let whole = encode(&JobRecordRef { planned, state })?;
    if whole.len() <= VALUE_MAX_BYTES {
        return Ok(whole);
    }
    tracing::warn!(
        job = planned.label,
        bytes = whole.len(),
        "the record is too large for the index: it is shortened"
    );
    let mut short = state.clone();
    short.attempts.drain(..short.attempts.len().saturating_sub(ATTEMPTS_KEPT));
    short.checkpoints.clear();
    encode(&JobRecordRef { planned, state: &short })
}

/// Ids hold no NUL, so that no id's prefix begins another's.
fn job_prefix(id: &MatrixId) -> Vec<u8> {
    let mut key = id.as_str().as_bytes().to_vec();
    key.push(0);
    key
}

fn job_key(id: &JobId) -> Vec<u8> {
    let mut key = job_prefix(&id.matrix);
    key.extend(id.ordinal.to_be_bytes());
    key
}

fn group_key(id: &JobId) -> Vec<u8> {
    job_key(&JobId { matrix: id.matrix.clone(), ordinal: group::first_of(id.ordinal) })
}

/// Ascending keys are descending times.
fn judged_key(key: &JobKey, submitted: UnixMillis, id: &JobId) -> Vec<u8> {
    [key.0.as_bytes().as_slice(), &(!submitted.0).to_be_bytes(), &job_key(id)].concat()
}

/// A job's key has a fixed length.
fn holder_key(key: &JobKey, matrix: &MatrixId) -> Vec<u8> {
    [key.0.as_bytes(), matrix.as_str().as_bytes()].concat()
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(value).map_err(|source| EngineError::Encode { source })
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, EngineError> {
    serde_json::from_slice(bytes).map_err(|source| EngineError::IndexRecord { source })
}

/// Where a job of the archive is named.
pub(crate) fn winner_of(matrix: &Matrix, job: &JobId) -> Option<assay_domain::Fence> {
    match &matrix.jobs.get(job.ordinal as usize)?.phase {
        assay_domain::state::Phase::Succeeded { fence, .. } => Some(*fence),
        assay_domain::state::Phase::Waiting
        | assay_domain::state::Phase::Leased { .. }
        | assay_domain::state::Phase::Reused { .. }
        | assay_domain::state::Phase::Failed { .. }
        | assay_domain::state::Phase::Cancelled => None,
    }
}

#[cfg(test)]
impl Archive {
    /// The jobs of all finished matrices as earlier builds stored them: each in a record of its own.
    pub(super) fn ungroup(&mut self) {
        let mut changes = Vec::new();
        for matrix in self.all().unwrap() {
            for (planned, state) in matrix.submitted.plan.iter().zip(&matrix.jobs) {
                let id = JobId { matrix: matrix.submitted.id.clone(), ordinal: planned.ordinal };
                changes.push(Change::Delete { tree: JOB_GROUPS, key: group_key(&id) });
                let value = job_record(planned, state).unwrap();
                changes.push(Change::Put { tree: JOBS, key: job_key(&id), value });
            }
        }
        self.change(changes).unwrap();
    }

    /// How many jobs are stored by themselves.
    pub(super) fn ungrouped(&self) -> usize {
        let mut count = 0;
        self.each(JOBS, &[], |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        count
    }
}
