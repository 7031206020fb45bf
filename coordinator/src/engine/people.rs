//! What people ask: submit, look, list, workers.

use std::collections::BTreeMap;

use assay_domain::decide;
use assay_domain::state::{FinishedJob, Matrix, Phase, ReadSet};
use assay_domain::{JobId, JobKey, MatrixId, Rejection};

use super::archive::{Cursor, MatrixLine};
use super::command::{MatrixNow, Mode, Reply, Submission, Submitted, WorkerNow};
use super::{Engine, EngineError};

impl Engine {
    pub(super) fn find_finished(
        &mut self,
        keys: &[JobKey],
        reply: Reply<BTreeMap<JobKey, FinishedJob>>,
    ) -> Result<(), EngineError> {
        let mut found = self.state.finished_by_key(&keys.iter().copied().collect());
        for key in keys {
            if !found.contains_key(key) {
                found.extend(self.archive.finished(key)?.map(|finished| (*key, finished)));
            }
        }
        self.answer(reply, found);
        Ok(())
    }

    pub(super) fn submit(
        &mut self,
        submission: Submission,
        reply: Reply<Result<Submitted, Rejection>>,
    ) -> Result<(), EngineError> {
        let Submission { matrix, finished, absent, mode } = submission;
        let (fresh, retried) = match mode {
            Mode::Lacking => (false, None),
            Mode::Fresh => (true, None),
            Mode::Retry(before) => (false, Some(*before)),
        };
        let read = ReadSet {
            submitted: self.archive.by_submit_key(&matrix.submit_key)?,
            finished,
            absent,
            fresh,
            retried,
            ..ReadSet::default()
        };
        let outcome = match decide::submit(&self.state, &read, matrix) {
            Ok((id, events)) => {
                let repeated = events.is_empty();
                self.record_all(events)?;
                Ok(self.submitted(&id, repeated)?)
            }
            Err(rejection) => Err(rejection),
        };
        self.answer(reply, outcome);
        Ok(())
    }

    fn submitted(&self, id: &MatrixId, repeated: bool) -> Result<Submitted, EngineError> {
        let count = |matrix: &Matrix| {
            let reused = matrix.jobs.iter().filter(|job| matches!(job.phase, Phase::Reused { .. }));
            (matrix.jobs.len() as u32, reused.count() as u32)
        };
        let (jobs, reused) = match self.here(id) {
            Some(matrix) => count(matrix),
            None => self.archive.matrix(id)?.as_ref().map(count).unwrap_or_default(),
        };
        Ok(Submitted { matrix: id.clone(), repeated, jobs, reused })
    }

    pub(super) fn get(
        &mut self,
        id: &MatrixId,
        reply: Reply<Result<MatrixNow, Rejection>>,
    ) -> Result<(), EngineError> {
        let outcome = match self.find(id)? {
            Some(matrix) => Ok(MatrixNow { matrix, progress: self.progress_of(id) }),
            None => Err(Rejection::UnknownMatrix { matrix: id.clone() }),
        };
        self.answer(reply, outcome);
        Ok(())
    }

    pub(super) fn list(
        &mut self,
        before: Option<&Cursor>,
        count: usize,
        reply: Reply<Vec<MatrixLine>>,
    ) -> Result<(), EngineError> {
        let after = before.map(Cursor::key);
        let unfinished = self.state.matrices.iter().chain(&self.batch.archived);
        let mut unfinished: Vec<_> = unfinished.map(|matrix| (Cursor::of(matrix).key(), matrix)).collect();
        unfinished.retain(|(key, _)| after.as_ref().is_none_or(|after| key > after));
        unfinished.sort_by(|one, other| one.0.cmp(&other.0));
        let mut lines = self.archive.list(before, count)?;
        // Their jobs are counted, so only of those that may be on the page.
        lines.extend(unfinished.into_iter().take(count).map(|(_, matrix)| MatrixLine::of(matrix)));
        lines.sort_by_key(|line| line.cursor().key());
        lines.truncate(count);
        self.answer(reply, lines);
        Ok(())
    }

    pub(super) fn workers(&mut self, reply: Reply<Vec<WorkerNow>>) {
        let offers = self.tables.offers(self.now_ms);
        let now = |info: &assay_domain::event::WorkerInfo| WorkerNow {
            info: info.clone(),
            standing: self.state.standings.get(&info.id).cloned().unwrap_or_default(),
            offer: offers.get(&info.id).copied().unwrap_or_default(),
            connected: self.tables.connection_of(&info.id).is_some(),
            jobs: self.jobs_of(&info.id),
        };
        let workers = self.state.workers.values().map(now).collect();
        self.answer(reply, workers);
    }

    fn jobs_of(&self, worker: &assay_domain::WorkerId) -> Vec<JobId> {
        let rows = self.tables.leases.iter().filter(|(_, row)| row.worker == *worker);
        rows.map(|(lease, _)| lease.job.clone()).collect()
    }

    fn progress_of(&self, id: &MatrixId) -> BTreeMap<u32, assay_domain::Progress> {
        let rows = self.tables.leases.iter().filter(|(lease, _)| lease.job.matrix == *id);
        rows.filter_map(|(lease, row)| Some((lease.job.ordinal, row.progress.clone()?))).collect()
    }

    /// A matrix, finished or not. What this batch archived is not in the index yet.
    pub(super) fn find(&self, id: &MatrixId) -> Result<Option<Matrix>, EngineError> {
        match self.here(id) {
            Some(matrix) => Ok(Some(matrix.clone())),
            None => self.archive.matrix(id),
        }
    }

    /// A matrix that is not in the index.
    fn here(&self, id: &MatrixId) -> Option<&Matrix> {
        let archived = || self.batch.archived.iter().find(|matrix| matrix.submitted.id == *id);
        self.state.matrix(id).or_else(archived)
    }
}
