//! Budgets over the wire: leases keep to them, attempts ask for more, and raising one lets the rest go on.

use assay_coordinator::config::Limits;
use assay_domain::budget::{Amount, Cap, Scope};
use assay_domain::decide::Balance;
use assay_domain::decide::schedule::{Explanation, Obstacle, Team};
use assay_domain::event::WorkerInfo;
use assay_domain::job::Usage;
use assay_domain::{Assignment, Lease, Rejection, WorkKind};
use assay_proto::v1::worker_message::Body as Said;
use assay_proto::{convert, v1};
use serde_json::json;
use tonic::Code;

use super::matrix::resolved;
use super::worker::{Worker, hello, info};
use super::world::World;

/// A millionth of a USD for each millisecond.
const USD_PER_HOUR: f64 = 3.6;
/// What each of the small jobs is expected to take: a second to start.
const JOB_USD: f64 = 0.001;

async fn priced<'a>(world: &'a World, id: &str, running: &[Lease]) -> Worker<'a> {
    let info = WorkerInfo { usd_per_hour: Some(USD_PER_HOUR), ..info(id, &WorkKind::ALL) };
    let hello = v1::Hello { worker_json: convert::to_json(&info), ..hello(id, running) };
    Worker::try_connect(world, hello).await.unwrap()
}

async fn submit(world: &World, key: &str, change: serde_json::Value) -> String {
    world.upload_matrix().await;
    let mut resolved = resolved(key.len() as u64);
    for (field, value) in change.as_object().unwrap() {
        resolved["matrix"][field] = value.clone();
    }
    let request =
        v1::SubmitRequest { submit_key: key.into(), resolved_json: resolved.to_string(), fresh: false };
    world.matrices().submit(request).await.unwrap().into_inner().matrix_id
}

async fn ask(world: &World, lease: &Lease, has: Amount) -> Result<Amount, tonic::Status> {
    let lease = Some(convert::lease_ref(lease));
    let request = v1::SpendRequest { lease, limit_json: convert::to_json(&has) };
    let answer = world.leases().spend(request).await?.into_inner();
    Ok(serde_json::from_str(&answer.limit_json).unwrap())
}

async fn balance(world: &World, matrix: &str) -> Balance {
    serde_json::from_str(&world.view(matrix).await.balance_json).unwrap()
}

async fn raise(world: &World, matrix: &str, usd: f64) -> bool {
    let request = v1::SetBudgetRequest { matrix_id: matrix.into(), usd: Some(usd), hours: None };
    world.matrices().set_budget(request).await.unwrap().into_inner().changed
}

async fn end(worker: &mut Worker<'_>, lease: &Lease, class: &str, used: Amount) {
    let item = v1::FailedItem {
        lease: Some(convert::lease_ref(lease)),
        class: class.into(),
        reason: "the limit was reached".into(),
        suspects: Vec::new(),
        used_json: convert::to_json(&used),
    };
    worker.answer(Said::Failed(v1::FailedBatch { items: vec![item] })).await.unwrap();
}

/// As a worker does it, with what it used.
async fn perform(worker: &mut Worker<'_>, assignment: &Assignment, used: Amount) {
    let lease = &assignment.lease;
    if let assay_domain::Work::Train(spec) = &assignment.job.work {
        for step in &spec.checkpoints {
            worker.checkpoint(lease, *step).await.unwrap();
        }
    }
    let mut outputs = Vec::new();
    for name in assignment.job.work.completion_outputs() {
        outputs.push(worker.upload(lease, name, "out.jsonl", format!("{name} {lease}").as_bytes()).await);
    }
    let item = v1::CompletedItem {
        lease: Some(convert::lease_ref(lease)),
        outputs_json: convert::to_json(&outputs),
        usage_json: convert::to_json(&Usage { used: Some(used), ..Usage::default() }),
    };
    worker.answer(Said::Completed(v1::CompletedBatch { items: vec![item] })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_stops_at_its_budget_also_after_a_restart_and_goes_on_when_it_is_raised() {
    let mut world = World::new().await;
    let id = submit(&world, "k", json!({ "budget": { "usd": 2.0 * JOB_USD } })).await;
    let mut worker = priced(&world, "w", &[]).await;
    worker.ready(4).await;
    let train = worker.offered().await;
    let limit = train.spend_limit.expect("a budget counts it");
    assert!((1_500..1_510).contains(&limit.usd_micros) && limit.device_ms == limit.usd_micros, "{limit}");
    // Half a job is left: nothing more of it is leased, and that is said wherever one looks.
    let held = world.view(&id).await.summary.unwrap().held;
    assert!(held.contains(&format!("assay budget {id} --usd")), "{held}");
    let request = v1::ExplainRequest { job_id: format!("{id}/1") };
    let explained = world.matrices().explain(request).await.unwrap().into_inner().explanation_json;
    let explained: Explanation = serde_json::from_str(&explained).unwrap();
    let budget = |reason: &assay_domain::decide::schedule::Reason| {
        matches!(&reason.obstacle, Obstacle::Budget { scope: Scope::Matrix { .. }, .. })
    };
    assert!(explained.workers[0].reasons.iter().any(budget), "{explained:?}");

    let all = ask(&world, &train.lease, limit).await.unwrap();
    assert_eq!(all.usd_micros, 2_000);
    drop(worker);
    world.restart().await;
    let mut worker = priced(&world, "w", std::slice::from_ref(&train.lease)).await;
    assert_eq!(ask(&world, &train.lease, limit).await.unwrap(), all, "the answer was lost, and is the same");
    let refused = ask(&world, &train.lease, all).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let refusal = assay_proto::status::to_rejection(&refused).unwrap();
    assert!(matches!(refusal, Rejection::OverBudget { .. }), "{refusal}");
    worker.checkpoint(&train.lease, 2).await.unwrap();
    end(&mut worker, &train.lease, "budget", Amount { usd_micros: 0, device_ms: 1_990 }).await;
    let settled = balance(&world, &id).await;
    assert_eq!((settled.spent.usd_micros, settled.reserved), (1_990, Amount::ZERO));

    world.restart().await;
    let mut worker = priced(&world, "w", &[]).await;
    worker.ready(1).await;
    let other = submit(&world, "other", json!({})).await;
    let free = worker.offered().await;
    assert_eq!((free.lease.job.matrix.as_str(), free.spend_limit), (other.as_str(), None));
    end(&mut worker, &free.lease, "released", Amount::ZERO).await;
    world.matrices().cancel(v1::CancelRequest { matrix_id: other }).await.unwrap();
    assert!(raise(&world, &id, 1.0).await && !raise(&world, &id, 1.0).await);
    assert_eq!(world.view(&id).await.summary.unwrap().held, "");
    let mut jobs = Vec::new();
    while world.view(&id).await.summary.unwrap().finished_at_unix_ms == 0 {
        let next = worker.offer().await;
        jobs.push(next.lease.job.ordinal);
        if next.lease.job.ordinal == 0 {
            assert_eq!(next.resume.as_ref().map(|(step, _)| *step), Some(2), "nothing is computed twice");
        }
        perform(&mut worker, &next, Amount { usd_micros: 0, device_ms: 10 }).await;
    }
    jobs.sort_unstable();
    assert_eq!(jobs, (0..7).collect::<Vec<_>>(), "each job once");
    // Reports run without a device, but this worker says that it used one.
    assert_eq!(balance(&world, &id).await.spent.usd_micros, 1_990 + 7 * 10);
    let told =
        super::events::all(&world, v1::ReadEventsRequest { matrix_id: id, ..Default::default() }).await;
    for kind in ["budget_reached", "spend_granted", "matrix_budgeted"] {
        assert!(told.iter().any(|event| event.kind == kind), "no {kind} in {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_waits_for_the_next_month_and_others_go_on() {
    const DAY_MS: u64 = 86_400_000;
    let mut limits = Limits { drain_ms: 500, lease_ms: DAY_MS, ..Limits::default() };
    let budget = Cap { usd_micros: Some(1_600), device_ms: None };
    limits.teams.named.insert(String::from("small"), Team { budget, ..Team::default() });
    let world = World::with(limits).await;
    let small = submit(&world, "k", json!({ "schedule": { "team": "small" } })).await;
    let mut worker = priced(&world, "w", &[]).await;
    let first = worker.offer().await;
    assert!(first.spend_limit.is_some());
    perform(&mut worker, &first, Amount { usd_micros: 0, device_ms: 1_500 }).await;
    worker.ready(1).await;
    let large = submit(&world, "large", json!({ "schedule": { "team": "large" } })).await;
    let second = worker.offered().await;
    assert_eq!(second.lease.job.matrix.as_str(), large);
    let held = world.view(&small).await.summary.unwrap().held;
    assert!(held.contains("team `small` in 2023-11") && held.contains("--team-budget small="), "{held}");
    let budgets = world.matrices().budgets(v1::BudgetsRequest {}).await.unwrap().into_inner().balances_json;
    let budgets: Vec<Balance> = serde_json::from_str(&budgets).unwrap();
    let of_small = |balance: &&Balance| matches!(&balance.scope, Scope::Team { team, .. } if team == "small");
    let of_small = budgets.iter().find(of_small).unwrap();
    assert_eq!((of_small.spent.usd_micros, of_small.left().usd_micros), (1_500, Some(100)));

    world.matrices().cancel(v1::CancelRequest { matrix_id: large }).await.unwrap();
    assert_eq!(worker.stopped().await.0, second.lease);
    worker.ready(1).await;
    // From the 14th of November into December, in which nobody has done anything.
    world.pass(20 * DAY_MS).await;
    assert_eq!(worker.offered().await.lease.job.matrix.as_str(), small);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_cannot_be_is_refused_and_a_lost_worker_counts_in_full() {
    let world = World::new().await;
    let id = submit(&world, "k", json!({ "budget": { "hours": 1.0 } })).await;
    let wrong = v1::SetBudgetRequest { matrix_id: id.clone(), usd: Some(-1.0), hours: None };
    assert_eq!(world.matrices().set_budget(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = v1::SetBudgetRequest { matrix_id: "m-none".into(), usd: None, hours: None };
    assert_eq!(world.matrices().set_budget(unknown).await.unwrap_err().code(), Code::NotFound);
    let mut worker = priced(&world, "w", &[]).await;
    let lease = worker.offer().await.lease;
    worker.renew(&lease, None).await.unwrap();
    let reserved = balance(&world, &id).await.reserved;
    drop(worker);
    world.pass(world.limits.lease_ms + world.limits.reconnect_grace_ms).await;
    let after = balance(&world, &id).await;
    assert_eq!((after.spent, after.reserved), (reserved, Amount::ZERO));
    assert_eq!(ask(&world, &lease, reserved).await.unwrap_err().code(), Code::FailedPrecondition);
    let bad = v1::SpendRequest { lease: Some(convert::lease_ref(&lease)), limit_json: "x".into() };
    assert_eq!(world.leases().spend(bad).await.unwrap_err().code(), Code::InvalidArgument);
}
