//! The live tails of jobs' logs: bounded, in memory, gone at a restart. What attempts have uploaded lies in the store, and is
//! referred to by the state.

use std::collections::{BTreeMap, VecDeque};

use assay_domain::JobId;

use super::command::{LogLine, SaidLine, WantedLogs};
use crate::config::Limits;

/// All tails.
#[derive(Debug, Default)]
pub(super) struct Logs {
    tails: BTreeMap<JobId, VecDeque<LogLine>>,
    last_arrival: u64,
}

impl Logs {
    pub(super) fn add(&mut self, limits: &Limits, mut said: SaidLine) {
        said.text.truncate(said.text.floor_char_boundary(limits.log_line_bytes_max));
        self.last_arrival += 1;
        let tail = self.tails.entry(said.lease.job.clone()).or_default();
        tail.push_back(LogLine { arrival: self.last_arrival, said });
        while tail.len() > limits.log_lines_max {
            tail.pop_front();
        }
        if self.tails.len() > limits.log_jobs_max {
            self.drop_oldest();
        }
    }

    pub(super) fn last_arrival(&self) -> u64 {
        self.last_arrival
    }

    /// The wanted lines that came after another, in order of arrival.
    pub(super) fn after(&self, wanted: &WantedLogs, arrival: u64) -> Vec<LogLine> {
        let of_job =
            |id: &JobId| id.matrix == wanted.matrix && wanted.job.as_ref().is_none_or(|job| job == id);
        let of_attempt =
            |line: &LogLine| wanted.attempt.is_none_or(|attempt| line.said.lease.fence.attempt == attempt);
        let tails = self.tails.iter().filter(|(id, _)| of_job(id)).flat_map(|(_, tail)| tail);
        let mut lines: Vec<LogLine> =
            tails.filter(|line| line.arrival > arrival && of_attempt(line)).cloned().collect();
        lines.sort_by_key(|line| line.arrival);
        lines
    }

    fn drop_oldest(&mut self) {
        let last_of = |tail: &VecDeque<LogLine>| tail.back().map_or(0, |line| line.arrival);
        let oldest = self.tails.iter().min_by_key(|(_, tail)| last_of(tail)).map(|(id, _)| id.clone());
        if let Some(id) = oldest {
            self.tails.remove(&id);
        }
    }
}
