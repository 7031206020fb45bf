//! For terminals: one bar for each running job, one for the whole, and a line for each job that ends.

use std::collections::BTreeMap;

use assay_domain::Progress;
use assay_proto::v1::{JobView, MatrixView};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Screen;
use crate::view;

const JOB_BAR: &str = "{prefix} {wide_bar} {pos}/{len} {msg}";
const WHOLE_BAR: &str = "{prefix} {wide_bar} {pos}/{len} jobs, {elapsed}";

/// Bars on standard error.
pub(super) struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    jobs: BTreeMap<String, ProgressBar>,
    ended: BTreeMap<String, String>,
    held: String,
}

impl Bars {
    pub(super) fn new() -> Self {
        let all = MultiProgress::new();
        let whole = all.add(ProgressBar::new(0));
        whole.set_style(style(WHOLE_BAR));
        Self { all, whole, jobs: BTreeMap::new(), ended: BTreeMap::new(), held: String::new() }
    }

    fn running(&mut self, job: &JobView) {
        let all = &self.all;
        let whole = &self.whole;
        let bar = self.jobs.entry(job.job_id.clone()).or_insert_with(|| {
            let bar = all.insert_before(whole, ProgressBar::new(0));
            bar.set_style(style(JOB_BAR));
            bar
        });
        bar.set_prefix(format!("{}{}", job.label, view::kept(job)));
        if let Some(progress) = view::progress(job) {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            bar.set_message(message(&progress));
        }
    }

    fn stopped(&mut self, job: &JobView) {
        if let Some(bar) = self.jobs.remove(&job.job_id) {
            bar.finish_and_clear();
        }
        let is_end = !matches!(job.status.as_str(), "waiting" | "ready");
        if is_end && self.ended.insert(job.job_id.clone(), job.status.clone()).as_ref() != Some(&job.status) {
            // The terminal may be gone; the matrix goes on.
            let _ = self.all.println(view::job_line(job));
        }
    }
}

impl Screen for Bars {
    fn show(&mut self, matrix: &MatrixView) {
        let summary = matrix.summary.as_ref();
        self.whole.set_prefix(summary.map_or_else(String::new, |summary| summary.name.clone()));
        self.whole.set_length(matrix.jobs.len() as u64);
        let done = matrix.jobs.iter().filter(|job| view::is_good_end(&job.status)).count();
        self.whole.set_position(done as u64);
        if let Some(news) = super::news_of_budget(matrix, &mut self.held) {
            let _ = self.all.println(news);
        }
        for job in &matrix.jobs {
            if job.status == "running" { self.running(job) } else { self.stopped(job) }
        }
    }

    fn end(&mut self) {
        for bar in self.jobs.values() {
            bar.finish_and_clear();
        }
        self.whole.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn message(progress: &Progress) -> String {
    let mut parts = vec![progress.phase.clone()];
    parts.extend(progress.tokens_per_s.map(|speed| format!("{speed:.0} tokens/s")));
    parts.extend(progress.loss.map(|loss| format!("loss {loss:.3}")));
    parts.extend(progress.seconds_left.map(|left| format!("{} left", crate::print::seconds(left))));
    parts.join(", ")
}
