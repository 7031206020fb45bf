//! Objects that go bad after they were accepted.

use assay_domain::segment::Lines;
use assay_domain::{Origin, Source};

use super::*;

const TRAIN: u32 = 0;
const BASE: u32 = 1;
const EPOCH_1: u32 = 2;
const SCORE: u32 = 4;

impl Desk {
    /// Leases until a job of this ordinal comes; the others stay leased.
    fn lease_of(&mut self, ordinal: u32) -> Lease {
        loop {
            let lease = self.lease(&WorkKind::ALL).unwrap_or_else(|| panic!("job {ordinal} is not ready"));
            if lease.job.ordinal == ordinal {
                return lease;
            }
        }
    }

    fn train(&mut self) -> Lease {
        let training = self.lease_of(TRAIN);
        self.checkpoint(&training, 6).expect("it is current");
        self.checkpoint(&training, 12).expect("it is current");
        self.complete(&training, &["metrics"]).expect("it is current");
        training
    }

    fn job(&self, ordinal: u32) -> &assay_domain::state::JobState {
        &self.state.matrices[0].jobs[ordinal as usize]
    }

    fn file(&self, ordinal: u32, name: &str) -> FileRef {
        self.job(ordinal).output(name).unwrap_or_else(|| panic!("no {name}")).files[0].clone()
    }

    fn answer(&mut self, ordinal: u32) -> Lease {
        let lease = self.lease_of(ordinal);
        self.complete(&lease, &["generations"]).expect("it is current");
        lease
    }
}

#[test]
fn what_made_a_lost_input_runs_again_and_its_reader_is_not_to_blame() {
    let mut desk = Desk::with_one();
    desk.train();
    let base = desk.answer(BASE);
    desk.answer(EPOCH_1);
    let score = desk.lease_of(SCORE);
    let lost = desk.file(BASE, "generations");
    assert_eq!(desk.lose(&score, &[&lost]), Ok(2));
    assert_eq!(desk.lose(&score, &[&lost]), Ok(0), "a repeat changes nothing");
    assert_eq!((desk.status(BASE), desk.status(SCORE)), (Status::Ready, Status::Waiting));
    assert_eq!(desk.job(SCORE).attempts_counted(), 0);
    assert!(
        matches!(&desk.job(BASE).attempts[0].outcome, Outcome::Undone { reason } if reason.contains("is missing"))
    );
    // The winner of then is not the winner of now.
    assert!(matches!(desk.complete(&base, &["generations"]), Err(Rejection::StaleAttempt { .. })));
    let again = desk.answer(BASE);
    assert!(again.fence > base.fence);
    let score = desk.lease_of(SCORE);
    assert_eq!(desk.file(BASE, "generations"), made(&again, "generations").files[0]);
    assert!(desk.complete(&score, &["verdicts", "keys", "resolved"]).is_ok());
}

#[test]
fn readers_of_what_is_already_being_made_again_are_not_to_blame_either() {
    let mut desk = Desk::with_one();
    desk.train();
    let (epoch_1, epoch_2) = (desk.lease_of(EPOCH_1), desk.lease_of(EPOCH_1 + 1));
    let lost = desk.file(TRAIN, "adapter@12");
    desk.lose(&epoch_2, &[&lost]).unwrap();
    assert_eq!(desk.status(TRAIN), Status::Ready);
    // The other adapter is good: its reader goes on, and one that failed before can begin again meanwhile.
    assert_eq!(desk.status(EPOCH_1), Status::Running);
    desk.fail(&epoch_1, FailureClass::Crashed).unwrap();
    assert_eq!(desk.status(EPOCH_1), Status::Ready);
    let training = desk.lease_of(TRAIN);
    desk.checkpoint(&training, 6).unwrap();
    desk.checkpoint(&training, 12).unwrap();
    let epoch_2 = desk.lease_of(EPOCH_1 + 1);
    let lost = desk.file(TRAIN, "adapter@12");
    let record = Event::ArtifactLost {
        job: JobId { ordinal: TRAIN, ..epoch_2.job.clone() },
        name: String::from("adapter@12"),
        key: lost.key,
        reason: String::from("another reader found it"),
        at: AT,
    };
    desk.record(vec![record]);
    desk.fail(&epoch_2, FailureClass::Transient).unwrap();
    assert_eq!(desk.job(EPOCH_1 + 1).attempts_counted(), 0, "its input is gone");
}

#[test]
fn a_lost_adapter_is_trained_again_from_before_its_step_and_what_was_good_stands() {
    let mut desk = Desk::with_one();
    let first = desk.lease_of(TRAIN);
    desk.checkpoint(&first, 6).unwrap();
    desk.checkpoint(&first, 12).unwrap();
    let epoch_1 = desk.lease_of(EPOCH_1);
    let (lost, good) = (desk.file(TRAIN, "adapter@6"), desk.file(TRAIN, "adapter@12"));
    desk.lose(&epoch_1, &[&lost]).unwrap();
    // The running attempt is past step 6: it ends, counts against nothing, and nothing is resumed after step 6.
    assert!(decide::renew(&desk.state, &first).is_err());
    assert_eq!((desk.job(TRAIN).resume(), desk.job(TRAIN).attempts_counted()), (None, 0));
    let second = desk.lease_of(TRAIN);
    assert_eq!(desk.checkpoint(&second, 6), Ok(1));
    // The adapter of step 12 stands, but there is a resume state again.
    assert_eq!(desk.checkpoint(&second, 12), Ok(1));
    assert_eq!(desk.checkpoint(&second, 12), Ok(0));
    assert_eq!(desk.checkpoint(&second, 6), Ok(0));
    assert_eq!(desk.job(TRAIN).resume().map(|(step, _)| step), Some(12));
    desk.complete(&second, &["metrics"]).unwrap();
    assert_eq!(desk.file(TRAIN, "adapter@6"), made(&second, "adapter@6").files[0]);
    assert_eq!(desk.file(TRAIN, "adapter@12"), good);
}

#[test]
fn a_lost_resume_state_costs_the_way_back_to_the_one_before() {
    let mut desk = Desk::with_one();
    let first = desk.lease_of(TRAIN);
    desk.checkpoint(&first, 6).unwrap();
    desk.checkpoint(&first, 12).unwrap();
    desk.fail(&first, FailureClass::Crashed).unwrap();
    let second = desk.lease_of(TRAIN);
    let lost = made(&first, "resume@12").files.remove(0);
    desk.lose(&second, &[&lost]).unwrap();
    assert_eq!(desk.job(TRAIN).resume().map(|(step, _)| step), Some(6));
    assert_eq!((desk.status(TRAIN), desk.job(TRAIN).attempts_counted()), (Status::Ready, 1));
    assert_eq!(desk.file(TRAIN, "adapter@12"), made(&first, "adapter@12").files[0]);
}

#[test]
fn a_job_whose_output_is_lost_again_and_again_fails_with_the_reason() {
    let mut desk = Desk::with_one();
    desk.train();
    desk.answer(BASE);
    desk.answer(EPOCH_1);
    for loss in 1..=Policy::default().losses_max + 1 {
        if loss > 1 {
            // Failures of one production do not count against the next.
            for _ in 0..Policy::default().crashes_max - 1 {
                let unlucky = desk.lease_of(BASE);
                desk.fail(&unlucky, FailureClass::Crashed).unwrap();
            }
            desk.answer(BASE);
        }
        let score = desk.lease_of(SCORE);
        let lost = desk.file(BASE, "generations");
        desk.lose(&score, &[&lost]).unwrap();
        assert_eq!(desk.job(BASE).losses, loss);
    }
    assert_eq!((desk.status(BASE), desk.status(SCORE)), (Status::Failed, Status::Blocked));
    let Phase::Failed { reason } = &desk.job(BASE).phase else { panic!("{:?}", desk.job(BASE).phase) };
    assert!(
        reason.contains("given up after 4 losses") && reason.contains("its `generations` was lost"),
        "{reason}"
    );
}

#[test]
fn files_of_one_production_that_are_lost_together_are_one_loss() {
    let mut desk = Desk::with_one();
    desk.train();
    desk.answer(BASE);
    desk.answer(EPOCH_1);
    let reader = desk.lease_of(EPOCH_1 + 1);
    let score = desk.lease_of(SCORE);
    desk.complete(&score, &["verdicts", "keys", "resolved"]).unwrap();
    // Who found both to be gone; what it reads itself is looked at elsewhere.
    let lost = ["verdicts", "resolved"].map(|name| desk.file(SCORE, name));
    assert_eq!(desk.lose(&reader, &[&lost[0], &lost[1]]), Ok(2), "the failure and one loss");
    assert_eq!((desk.status(SCORE), desk.job(SCORE).losses), (Status::Ready, 1));
}

#[test]
fn a_lost_upload_fails_its_reader_with_what_to_do() {
    let mut desk = Desk::with_one();
    let base = desk.lease_of(BASE);
    let inputs = &desk.state.matrices[0].submitted.plan[BASE as usize].inputs;
    let upload = inputs.iter().find_map(|input| match &input.source {
        Source::Upload { artifact } => Some(artifact.files[0].clone()),
        Source::Output { .. } => None,
    });
    let upload = upload.unwrap();
    desk.lose(&base, &[&upload]).unwrap();
    let Phase::Failed { reason } = &desk.job(BASE).phase else { panic!("{:?}", desk.job(BASE).phase) };
    for words in [upload.path.as_str(), &upload.digest.to_string(), "is missing", "submit the matrix again"] {
        assert!(reason.contains(words), "`{words}` is not in: {reason}");
    }
    // Others may have it in their worker's cache: they fail only when they miss it.
    assert_eq!(desk.status(TRAIN), Status::Running);
}

#[test]
fn a_lost_upload_that_the_hub_has_too_is_fetched_there_by_the_next_attempt() {
    let mut desk = Desk::with_one();
    let base = desk.lease_of(BASE);
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let mut lost = None;
    for input in &mut desk.state.matrices[0].submitted.plan[BASE as usize].inputs {
        if let Source::Upload { artifact } = &mut input.source {
            let file = &mut artifact.files[0];
            file.origin = Some(Origin::new("org/a", commit, &file.path, false).unwrap());
            lost = Some(file.clone());
        }
    }
    desk.lose(&base, &[&lost.unwrap()]).unwrap();
    assert_eq!((desk.status(BASE), desk.job(BASE).attempts_counted()), (Status::Ready, 0));
}

#[test]
fn a_worker_cannot_claim_a_loss_by_itself() {
    let mut desk = Desk::with_one();
    let base = desk.lease_of(BASE);
    desk.fail(&base, FailureClass::InputLost).unwrap();
    assert_eq!(desk.job(BASE).attempts_counted(), 1);
}

#[test]
fn what_was_taken_from_an_equal_job_is_made_here_when_it_is_lost() {
    let mut desk = Desk::with_one();
    let made_once = desk.answer(BASE);
    let (_, events) = decide::submit(&desk.state, &ReadSet::default(), submitted("m-2")).unwrap();
    desk.record(events);
    assert_eq!(desk.state.matrices[1].status(BASE), Status::Reused);
    desk.train();
    desk.answer(EPOCH_1);
    let score = desk.lease_of(SCORE);
    desk.lose(&score, &[&made(&made_once, "generations").files[0]]).unwrap();
    for matrix in &desk.state.matrices {
        assert_eq!(matrix.status(BASE), Status::Ready, "in {}", matrix.submitted.id);
    }
    let key = desk.state.matrices[0].submitted.plan[BASE as usize].key;
    assert!(desk.state.finished_by_key(&[key].into()).is_empty());
}

#[test]
fn a_key_whose_objects_are_not_there_is_run_again() {
    let mut desk = Desk::with_one();
    desk.answer(BASE);
    let key = desk.state.matrices[0].submitted.plan[BASE as usize].key;
    let read = ReadSet { absent: BTreeSet::from([key]), ..ReadSet::default() };
    let (_, events) = decide::submit(&desk.state, &read, submitted("m-2")).unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::JobReused { .. })), "{events:?}");
}

#[test]
fn a_loss_can_end_a_matrix_that_can_do_no_more() {
    let mut desk = Desk::with_one();
    let none = Policy { losses_max: 0, ..Policy::default() };
    desk.train();
    let epoch_1 = desk.lease_of(EPOCH_1);
    let lost = |file: FileRef| LostObject { file, found: String::from("is missing") };
    let files = [desk.file(TRAIN, "adapter@6"), desk.file(TRAIN, "adapter@12")];
    let rest = desk.state.open_leases();
    for (lease, _) in rest.iter().filter(|(lease, _)| *lease != epoch_1) {
        desk.fail(lease, FailureClass::BadInput).unwrap();
    }
    while let Some(lease) = desk.lease(&WorkKind::ALL) {
        desk.fail(&lease, FailureClass::BadInput).unwrap();
    }
    let failed = Failed {
        class: FailureClass::Transient,
        reason: String::from("it broke"),
        lost: files.map(lost).to_vec(),
        used: None,
    };
    let events = decide::fail(&desk.state, none, &epoch_1, failed, AT).unwrap();
    let ends = events.iter().filter(|event| matches!(event, Event::JobFailed { .. })).count();
    assert_eq!(ends, 1, "{events:?}");
    desk.record(events);
    assert!(desk.state.matrices.is_empty());
}

/// A part of what an attempt wrote down, as the state refers to it.
fn part(desk: &mut Desk, lease: &Lease, of: Lines) -> FileRef {
    let segment = LogSegment { number: 1, last_line: 3, digest: Digest::of(b"lines"), bytes: 5, of };
    let events =
        decide::logged(&desk.state, &ReadSet::default(), lease, segment.clone(), AT).expect("it may");
    desk.record(events);
    segment.file(lease).expect("a good key")
}

#[test]
fn lost_metrics_of_an_attempt_are_done_without() {
    let mut desk = Desk::with_one();
    let first = desk.lease_of(TRAIN);
    let lost = part(&mut desk, &first, Lines::Metrics);
    let log = part(&mut desk, &first, Lines::Log);
    desk.fail(&first, FailureClass::Crashed).unwrap();
    desk.train();
    desk.answer(BASE);
    let reader = desk.lease_of(EPOCH_1);
    assert_eq!(desk.lose(&reader, &[&lost]), Ok(2));
    let training = desk.job(TRAIN);
    assert!(training.attempts[0].metrics.is_empty() && !training.attempts[0].log.is_empty());
    assert_eq!((desk.status(TRAIN), training.losses), (Status::Succeeded, 0), "nothing is made again");
    assert_eq!((desk.status(EPOCH_1), desk.job(EPOCH_1).attempts_counted()), (Status::Ready, 0));
    assert!(desk.job(TRAIN).lines_in(&first.job, &log.key).is_some());
}
