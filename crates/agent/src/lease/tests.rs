//! The lease's count on a paused clock.

use assay_domain::{Attempt, Epoch, Fence, JobId, MatrixId};
use tokio::time::{Instant, advance};

use super::*;
use crate::link::fake::FakeCoordinator;

const TERM: Duration = Duration::from_secs(30);

fn lease() -> Lease {
    let job = JobId { matrix: MatrixId::new("m-1"), ordinal: 0 };
    Lease { job, fence: Fence { epoch: Epoch(1), attempt: Attempt(1) } }
}

fn clock() -> LeaseClock {
    LeaseClock::new(TERM, Duration::from_secs(1))
}

fn silent() -> watch::Receiver<Progress> {
    watch::channel(Progress::default()).1
}

fn about(duration: Duration, seconds: u64) -> bool {
    duration >= Duration::from_secs(seconds)
        && duration < Duration::from_secs(seconds) + Duration::from_millis(100)
}

#[tokio::test(start_paused = true)]
async fn renewals_go_out_at_thirds_of_the_lease_and_keep_it() {
    let (link, mut coordinator) = FakeCoordinator::new(TERM);
    let (clock, given, started) = (clock(), lease(), Instant::now());
    let hearing = async {
        for third in 0..9 {
            coordinator.hear(Some(Ok(()))).await;
            assert!(about(started.elapsed(), third * 10), "{third}: {:?}", started.elapsed());
        }
    };
    tokio::select! {
        () = hearing => {}
        lost = clock.keep(&link, &given, silent()) => panic!("{lost}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_counts_from_the_sending() {
    let (link, mut coordinator) = FakeCoordinator::new(TERM);
    let (clock, given, started) = (clock(), lease(), Instant::now());
    let slow = async {
        coordinator.hear_after(Duration::from_secs(8)).await;
        loop {
            coordinator.hear(None).await;
        }
    };
    tokio::select! {
        lost = clock.keep(&link, &given, silent()) => assert_eq!(lost, Lost::RanOut),
        () = slow => {}
    }
    assert!(about(started.elapsed(), 30), "sent at 0, heard at 8: {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_coordinator_lengthens_and_shortens_the_term() {
    let (link, mut coordinator) = FakeCoordinator::new(TERM);
    let (clock, given, started) = (clock(), lease(), Instant::now());
    let hearing = async {
        coordinator.hear_and_tell(TERM * 4).await;
        coordinator.hear_and_tell(TERM / 2).await;
        assert!(about(started.elapsed(), 40), "a third of 120: {:?}", started.elapsed());
        coordinator.hear(None).await;
        assert!(about(started.elapsed(), 45), "a third of 15: {:?}", started.elapsed());
        loop {
            coordinator.hear(None).await;
        }
    };
    tokio::select! {
        () = hearing => {}
        lost = clock.keep(&link, &given, silent()) => assert_eq!(lost, Lost::RanOut),
    }
    assert!(about(started.elapsed(), 55), "15 after the last that was heard: {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_is_the_end() {
    let (link, mut coordinator) = FakeCoordinator::new(TERM);
    let stale = Rejection::StaleAttempt { lease: lease(), current: None };
    let clock = clock();
    let given = lease();
    let (_, lost) =
        tokio::join!(coordinator.hear(Some(Err(stale.clone()))), clock.keep(&link, &given, silent()));
    assert_eq!(lost, Lost::Refused(stale));
}

#[tokio::test(start_paused = true)]
async fn progress_goes_out_early_but_not_more_often_than_it_may() {
    let (link, mut coordinator) = FakeCoordinator::new(TERM);
    let (clock, given, started) = (clock(), lease(), Instant::now());
    let (progress, shown) = watch::channel(Progress::default());
    let hearing = async {
        coordinator.hear(Some(Ok(()))).await;
        progress.send_replace(Progress { done: 1, ..Progress::default() });
        let Body::Renew(batch) = coordinator.hear(Some(Ok(()))).await else { panic!("no renewal") };
        assert!(about(started.elapsed(), 1), "{:?}", started.elapsed());
        assert!(batch.renewals[0].progress_json.contains("\"done\":1"));
        let Body::Renew(batch) = coordinator.hear(Some(Ok(()))).await else { panic!("no renewal") };
        assert!(about(started.elapsed(), 11), "{:?}", started.elapsed());
        assert_eq!(batch.renewals[0].progress_json, "", "unchanged");
    };
    tokio::select! {
        () = hearing => {}
        lost = clock.keep(&link, &given, shown) => panic!("{lost}"),
    }
}

#[tokio::test(start_paused = true)]
async fn results_found_after_a_standstill_are_too_late() {
    let (late, early) = (clock(), clock());
    assert_eq!(early.settle(), Ok(()));
    // As after SIGSTOP: time has passed and no timer of ours has run.
    advance(TERM).await;
    assert_eq!(late.settle(), Err(Lost::RanOut));
    // Results that were there in time are offered for as long as it takes.
    let waited = tokio::time::timeout(TERM * 100, early.ran_out()).await;
    assert!(waited.is_err());
}
