//! Jobs from submission to completion: how long a waiting worker waits for one, and what each costs the coordinator.

use std::collections::BTreeSet;
use std::time::Duration;

use assay_domain::job::Usage;
use assay_domain::matrix::ResolvedMatrix;
use assay_domain::{Artifact, Assignment, PlannedJob, Work};
use assay_proto::v1::coordinator_message::Body as Told;
use assay_proto::v1::worker_message::Body as Said;
use assay_proto::{convert, v1};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::process::Process;
use crate::worker::Worker;
use crate::{SILENT_MS, matrix, percentiles};

/// Matrices that find a worker waiting.
const DISPATCHES: u64 = 200;
/// Six jobs each, and one for all.
const SEEDS: u64 = 300;
/// Jobs that are leased, and ended, together, as those of a fleet are.
const WAVE: usize = 64;

/// A worker waits; a matrix comes. From the answer to the submission, when its jobs are ready, to the offer; and from the
/// request on, with all that makes both durable.
pub(crate) async fn dispatch() -> Value {
    let process = Process::start(SILENT_MS, None);
    let world = &process.world;
    world.upload_matrix().await;
    let mut matrices = world.matrices();
    let (mut from_answer, mut from_request) = (Vec::new(), Vec::new());
    for seed in 0..DISPATCHES {
        let mut worker = Worker::connect(world, &format!("w-{seed}"), &[]).await;
        worker.ready(1).await;
        let resolved_json = matrix::resolved(seed).to_string();
        let request = v1::SubmitRequest { submit_key: format!("{seed}"), resolved_json, fresh: false };
        let asked = Instant::now();
        let submitted = async {
            let answer = matrices.submit(request).await.unwrap().into_inner();
            (Instant::now(), answer.matrix_id)
        };
        let offered = async {
            let assignment = worker.offered().await;
            (Instant::now(), assignment.lease)
        };
        let ((answered, id), (received, lease)) = tokio::join!(submitted, offered);
        from_answer.push(received.saturating_duration_since(answered));
        from_request.push(received - asked);
        worker.fail(&lease, "bad_input", "only the offer was wanted").await.unwrap();
        matrices.cancel(v1::CancelRequest { matrix_id: id }).await.unwrap();
    }
    json!({ "offers": DISPATCHES, "from_answer_ms": percentiles(from_answer), "from_request_ms": percentiles(from_request) })
}

/// Every job of a matrix. What its files cost (signed requests, uploads, checkpoints) is counted apart: a no-op job has none.
pub(crate) async fn lives() -> Value {
    let process = Process::start(SILENT_MS, None);
    let world = &process.world;
    world.upload_matrix().await;
    let mut resolved = matrix::resolved(0);
    resolved["matrix"]["seeds"] = (0..SEEDS).collect();
    let known: ResolvedMatrix = serde_json::from_value(resolved.clone()).unwrap();
    let plan = assay_domain::plan::plan(&known).unwrap();
    let mut worker = Worker::connect(world, "w", &[]).await;
    let request =
        v1::SubmitRequest { submit_key: "life".into(), resolved_json: resolved.to_string(), fresh: false };
    let [mut submit, mut lease, mut files, mut end] = [Duration::ZERO; 4];
    let (began, mut cpu) = (Instant::now(), process.cpu());
    let mut spent = |sum: &mut Duration| {
        let now = process.cpu();
        *sum += now - cpu;
        cpu = now;
    };
    world.matrices().submit(request).await.unwrap();
    spent(&mut submit);
    let mut done = BTreeSet::new();
    while done.len() < plan.len() {
        let wave = offers(&mut worker, ready(&plan, &done).min(WAVE)).await;
        spent(&mut lease);
        let mut ended = Vec::new();
        for assignment in wave {
            let outputs = upload(&mut worker, &assignment).await;
            done.insert(assignment.lease.job.ordinal);
            ended.push((assignment, outputs));
        }
        spent(&mut files);
        complete(&mut worker, &ended).await;
        spent(&mut end);
    }
    let (jobs, took) = (plan.len() as f64, began.elapsed());
    let per_job = |cpu: Duration| cpu.as_secs_f64() * 1e6 / jobs;
    json!({
        "jobs": plan.len(), "jobs_per_s": jobs / took.as_secs_f64(), "cpu_us_per_job": per_job(submit + lease + end),
        "of_which": { "submit": per_job(submit), "lease": per_job(lease), "complete": per_job(end) },
        "cpu_us_per_job_for_files": per_job(files), "memory_mib": process.memory_kib() >> 10,
    })
}

/// Jobs that can be leased.
fn ready(plan: &[PlannedJob], done: &BTreeSet<u32>) -> usize {
    let can = |job: &&PlannedJob| {
        !done.contains(&job.ordinal) && job.needs().all(|(needed, _)| done.contains(&needed))
    };
    plan.iter().filter(can).count()
}

async fn offers(worker: &mut Worker<'_>, count: usize) -> Vec<Assignment> {
    worker.ready(count as u32).await;
    let mut offers = Vec::new();
    while offers.len() < count {
        let Some(Told::Offers(batch)) = worker.next().await.unwrap() else { continue };
        let read = batch.assignments_json.iter().map(|json| convert::from_json("assignment", json).unwrap());
        offers.extend(read);
    }
    offers
}

async fn upload(worker: &mut Worker<'_>, assignment: &Assignment) -> Vec<Artifact> {
    let lease = &assignment.lease;
    if let Work::Train(spec) = &assignment.job.work {
        for step in &spec.checkpoints {
            worker.checkpoint(lease, *step).await.unwrap();
        }
    }
    let mut outputs = Vec::new();
    for name in assignment.job.work.completion_outputs() {
        let bytes = format!("{name} of {lease}");
        outputs.push(worker.upload(lease, name, &format!("{name}.jsonl"), bytes.as_bytes()).await);
    }
    outputs
}

async fn complete(worker: &mut Worker<'_>, ended: &[(Assignment, Vec<Artifact>)]) {
    let item = |(assignment, outputs): &(Assignment, Vec<Artifact>)| v1::CompletedItem {
        lease: Some(convert::lease_ref(&assignment.lease)),
        outputs_json: convert::to_json(outputs),
        usage_json: convert::to_json(&Usage::default()),
    };
    worker.say(Said::Completed(v1::CompletedBatch { items: ended.iter().map(item).collect() })).await;
    loop {
        if let Some(Told::Answers(batch)) = worker.next().await.unwrap() {
            let refused = batch.answers[0].items.iter().find(|item| !item.rejection_json.is_empty());
            assert!(refused.is_none(), "{refused:?}");
            return;
        }
    }
}
