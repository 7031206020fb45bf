//! Leaving: asked to save, and handing over before its life ends.

use std::fs;
use std::time::Duration;

use assay_agent::AttemptContext;
use tokio::time::Instant;

use crate::agent::{Agent, assignment};
use crate::coordinator::{Coordinator, Heard, TOKEN};
use crate::{failed, nothing, ready};

/// Writes the two folders of a checkpoint.
async fn checkpoint(cx: &AttemptContext, step: u64) {
    let (adapter, resume) = (cx.work_dir().join("adapter"), cx.work_dir().join("resume"));
    for folder in [&adapter, &resume] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("file"), step.to_string()).unwrap();
    }
    cx.checkpoint(step, &adapter, &resume).await.unwrap();
}

#[tokio::test]
async fn a_run_learns_that_a_checkpoint_is_wanted_and_goes_on() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::start(&coordinator);
    coordinator.until(ready(1)).await;
    let offered = assignment(0, 1);
    coordinator.offer(&offered).await;
    let run = agent.next_run().await;
    coordinator.save(&assignment(7, 1).lease).await;
    coordinator.save(&offered.lease).await;
    run.cx.asked_to_save().await;
    checkpoint(&run.cx, 3).await;
    assert!(!run.cx.cancelled().is_cancelled(), "it goes on until it is told to stop");
    coordinator.stop_because(&offered.lease, "drain").await;
    run.cx.cancelled().cancelled().await;
    run.end(nothing());
    agent.shut_down().await;
}

#[tokio::test]
async fn before_its_life_ends_a_worker_takes_nothing_more_and_hands_over_what_it_saved() {
    let mut coordinator = Coordinator::start().await;
    let mut agent = Agent::with_config(&coordinator, TOKEN, |config| {
        config.ends_at = Some(Instant::now() + Duration::from_secs(3_600));
        config.limits.hand_over_ms = 3_599_000;
    });
    coordinator.until(ready(1)).await;
    let offered = assignment(0, 1);
    coordinator.offer(&offered).await;
    let run = agent.next_run().await;
    // A second after its start the end comes near.
    run.cx.asked_to_save().await;
    coordinator.until(ready(0)).await;
    assert!(!run.cx.cancelled().is_cancelled());
    checkpoint(&run.cx, 5).await;
    let saved = |heard: &Heard| if let Heard::Checkpointed(_, step) = heard { Some(*step) } else { None };
    assert_eq!(coordinator.until(saved).await, 5);
    run.cx.cancelled().cancelled().await;
    run.end(Err(assay_agent::Failure::new(assay_domain::job::FailureClass::Released, "cancelled")));
    let (lease, class, _) = coordinator.until(failed).await;
    assert_eq!((lease, class.as_str()), (offered.lease, "released"));
    coordinator.until(ready(0)).await;
    agent.shut_down().await;
}

#[tokio::test]
async fn a_worker_whose_life_is_over_ends() {
    let mut coordinator = Coordinator::start().await;
    let agent = Agent::with_config(&coordinator, TOKEN, |config| {
        config.ends_at = Some(Instant::now() + Duration::from_millis(200));
        config.limits.hand_over_ms = 100;
    });
    coordinator.until(ready(1)).await;
    assert!(agent.ended().await.is_ok());
}
