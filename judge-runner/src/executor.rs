//! Which of the runner's two kinds of job an attempt is.

use std::io;
use std::path::PathBuf;

use assay_agent::{AttemptContext, Executor, Failure, Finished};
use assay_domain::Work;
use assay_domain::job::FailureClass;

use crate::{judge, report};

/// Runs judge and report jobs.
pub(crate) struct Runner {
    ledger_dir: PathBuf,
}

impl Runner {
    /// Keeps the ledgers of paid calls in `ledger_dir`.
    pub(crate) fn new(ledger_dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&ledger_dir)?;
        Ok(Self { ledger_dir })
    }
}

impl Executor for Runner {
    async fn run(&self, cx: AttemptContext) -> Result<Finished, Failure> {
        match &cx.assignment().job.work {
            Work::Judge(spec) => judge::run(spec, &cx, &self.ledger_dir).await,
            Work::Report(spec) => report::run(spec, &cx),
            Work::Train(_) | Work::Generate(_) | Work::Score(_) => {
                let kind = cx.assignment().job.work.kind().as_str();
                Err(bad_input(format!("a judge-runner does not run `{kind}`")))
            }
        }
    }
}

/// The job's own settings or inputs are wrong.
pub(crate) fn bad_input(reason: impl Into<String>) -> Failure {
    Failure::new(FailureClass::BadInput, reason)
}
