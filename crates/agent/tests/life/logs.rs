//! What a run logs lies in the store, part by part, however the run ends.

use std::fs;
use std::path::PathBuf;

use assay_agent::Failure;
use assay_domain::job::FailureClass;
use assay_domain::segment::Lines;
use assay_domain::{Lease, LogSegment};

use crate::agent::{Agent, Run, assignment};
use crate::coordinator::{Coordinator, Heard, TOKEN};
use crate::{completed, failed, nothing, ready};

fn stored(heard: &Heard) -> Option<(Lease, LogSegment)> {
    if let Heard::Stored(lease, segment) = heard { Some((lease.clone(), segment.clone())) } else { None }
}

/// The lines of a part, without their times.
fn lines(coordinator: &Coordinator, (lease, segment): &(Lease, LogSegment)) -> Vec<String> {
    let text = coordinator.store.text(&segment.file(lease).unwrap().key).unwrap();
    assert_eq!(text.len() as u64, segment.bytes);
    let line = |line: &str| {
        let (at, line) = line.split_once(' ').unwrap();
        assert!(at.parse::<u64>().unwrap() > 1_600_000_000_000, "{at} is no time");
        line.to_owned()
    };
    text.lines().map(line).collect()
}

async fn run_one(coordinator: &mut Coordinator, agent: &mut Agent) -> Run {
    coordinator.until(ready(1)).await;
    coordinator.offer(&assignment(0, 1)).await;
    agent.next_run().await
}

fn adapter(run: &Run) -> PathBuf {
    let folder = run.cx.work_dir().join("adapter");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("adapter.safetensors"), "tensors").unwrap();
    folder
}

#[tokio::test]
async fn a_running_attempt_stores_what_it_logged_since_the_last_part() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::with(&coordinator, TOKEN, |limits| limits.log_segment_ms = 20);
    let run = run_one(&mut coordinator, &mut agent).await;
    for number in 1..=9 {
        run.cx.log(format!("step {number}"));
        let part = coordinator.until(stored).await;
        assert_eq!((part.1.number, part.1.last_line), (number, number.into()));
        // The eighth holds what the seven before it held, so that few are kept.
        let first = if number == 8 { 1 } else { number };
        let expected: Vec<_> = (first..=number).map(|number| format!("step {number}")).collect();
        assert_eq!(lines(&coordinator, &part), expected);
    }
    run.end(nothing());
    coordinator.until_without(completed, |heard| stored(heard).is_some()).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_checkpoint_brings_the_log_that_led_to_it() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    let run = run_one(&mut coordinator, &mut agent).await;
    let folder = adapter(&run);
    run.cx.log("step 3 loss 4.1");
    run.cx.checkpoint(3, &folder, &folder).await.unwrap();
    let checkpointed = |heard: &Heard| matches!(heard, Heard::Checkpointed(..));
    let part = coordinator.until_without(stored, checkpointed).await;
    assert_eq!(lines(&coordinator, &part), ["step 3 loss 4.1"]);
    coordinator.until(|heard| checkpointed(heard).then_some(())).await;
    run.end(nothing());
    coordinator.until(completed).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_checkpoint_brings_the_metrics_that_led_to_it_and_a_failure_the_rest() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    let run = run_one(&mut coordinator, &mut agent).await;
    let folder = adapter(&run);
    run.cx.metric(r#"{"step":1}"#);
    run.cx.metric(r#"{"step":2}"#);
    run.cx.checkpoint(2, &folder, &folder).await.unwrap();
    let first = coordinator.until(stored).await;
    run.cx.metric(r#"{"step":3}"#);
    run.end(Err(Failure::new(FailureClass::Crashed, "the engine ended")));
    let metrics = |heard: &Heard| stored(heard).filter(|(_, segment)| segment.of == Lines::Metrics);
    let second = coordinator.until_without(metrics, |heard| failed(heard).is_some()).await;
    let text = |(lease, segment): &(Lease, LogSegment)| {
        coordinator.store.text(&segment.file(lease).unwrap().key).unwrap()
    };
    assert_eq!((first.1.of, first.1.last_line, second.1.number), (Lines::Metrics, 2, 2));
    assert_eq!(text(&first), "{\"step\":1}\n{\"step\":2}\n");
    assert_eq!(text(&second), "{\"step\":3}\n");
    coordinator.until(failed).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_failed_attempt_stores_its_last_lines_and_why_before_it_says_so() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    let run = run_one(&mut coordinator, &mut agent).await;
    run.cx.log("step 1\nloss is not a number");
    run.end(Err(Failure::new(FailureClass::BadInput, "the learning rate is 1e9")));
    let part = coordinator.until_without(stored, |heard| failed(heard).is_some()).await;
    assert_eq!(lines(&coordinator, &part), ["step 1", "loss is not a number", "the learning rate is 1e9"]);
    coordinator.until(failed).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_cancelled_attempt_stores_its_last_lines_and_says_nothing_else() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    let run = run_one(&mut coordinator, &mut agent).await;
    coordinator.stop(&assignment(0, 1).lease).await;
    run.cx.cancelled().cancelled().await;
    run.cx.log("stopped after step 2");
    run.end(nothing());
    let spoke = |heard: &Heard| completed(heard).is_some() || failed(heard).is_some();
    let part = coordinator.until_without(stored, spoke).await;
    assert_eq!(part.0, assignment(0, 1).lease);
    assert_eq!(lines(&coordinator, &part), ["stopped after step 2", "the coordinator said stop: cancelled"]);
    coordinator.until_without(ready(1), spoke).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn an_attempt_that_is_lost_while_it_says_its_results_stores_why() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    let run = run_one(&mut coordinator, &mut agent).await;
    {
        let mut script = coordinator.script();
        script.completions_cut_off = 1;
        script.stale.insert(assignment(0, 1).lease);
    }
    run.end(nothing());
    coordinator.until(completed).await;
    let part = coordinator.until_without(stored, |heard| failed(heard).is_some()).await;
    assert_eq!(lines(&coordinator, &part), ["the coordinator said stop: stale"]);
    coordinator.until(ready(1)).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_part_that_was_not_answered_is_said_again_as_it_was() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::with(&coordinator, TOKEN, |limits| limits.log_segment_ms = 20);
    let run = run_one(&mut coordinator, &mut agent).await;
    coordinator.script().segments_cut_off = 2;
    run.cx.log("one");
    let first = coordinator.until(stored).await;
    run.cx.log("two");
    for _ in 0..2 {
        assert_eq!(coordinator.until(stored).await, first);
    }
    run.end(nothing());
    let second = coordinator.until_without(stored, |heard| completed(heard).is_some()).await;
    assert_eq!(second.1.number, 2);
    assert_eq!(lines(&coordinator, &second), ["two"]);
    coordinator.until(completed).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_log_that_is_refused_is_given_up_and_its_run_goes_on() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::with(&coordinator, TOKEN, |limits| limits.log_segment_ms = 20);
    let run = run_one(&mut coordinator, &mut agent).await;
    coordinator.script().segments_refused = true;
    run.cx.log("one");
    coordinator.until(stored).await;
    run.cx.log("two");
    run.end(nothing());
    coordinator.until_without(completed, |heard| stored(heard).is_some()).await;
    agent.shut_down().await;
}
