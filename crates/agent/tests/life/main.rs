//! A worker's whole life against a scripted coordinator: real streams, real transfers, executors that wait for the test.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

mod agent;
mod coordinator;
mod leaving;
mod logs;
mod objects;
mod spending;

use std::fs;

use assay_agent::{Failure, Finished};
use assay_domain::job::{FailureClass, Usage};
use assay_domain::{Artifact, Lease};
use assay_proto::v1::{OfferBatch, coordinator_message::Body as Told};

use agent::{Agent, assignment};
use coordinator::{Coordinator, Heard};

fn renewed(heard: &Heard) -> Option<Lease> {
    if let Heard::Renewed(lease) = heard { Some(lease.clone()) } else { None }
}

fn completed(heard: &Heard) -> Option<(Lease, String)> {
    if let Heard::Completed(lease, outputs) = heard { Some((lease.clone(), outputs.clone())) } else { None }
}

fn failed(heard: &Heard) -> Option<(Lease, String, String)> {
    match heard {
        Heard::Failed(lease, class, reason) => Some((lease.clone(), class.clone(), reason.clone())),
        Heard::Hello(_)
        | Heard::Ready(_)
        | Heard::Renewed(_)
        | Heard::Checkpointed(..)
        | Heard::Completed(..)
        | Heard::Logged(..)
        | Heard::Stored(..) => None,
    }
}

fn ready(slots: u32) -> impl Fn(&Heard) -> Option<()> {
    move |heard| (*heard == Heard::Ready(slots)).then_some(())
}

fn hello(heard: &Heard) -> Option<Vec<Lease>> {
    if let Heard::Hello(running) = heard { Some(running.clone()) } else { None }
}

fn nothing() -> Result<Finished, Failure> {
    Ok(Finished { outputs: Vec::new(), usage: Usage::default() })
}

fn suspects(coordinator: &Coordinator) -> Vec<(String, String)> {
    let script = coordinator.script();
    script.suspects.iter().map(|suspect| (suspect.key.clone(), suspect.found.clone())).collect()
}

#[tokio::test]
async fn inputs_come_verified_and_outputs_go_before_the_completion() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    let mut offered = assignment(0, 1);
    let store = coordinator.store.clone();
    offered.inputs = vec![
        (String::from("train"), store.artifact("train", &[("train.jsonl", "rows")])),
        (String::from("model"), store.artifact("model", &[("a/config.json", "{}"), ("w.bin", "weights")])),
    ];
    offered.resume = Some((6, store.artifact("resume@6", &[("state.json", "6"), ("adapter", "a")])));
    coordinator.offer(&offered).await;
    let run = agent.next_run().await;
    let cx = run.cx.clone();
    assert_eq!(fs::read_to_string(cx.input("train").unwrap()).unwrap(), "rows");
    assert_eq!(fs::read_to_string(cx.input("model").unwrap().join("a/config.json")).unwrap(), "{}");
    assert!(cx.input("adapter").unwrap_err().reason.contains("model, train"));
    let (step, resume) = cx.resume().unwrap();
    assert_eq!((step, fs::read_to_string(resume.join("state.json")).unwrap().as_str()), (6, "6"));
    cx.log("half way");
    let (metrics, folder) = (cx.work_dir().join("metrics.jsonl"), cx.work_dir().join("adapter"));
    fs::write(&metrics, "{}\n").unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("x"), "1").unwrap();
    fs::write(folder.join("y"), "2").unwrap();
    let outputs = vec![(String::from("metrics"), metrics), (String::from("adapter@6"), folder.clone())];
    run.end(Ok(Finished { outputs, usage: Usage { tokens: 7, ..Usage::default() } }));
    let logged = |heard: &Heard| matches!(heard, Heard::Logged(_, line) if line == "half way").then_some(());
    coordinator.until(logged).await;
    let (lease, outputs) = coordinator.until(completed).await;
    assert_eq!(lease, offered.lease);
    let outputs: Vec<Artifact> = serde_json::from_str(&outputs).unwrap();
    assert_eq!((outputs[0].name.as_str(), outputs[1].files.len()), ("metrics", 2));
    assert_eq!(outputs[0].files[0].path, "metrics.jsonl");
    assert_eq!(store.text(&outputs[0].files[0].key).unwrap(), "{}\n");
    assert_eq!(store.text(&outputs[1].files[1].key).unwrap(), "2");
    coordinator.until(ready(1)).await;
    assert!(!folder.exists(), "the attempt's folder is gone");
    agent.shut_down().await;
}

#[tokio::test]
async fn a_long_run_keeps_its_lease() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(0, 1)).await;
    let run = agent.next_run().await;
    // The first was heard before the run began; these four span more than one lease.
    for _ in 0..4 {
        assert_eq!(coordinator.until(renewed).await, assignment(0, 1).lease);
    }
    assert!(!run.cx.cancelled().is_cancelled());
    run.end(nothing());
    coordinator.until(completed).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_lost_lease_stops_the_run_and_says_nothing() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(0, 1)).await;
    let run = agent.next_run().await;
    coordinator.script().renewals_unanswered = true;
    run.cx.cancelled().cancelled().await;
    coordinator.script().renewals_unanswered = false;
    // Even results that are there after all must not be offered.
    run.end(nothing());
    let lost = assignment(0, 1).lease;
    let spoke = move |heard: &Heard| {
        completed(heard).is_some_and(|(lease, _)| lease == lost) || failed(heard).is_some()
    };
    coordinator.until_without(ready(1), &spoke).await;
    coordinator.offer(&assignment(0, 2)).await;
    agent.next_run().await.end(nothing());
    let (lease, _) = coordinator.until_without(completed, &spoke).await;
    assert_eq!(lease, assignment(0, 2).lease);
    agent.shut_down().await;
}

#[tokio::test]
async fn a_completion_is_repeated_until_it_is_heard() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    coordinator.script().completions_cut_off = 2;
    coordinator.offer(&assignment(0, 1)).await;
    agent.next_run().await.end(nothing());
    for _ in 0..2 {
        coordinator.until(completed).await;
        let running = coordinator.until(hello).await;
        assert_eq!(running, [assignment(0, 1).lease], "it is still ours to complete");
    }
    coordinator.until(completed).await;
    coordinator.until(ready(1)).await;
    assert!(
        !coordinator.unheard().iter().any(|heard| completed(heard).is_some()),
        "heard once it was answered"
    );
    agent.shut_down().await;
}

#[tokio::test]
async fn a_completion_that_will_never_be_taken_fails_the_attempt_with_the_coordinators_reason() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    coordinator.script().completions_unreadable = u32::MAX;
    coordinator.offer(&assignment(0, 1)).await;
    agent.next_run().await.end(nothing());
    coordinator.until(completed).await;
    let again = |heard: &Heard| completed(heard).is_some();
    let (lease, class, reason) = coordinator.until_without(failed, again).await;
    assert_eq!((lease, class.as_str()), (assignment(0, 1).lease, "crashed"));
    assert!(reason.contains("`outputs_json` has too many bytes"), "{reason}");
    coordinator.until_without(ready(1), again).await;
    coordinator.script().completions_unreadable = 0;
    coordinator.offer(&assignment(0, 2)).await;
    agent.next_run().await.end(nothing());
    let (lease, _) = coordinator.until(completed).await;
    assert_eq!(lease, assignment(0, 2).lease);
    agent.shut_down().await;
}

#[tokio::test]
async fn a_stop_cancels_and_the_next_lease_waits_for_the_cancelled_run() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(0, 1)).await;
    let run = agent.next_run().await;
    coordinator.stop(&assignment(0, 1).lease).await;
    run.cx.cancelled().cancelled().await;
    // The device is still busy: an offer now goes back, counting against nothing.
    coordinator.offer(&assignment(1, 1)).await;
    let not_ready = |heard: &Heard| *heard == Heard::Ready(1);
    let (lease, class, _) = coordinator.until_without(failed, not_ready).await;
    assert_eq!((lease, class.as_str()), (assignment(1, 1).lease, "released"));
    run.end(Err(Failure::new(FailureClass::Crashed, "cancelled")));
    coordinator.until_without(ready(1), |heard| failed(heard).is_some()).await;
    coordinator.offer(&assignment(1, 2)).await;
    agent.next_run().await.end(nothing());
    coordinator.until(completed).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_checkpoint_is_accepted_while_the_run_goes_on() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(0, 1)).await;
    let run = agent.next_run().await;
    let (adapter, resume) = (run.cx.work_dir().join("adapter"), run.cx.work_dir().join("resume"));
    for folder in [&adapter, &resume] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("adapter.safetensors"), "tensors").unwrap();
    }
    run.cx.checkpoint(3, &adapter, &resume).await.unwrap();
    let checkpointed = |heard: &Heard| match heard {
        Heard::Checkpointed(lease, step) => Some((lease.clone(), *step)),
        Heard::Hello(_)
        | Heard::Ready(_)
        | Heard::Renewed(_)
        | Heard::Completed(..)
        | Heard::Failed(..)
        | Heard::Logged(..)
        | Heard::Stored(..) => None,
    };
    assert_eq!(coordinator.until(checkpointed).await, (assignment(0, 1).lease, 3));
    // One that is refused because the attempt is not current ends the run, silently.
    coordinator.script().stale.insert(assignment(0, 1).lease);
    let refused = run.cx.checkpoint(6, &adapter, &resume).await.unwrap_err();
    assert!(refused.reason.contains("lost") || refused.reason.contains("not current"), "{refused}");
    run.cx.cancelled().cancelled().await;
    run.end(Err(refused));
    coordinator.until_without(ready(1), |heard| failed(heard).is_some()).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn failures_are_classified_and_a_panic_is_a_crash() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(0, 1)).await;
    agent.next_run().await.end(Err(Failure::new(FailureClass::OutOfMemory, "1 MiB too few")));
    let (_, class, reason) = coordinator.until(failed).await;
    assert_eq!((class.as_str(), reason.as_str()), ("out_of_memory", "1 MiB too few"));
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(0, 2)).await;
    agent.next_run().await.panic("no such tensor");
    let (_, class, reason) = coordinator.until(failed).await;
    assert_eq!(class, "crashed");
    assert!(reason.contains("no such tensor"), "{reason}");
    coordinator.until(ready(1)).await;
    let mut offered = assignment(0, 3);
    let mut missing = coordinator.store.artifact("model", &[("w.bin", "weights")]);
    missing.files[0].key = assay_domain::ObjectKey::parse("sha256/none").unwrap();
    offered.inputs = vec![(String::from("model"), missing)];
    coordinator.offer(&offered).await;
    let (_, class, reason) = coordinator.until(failed).await;
    assert_eq!(class, "transient");
    assert!(reason.contains("input `model`: object `sha256/none` is not in the store"), "{reason}");
    assert_eq!(suspects(&coordinator), [("sha256/none".to_owned(), "nothing".to_owned())]);
    agent.shut_down().await;
}

#[tokio::test]
async fn an_input_that_is_not_as_it_should_be_is_named_with_what_came() {
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(&coordinator);
    let other = assay_domain::Digest::of(b"weights");
    for (attempt, (wrong, found)) in [("weighty", "sha256 "), ("weight", "6 bytes")].into_iter().enumerate() {
        coordinator.until(ready(1)).await;
        let mut offered = assignment(0, 1 + attempt as u32);
        let mut model = coordinator.store.artifact("model", &[("w.bin", wrong)]);
        (model.files[0].digest, model.files[0].bytes) = (other, 7);
        let key = model.files[0].key.to_string();
        offered.inputs = vec![(String::from("model"), model)];
        coordinator.offer(&offered).await;
        let (_, class, reason) = coordinator.until(failed).await;
        assert_eq!(class, "transient", "{reason}");
        let suspects = suspects(&coordinator);
        assert!(
            suspects.len() == 1 && suspects[0].0 == key && suspects[0].1.starts_with(found),
            "{suspects:?}"
        );
    }
    agent.shut_down().await;
}

#[tokio::test]
async fn a_new_stream_names_what_still_runs_and_what_is_stale_stops() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    assert!(coordinator.until(hello).await.is_empty());
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(0, 1)).await;
    let run = agent.next_run().await;
    coordinator.break_stream().await;
    assert_eq!(coordinator.until(hello).await, [assignment(0, 1).lease]);
    coordinator.until(ready(0)).await;
    assert!(!run.cx.cancelled().is_cancelled());
    coordinator.script().stale.insert(assignment(0, 1).lease);
    coordinator.break_stream().await;
    run.cx.cancelled().cancelled().await;
    run.end(nothing());
    coordinator.until_without(ready(1), |heard| completed(heard).is_some() || failed(heard).is_some()).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_shutdown_hands_running_attempts_back() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(0, 1)).await;
    let run = agent.next_run().await;
    agent.shutdown.cancel();
    run.cx.cancelled().cancelled().await;
    run.end(Err(Failure::new(FailureClass::Crashed, "stopped in the middle")));
    let (lease, class, _) = coordinator.until(failed).await;
    assert_eq!((lease, class.as_str()), (assignment(0, 1).lease, "released"));
    agent.shut_down().await;
}

#[tokio::test]
async fn a_drained_attempt_is_handed_back_and_the_worker_stays() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(0, 1)).await;
    let run = agent.next_run().await;
    coordinator.stop_because(&assignment(0, 1).lease, "drain").await;
    run.cx.cancelled().cancelled().await;
    run.end(Err(Failure::new(FailureClass::Crashed, "stopped in the middle")));
    let (lease, class, _) = coordinator.until(failed).await;
    assert_eq!((lease, class.as_str()), (assignment(0, 1).lease, "released"));
    coordinator.until(ready(1)).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_worker_that_will_never_be_taken_ends_with_the_reason() {
    let coordinator = Coordinator::start().await;
    coordinator.script().refuse_streams = Some(tonic::Status::failed_precondition("protocol 9 is needed"));
    let error = Agent::start(&coordinator).ended().await.unwrap_err().to_string();
    assert!(error.contains("protocol 9 is needed"), "{error}");
    let wrong = Agent::with_token(&coordinator, "another-token").ended().await.unwrap_err().to_string();
    assert!(wrong.contains("no such token") && !wrong.contains("another-token"), "{wrong}");
}

#[tokio::test]
async fn an_offer_that_cannot_be_read_goes_back_and_its_slot_is_asked_for_again() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    let lease = assay_proto::convert::to_json(&assignment(0, 1).lease);
    let assignments_json = vec![format!(r#"{{"lease":{lease},"of":"a later version"}}"#)];
    coordinator.say(Told::Offers(OfferBatch { assignments_json })).await;
    let (refused, class, _) = coordinator.until(failed).await;
    assert_eq!((refused, class.as_str()), (assignment(0, 1).lease, "crashed"));
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(1, 1)).await;
    agent.next_run().await.end(nothing());
    coordinator.until(completed).await;
    agent.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_new_stream_hears_how_much_the_worker_would_take() {
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::start(&coordinator);
    for _ in 0..50 {
        coordinator.until(hello).await;
        coordinator.until_without(ready(1), |heard| hello(heard).is_some()).await;
        coordinator.break_stream().await;
    }
    agent.shut_down().await;
}
