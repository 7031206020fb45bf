//! A submission on its way to the engine: parsed, planned, its uploads seen, equal finished jobs found.

use assay_domain::budget::Cap;
use assay_domain::event::SubmittedMatrix;
use assay_domain::matrix::{ResolvedMatrix, Schedule};
use assay_domain::{Digest, MatrixId, PlannedJob, Rejection, SubmitKey};
use assay_proto::{RESOLVED_BYTES_MAX, convert, v1};
use tonic::Status;

use super::MatricesService;
use crate::engine::command::{Command, Mode, Submission};
use crate::secrets;
use crate::services::named::Present;
use crate::services::{internal, rejected};

/// The longest submit key.
const SUBMIT_KEY_BYTES_MAX: usize = 128;
/// The longest matrix name.
const NAME_BYTES_MAX: usize = 256;
/// The largest plan, as JSON; a record of the journal holds it whole.
const PLAN_BYTES_MAX: usize = 24 << 20;
/// The largest job of a plan, as JSON: the report of ten thousand jobs reads the outputs of all; an entry of the index holds it with its
/// attempts.
const JOB_BYTES_MAX: usize = 4 << 20;
/// Missing uploads named in a refusal.
const LACKING_SHOWN: usize = 5;

impl MatricesService {
    pub(super) async fn accept(&self, request: v1::SubmitRequest) -> Result<v1::SubmitResponse, Status> {
        let v1::SubmitRequest { submit_key, resolved_json, fresh } = request;
        let mode = if fresh { Mode::Fresh } else { Mode::Lacking };
        self.submit_as(submit_key, resolved_json, mode).await
    }

    /// What is stored of a matrix is submitted again. A finished one changes no more: what is read here is what the engine decides on.
    pub(super) async fn try_again(&self, request: v1::RetryRequest) -> Result<v1::SubmitResponse, Status> {
        let matrix = self.now(&MatrixId::new(request.matrix_id)).await?.matrix;
        let resolved_json = with_budget(&matrix.submitted.spec_json, request.budget_usd)?;
        self.submit_as(request.submit_key, resolved_json, Mode::Retry(Box::new(matrix))).await
    }

    async fn submit_as(
        &self,
        submit_key: String,
        resolved_json: String,
        mode: Mode,
    ) -> Result<v1::SubmitResponse, Status> {
        check_key(&submit_key)?;
        check_size("resolved_json", resolved_json.len(), RESOLVED_BYTES_MAX)?;
        let jobs_max = self.limits.plan_jobs_max;
        let id = MatrixId::from_random(random()?);
        let span = tracing::info_span!("plan", assay.matrix = %id);
        assay_telemetry::propagate::attach_parent(&span, &convert::traceparent(&id));
        let planning =
            tokio::task::spawn_blocking(move || span.in_scope(|| planned(&resolved_json, jobs_max)));
        let mut planned = planning.await.map_err(|error| internal("planning", &error))??;
        if let Mode::Retry(before) = &mode {
            assay_domain::plan::keep_analysis(&mut planned.plan, &before.submitted.plan)
                .map_err(|error| internal("keeping the analysis", &error))?;
        }
        self.check_uploads(&planned).await?;
        // The same pairs in the same order under the same labels: what a judge has answered of them stands in its ledger.
        let (secret, fixed_at) = match &mode {
            Mode::Retry(before) => {
                (before.submitted.secret, Some(before.submitted.fixed_at.unwrap_or(before.submitted.at)))
            }
            Mode::Fresh | Mode::Lacking => (Digest::from_bytes(random()?), None),
        };
        let keys = planned.plan.iter().map(|job| job.key).collect();
        let found = self.engine.ask(|reply| Command::FindFinished { keys, reply }).await?;
        let Present { finished, absent } = self.named.present(found).await?;
        let matrix = SubmittedMatrix {
            id,
            submit_key: SubmitKey::new(submit_key),
            name: planned.name,
            spec_digest: planned.digest,
            spec_json: planned.spec_json,
            secret,
            plan: planned.plan,
            schedule: planned.schedule,
            fixed_at,
            budget: planned.budget,
            at: self.clock.unix(),
        };
        let submission = Box::new(Submission { matrix, finished, absent, mode });
        let outcome = self.engine.ask(|reply| Command::Submit { submission, reply }).await?;
        let submitted = outcome.map_err(rejected)?;
        // The submission's own trace is the client's; this leads from it to the matrix's.
        tracing::Span::current().record("assay.matrix", tracing::field::display(&submitted.matrix));
        tracing::info!(matrix = %submitted.matrix, jobs = submitted.jobs, reused = submitted.reused,
            repeated = submitted.repeated, "submitted");
        Ok(v1::SubmitResponse {
            matrix_id: submitted.matrix.to_string(),
            repeated: submitted.repeated,
            jobs: submitted.jobs,
            reused: submitted.reused,
        })
    }

    /// What workers fetch from the Hub needs no upload.
    async fn check_uploads(&self, planned: &Planned) -> Result<(), Status> {
        let lacking = self.named.lacking(&planned.plan, &self.hub).await?;
        if lacking.is_empty() {
            return Ok(());
        }
        let shown = lacking[..lacking.len().min(LACKING_SHOWN)].join(", ");
        Err(Status::failed_precondition(format!(
            "{} of the matrix's files are not uploaded: {shown}; upload them by digest (SignUpload) and submit again",
            lacking.len()
        )))
    }
}

/// A stored matrix with another budget of its panel.
fn with_budget(spec_json: &str, budget_usd: Option<f64>) -> Result<String, Status> {
    let Some(budget) = budget_usd else { return Ok(spec_json.to_owned()) };
    if !(budget.is_finite() && budget > 0.0) {
        return Err(Status::invalid_argument(format!(
            "budget_usd is {budget}: a number of USD above 0 is needed"
        )));
    }
    let mut resolved: ResolvedMatrix = convert::from_json("the stored matrix", spec_json)?;
    resolved.matrix.panel.budget_usd = Some(budget);
    Ok(convert::to_json(&resolved))
}

struct Planned {
    name: String,
    digest: Digest,
    spec_json: String,
    plan: Vec<PlannedJob>,
    schedule: Schedule,
    budget: Cap,
}

fn planned(resolved_json: &str, jobs_max: usize) -> Result<Planned, Status> {
    let resolved: ResolvedMatrix = convert::from_json("resolved_json", resolved_json)?;
    let name = resolved.matrix.name.clone();
    check_size("matrix name", name.len(), NAME_BYTES_MAX)?;
    let plan = assay_domain::plan::plan(&resolved).map_err(|errors| {
        let shown: Vec<String> = errors.iter().take(LACKING_SHOWN).map(ToString::to_string).collect();
        rejected(Rejection::UnsoundPlan { name: name.clone(), why: shown.join("; ") })
    })?;
    check_plan(&plan, jobs_max)?;
    let digest = Digest::of_value(&resolved).map_err(|error| internal("digesting the matrix", &error))?;
    let spec_json = convert::to_json(&resolved);
    check_size("resolved_json", spec_json.len(), RESOLVED_BYTES_MAX)?;
    let (schedule, budget) = (resolved.matrix.schedule, resolved.matrix.budget.cap());
    Ok(Planned { name, digest, spec_json, plan, schedule, budget })
}

fn check_plan(plan: &[PlannedJob], jobs_max: usize) -> Result<(), Status> {
    if plan.len() > jobs_max {
        return Err(Status::invalid_argument(format!(
            "the plan has {} jobs, over the limit of {jobs_max}: split the matrix or exclude combinations",
            plan.len()
        )));
    }
    let mut bytes = 0;
    for job in plan {
        let job_bytes = convert::to_json(job).len();
        check_size("a planned job", job_bytes, JOB_BYTES_MAX)?;
        bytes += job_bytes;
    }
    check_size("the plan", bytes, PLAN_BYTES_MAX)
}

fn check_key(key: &str) -> Result<(), Status> {
    if key.is_empty() || key.chars().any(char::is_control) {
        return Err(Status::invalid_argument(
            "submit_key is needed: any text without control characters that names this submission, such as a random id",
        ));
    }
    check_size("submit_key", key.len(), SUBMIT_KEY_BYTES_MAX)
}

fn check_size(what: &str, given: usize, limit: usize) -> Result<(), Status> {
    if given <= limit {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "{what} has {given} bytes, over the limit of {limit}: make it smaller"
    )))
}

fn random<const N: usize>() -> Result<[u8; N], Status> {
    secrets::random().map_err(|error| internal("drawing random bytes", &error))
}
