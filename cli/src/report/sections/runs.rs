//! What training, generation and the jobs did.

use assay_domain::job::{JobSummary, Method};
use assay_judging::report::{Moved, Report, SmallerPasses, TrainingReport};

use crate::report::document::{Block, Table, numbers, words};
use crate::report::format;

pub(super) fn training(report: &Report) -> Vec<Block> {
    if report.training.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        words("run"),
        words("checkpoint"),
        numbers("step"),
        numbers("eval loss"),
        numbers("against base"),
        numbers("perplexity"),
    ]);
    for run in &report.training {
        let base = run.evals.iter().find(|eval| eval.step == 0).map(|eval| eval.loss);
        for eval in &run.evals {
            let change = base.filter(|_| eval.step > 0).map(|base| format!("{:+.4}", eval.loss - base));
            table.push([
                run_name(run),
                eval.checkpoint.clone(),
                eval.step.to_string(),
                format!("{:.4}", eval.loss),
                change.unwrap_or_else(|| format::NOTHING.to_owned()),
                format!("{:.2}", eval.loss.exp()),
            ]);
        }
        if run.evals.is_empty() {
            let last = run
                .steps
                .last()
                .map_or_else(|| format::NOTHING.to_owned(), |step| format!("{:.4}", step.loss));
            table.push([
                run_name(run),
                "no validation set; last training loss".to_owned(),
                run.steps.last().map_or(0, |step| step.step).to_string(),
                last,
                format::NOTHING.to_owned(),
                format::NOTHING.to_owned(),
            ]);
        }
    }
    let mut blocks = vec![Block::Heading("Validation loss".to_owned()), Block::Table(table)];
    let said: Vec<String> = report.training.iter().flat_map(of_note).collect();
    if !said.is_empty() {
        blocks.push(Block::List(said));
    }
    blocks
}

/// What happened to a run, beside its losses.
fn of_note(run: &TrainingReport) -> Vec<String> {
    let name = run_name(run);
    let smaller = |passes: &SmallerPasses| {
        let twice = if passes.recompute { ", activations computed twice" } else { "" };
        format!(
            "{name}: memory was not enough after step {}: from there {} rows a pass{twice}, at the same rows a step",
            passes.step, passes.rows
        )
    };
    let moved = |moved: &Moved| {
        let changes = moved.changes.join("; ");
        format!(
            "{name}: went on after step {} where not all is as it was, so it is not bit for bit what one machine computes: {changes}",
            moved.step
        )
    };
    let end = run.end.map(|end| {
        let planned = run.training.total_steps;
        format!("{name}: ended after {} of {planned} steps with the adapter of step {}", end.step, end.kept)
    });
    let recipe = &run.training.recipe;
    let full = (recipe.method == Method::Full).then(|| format!("{name}: all weights were trained"));
    let rounded = recipe.quantization.map(|quantization| {
        format!(
            "{name}: base weights in 4 bits ({}), in training and for its own and its base's answers",
            quantization.as_str()
        )
    });
    let moved = run.moved.iter().map(moved);
    let smaller = run.smaller_passes.iter().map(smaller);
    full.into_iter().chain(rounded).chain(smaller).chain(moved).chain(end).collect()
}

fn run_name(run: &TrainingReport) -> String {
    let t = &run.training;
    format!("{} {} on {}, seed {}", t.model, t.recipe.name, t.data, t.seed)
}

pub(super) fn responses(report: &Report) -> Vec<Block> {
    if report.generations.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        words("model"),
        words("system"),
        words("prompts, sampling"),
        numbers("responses"),
        numbers("cut off"),
        numbers("empty"),
        numbers("mean tokens"),
        numbers("mean chars"),
        numbers("Markdown marks"),
    ]);
    for set in &report.generations {
        table.push([
            set.model.clone(),
            set.system.clone(),
            format!("{}, {}", set.prompts, set.sampling),
            set.responses.to_string(),
            set.truncated.to_string(),
            set.empty.to_string(),
            format!("{:.1}", set.mean_new_tokens),
            format!("{:.0}", set.mean_chars),
            format!("{:.1}", set.mean_markdown_marks),
        ]);
    }
    vec![Block::Heading("Responses".to_owned()), Block::Table(table)]
}

pub(super) fn execution(report: &Report) -> Vec<Block> {
    if report.execution.jobs.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        words("job"),
        words("how"),
        numbers("attempts"),
        numbers("time"),
        numbers("tokens"),
        numbers("tokens/s"),
        numbers("peak MiB"),
    ]);
    for job in &report.execution.jobs {
        let usage = job.usage.as_ref();
        let number =
            |value: Option<f64>, decimals| format::number(value.filter(|value| *value > 0.0), decimals);
        table.push([
            job.label.clone(),
            how(job),
            job.attempts.len().to_string(),
            seconds(job).map_or_else(|| format::NOTHING.to_owned(), format::duration),
            usage.map_or_else(|| format::NOTHING.to_owned(), |usage| format::count(usage.tokens)),
            number(usage.map(|usage| usage.tokens_per_s), 1),
            number(usage.map(|usage| usage.peak_memory_mib), 0),
        ]);
    }
    let mut environments: Vec<&str> = report
        .execution
        .jobs
        .iter()
        .filter_map(|job| job.usage.as_ref())
        .map(|usage| usage.environment.as_str())
        .filter(|environment| !environment.is_empty())
        .collect();
    environments.sort_unstable();
    environments.dedup();
    let mut blocks = vec![Block::Heading("Jobs".to_owned()), Block::Table(table)];
    if !environments.is_empty() {
        blocks.push(Block::Text(format!("Ran on: {}", environments.join("; "))));
    }
    blocks.extend(unfinished(report));
    blocks
}

fn unfinished(report: &Report) -> Vec<Block> {
    let attempts = &report.execution.unfinished;
    if attempts.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        words("training"),
        words("attempt"),
        words("how it ended"),
        numbers("steps stored"),
        numbers("kept"),
        numbers("computed again"),
        words("the same again"),
    ]);
    for attempt in attempts {
        table.push([
            attempt.job.clone(),
            attempt.fence.to_string(),
            attempt.outcome.clone(),
            format!("{}-{}", attempt.first_step, attempt.last_step),
            attempt.kept.to_string(),
            attempt.again.to_string(),
            match attempt.largest_difference {
                None => format::NOTHING.to_owned(),
                Some(0.0) => "yes, to the last bit".to_owned(),
                Some(difference) => format!("within {difference:.1e} in loss and gradient norm"),
            },
        ]);
    }
    vec![Block::Heading("Training attempts that did not finish".to_owned()), Block::Table(table)]
}

fn how(job: &JobSummary) -> String {
    match (&job.reused_from, job.attempts.last()) {
        (Some(from), _) => format!("taken from {from}"),
        (None, Some(attempt)) => attempt.outcome.clone(),
        (None, None) => "not run".to_owned(),
    }
}

/// Wall time of the last attempt, by the coordinator's clock; of the work itself where that is not known.
pub(super) fn seconds(job: &JobSummary) -> Option<f64> {
    let last = job.attempts.last();
    let wall =
        last.and_then(|attempt| Some(attempt.ended_at?.saturating_sub(attempt.started_at) as f64 / 1000.0));
    let phases = job.usage.as_ref().map(|usage| usage.phases.iter().map(|(_, seconds)| seconds).sum());
    wall.filter(|seconds| *seconds > 0.0).or(phases)
}
