//! What judges have answered before: the ledgers that an attempt of a judge job reads first, so that nothing is paid twice.
//!
//! Its own job's earlier attempts, and equal jobs of matrices that have ended: cancelled, failed, or done with verdicts missing.

use assay_domain::segment::Lines;
use assay_domain::state::{AttemptRecord, JobState, Matrix};
use assay_domain::{Artifact, FileRef, JobId, Lease, ObjectKey, WorkKind};

use super::{Engine, EngineError};

/// The role of what earlier attempts of the same job have stored.
const OWN: &str = "ledger";
/// The role of what equal jobs of other matrices have.
const EARLIER: &str = "earlier-ledger";
/// Equal jobs whose ledgers are read, the newest: each holds again all that it had read itself.
const EARLIER_JOBS_MAX: usize = 8;
/// Parts that were found to be bad are remembered, so that nobody is told to read them again.
const LOST_PARTS_MAX: usize = 100_000;

impl Engine {
    /// All parts, by role: `ledger/N` and `earlier-ledger/N`, where N is in the order in which they were written.
    pub(super) fn ledgers(
        &self,
        matrix: &Matrix,
        lease: &Lease,
    ) -> Result<Vec<(String, Artifact)>, EngineError> {
        let ordinal = lease.job.ordinal as usize;
        let (Some(planned), Some(job)) = (matrix.submitted.plan.get(ordinal), matrix.jobs.get(ordinal))
        else {
            return Ok(Vec::new());
        };
        if planned.work.kind() != WorkKind::Judge {
            return Ok(Vec::new());
        }
        let mut earlier = Vec::new();
        for id in self.archive.judged(&planned.key)? {
            let newer = self.batch.archived.iter().any(|archived| archived.submitted.id == id.matrix);
            if !newer && let Some(record) = self.archived_record(&id)? {
                earlier.push((id, record.state));
            }
        }
        // What this batch archived is not in the index yet.
        for archived in &self.batch.archived {
            let equal = archived.submitted.plan.iter().filter(|other| other.key == planned.key);
            let state = |ordinal: u32| archived.jobs.get(ordinal as usize).cloned();
            let id = |ordinal| JobId { matrix: archived.submitted.id.clone(), ordinal };
            earlier.extend(equal.filter_map(|other| Some((id(other.ordinal), state(other.ordinal)?))));
        }
        earlier.sort_by_key(|(_, job)| job.attempts.last().map(|attempt| attempt.started_at));
        let newest = earlier.len().saturating_sub(EARLIER_JOBS_MAX);
        let earlier = earlier[newest..].iter().flat_map(|(id, job)| parts(id, job));
        Ok(self.named(EARLIER, earlier).chain(self.named(OWN, parts(&lease.job, job).into_iter())).collect())
    }

    /// A part of an ended matrix's ledger has nobody who could make it again: those who come later do without.
    pub(super) fn lost_part(&mut self, key: &ObjectKey) {
        if self.tables.lost_parts.len() < LOST_PARTS_MAX {
            self.tables.lost_parts.insert(key.clone());
        }
    }

    fn named<'a>(
        &'a self,
        role: &'static str,
        files: impl Iterator<Item = FileRef> + 'a,
    ) -> impl Iterator<Item = (String, Artifact)> + 'a {
        let there = files.filter(|file| !self.tables.lost_parts.contains(&file.key));
        there.enumerate().map(move |(number, file)| {
            let name = Lines::Ledger.as_str().to_owned();
            (format!("{role}/{number:06}"), Artifact { name, files: vec![file] })
        })
    }
}

/// What the attempts of a job have in the store, oldest first.
fn parts(id: &JobId, job: &JobState) -> Vec<FileRef> {
    let of = |attempt: &AttemptRecord| {
        let lease = Lease { job: id.clone(), fence: attempt.fence };
        // A key that cannot be was refused when the part was said.
        let files = attempt.stored(Lines::Ledger).segments.iter().map(move |part| part.file(&lease));
        files.filter_map(Result::ok).collect::<Vec<_>>()
    };
    job.attempts.iter().flat_map(of).collect()
}
