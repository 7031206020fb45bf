//! Decisions one by one: each of these is what a wrong version of `decide` or `apply` would break first.

#[path = "decisions/budget.rs"]
mod budget;
#[path = "decisions/demand.rs"]
mod demand;
#[path = "decisions/failures.rs"]
mod failures;
#[path = "decisions/lost.rs"]
mod lost;
#[path = "support/resolved.rs"]
mod resolved;
#[path = "decisions/retry.rs"]
mod retry;
#[path = "decisions/schedule.rs"]
mod schedule;
#[path = "decisions/standing.rs"]
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::decide::schedule::{Moment, Shares, Teams};
use assay_domain::decide::{self, Failed, Memory, Policy};
use assay_domain::event::{SubmittedMatrix, WorkerInfo};
use assay_domain::job::{Demand, FailureClass, Offer, Usage};
use assay_domain::plan::plan;
use assay_domain::state::{DrainMode, ENDED_KEPT, FinishedJob, Outcome, Phase, ReadSet, Status};
use assay_domain::{
    Artifact, DeviceKind, Digest, Epoch, Event, FileRef, JobId, Lease, LogSegment, LostObject, MatrixId,
    ObjectKey, Rejection, State, SubmitKey, UnixMillis, WorkKind, WorkerId,
};

const AT: UnixMillis = UnixMillis(1);

/// One training with two checkpoints, its answers, one judge, a report.
fn submitted(id: &str) -> SubmittedMatrix {
    let text = "name: trial\nmodels: [{name: a, path: a}]\ndata: [{name: talks, train: t.jsonl, train_rows: 24}]\n\
                recipes: [{name: r, accumulate: 2, warmup_steps: 2}]\nprompts: [{name: eval, file: p.jsonl}]\n\
                sampling: [{name: s, max_new_tokens: 8}]\n\
                panel: {judges: [{name: plain, kind: logprob, model: a, template: smoke-plain-v1}]}\n";
    let mut plan = plan(&resolved::resolve(resolved::parse(text), 24)).expect("a good matrix");
    // Workers here have a few MiB; `demand` says what jobs need where that is what is tested.
    plan.iter_mut().for_each(|job| job.demand = Demand::default());
    SubmittedMatrix {
        id: MatrixId::new(id),
        submit_key: SubmitKey::new(id),
        name: String::from("trial"),
        spec_digest: Digest::of(b"spec"),
        spec_json: String::new(),
        secret: Digest::of(b"secret"),
        plan,
        schedule: assay_domain::matrix::Schedule::default(),
        fixed_at: None,
        budget: assay_domain::budget::Cap::default(),
        at: AT,
    }
}

struct Desk {
    state: State,
    events: usize,
    teams: Teams,
    shares: Shares,
    offers: BTreeMap<WorkerId, Offer>,
}

impl Desk {
    fn empty() -> Self {
        let mut desk = Self {
            state: State::default(),
            events: 0,
            teams: Teams::default(),
            shares: Shares::default(),
            offers: BTreeMap::new(),
        };
        desk.record(vec![Event::EpochRaised { epoch: Epoch(1) }]);
        desk
    }

    fn with_one() -> Self {
        let mut desk = Self::empty();
        let (_, events) =
            decide::submit(&desk.state, &ReadSet::default(), submitted("m-1")).expect("it is sound");
        desk.record(events);
        desk
    }

    fn record(&mut self, events: Vec<Event>) {
        self.events += events.len();
        for event in &events {
            self.state.apply(event);
        }
    }

    fn lease(&mut self, kinds: &[WorkKind]) -> Option<Lease> {
        self.lease_by("w", kinds)
    }

    /// A worker that runs just these kinds has room for one.
    fn lease_by(&mut self, name: &str, kinds: &[WorkKind]) -> Option<Lease> {
        let known = self.state.workers.clone();
        let entry = self.state.workers.entry(WorkerId::new(name));
        entry.or_insert_with(|| worker(name)).kinds = kinds.to_vec();
        let leased = self.decide_places(&[(name, 1)]);
        self.state.workers = known;
        self.record(leased.clone());
        leases(&leased).pop().map(|(lease, _)| lease)
    }

    /// Workers have this much room.
    fn place(&mut self, slots: &[(&str, u32)]) -> Vec<(Lease, WorkerId)> {
        let leased = self.decide_places(slots);
        self.record(leased.clone());
        leases(&leased)
    }

    fn decide_places(&mut self, slots: &[(&str, u32)]) -> Vec<Event> {
        let slots = slots.iter().map(|(name, count)| (WorkerId::new(*name), *count)).collect();
        let (offers, held_ms) = (&self.offers, &BTreeMap::new());
        let moment = Moment { slots: &slots, offers, held_ms, teams: &self.teams, at: AT };
        decide::place(&self.state, &moment, &mut self.shares)
    }

    fn checkpoint(&mut self, lease: &Lease, step: u64) -> Result<usize, Rejection> {
        let (adapter, resume) =
            (made(lease, &Artifact::adapter_name(step)), made(lease, &Artifact::resume_name(step)));
        let events = decide::checkpointed(&self.state, lease, step, adapter, resume, AT)?;
        let count = events.len();
        self.record(events);
        Ok(count)
    }

    fn complete(&mut self, lease: &Lease, names: &[&str]) -> Result<usize, Rejection> {
        let outputs = names.iter().map(|name| made(lease, name)).collect();
        let events =
            decide::complete(&self.state, &ReadSet::default(), lease, outputs, Usage::default(), AT)?;
        let count = events.len();
        self.record(events);
        Ok(count)
    }

    fn fail(&mut self, lease: &Lease, class: FailureClass) -> Result<usize, Rejection> {
        self.fail_with(lease, class, Vec::new())
    }

    /// The attempt could not read files that the coordinator found to be bad.
    fn lose(&mut self, lease: &Lease, files: &[&FileRef]) -> Result<usize, Rejection> {
        let lost = |file: &&FileRef| LostObject { file: (*file).clone(), found: String::from("is missing") };
        self.fail_with(lease, FailureClass::Transient, files.iter().map(lost).collect())
    }

    fn fail_with(
        &mut self,
        lease: &Lease,
        class: FailureClass,
        lost: Vec<LostObject>,
    ) -> Result<usize, Rejection> {
        let failed = Failed { class, reason: String::from("it broke"), lost, used: None };
        let events = decide::fail(&self.state, Policy::default(), lease, failed, AT)?;
        let count = events.len();
        self.record(events);
        Ok(count)
    }

    fn log(&mut self, lease: &Lease, number: u32) -> Result<usize, Rejection> {
        let (digest, last_line) = (Digest::of(b"lines"), u64::from(number) * 10);
        let segment =
            LogSegment { number, last_line, digest, bytes: 5, of: assay_domain::segment::Lines::Log };
        let events = decide::logged(&self.state, &ReadSet::default(), lease, segment, UnixMillis(9))?;
        let count = events.len();
        self.record(events);
        Ok(count)
    }

    fn status(&self, ordinal: u32) -> Status {
        self.state.matrices[0].status(ordinal)
    }
}

fn made(lease: &Lease, name: &str) -> Artifact {
    let key = ObjectKey::output(lease, name, "file").expect("a good key");
    let digest = Digest::of(key.as_str().as_bytes());
    Artifact {
        name: name.to_owned(),
        files: vec![FileRef { path: String::from("file"), key, digest, bytes: 1, origin: None }],
    }
}

#[test]
fn a_repeated_completion_is_heard_and_changes_nothing() {
    let mut desk = Desk::with_one();
    let lease = desk.lease(&[WorkKind::Generate]).unwrap();
    assert_eq!(desk.complete(&lease, &["generations"]), Ok(1));
    let before = desk.state.clone();
    assert_eq!(desk.complete(&lease, &["generations"]), Ok(0));
    assert_eq!(desk.state, before);
}

#[test]
fn a_stale_completion_is_refused_and_names_the_current_attempt() {
    let mut desk = Desk::with_one();
    let old = desk.lease(&[WorkKind::Generate]).unwrap();
    desk.record(decide::expire(&desk.state, Policy::default(), std::slice::from_ref(&old), AT));
    let new = desk.lease(&[WorkKind::Generate]).unwrap();
    assert_eq!(new.job, old.job);
    assert!(new.fence > old.fence);
    let refused = desk.complete(&old, &["generations"]).unwrap_err();
    assert_eq!(refused, Rejection::StaleAttempt { lease: old.clone(), current: Some(new.fence) });
    assert!(decide::renew(&desk.state, &old).is_err());
    assert_eq!(desk.complete(&new, &["generations"]), Ok(1));
    // The loser stays refused after the end, too.
    assert!(desk.complete(&old, &["generations"]).is_err());
}

#[test]
fn a_completion_must_bring_every_output() {
    let mut desk = Desk::with_one();
    let lease = desk.lease(&[WorkKind::Train]).unwrap();
    assert_eq!(desk.checkpoint(&lease, 6), Ok(1));
    let refused = desk.complete(&lease, &["metrics"]).unwrap_err();
    assert_eq!(refused, Rejection::MissingOutput { lease: lease.clone(), name: String::from("adapter@12") });
    assert_eq!(desk.status(0), Status::Running);
    assert_eq!(desk.checkpoint(&lease, 12), Ok(1));
    assert_eq!(desk.complete(&lease, &["metrics"]), Ok(1));
}

#[test]
fn answers_start_when_their_checkpoint_is_there_and_training_goes_on() {
    let mut desk = Desk::with_one();
    let training = desk.lease(&[WorkKind::Train]).unwrap();
    let base = desk.lease(&[WorkKind::Generate]).unwrap();
    assert_eq!(base.job.ordinal, 1);
    assert_eq!(desk.lease(&[WorkKind::Generate]), None);
    desk.checkpoint(&training, 6).unwrap();
    assert_eq!(desk.lease(&[WorkKind::Generate]).unwrap().job.ordinal, 2);
    assert_eq!(desk.status(0), Status::Running);
}

#[test]
fn a_checkpoint_that_was_accepted_stands_whoever_ends_the_job() {
    let mut desk = Desk::with_one();
    let first = desk.lease(&[WorkKind::Train]).unwrap();
    desk.checkpoint(&first, 6).unwrap();
    desk.fail(&first, FailureClass::Crashed).unwrap();
    let second = desk.lease(&[WorkKind::Train]).unwrap();
    assert_eq!(desk.state.job(&second.job).unwrap().resume().map(|(step, _)| step), Some(6));
    assert_eq!(desk.checkpoint(&second, 6), Ok(0));
    desk.checkpoint(&second, 12).unwrap();
    // It brings its own adapter of step 6 again: the accepted one stays the only one.
    desk.complete(&second, &["metrics", "adapter@6"]).unwrap();
    let job = desk.state.job(&second.job).unwrap();
    assert_eq!(job.output("adapter@6"), Some(&made(&first, "adapter@6")));
    let Phase::Succeeded { outputs, .. } = &job.phase else { panic!("{:?}", job.phase) };
    let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["metrics", "adapter@6", "adapter@12"]);
    assert_eq!(job.resume(), None);
}

#[test]
fn bad_input_is_never_tried_again_and_blocks_what_needs_it() {
    let mut desk = Desk::with_one();
    let lease = desk.lease(&[WorkKind::Train]).unwrap();
    assert_eq!(desk.fail(&lease, FailureClass::BadInput), Ok(2));
    assert_eq!(desk.status(0), Status::Failed);
    assert_eq!(desk.status(2), Status::Blocked);
    let last = desk.state.matrices[0].jobs.len() as u32 - 1;
    assert_eq!(desk.status(last), Status::Blocked);
    assert_eq!(desk.status(1), Status::Ready);
    // The base's answers can still be made; then nothing is left and the matrix goes.
    let base = desk.lease(&[WorkKind::Generate]).unwrap();
    assert_eq!(desk.complete(&base, &["generations"]), Ok(2));
    assert!(desk.state.matrices.is_empty());
}

#[test]
fn a_job_is_given_up_after_its_attempts_and_released_ones_do_not_count() {
    let mut desk = Desk::with_one();
    for _ in 0..20 {
        let lease = desk.lease(&[WorkKind::Train]).unwrap();
        assert_eq!(desk.fail(&lease, FailureClass::Released), Ok(1));
    }
    for number in 1..=5 {
        let lease = desk.lease(&[WorkKind::Train]).unwrap();
        let expected = if number == 5 { 2 } else { 1 };
        assert_eq!(desk.fail(&lease, FailureClass::Transient), Ok(expected));
    }
    assert_eq!(desk.status(0), Status::Failed);
    assert_eq!(desk.lease(&[WorkKind::Train]), None);
}

#[test]
fn a_repeated_failure_counts_once() {
    let mut desk = Desk::with_one();
    let lease = desk.lease(&[WorkKind::Train]).unwrap();
    assert_eq!(desk.fail(&lease, FailureClass::Crashed), Ok(1));
    assert_eq!(desk.fail(&lease, FailureClass::Crashed), Ok(0));
    assert_eq!(desk.state.job(&lease.job).unwrap().attempts_counted(), 1);
}

#[test]
fn a_cancelled_matrix_is_final() {
    let mut desk = Desk::with_one();
    let lease = desk.lease(&[WorkKind::Train]).unwrap();
    let id = lease.job.matrix.clone();
    desk.record(decide::cancel(&desk.state, &id, AT).unwrap());
    assert!(desk.state.matrices.is_empty());
    assert!(desk.checkpoint(&lease, 6).is_err());
    assert!(desk.complete(&lease, &["metrics"]).is_err());
    assert!(desk.fail(&lease, FailureClass::Crashed).is_err());
    assert_eq!(decide::cancel(&desk.state, &id, AT), Err(Rejection::UnknownMatrix { matrix: id }));
}

#[test]
fn leases_that_end_together_can_end_a_matrix() {
    let mut desk = Desk::with_one();
    let once = Policy { attempts_max: 1, ..Policy::default() };
    let leases = [desk.lease(&[WorkKind::Train]).unwrap(), desk.lease(&[WorkKind::Generate]).unwrap()];
    desk.record(decide::expire(&desk.state, once, &leases, AT));
    assert!(desk.state.matrices.is_empty());
    assert_eq!(decide::expire(&desk.state, once, &leases, AT), []);
}

fn leases(events: &[Event]) -> Vec<(Lease, WorkerId)> {
    let lease = |event: &Event| {
        let Event::JobLeased { lease, worker, .. } = event else { panic!("{event:?}") };
        (lease.clone(), worker.clone())
    };
    events.iter().map(lease).collect()
}

fn worker(name: &str) -> WorkerInfo {
    WorkerInfo {
        id: WorkerId::new(name),
        host: String::new(),
        device: DeviceKind::Cpu,
        device_name: String::new(),
        memory_mib: 1,
        kinds: vec![WorkKind::Train, WorkKind::Generate],
        version: String::new(),
        usd_per_hour: None,
    }
}

/// Registers workers, each gone since its moment.
fn gone(desk: &mut Desk, workers: &[(&str, u64)]) -> BTreeMap<WorkerId, u64> {
    for (name, _) in workers {
        desk.record(decide::register(&desk.state, worker(name), AT));
    }
    workers.iter().map(|(name, since_ms)| (WorkerId::new(*name), *since_ms)).collect()
}

#[test]
fn a_worker_is_forgotten_when_it_is_gone_for_long_and_has_no_attempt() {
    let mut desk = Desk::with_one();
    let since = gone(&mut desk, &[("w", 100), ("idle", 100), ("late", 101)]);
    let memory = Memory { gone_ms: 50, gone_workers_max: 10 };
    let lease = desk.lease(&[WorkKind::Train]).unwrap();
    assert_eq!(decide::forget(&desk.state, memory, &since, 149, AT), []);
    let forgotten = |worker: &str| vec![Event::WorkerForgotten { worker: WorkerId::new(worker), at: AT }];
    let events = decide::forget(&desk.state, memory, &since, 150, AT);
    assert_eq!(events, forgotten("idle"));
    desk.record(events);
    assert!(!desk.state.workers.contains_key(&WorkerId::new("idle")));
    // What is forgotten is not forgotten again; its attempt's end frees the other one.
    assert_eq!(decide::forget(&desk.state, memory, &since, 150, AT), []);
    desk.record(decide::expire(&desk.state, Policy::default(), &[lease], AT));
    assert_eq!(decide::forget(&desk.state, memory, &since, 150, AT), forgotten("w"));
}

#[test]
fn of_too_many_workers_that_are_gone_those_gone_longest_are_forgotten() {
    let mut desk = Desk::with_one();
    let since = gone(&mut desk, &[("a", 3), ("b", 1), ("c", 2), ("d", 2)]);
    let memory = Memory { gone_ms: 50, gone_workers_max: 2 };
    let events = decide::forget(&desk.state, memory, &since, 3, AT);
    desk.record(events);
    let left: Vec<&str> = desk.state.workers.keys().map(WorkerId::as_str).collect();
    assert_eq!(left, ["a", "d"]);
}

#[test]
fn a_raised_epoch_voids_what_was_leased_before() {
    let mut desk = Desk::with_one();
    let old = desk.lease(&[WorkKind::Generate]).unwrap();
    desk.record(vec![Event::EpochRaised { epoch: Epoch(2) }]);
    assert!(desk.complete(&old, &["generations"]).is_err());
    let job = desk.state.job(&old.job).unwrap();
    assert!(matches!(job.attempts[0].outcome, Outcome::Failed { class: FailureClass::Released, .. }));
    assert_eq!(job.attempts_counted(), 0);
    let new = desk.lease(&[WorkKind::Generate]).unwrap();
    assert_eq!((new.job.clone(), new.fence.epoch), (old.job.clone(), Epoch(2)));
    assert!(new.fence > old.fence);
}

#[test]
fn the_same_submission_again_is_the_same_and_another_under_its_key_is_refused() {
    let desk = Desk::with_one();
    let again = SubmittedMatrix { id: MatrixId::new("m-2"), ..submitted("m-1") };
    let (id, events) = decide::submit(&desk.state, &ReadSet::default(), again.clone()).unwrap();
    assert_eq!((id.as_str(), events.len()), ("m-1", 0));
    let other = SubmittedMatrix { spec_digest: Digest::of(b"other"), ..again };
    assert!(matches!(
        decide::submit(&desk.state, &ReadSet::default(), other),
        Err(Rejection::SubmitKeyReused { .. })
    ));
}

#[test]
fn jobs_that_have_finished_are_taken_from_their_key() {
    let mut desk = Desk::with_one();
    let lease = desk.lease(&[WorkKind::Generate]).unwrap();
    desk.complete(&lease, &["generations"]).unwrap();
    let second = submitted("m-2");
    let (_, events) = decide::submit(&desk.state, &ReadSet::default(), second.clone()).unwrap();
    let reused: Vec<&Event> =
        events.iter().filter(|event| matches!(event, Event::JobReused { .. })).collect();
    let [Event::JobReused { job, from, outputs, .. }] = reused.as_slice() else { panic!("{events:?}") };
    assert_eq!((job.ordinal, from), (1, &lease.job));
    assert_eq!(outputs, &[made(&lease, "generations")]);
    let fresh = ReadSet { fresh: true, ..ReadSet::default() };
    assert_eq!(decide::submit(&desk.state, &fresh, second).unwrap().1.len(), 1);
}

#[test]
fn a_job_that_lacks_something_is_run_again_and_so_is_what_was_made_from_it() {
    let first = submitted("m-1");
    let finished = |job: &assay_domain::PlannedJob, missing| FinishedJob {
        job: JobId { matrix: first.id.clone(), ordinal: job.ordinal },
        outputs: Vec::new(),
        usage: Some(Usage { missing, ..Usage::default() }),
    };
    let judged = first.plan.iter().find(|job| job.work.kind() == WorkKind::Score).unwrap().ordinal;
    let report = first.plan.last().unwrap().ordinal;
    let reused = |lacking: u32| -> Vec<u32> {
        let by_key =
            |job: &assay_domain::PlannedJob| (job.key, finished(job, u64::from(job.ordinal == lacking)));
        let read = ReadSet { finished: first.plan.iter().map(by_key).collect(), ..ReadSet::default() };
        let (_, events) = decide::submit(&State::default(), &read, submitted("m-2")).unwrap();
        let jobs = events.iter().filter(|event| matches!(event, Event::JobReused { .. }));
        jobs.filter_map(|event| event.job().map(|job| job.ordinal)).collect()
    };
    assert_eq!(reused(u32::MAX).len(), first.plan.len());
    let again = reused(judged);
    assert_eq!(again.len(), first.plan.len() - 2);
    assert!(!again.contains(&judged) && !again.contains(&report), "{again:?}");
}

#[test]
fn a_plan_that_cannot_be_is_refused() {
    let state = State::default();
    let mut swapped = submitted("m-1");
    swapped.plan.swap(0, 1);
    let refused = decide::submit(&state, &ReadSet::default(), swapped).unwrap_err();
    assert!(refused.to_string().contains("job at place 0 has ordinal 1"), "{refused}");
    let mut headless = submitted("m-1");
    if let assay_domain::Work::Train(spec) = &mut headless.plan[0].work {
        spec.checkpoints.clear();
    }
    let refused = decide::submit(&state, &ReadSet::default(), headless).unwrap_err();
    assert!(refused.to_string().contains("needs `adapter@6` of job 0, which does not make it"), "{refused}");
}

#[test]
fn a_log_grows_part_by_part_and_a_repeat_changes_nothing() {
    let mut desk = Desk::with_one();
    let lease = desk.lease(&[WorkKind::Train]).unwrap();
    for number in 1..=9 {
        assert_eq!(desk.log(&lease, number), Ok(1));
    }
    assert_eq!(desk.log(&lease, 9), Ok(0));
    let skipped = Rejection::SkippedSegment { lease: lease.clone(), given: 11, next: 10 };
    assert_eq!(desk.log(&lease, 11), Err(skipped));
    let job = desk.state.job(&lease.job).unwrap();
    let log = &job.attempt(lease.fence).unwrap().log;
    // The eighth holds what the seven before it held.
    let kept: Vec<u32> = log.segments.iter().map(|segment| segment.number).collect();
    assert_eq!((kept, log.last_line(), log.late), (vec![8, 9], 90, 0));
    assert_eq!(job.changed_at, Some(AT), "a log is no change of its job");
}

#[test]
fn an_attempt_that_ended_may_say_the_rest_of_its_log_and_no_more() {
    let mut desk = Desk::with_one();
    let old = desk.lease(&[WorkKind::Generate]).unwrap();
    desk.log(&old, 1).unwrap();
    desk.record(decide::expire(&desk.state, Policy::default(), std::slice::from_ref(&old), AT));
    let new = desk.lease(&[WorkKind::Generate]).unwrap();
    let before = desk.state.clone();
    assert_eq!((desk.log(&old, 2), desk.log(&old, 3), desk.log(&old, 3)), (Ok(1), Ok(1), Ok(0)));
    assert_eq!(
        desk.log(&old, 4),
        Err(Rejection::StaleAttempt { lease: old.clone(), current: Some(new.fence) })
    );
    let read = ReadSet::default();
    assert!(decide::upload(&desk.state, &read, &old, "log").is_err());
    assert!(decide::upload(&desk.state, &read, &new, "log").is_ok());
    assert!(decide::upload(&desk.state, &read, &old, "metrics").is_err());
    let (job, was) = (desk.state.job(&old.job).unwrap(), before.job(&old.job).unwrap());
    assert_eq!(job.attempts[0].log.last_line(), 30);
    assert_eq!(
        (&job.phase, &job.attempts[1], job.changed_at),
        (&was.phase, &was.attempts[1], was.changed_at)
    );
}

#[test]
fn a_cancelled_job_takes_the_rest_of_its_log_where_it_is_archived() {
    let mut desk = Desk::with_one();
    let lease = desk.lease(&[WorkKind::Train]).unwrap();
    let cancelled = decide::cancel(&desk.state, &lease.job.matrix, AT).unwrap();
    desk.record(cancelled[..1].to_vec());
    let archived = desk.state.job(&lease.job).cloned();
    desk.record(cancelled[1..].to_vec());
    assert!(desk.log(&lease, 1).is_err(), "nobody knows it");
    let read = ReadSet { archived, ..ReadSet::default() };
    let segment = LogSegment {
        number: 1,
        last_line: 10,
        digest: Digest::of(b"lines"),
        bytes: 5,
        of: assay_domain::segment::Lines::Log,
    };
    assert_eq!(decide::logged(&desk.state, &read, &lease, segment, AT).unwrap().len(), 1);
}

#[test]
fn attempts_stored_before_logs_were_kept_can_be_read() {
    let stored = r#"{"fence":{"epoch":1,"attempt":2},"worker":"w","started_at":1,"ended_at":null,"outcome":{"outcome":"lost"}}"#;
    let attempt: assay_domain::state::AttemptRecord = serde_json::from_str(stored).unwrap();
    assert!(attempt.log.is_empty());
    assert_eq!(serde_json::to_string(&attempt).unwrap(), stored);
}

#[test]
fn the_matrices_that_ended_last_are_kept_in_mind_and_no_more() {
    let mut desk = Desk::empty();
    for number in 1..=ENDED_KEPT + 8 {
        let (id, events) =
            decide::submit(&desk.state, &ReadSet::default(), submitted(&format!("m-{number}"))).unwrap();
        desk.record(events);
        let at = UnixMillis(AT.0 + number as u64);
        desk.record(decide::cancel(&desk.state, &id, at).unwrap());
    }
    assert_eq!(desk.state.ended.len(), ENDED_KEPT);
    let last = desk.state.ended.back().unwrap();
    assert_eq!((last.matrix.as_str(), last.name.as_str(), last.from), ("m-40", "trial", AT));
    assert_eq!(last.to, UnixMillis(AT.0 + 40));
    assert_eq!(desk.state.ended.front().unwrap().matrix.as_str(), "m-9");
}
