//! Which of the runner's two kinds of job an attempt is.

use assay_agent::{AttemptContext, Executor, Failure, Finished};
use assay_domain::Work;
use assay_domain::job::FailureClass;

use crate::judge::Judging;
use crate::report;

/// Runs judge and report jobs.
pub(crate) struct Runner {
    pub(crate) judging: Judging,
}

impl Executor for Runner {
    async fn run(&self, cx: AttemptContext) -> Result<Finished, Failure> {
        match &cx.assignment().job.work {
            Work::Judge(spec) => self.judging.run(spec, &cx).await,
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
