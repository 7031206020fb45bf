//! `assay status` and `fleet`: looking at what goes on.

use assay_domain::event::WorkerInfo;
use assay_domain::job::Offer;
use assay_domain::state::Standing;
use assay_proto::v1::{
    GetMatrixRequest, ListMatricesRequest, ListWorkersRequest, MatrixSummary, MatrixView, WorkerView,
};
use serde_json::json;

use crate::connect::Coordinator;
use crate::plan::new_table;
use crate::{args, print, view};

/// Matrices on one page.
const PAGE: u32 = 100;

/// Lists matrices, or the jobs of one.
pub(crate) async fn status(args: &args::Status) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let Some(matrix) = &args.matrix else { return matrices(&coordinator, args.json).await };
    let request = GetMatrixRequest { matrix_id: matrix.clone() };
    let answer = coordinator.matrices().get(request).await.map_err(|status| coordinator.failed(&status))?;
    let matrix = answer.into_inner().matrix.unwrap_or_default();
    if args.json {
        return print::json(&view::matrix_json(&matrix));
    }
    print::line(jobs(&matrix));
    cost(&matrix).into_iter().for_each(print::line);
    Ok(())
}

async fn matrices(coordinator: &Coordinator, as_json: bool) -> anyhow::Result<()> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListMatricesRequest { page_token, page_size: PAGE };
        let answer = coordinator.matrices().list(request).await;
        let page = answer.map_err(|status| coordinator.failed(&status))?.into_inner();
        all.extend(page.matrices);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if as_json {
        return print::json(&all.iter().map(view::summary_json).collect::<Vec<_>>());
    }
    let mut table = new_table(&["matrix", "name", "jobs"], &[]);
    for matrix in &all {
        table.add_row([matrix.matrix_id.clone(), matrix.name.clone(), counts(matrix)]);
    }
    print::line(table);
    Ok(())
}

/// What it has cost, and what holds it back.
fn cost(matrix: &MatrixView) -> Vec<String> {
    let held = matrix.summary.as_ref().map(|summary| summary.held.clone()).filter(|held| !held.is_empty());
    let Some(balance) = view::balance(matrix) else { return held.into_iter().collect() };
    let budget = if balance.budget.is_none() { String::new() } else { format!(", of {}", balance.budget) };
    let reserved =
        if balance.reserved.is_zero() { String::new() } else { format!(", {} set aside", balance.reserved) };
    let cost = format!("cost so far: {}{reserved}{budget}", balance.spent);
    std::iter::once(cost).chain(held).collect()
}

fn counts(matrix: &MatrixSummary) -> String {
    let mut counts: Vec<_> = matrix.jobs.iter().filter(|(_, count)| **count > 0).collect();
    counts.sort();
    let counts = counts.into_iter().map(|(status, count)| format!("{count} {status}"));
    let paused = matrix.paused.then(|| String::from("paused"));
    let held = (!matrix.held.is_empty()).then(|| String::from("held by its budget"));
    paused.into_iter().chain(held).chain(counts).collect::<Vec<_>>().join(", ")
}

fn jobs(matrix: &MatrixView) -> String {
    let mut table = new_table(&["job", "what", "status", "attempts", "note"], &[3]);
    for job in &matrix.jobs {
        let note = match (job.reason.is_empty(), job.reused_from.is_empty()) {
            (false, _) => job.reason.clone(),
            (true, false) => format!("from {}", job.reused_from),
            (true, true) => String::new(),
        };
        let attempts = job.attempts.len().to_string();
        table.add_row([job.job_id.clone(), job.label.clone(), job.status.clone(), attempts, note]);
    }
    table.to_string()
}

/// Lists workers.
pub(crate) async fn fleet(args: &args::Fleet) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let answer = coordinator.fleet().list_workers(ListWorkersRequest {}).await;
    let workers = answer.map_err(|status| coordinator.failed(&status))?.into_inner().workers;
    let parse = |text: &str| serde_json::from_str::<WorkerInfo>(text).ok();
    if args.json {
        let all: Vec<_> = workers
            .iter()
            .map(|worker| {
                let standing = standing(worker);
                json!({
                    "worker": parse(&worker.worker_json), "standing": standing, "offer": offer(worker), "connected": worker.connected, "jobs": worker.job_ids,
                })
            })
            .collect();
        return print::json(&all);
    }
    let mut table = new_table(&["worker", "device", "connected", "free", "jobs", "cost", "note"], &[]);
    for worker in &workers {
        let device = parse(&worker.worker_json).map_or_else(String::new, |info| info.device_name);
        let connected = if worker.connected { "yes" } else { "no" };
        let (jobs, standing) = (worker.job_ids.join(" "), standing(worker));
        let (cost, note) = (standing.spent.to_string(), note(&standing));
        let free = free(offer(worker));
        table.add_row([worker.worker_id.clone(), device, connected.to_owned(), free, jobs, cost, note]);
    }
    print::line(table);
    Ok(())
}

fn standing(worker: &WorkerView) -> Standing {
    serde_json::from_str(&worker.standing_json).unwrap_or_default()
}

fn offer(worker: &WorkerView) -> Offer {
    serde_json::from_str(&worker.offer_json).unwrap_or_default()
}

/// What a worker has free, as far as it says so.
fn free(offer: Offer) -> String {
    let gib = |mib: u64, of: &str| format!("{:.1} GiB of {of}", mib as f64 / 1024.0);
    let memory = offer.memory_free_mib.map(|mib| gib(mib, "memory"));
    let disk = offer.disk_free_mib.map(|mib| gib(mib, "disk"));
    let life = offer.life_left_s.map(|left| format!("for {}", print::seconds(left as f64)));
    [memory, disk, life].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn note(standing: &Standing) -> String {
    match (&standing.quarantine, standing.drain) {
        (Some(quarantine), _) => format!("in quarantine: {}", quarantine.reason),
        (None, Some(_)) => String::from("drained: `assay fleet lift` gives it jobs again"),
        (None, None) => String::new(),
    }
}
