//! Durable submission: one large matrix in one call, and many small ones by many clients at once.

use std::sync::Arc;

use assay_proto::v1;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::process::Process;
use crate::{SILENT_MS, matrix, percentiles};

/// Six jobs each, and one for all: the last is just under the 10,000 that a matrix may have.
const SEEDS: [u64; 3] = [16, 160, 1_600];
const CLIENTS: u64 = 64;
const SUBMITS_EACH: u64 = 8;

/// Matrices of about 100, 1,000 and 10,000 jobs, each in one call.
pub(crate) async fn many() -> Value {
    let mut sizes = Vec::new();
    for seeds in SEEDS {
        let process = Process::start(SILENT_MS, None);
        let world = &process.world;
        world.upload_matrix().await;
        let mut resolved = matrix::resolved(0);
        resolved["matrix"]["seeds"] = (0..seeds).collect();
        let resolved_json = resolved.to_string();
        let request = v1::SubmitRequest { submit_key: "many".into(), resolved_json, fresh: false };
        let mut matrices = world.matrices();
        matrices.list(v1::ListMatricesRequest::default()).await.unwrap();
        let (cpu, began) = (process.cpu(), Instant::now());
        let submitted = matrices.submit(request).await.unwrap().into_inner();
        let (took, cpu) = (began.elapsed(), process.cpu() - cpu);
        let jobs = f64::from(submitted.jobs);
        sizes.push(json!({
            "jobs": submitted.jobs, "seconds": took.as_secs_f64(), "jobs_per_s": jobs / took.as_secs_f64(),
            "cpu_us_per_job": cpu.as_secs_f64() * 1e6 / jobs, "memory_mib": process.memory_kib() >> 10,
        }));
    }
    json!(sizes)
}

/// Small matrices from many clients at once, each durable when answered.
pub(crate) async fn single() -> Value {
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
                let submit_key = format!("{seed}");
                let request = v1::SubmitRequest { submit_key, resolved_json, fresh: false };
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
