//! What attempts log: references in the state (in the index once their matrix is archived), lines in memory.

use assay_domain::decide;
use assay_domain::segment::Lines;
use assay_domain::state::{JobState, Matrix, Phase, ReadSet};
use assay_domain::{Event, JobId, Lease, Rejection};

use super::archive::JobRecord;
use super::command::{ItemAnswers, LogPage, LoggedItem, Reply, SaidLine, StoredLog, WantedLogs};
use super::{Engine, EngineError};

impl Engine {
    pub(super) fn may_upload(
        &mut self,
        lease: &Lease,
        artifact: &str,
        reply: Reply<Result<(), Rejection>>,
    ) -> Result<(), EngineError> {
        let read = self.archived_job(lease)?;
        self.answer(reply, decide::upload(&self.state, &read, lease, artifact));
        Ok(())
    }

    pub(super) fn logged(
        &mut self,
        items: Vec<LoggedItem>,
        reply: Reply<ItemAnswers>,
    ) -> Result<(), EngineError> {
        let mut answers = Vec::with_capacity(items.len());
        for LoggedItem { lease, segment, refused } in items {
            let read = self.archived_job(&lease)?;
            let decided = decide::logged(&self.state, &read, &lease, segment, self.clock.unix());
            answers.push(self.take(decided, refused)?);
        }
        self.answer(reply, answers);
        Ok(())
    }

    fn archived_job(&self, lease: &Lease) -> Result<ReadSet, EngineError> {
        let archived = match self.state.matrix(&lease.job.matrix) {
            Some(_) => None,
            None => self.archived_record(&lease.job)?.map(|record| record.state),
        };
        Ok(ReadSet { archived, ..ReadSet::default() })
    }

    /// As this batch will leave it.
    pub(super) fn archived_record(&self, job: &JobId) -> Result<Option<JobRecord>, EngineError> {
        match self.batch.amended.get(job) {
            Some(amended) => Ok(Some(amended.clone())),
            None => self.archive.job(job),
        }
    }

    /// Takes an event about a log into the archived record of its job.
    pub(super) fn amend(&mut self, event: &Event) -> Result<(), EngineError> {
        let Event::Logged { lease, .. } = event else { return Ok(()) };
        if self.state.matrix(&lease.job.matrix).is_none()
            && let Some(mut record) = self.archived_record(&lease.job)?
        {
            record.state.apply(event);
            self.batch.amended.insert(lease.job.clone(), record);
        }
        Ok(())
    }

    pub(super) fn log_lines(&mut self, lines: Vec<SaidLine>) {
        for said in lines {
            // Also of attempts that ended: their last lines may come late.
            let job = self.state.job(&said.lease.job);
            if job.is_some_and(|job| job.attempt(said.lease.fence).is_some()) {
                self.logs.add(&self.limits, said);
                self.batch.visible = true;
            }
        }
    }

    pub(super) fn logs(
        &mut self,
        wanted: &WantedLogs,
        after: Option<u64>,
        reply: Reply<Result<LogPage, Rejection>>,
    ) -> Result<(), EngineError> {
        let outcome = match (self.find(&wanted.matrix)?, &wanted.job) {
            (None, _) => Err(Rejection::UnknownMatrix { matrix: wanted.matrix.clone() }),
            (Some(matrix), Some(job))
                if job.matrix != wanted.matrix || job.ordinal as usize >= matrix.jobs.len() =>
            {
                Err(Rejection::UnknownJob { job: job.clone() })
            }
            (Some(matrix), _) => Ok(self.log_page(&matrix, wanted, after)?),
        };
        self.answer(reply, outcome);
        Ok(())
    }

    fn log_page(
        &self,
        matrix: &Matrix,
        wanted: &WantedLogs,
        after: Option<u64>,
    ) -> Result<LogPage, EngineError> {
        let finished = match &wanted.job {
            Some(job) => matrix.status(job.ordinal).is_final(),
            None => matrix.is_finished(),
        };
        let mut lines = match wanted.of {
            Lines::Log => self.logs.after(wanted, after.unwrap_or(0)),
            Lines::Ledger | Lines::Metrics => Vec::new(),
        };
        let through = self.logs.last_arrival();
        let mut stored = Vec::new();
        if after.is_none() {
            for (ordinal, job) in matrix.jobs.iter().enumerate() {
                let id = JobId { matrix: matrix.submitted.id.clone(), ordinal: ordinal as u32 };
                if wanted.job.as_ref().is_none_or(|job| *job == id) {
                    self.add_stored(&id, job, wanted, &mut stored)?;
                }
            }
            // Lines that are stored are told from there.
            lines.retain(|line| {
                let job = matrix.jobs.get(line.said.lease.job.ordinal as usize);
                let attempt = job.and_then(|job| job.attempt(line.said.lease.fence));
                let last_line = attempt.map_or(0, |attempt| attempt.log.last_line());
                line.said.number == 0 || line.said.number > last_line
            });
        }
        Ok(LogPage { stored, lines, through, finished })
    }

    /// The wanted lines of a job; of one that was taken from an equal one, that one's.
    fn add_stored(
        &self,
        id: &JobId,
        job: &JobState,
        wanted: &WantedLogs,
        stored: &mut Vec<StoredLog>,
    ) -> Result<(), EngineError> {
        if let Phase::Reused { from, .. } = &job.phase
            && let Some(matrix) = self.find(&from.matrix)?
            && let Some(job) = matrix.jobs.get(from.ordinal as usize)
        {
            return self.add_stored(from, job, wanted, stored);
        }
        for attempt in &job.attempts {
            if wanted.attempt.is_some_and(|wanted| wanted != attempt.fence.attempt) {
                continue;
            }
            let lease = Lease { job: id.clone(), fence: attempt.fence };
            // A key that cannot be was refused when the segment was said.
            let files =
                attempt.stored(wanted.of).segments.iter().filter_map(|segment| segment.file(&lease).ok());
            stored.extend(files.map(|file| StoredLog { lease: lease.clone(), file }));
        }
        Ok(())
    }
}
