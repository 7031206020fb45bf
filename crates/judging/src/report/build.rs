//! Computes the report: joins records to pairs, then hands them to one module per section.

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::job::{Comparison, JudgeInfo, ReportSpec};
use assay_domain::judge_models;

use super::inputs::ReportInputs;
use super::pairs::JoinedPair;
use super::types::{
    ComparisonReport, Execution, JudgeReport, JudgeUsage, MissingCounts, Report, Reproducibility,
};
use super::{
    agreement, bias, differences, lengths, method, orders, pairs, preregistration, rates, sampling, scores,
    seeds, strengths, training, unfinished,
};
use crate::pair::{Key, PairError};
use crate::prompt::template;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Keys that contradict each other.
    #[error("keys of the judging jobs contradict each other")]
    Key(#[from] PairError),
    /// A verdict without a key.
    #[error("a verdict cannot be resolved")]
    Resolve(#[from] super::ResolveError),
    /// A key of a comparison that the report is not about.
    #[error("pair {pair_id} belongs to comparison {comparison:?}, which the report's settings do not list")]
    UnknownComparison {
        /// The pair.
        pair_id: String,
        /// The comparison.
        comparison: String,
    },
    /// A verdict of a judge that is not in the panel.
    #[error("a verdict names judge {judge:?}, which is not in the panel: {known}")]
    UnknownJudge {
        /// The judge.
        judge: String,
        /// The panel.
        known: String,
    },
    /// A judged response that no generations hold.
    #[error(
        "no generation of {system:?} by model {model:?} for prompt {prompt_id:?} sample {sample}: give the report the generations of all compared systems"
    )]
    MissingGeneration {
        /// The model.
        model: String,
        /// The system.
        system: String,
        /// The prompt.
        prompt_id: String,
        /// The sample.
        sample: u32,
    },
    /// Two different generations of the same system, prompt and sample.
    #[error(
        "two different generations of {system:?} for prompt {prompt_id:?} sample {sample}: give each once"
    )]
    GenerationConflict {
        /// The system.
        system: String,
        /// The prompt.
        prompt_id: String,
        /// The sample.
        sample: u32,
    },
    /// Metrics of a job that the settings do not list.
    #[error("metrics of job {job} are none of the report's trainings: {known}")]
    UnknownTraining {
        /// The job's ordinal.
        job: u32,
        /// The ordinals that are.
        known: String,
    },
}

/// Computes the report: pure and deterministic. The order of the input lists does not matter, but that of comparisons
/// and judges in the settings does.
///
/// # Errors
/// Records that contradict each other or are about something else.
pub fn build_report(inputs: &ReportInputs) -> Result<Report, ReportError> {
    let spec = &inputs.spec;
    let key = Key::new(inputs.keys.iter().cloned())?;
    let joined = pairs::join(inputs, &key)?;
    let mut report = assemble(spec, joined, &models(inputs));
    report.training = training::runs(inputs)?;
    report.generations = lengths::generations(inputs)?;
    report.sampling = sampling::samplings(inputs, &report.generations);
    report.preregistration = preregistration::preregistration(spec, &report);
    report.reproducibility = reproducibility(inputs);
    report.execution = execution(inputs);
    Ok(finish(report))
}

/// All that follows from verdicts, wherever they were made; `models` are those that answered, by judge.
pub(super) fn assemble(
    spec: &ReportSpec,
    joined: Vec<JoinedPair>,
    models: &BTreeMap<String, Vec<String>>,
) -> Report {
    let panel = panel_of(spec);
    let rates_of = |comparisons: &[Comparison]| {
        let rates = |comparison| rates::comparison(comparison, spec, &joined, &panel);
        let mut comparisons: Vec<ComparisonReport> = comparisons.iter().map(rates).collect();
        rates::correct_for_families(&mut comparisons);
        comparisons
    };
    let (comparisons, direct) = (rates_of(&spec.comparisons), rates_of(&spec.direct));
    let judge = |info| judge_report(info, models, &joined);
    Report {
        schema: "assay-report-v1".to_owned(),
        matrix: spec.matrix.clone(),
        smoke: spec.judges.iter().filter(|judge| panel.contains(&judge.name)).all(|judge| judge.smoke),
        preregistration: preregistration::Preregistration::default(),
        method: method::method(&panel, spec.bootstrap_seed),
        judges: spec.judges.iter().map(judge).collect(),
        checkpoint_differences: differences::checkpoints(spec, &joined, &panel),
        system_differences: differences::systems(spec, &joined, &panel),
        seed_pools: seeds::pools(spec, &joined, &panel),
        strengths: strengths::strengths(spec, &joined, &panel),
        comparisons,
        direct,
        agreement: agreement::agreement(spec, &joined),
        scores: scores::dimensions(spec, &joined),
        training: Vec::new(),
        sampling: Vec::new(),
        generations: Vec::new(),
        pairs: joined.into_iter().map(|pair| pair.report).collect(),
        reproducibility: Reproducibility::default(),
        import: None,
        execution: Execution::default(),
    }
}

/// Adds what a reader should know first: it is said of the whole report.
pub(super) fn finish(mut report: Report) -> Report {
    report.method.warnings = method::warnings(&report);
    report
}

/// The judges of the panel's rows: smoke judges never stand beside real ones.
fn panel_of(spec: &ReportSpec) -> Vec<String> {
    let is_person = |judge: &&JudgeInfo| judge.kind == super::HUMAN;
    let only_people = spec.judges.iter().all(|judge| is_person(&judge));
    let takes_part = |judge: &&JudgeInfo| judge.unavailable.is_none() && (only_people || !is_person(judge));
    let available = || spec.judges.iter().filter(takes_part);
    let any_real = available().any(|judge| !judge.smoke);
    available().filter(|judge| !(any_real && judge.smoke)).map(|judge| judge.name.clone()).collect()
}

/// By judge, what providers said that they were.
fn models(inputs: &ReportInputs) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for verdict in &inputs.verdicts {
        found.entry(verdict.judge.clone()).or_default().insert(verdict.model.clone());
    }
    found.into_iter().map(|(judge, models)| (judge, models.into_iter().collect())).collect()
}

fn judge_report(
    info: &JudgeInfo,
    models: &BTreeMap<String, Vec<String>>,
    joined: &[JoinedPair],
) -> JudgeReport {
    let mut missing = MissingCounts::default();
    let mut verdicts = 0;
    for pass in joined.iter().filter_map(|pair| pair.verdict(&info.name)).flat_map(|verdict| &verdict.passes)
    {
        verdicts += 1;
        missing.add(pass.status);
    }
    JudgeReport {
        info: info.clone(),
        models: models.get(&info.name).cloned().unwrap_or_default(),
        verdicts,
        missing,
        position: bias::position(&info.name, joined),
        orders: orders::orders(&info.name, joined),
        contradictions: scores::contradictions(&info.name, joined),
    }
}

fn reproducibility(inputs: &ReportInputs) -> Reproducibility {
    let spec = &inputs.spec;
    let mut uploads: Vec<(String, String)> =
        spec.uploads.iter().map(|(name, digest)| (name.clone(), digest.to_string())).collect();
    uploads.sort();
    let mut seeds: Vec<u64> = spec.comparisons.iter().map(|comparison| comparison.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let digest_of = |name: &String| template(name).ok().map(|template| (name.clone(), template.digest()));
    Reproducibility {
        matrix_digest: spec.matrix_digest.to_string(),
        uploads,
        templates: spec.judges.iter().filter_map(|judge| digest_of(&judge.template)).collect(),
        seeds,
        versions: inputs.versions.clone(),
        prices: prices(spec),
        commands: Vec::new(),
    }
}

/// A line for each judge whose model has a price.
fn prices(spec: &ReportSpec) -> Vec<String> {
    let known = judge_models::builtin();
    let line = |judge: &JudgeInfo| {
        let price = known.price(&judge.model).filter(|_| !judge.smoke)?;
        let (through, usd_in, usd_out) = if judge.batch {
            (" in batches", price.batch_usd_in, price.batch_usd_out)
        } else {
            ("", price.usd_in, price.usd_out)
        };
        Some(format!(
            "{}{through}: {usd_in} USD for a million tokens in, {usd_out} out ({}, {})",
            judge.model, known.source, known.as_of
        ))
    };
    spec.judges.iter().filter_map(line).collect()
}

fn execution(inputs: &ReportInputs) -> Execution {
    let mut judge_usage: BTreeMap<String, JudgeUsage> = BTreeMap::new();
    for verdict in &inputs.verdicts {
        let used = judge_usage.entry(verdict.judge.clone()).or_default();
        used.calls += 1;
        used.prompt_tokens += u64::from(verdict.prompt_tokens);
        used.new_tokens += u64::from(verdict.new_tokens);
        used.seconds += verdict.seconds;
    }
    for judge in inputs.spec.judges.iter().filter(|judge| !judge.smoke) {
        if let Some((used, price)) =
            judge_usage.get_mut(&judge.name).zip(judge_models::builtin().price(&judge.model))
        {
            used.usd = Some(price.usd(judge.batch, used.prompt_tokens, used.new_tokens));
        }
    }
    let mut jobs = inputs.history.clone();
    jobs.sort_by_key(|job| job.job.ordinal);
    Execution {
        matrix: inputs.matrix.clone(),
        fixed_at: inputs.fixed_at,
        jobs,
        judge_usage,
        unfinished: unfinished::trainings(inputs),
    }
}
