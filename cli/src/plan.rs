//! `assay plan`: what a matrix would do, take and cost.

use assay_domain::plan::{self, PlanTable, PriceTable};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::args;
use crate::exit::Failed;
use crate::print;
use crate::resolve::resolve;

/// Runs the command.
pub(crate) fn run(args: &args::Plan) -> anyhow::Result<()> {
    let resolved = resolve(&args.matrix)?;
    let jobs = plan::plan(&resolved.matrix).map_err(|errors| {
        Failed::Input(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let table = PlanTable::of(&resolved.matrix.matrix.name, &jobs, &PriceTable::builtin());
    if args.json {
        return print::json(&table);
    }
    print::line(render(&table));
    Ok(())
}

/// The plan as people read it.
pub(crate) fn render(table: &PlanTable) -> String {
    let mut parts = vec![jobs(table), workers(table)];
    for (judge, why) in &table.unavailable_judges {
        parts.push(format!("judge `{judge}` takes no part: {why}"));
    }
    if table.total.api_calls > 0 {
        let usd = table
            .total
            .api_usd
            .map_or(String::from("unknown: a price is missing"), |usd| format!("{usd:.2} USD"));
        parts.push(format!("{} calls to API judges, {usd}", print::count(table.total.api_calls)));
    }
    parts.join("\n")
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
    let kinds: Vec<String> =
        plan.kinds.iter().map(|kind| format!("{} {}", kind.jobs, kind.kind.as_str())).collect();
    format!("{table}\n{}: {} jobs ({})", plan.matrix, plan.jobs.len(), kinds.join(", "))
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
    let mut table = new_table(&["one worker", "estimated time", "USD"], &[1, 2]);
    for worker in &plan.workers {
        let usd = if worker.usd > 0.0 { format!("{:.2}", worker.usd) } else { String::from("-") };
        table.add_row([worker.worker.clone(), print::seconds(worker.seconds), usd]);
    }
    table.to_string()
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
