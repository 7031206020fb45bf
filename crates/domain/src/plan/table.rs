//! A plan as people read it: jobs, tokens, times and cost. Plain values: the CLI prints them as a table or as JSON.

use serde::{Deserialize, Serialize};

use super::PriceTable;
use crate::budget::{Amount, usd_micros};
use crate::decide::Balance;
use crate::job::{ApiJudge, Demand, Estimate, PlannedJob, Provider, Work};
use crate::judge_models;
use crate::{JobKey, WorkKind};

/// A plan with its prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanTable {
    /// The matrix's name.
    pub matrix: String,
    /// The jobs, in the order of the plan.
    pub jobs: Vec<PlanRow>,
    /// How many of each kind, in the order of a matrix's life.
    pub kinds: Vec<KindTotal>,
    /// All estimates together; `api_usd` is none when a price is unknown.
    pub total: Estimate,
    /// Time and cost of the whole on each kind of worker, one worker alone.
    pub workers: Vec<WorkerTotal>,
    /// The budgets that would count it, as far as they are known: its own, its team's, the month's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Balance>,
    /// Judges that take no part: (name, why).
    pub unavailable_judges: Vec<(String, String)>,
    /// What to know before it is paid for: prices that are missing, models that are about to go, where prices come from.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRow {
    /// The place in the plan.
    pub ordinal: u32,
    /// The kind.
    pub kind: WorkKind,
    /// For people.
    pub label: String,
    /// The model it works on, or the judge.
    #[serde(default)]
    pub about: String,
    /// The jobs that must have given their outputs before.
    pub after: Vec<u32>,
    /// The job key.
    pub key: JobKey,
    /// How much it does.
    pub estimate: Estimate,
    /// What it needs of a worker.
    #[serde(default)]
    pub demand: Demand,
    /// (kind of worker, seconds), in the order of [`PlanTable::workers`]; empty for jobs without a device.
    pub seconds: Vec<(String, f64)>,
}

/// The jobs of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindTotal {
    /// The kind.
    pub kind: WorkKind,
    /// How many.
    pub jobs: u32,
}

/// A whole plan on one kind of worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerTotal {
    /// The kind of worker.
    pub worker: String,
    /// Seconds with one such worker.
    pub seconds: f64,
    /// USD for the worker's time; 0 for hardware of one's own.
    pub usd: f64,
    /// Where its speed and price come from, with a date.
    pub source: String,
}

impl PlanTable {
    /// What all of it is expected to cost on a kind of worker, judges included; their money is not counted where a price is
    /// unknown.
    pub fn expected(&self, worker: &WorkerTotal) -> Amount {
        let usd = worker.usd + self.total.api_usd.unwrap_or_default();
        Amount { usd_micros: usd_micros(usd), device_ms: (worker.seconds * 1e3).ceil() as u64 }
    }

    /// Prices a plan.
    pub fn of(matrix: &str, plan: &[PlannedJob], prices: &PriceTable) -> Self {
        let jobs: Vec<PlanRow> = plan.iter().map(|job| row(job, prices)).collect();
        let kinds = WorkKind::ALL.into_iter().map(|kind| KindTotal {
            kind,
            jobs: plan.iter().filter(|job| job.work.kind() == kind).count() as u32,
        });
        Self {
            matrix: matrix.to_owned(),
            kinds: kinds.filter(|total| total.jobs > 0).collect(),
            total: total(plan),
            workers: prices.workers.iter().map(|rate| worker_total(rate, plan)).collect(),
            budgets: Vec::new(),
            unavailable_judges: unavailable(plan),
            notes: notes(plan),
            jobs,
        }
    }
}

fn row(job: &PlannedJob, prices: &PriceTable) -> PlanRow {
    let mut after: Vec<u32> = job.needs().map(|(needed, _)| needed).collect();
    after.sort_unstable();
    after.dedup();
    let seconds = prices.workers.iter().filter_map(|rate| Some((rate.name.clone(), rate.seconds(job)?)));
    PlanRow {
        ordinal: job.ordinal,
        kind: job.work.kind(),
        label: job.label.clone(),
        about: about(&job.work).to_owned(),
        after,
        key: job.key,
        estimate: job.estimate,
        demand: job.demand,
        seconds: seconds.collect(),
    }
}

fn about(work: &Work) -> &str {
    match work {
        Work::Train(spec) => &spec.model,
        Work::Generate(spec) => &spec.model,
        Work::Score(spec) => &spec.judge,
        Work::Judge(spec) => &spec.judge,
        Work::Report(_) => "",
    }
}

fn total(plan: &[PlannedJob]) -> Estimate {
    let mut total = Estimate { api_usd: Some(0.0), ..Estimate::default() };
    for Estimate { input_tokens, new_tokens, flops, api_calls, api_usd, api_usd_max: _ } in
        plan.iter().map(|job| job.estimate)
    {
        total.input_tokens += input_tokens;
        total.new_tokens += new_tokens;
        total.flops += flops;
        total.api_calls += api_calls;
        if api_calls > 0 {
            total.api_usd = total.api_usd.zip(api_usd).map(|(sum, usd)| sum + usd);
        }
    }
    total
}

fn worker_total(rate: &super::WorkerRate, plan: &[PlannedJob]) -> WorkerTotal {
    let seconds = plan.iter().filter_map(|job| rate.seconds(job)).sum::<f64>();
    let usd = seconds / 3600.0 * rate.usd_per_hour;
    WorkerTotal { worker: rate.name.clone(), seconds, usd, source: rate.source.clone() }
}

/// About the judges that are paid for.
fn notes(plan: &[PlannedJob]) -> Vec<String> {
    let models = judge_models::builtin();
    let mut notes = Vec::new();
    let mut asked: Vec<(&str, &ApiJudge)> = Vec::new();
    for job in plan {
        if let Work::Judge(spec) = &job.work
            && spec.api.provider != Provider::Replay
            && !asked.iter().any(|(name, _)| *name == spec.judge)
        {
            asked.push((&spec.judge, &spec.api));
            let unpriced = job.estimate.api_usd.is_none();
            let (judge, model) = (&spec.judge, &spec.api.model);
            notes.extend(
                unpriced.then(|| format!("judge `{judge}`: the price of model `{model}` is unknown")),
            );
            let retires = models.retires(model);
            notes.extend(
                retires
                    .map(|day| format!("judge `{judge}`: model `{model}` is announced to retire on {day}")),
            );
        }
    }
    if !asked.is_empty() {
        notes
            .push(format!("prices of {} by the {}; the labs' own pages decide", models.as_of, models.source));
    }
    notes
}

fn unavailable(plan: &[PlannedJob]) -> Vec<(String, String)> {
    let reports = plan.iter().filter_map(|job| match &job.work {
        Work::Report(spec) => Some(spec),
        Work::Train(_) | Work::Generate(_) | Work::Score(_) | Work::Judge(_) => None,
    });
    let judges = reports.flat_map(|spec| &spec.judges);
    judges.filter_map(|judge| Some((judge.name.clone(), judge.unavailable.clone()?))).collect()
}
