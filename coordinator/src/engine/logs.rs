//! The live tails of jobs' logs: bounded, in memory, gone at a restart. The whole logs are artifacts.

use std::collections::{BTreeMap, VecDeque};

use assay_domain::{JobId, Lease, MatrixId, UnixMillis};

use super::command::LogLine;
use crate::config::Limits;

/// All tails.
#[derive(Debug, Default)]
pub(super) struct Logs {
    tails: BTreeMap<JobId, VecDeque<LogLine>>,
    last_number: u64,
}

impl Logs {
    pub(super) fn add(&mut self, limits: &Limits, lease: &Lease, at: UnixMillis, mut line: String) {
        line.truncate(line.floor_char_boundary(limits.log_line_bytes_max));
        self.last_number += 1;
        let entry =
            LogLine { number: self.last_number, job: lease.job.clone(), fence: lease.fence, at, line };
        let tail = self.tails.entry(lease.job.clone()).or_default();
        tail.push_back(entry);
        while tail.len() > limits.log_lines_max {
            tail.pop_front();
        }
        if self.tails.len() > limits.log_jobs_max {
            self.drop_oldest();
        }
    }

    /// The lines of a job, or of a matrix, that came after a number, in order of arrival.
    pub(super) fn after(&self, matrix: &MatrixId, job: Option<&JobId>, number: u64) -> Vec<LogLine> {
        let wanted = |id: &JobId| id.matrix == *matrix && job.is_none_or(|job| job == id);
        let tails = self.tails.iter().filter(|(id, _)| wanted(id)).map(|(_, tail)| tail);
        let mut lines: Vec<LogLine> = tails.flatten().filter(|line| line.number > number).cloned().collect();
        lines.sort_by_key(|line| line.number);
        lines
    }

    fn drop_oldest(&mut self) {
        let last_of = |tail: &VecDeque<LogLine>| tail.back().map_or(0, |line| line.number);
        let oldest = self.tails.iter().min_by_key(|(_, tail)| last_of(tail)).map(|(id, _)| id.clone());
        if let Some(id) = oldest {
            self.tails.remove(&id);
        }
    }
}
