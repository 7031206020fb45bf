//! The coordinator under load, as a process of its own over real gRPC; `cargo xtask bench coordinator` runs this and prints it. Its
//! last line of output is one JSON object.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]
#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

use std::sync::Arc;
use std::time::Duration;

use assay_proto::v1;
use serde_json::{Value, json};
use tokio::time::Instant;

use process::Process;
use worker::Worker;

#[path = "../tests/service/matrix.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod matrix;
#[path = "../tests/service/process.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod process;
#[path = "../tests/service/worker.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod worker;
#[path = "../tests/service/world.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod world;

/// Six jobs each, and one for all: just under the 10,000 that a matrix may have.
const SEEDS: u64 = 1_600;
const CLIENTS: u64 = 64;
const SUBMITS_EACH: u64 = 8;
/// Matrices whose jobs are run one after the other.
const RUN: u64 = 40;
const SILENT_MS: u32 = 10_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let figures = runtime.block_on(async {
        let many = submit_many().await;
        let single = submit_single().await;
        let life = lives().await;
        json!({ "submit_many": many, "submit_single": single, "life": life })
    });
    println!("{figures}");
}

/// One matrix of nearly 10,000 jobs in one call.
async fn submit_many() -> Value {
    let process = Process::start(SILENT_MS, None);
    let world = &process.world;
    world.upload_matrix().await;
    let mut resolved = matrix::resolved(0);
    resolved["matrix"]["seeds"] = (0..SEEDS).collect();
    let request =
        v1::SubmitRequest { submit_key: "many".into(), resolved_json: resolved.to_string(), fresh: false };
    let (cpu, began) = (process.cpu(), Instant::now());
    let submitted = world.matrices().submit(request).await.unwrap().into_inner();
    let (took, cpu) = (began.elapsed(), process.cpu() - cpu);
    let jobs = submitted.jobs;
    json!({
        "jobs": jobs, "seconds": took.as_secs_f64(), "jobs_per_s": f64::from(jobs) / took.as_secs_f64(),
        "cpu_us_per_job": cpu.as_secs_f64() * 1e6 / f64::from(jobs), "memory_mib": process.memory_kib() >> 10,
    })
}

/// Small matrices from many clients at once, each durable when answered.
async fn submit_single() -> Value {
    let process = Arc::new(Process::start(SILENT_MS, None));
    process.world.upload_matrix().await;
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|client| {
        let process = Arc::clone(&process);
        tokio::spawn(async move {
            let mut matrices = process.world.matrices();
            // The connection is there before the clock runs.
            matrices.list(v1::ListMatricesRequest::default()).await.unwrap();
            let mut took = Vec::new();
            for number in 0..SUBMITS_EACH {
                let seed = client * SUBMITS_EACH + number;
                let resolved_json = matrix::resolved(seed).to_string();
                let request =
                    v1::SubmitRequest { submit_key: format!("{seed}"), resolved_json, fresh: false };
                let began = Instant::now();
                matrices.submit(request).await.unwrap();
                took.push(began.elapsed());
            }
            took
        })
    });
    let mut took = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        took.extend(client.await.unwrap());
    }
    let count = took.len();
    let per_s = count as f64 / began.elapsed().as_secs_f64();
    json!({ "clients": CLIENTS, "submits": count, "submits_per_s": per_s, "ms": percentiles(took) })
}

/// Jobs from submission to completion by one worker that waits: each with its output files, uploaded and durable.
async fn lives() -> Value {
    let process = Process::start(SILENT_MS, None);
    let world = &process.world;
    let mut worker = Worker::connect(world, "w", &[]).await;
    let (mut jobs, mut dispatched) = (0, Vec::new());
    let (cpu, began) = (process.cpu(), Instant::now());
    for seed in 0..RUN {
        worker.ready(1).await;
        let asked = Instant::now();
        let submitted = world.submit(&format!("{seed}"), seed).await;
        let mut assignment = worker.offered().await;
        dispatched.push(asked.elapsed());
        for job in submitted.reused + 1..=submitted.jobs {
            worker.perform(&assignment).await;
            jobs += 1;
            if job < submitted.jobs {
                assignment = worker.offer().await;
            }
        }
    }
    let (took, cpu) = (began.elapsed(), process.cpu() - cpu);
    json!({
        "jobs": jobs, "jobs_per_s": f64::from(jobs) / took.as_secs_f64(),
        "cpu_us_per_job": cpu.as_secs_f64() * 1e6 / f64::from(jobs),
        "submit_to_offer_ms": percentiles(dispatched), "memory_mib": process.memory_kib() >> 10,
    })
}

fn percentiles(mut took: Vec<Duration>) -> Value {
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}
