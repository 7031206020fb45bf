//! For pipes and logs: a line for each job that changes its status, or a JSON object for each change.

use std::collections::BTreeMap;

use assay_proto::v1::MatrixView;

use super::Screen;
use crate::{print, view};

/// Lines on standard error.
#[derive(Default)]
pub(super) struct Lines {
    known: BTreeMap<String, String>,
    held: String,
}

impl Screen for Lines {
    fn show(&mut self, matrix: &MatrixView) {
        super::news_of_budget(matrix, &mut self.held).into_iter().for_each(print::say);
        for job in &matrix.jobs {
            let now = format!("{} {}", job.status, job.attempts.len());
            let quiet = matches!(job.status.as_str(), "waiting" | "ready");
            if self.known.insert(job.job_id.clone(), now.clone()).as_ref() == Some(&now) || quiet {
                continue;
            }
            print::say(view::job_line(job));
        }
    }

    fn end(&mut self) {}
}

/// JSON objects on standard output.
pub(super) struct Json;

impl Screen for Json {
    fn show(&mut self, matrix: &MatrixView) {
        // A value made of strings and numbers only: it cannot fail to serialise.
        let _ = print::json_line(&view::matrix_json(matrix));
    }

    fn end(&mut self) {}
}
