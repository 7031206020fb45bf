//! `assay cancel`, `pause`, `resume`, `explain` and what an operator does with workers.

use anyhow::Context as _;
use assay_domain::JobId;
use assay_domain::decide::schedule::{Explanation, Reason};
use assay_proto::v1::{
    CancelJobRequest, CancelRequest, DrainRequest, ExplainRequest, LiftRequest, PauseRequest, ResumeRequest,
};
use serde_json::json;

use crate::args::DrainMode;
use crate::connect::Coordinator;
use crate::exit::Failed;
use crate::plan::new_table;
use crate::{args, print};

/// Cancels a matrix, a job, or a job with all that needs it.
pub(crate) async fn cancel(args: &args::Cancel) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let mut matrices = coordinator.matrices();
    let is_job = args.what.parse::<JobId>().is_ok();
    let answer = if is_job {
        matrices.cancel_job(CancelJobRequest { job_id: args.what.clone(), branch: args.branch }).await
    } else if args.branch {
        let rule = format!("`{}` is a matrix: --branch takes a job (MATRIX/NUMBER)", args.what);
        return Err(Failed::Input(rule).into());
    } else {
        matrices.cancel(CancelRequest { matrix_id: args.what.clone() }).await
    };
    let changed = answer.map_err(|status| coordinator.failed(&status))?.into_inner().changed;
    say(
        if is_job { "job" } else { "matrix" },
        &args.what,
        changed,
        ("cancelled", "had ended before: nothing changed"),
        args.json,
    )
}

/// Holds a matrix back.
pub(crate) async fn pause(args: &args::OfMatrix) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let request = PauseRequest { matrix_id: args.matrix.clone() };
    let answer = coordinator.matrices().pause(request).await.map_err(|status| coordinator.failed(&status))?;
    let words = ("paused; what runs goes on", "had ended or was paused before: nothing changed");
    say("matrix", &args.matrix, answer.into_inner().changed, words, args.json)
}

/// Lets a paused matrix go on.
pub(crate) async fn resume(args: &args::OfMatrix) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let request = ResumeRequest { matrix_id: args.matrix.clone() };
    let answer =
        coordinator.matrices().resume(request).await.map_err(|status| coordinator.failed(&status))?;
    say(
        "matrix",
        &args.matrix,
        answer.into_inner().changed,
        ("goes on", "was not paused: nothing changed"),
        args.json,
    )
}

/// Takes a worker out.
pub(crate) async fn drain(args: &args::Drain) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let (mode, what) = match args.mode {
        DrainMode::Finish => ("finish", "gets no more jobs, and ends those it has"),
        DrainMode::Checkpoint => (
            "checkpoint",
            "gets no more jobs; a training is saved after its next step and goes on elsewhere, the rest now",
        ),
        DrainMode::Now => ("now", "gets no more jobs, and hands back those it has"),
    };
    let request = DrainRequest { worker_id: args.worker.clone(), mode: mode.to_owned() };
    let answer = coordinator.fleet().drain(request).await.map_err(|status| coordinator.failed(&status))?;
    say(
        "worker",
        &args.worker,
        answer.into_inner().changed,
        (what, "was drained so before: nothing changed"),
        args.json,
    )
}

/// Gives a worker jobs again.
pub(crate) async fn lift(args: &args::Lift) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let request = LiftRequest { worker_id: args.worker.clone() };
    let answer = coordinator.fleet().lift(request).await.map_err(|status| coordinator.failed(&status))?;
    let words = ("gets jobs again", "was kept from nothing: nothing changed");
    say("worker", &args.worker, answer.into_inner().changed, words, args.json)
}

fn say(kind: &str, what: &str, changed: bool, words: (&str, &str), as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print::json(&json!({ kind: what, "changed": changed }));
    }
    print::say(format!("{what}: {}", if changed { words.0 } else { words.1 }));
    Ok(())
}

/// Says why a job is not on a worker.
pub(crate) async fn explain(args: &args::Explain) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let request = ExplainRequest { job_id: args.job.clone() };
    let answer =
        coordinator.matrices().explain(request).await.map_err(|status| coordinator.failed(&status))?;
    let json = answer.into_inner().explanation_json;
    let explanation: Explanation = serde_json::from_str(&json)
        .context("the coordinator's answer cannot be read: is it of another version?")?;
    if args.json {
        return print::json(&explanation);
    }
    print::line(told(&explanation));
    Ok(())
}

/// An explanation as people read it.
fn told(explanation: &Explanation) -> String {
    let Explanation { job, label, status, reasons, workers } = explanation;
    let mut table = new_table(&["where", "why it is not there", "what would change that"], &[]);
    for reason in reasons {
        table.add_row([String::from("everywhere"), reason.text.clone(), reason.remedy.clone()]);
    }
    for worker in workers {
        for Reason { text, remedy, .. } in &worker.reasons {
            table.add_row([worker.worker.to_string(), text.clone(), remedy.clone()]);
        }
        if worker.reasons.is_empty() && reasons.is_empty() {
            table.add_row([worker.worker.to_string(), String::from("it goes there next"), String::new()]);
        }
    }
    let head = format!("{job} ({label}) is {}", status.as_str());
    if workers.is_empty() && !status.is_final() && reasons.is_empty() {
        return format!("{head}: no worker has registered; `assay up` starts some on this machine");
    }
    format!("{head}\n{table}")
}

#[cfg(test)]
mod sentences;

#[cfg(test)]
mod tests {
    use assay_domain::decide::schedule::{Obstacle, WorkerReasons};
    use assay_domain::state::Status;
    use assay_domain::{MatrixId, WorkKind, WorkerId};

    use super::*;

    #[test]
    fn each_worker_has_its_reasons_with_what_would_change_them() {
        let job = JobId { matrix: MatrixId::new("m-1"), ordinal: 3 };
        let reasons = vec![Reason::from(Obstacle::Kind { kind: WorkKind::Train }), Obstacle::Full.into()];
        let mut explanation = Explanation {
            job,
            label: String::from("train a"),
            status: Status::Ready,
            reasons: Vec::new(),
            workers: vec![
                WorkerReasons { worker: WorkerId::new("w-1"), reasons },
                WorkerReasons { worker: WorkerId::new("w-2"), reasons: Vec::new() },
            ],
        };
        let text = told(&explanation);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "m-1/3 (train a) is ready");
        assert!(
            text.contains("the worker does not run train jobs") && text.contains("has no free place"),
            "{text}"
        );
        assert!(
            lines.iter().any(|line| line.contains("w-2") && line.contains("it goes there next")),
            "{text}"
        );
        explanation.workers.clear();
        assert!(told(&explanation).ends_with("`assay up` starts some on this machine"));
    }
}
