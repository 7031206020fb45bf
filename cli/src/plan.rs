//! `assay plan`: what a matrix would do, take and cost.

use assay_domain::MatrixId;
use assay_domain::budget::{Amount, Cap, Scope};
use assay_domain::decide::Balance;
use assay_domain::job::Estimate;
use assay_domain::matrix::{JudgeFacts, Matrix, ResolvedMatrix};
use assay_domain::plan::{self, PlanRow, PlanTable, PriceTable};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::args;
use crate::connect::Coordinator;
use crate::exit::Failed;
use crate::print;
use crate::resolve::{Purpose, resolve};

/// Jobs that a screen has room for; more are shown together.
const JOBS_SHOWN: usize = 24;

/// Runs the command.
pub(crate) async fn run(args: &args::Plan) -> anyhow::Result<()> {
    let mut resolved = resolve(&args.matrix, Purpose::Plan)?;
    let without_keys = take_all_judges(&mut resolved.matrix);
    let jobs = plan::plan(&resolved.matrix).map_err(|errors| {
        Failed::Input(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let mut table = PlanTable::of(&resolved.matrix.matrix.name, &jobs, PriceTable::builtin());
    table.unavailable_judges = without_keys;
    table.budgets = budgets(&resolved.matrix.matrix, &args.connection).await?;
    if args.json {
        return print::json(&table);
    }
    let mut text = render(&table, args.jobs);
    if !resolved.estimated.is_empty() {
        text.push_str(&format!(
            "\ntokens are estimated at four characters each, and nothing can run: no more than config.json is there of {}",
            resolved.estimated.join(", ")
        ));
    }
    print::line(text);
    Ok(())
}

/// A plan is priced with every judge, also those whose keys are not here: (name, why) of those.
fn take_all_judges(matrix: &mut ResolvedMatrix) -> Vec<(String, String)> {
    let taken = |(name, facts): (&String, &mut JudgeFacts)| Some((name.clone(), facts.unavailable.take()?));
    matrix.judges.iter_mut().filter_map(taken).collect()
}

/// The budgets that count the matrix: its own, and those of its team and the month where a coordinator is up.
async fn budgets(matrix: &Matrix, connection: &args::Connection) -> anyhow::Result<Vec<Balance>> {
    let (budget, nothing) = (matrix.budget.cap(), Amount::ZERO);
    let scope = Scope::Matrix { matrix: MatrixId::new(&matrix.name) };
    let mut budgets = vec![Balance { scope, budget, spent: nothing, reserved: nothing }];
    let known = match Coordinator::find(connection) {
        Ok(coordinator) => crate::budget::balances(&coordinator).await,
        Err(error) => Err(error.into()),
    };
    match known {
        Ok(known) => budgets.extend(known.into_iter().filter(|balance| match &balance.scope {
            Scope::Matrix { .. } => false,
            Scope::Team { team, .. } => *team == matrix.schedule.team.clone().unwrap_or_default(),
            Scope::Month { .. } => true,
        })),
        // A plan needs no coordinator, unless one is named.
        Err(error) if connection.coordinator.is_some() => return Err(error),
        Err(_) => {}
    }
    budgets.retain(|balance| !balance.budget.is_none());
    Ok(budgets)
}

/// The plan as people read it.
fn render(table: &PlanTable, every_job: bool) -> String {
    let shown = if every_job || table.jobs.len() <= JOBS_SHOWN { jobs(table) } else { groups(table) };
    let mut parts = vec![shown, workers(table)];
    for balance in &table.budgets {
        parts.push(format!(
            "of the budget of {} ({}) there is {} left",
            balance.scope,
            balance.budget,
            balance.left()
        ));
    }
    for (judge, why) in &table.unavailable_judges {
        parts.push(format!("judge `{judge}` is priced here, but takes no part: {why}"));
    }
    if table.total.api_calls > 0 {
        parts.push(format!(
            "{} calls to API judges, {}",
            print::count(table.total.api_calls),
            usd(table.total.api_usd)
        ));
    }
    parts.extend(table.notes.iter().cloned());
    parts.join("\n")
}

fn usd(usd: Option<f64>) -> String {
    usd.map_or(String::from("unknown: a price is missing"), |usd| format!("{usd:.2} USD"))
}

/// Jobs of one kind about one model or judge, together.
fn groups(plan: &PlanTable) -> String {
    let mut groups: Vec<(&PlanRow, u64, Estimate)> = Vec::new();
    for job in &plan.jobs {
        match groups.iter_mut().find(|(first, ..)| (first.kind, &first.about) == (job.kind, &job.about)) {
            Some((_, jobs, sum)) => {
                *jobs += 1;
                add(sum, &job.estimate);
            }
            None => groups.push((job, 1, job.estimate)),
        }
    }
    let mut table =
        new_table(&["jobs", "what", "tokens in", "new tokens", "calls", "judges' price"], &[0, 2, 3, 4, 5]);
    for (first, jobs, sum) in groups {
        let api = sum.api_calls > 0;
        table.add_row([
            jobs.to_string(),
            format!("{} {}", first.kind.as_str(), first.about),
            print::count(sum.input_tokens),
            print::count(sum.new_tokens),
            if api { print::count(sum.api_calls) } else { String::from("-") },
            if api { usd(sum.api_usd) } else { String::from("-") },
        ]);
    }
    format!("{table}\n{}; `--jobs` lists each", summary(plan))
}

fn add(sum: &mut Estimate, more: &Estimate) {
    sum.input_tokens += more.input_tokens;
    sum.new_tokens += more.new_tokens;
    sum.flops += more.flops;
    sum.api_calls += more.api_calls;
    sum.api_usd = sum.api_usd.zip(more.api_usd).map(|(sum, more)| sum + more);
}

fn summary(plan: &PlanTable) -> String {
    let kinds: Vec<String> =
        plan.kinds.iter().map(|kind| format!("{} {}", kind.jobs, kind.kind.as_str())).collect();
    format!("{}: {} jobs ({})", plan.matrix, plan.jobs.len(), kinds.join(", "))
}

fn jobs(plan: &PlanTable) -> String {
    let mut table = new_table(&["#", "job", "after", "tokens in", "new tokens"], &[0, 3, 4]);
    for job in &plan.jobs {
        table.add_row([
            job.ordinal.to_string(),
            job.label.clone(),
            after(&job.after),
            print::count(job.estimate.input_tokens),
            print::count(job.estimate.new_tokens),
        ]);
    }
    format!("{table}\n{}", summary(plan))
}

fn after(jobs: &[u32]) -> String {
    const SHOWN: usize = 6;
    let mut text: Vec<String> = jobs.iter().take(SHOWN).map(ToString::to_string).collect();
    if jobs.len() > SHOWN {
        text.push(format!("and {} more", jobs.len() - SHOWN));
    }
    text.join(" ")
}

fn workers(plan: &PlanTable) -> String {
    let shares: Vec<String> = plan.budgets.iter().map(|balance| format!("of {}", balance.scope)).collect();
    let header: Vec<&str> = ["one worker", "estimated time", "USD"]
        .into_iter()
        .chain(shares.iter().map(String::as_str))
        .collect();
    let mut table = new_table(&header, &(1..header.len()).collect::<Vec<_>>());
    for worker in &plan.workers {
        let usd = if worker.usd > 0.0 { format!("{:.2}", worker.usd) } else { String::from("-") };
        let mut cells = vec![worker.worker.clone(), print::seconds(worker.seconds), usd];
        cells.extend(plan.budgets.iter().map(|balance| share(plan.expected(worker), balance.left())));
        table.add_row(cells);
    }
    table.to_string()
}

/// How much of what is left a plan takes, of money or hours, whichever is more.
fn share(expected: Amount, left: Cap) -> String {
    let of = |number: u64, left: Option<u64>| match (number, left) {
        (0, _) | (_, None) => 0.0,
        (number, Some(left)) => number as f64 / left as f64,
    };
    let share = of(expected.usd_micros, left.usd_micros).max(of(expected.device_ms, left.device_ms));
    if share > 1.0 { String::from("too much") } else { format!("{:.0} %", share * 100.0) }
}

/// A table without frames; the columns at `numbers` are aligned to the right.
pub(crate) fn new_table(header: &[&str], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for number in numbers {
        if let Some(column) = table.column_mut(*number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::MatrixFile;

    fn paper() -> MatrixFile {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/paper.yaml").into();
        MatrixFile { file, variant: None, full: false, batch: false }
    }

    #[test]
    fn the_published_method_is_planned_and_priced_on_one_screen_without_weights_or_keys() {
        let mut resolved = resolve(&paper(), Purpose::Plan).unwrap();
        assert_eq!(resolved.estimated.len(), 4);
        take_all_judges(&mut resolved.matrix);
        let jobs = plan::plan(&resolved.matrix).unwrap();
        let table = PlanTable::of("paper", &jobs, PriceTable::builtin());
        // 4 models x 2 checkpoints x 57 prompts x 2 orders x 4 judges.
        assert_eq!(table.total.api_calls, 4 * 2 * 57 * 2 * 4);
        let usd = table.total.api_usd.unwrap();
        assert!((10.0..200.0).contains(&usd), "{usd}");
        assert_eq!(table.jobs.len(), 4 + 4 * 3 + 4 * 2 * 4 + 1);
        let text = render(&table, false);
        assert!(text.lines().count() <= 30, "{text}");
        for said in ["train qwen2.5-3b", "generate qwen3-0.6b", "judge gpt-4o", "USD", "`--jobs` lists each"]
        {
            assert!(text.contains(said), "{said} in {text}");
        }
        assert!(render(&table, true).lines().count() > table.jobs.len());
    }

    #[test]
    fn shapes_have_the_parameters_of_their_models() {
        let resolved = resolve(&paper(), Purpose::Plan).unwrap();
        // Billions of parameters in the layers' projections, as published.
        for (model, billions) in
            [("qwen2.5-3b", 2.775), ("llama-3.2-3b", 2.819), ("qwen2.5-0.5b", 0.358), ("qwen3-0.6b", 0.440)]
        {
            let linear = resolved.matrix.models[model].linear_parameters as f64 / 1e9;
            assert!((linear - billions).abs() < 0.001, "{model}: {linear}");
        }
    }

    #[test]
    fn a_shape_alone_plans_and_does_not_run() {
        let refused = resolve(&paper(), Purpose::Run).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("model `qwen2.5-3b`") && refused.contains("config.json alone"), "{refused}");
    }
}
