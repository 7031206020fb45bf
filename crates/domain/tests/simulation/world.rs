//! A coordinator's shell around `decide` and `apply`, as small as can be, and workers that behave badly.

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::budget::{Amount, Cap};
use assay_domain::decide::schedule::{Moment, Shares, Team, Teams};
use assay_domain::decide::{self, BackOff, Failed, Memory, Policy};
use assay_domain::event::{SubmittedMatrix, WorkerInfo};
use assay_domain::job::{FailureClass, Usage};
use assay_domain::matrix::Schedule;
use assay_domain::state::{DrainMode, FinishedJob, JobState, Matrix, ReadSet};
use assay_domain::{
    Artifact, DeviceKind, Digest, Epoch, Event, FileRef, JobId, JobKey, Lease, LogSegment, LostObject,
    MatrixId, ObjectKey, PlannedJob, Rejection, Source, State, SubmitKey, UnixMillis, Work, WorkKind,
    WorkerId,
};

use crate::demands::{demand, offer_now};
use crate::invariants::{self, Observer};
use crate::spending;

pub(crate) const LEASE_MS: u64 = 60;
/// How long a quarantine lasts.
const QUARANTINE_MS: u64 = 150;
const BACK_OFF: BackOff = BackOff { first_ms: 4, longest_ms: 20 };

/// A plan with what is asked of it again and again.
pub(crate) struct Plan {
    pub(crate) jobs: Vec<PlannedJob>,
    pub(crate) keys: BTreeSet<JobKey>,
    pub(crate) digest: Digest,
}

impl Plan {
    pub(crate) fn new(mut jobs: Vec<PlannedJob>) -> Self {
        jobs.iter_mut().for_each(|job| job.demand = demand(job));
        let keys = jobs.iter().map(|job| job.key).collect();
        let digest = Digest::of_value(&jobs).expect("a plan has a JSON form");
        Self { jobs, keys, digest }
    }
}

/// What a worker says.
#[derive(Debug, Clone)]
pub(crate) enum Word {
    Ask(WorkerId),
    Renew(Lease),
    Checkpointed(Lease, u64),
    Logged(Lease, u32),
    Completed(Lease),
    Failed(Lease, FailureClass),
    /// It has come to its limit and asks for more.
    More(Lease, Amount),
    /// It could not read these objects.
    Unread(Lease, Vec<ObjectKey>),
}

/// The coordinator: durable log, state, and what it forgets when it stops.
#[derive(Clone)]
pub(crate) struct Coordinator {
    pub(crate) state: State,
    pub(crate) log: Vec<Event>,
    /// The query store: matrices as they were when they were archived.
    pub(crate) archive: BTreeMap<MatrixId, Matrix>,
    pub(crate) finished: BTreeMap<JobKey, FinishedJob>,
    pub(crate) deadlines: BTreeMap<Lease, u64>,
    /// Jobs in back-off, until when.
    holds: BTreeMap<JobId, u64>,
    /// Workers in quarantine, since when.
    quarantined: BTreeMap<WorkerId, u64>,
    pub(crate) teams: Teams,
    shares: Shares,
    pub(crate) now: u64,
    /// How far the wall clock is ahead of it.
    pub(crate) wall_ahead: u64,
    /// Months that the wall clock is ahead.
    months: u64,
    /// What the last question for more was answered.
    pub(crate) limit: Option<Amount>,
    pub(crate) policy: Policy,
    pub(crate) observer: Observer,
    pub(crate) objects: Objects,
}

/// What is wrong in the object store; all else is as it should be.
#[derive(Default, Clone)]
pub(crate) struct Objects {
    /// Other bytes than were accepted, which nobody has noticed.
    pub(crate) damaged: BTreeSet<ObjectKey>,
    /// Deleted after the damage was found.
    pub(crate) gone: BTreeSet<ObjectKey>,
}

impl Objects {
    pub(crate) fn is_bad(&self, key: &ObjectKey) -> bool {
        self.damaged.contains(key) || self.gone.contains(key)
    }
}

impl Coordinator {
    pub(crate) fn new() -> Self {
        let mut coordinator = Self {
            state: State::default(),
            log: Vec::new(),
            archive: BTreeMap::new(),
            finished: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            holds: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            teams: teams(),
            shares: Shares::default(),
            now: 1,
            wall_ahead: 0,
            months: 0,
            limit: None,
            policy: Policy::default(),
            observer: Observer::default(),
            objects: Objects::default(),
        };
        coordinator.record(vec![Event::EpochRaised { epoch: Epoch(1) }]);
        coordinator
    }

    /// The wall clock, which jumps.
    pub(crate) fn at(&self) -> UnixMillis {
        UnixMillis(self.now + self.wall_ahead + self.months * spending::MONTH_MS)
    }

    /// The wall clock goes into another month; leases do not follow it.
    pub(crate) fn month_ends(&mut self) {
        self.months += 1;
    }

    /// Journal, then apply: what the engine does.
    pub(crate) fn record(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        for event in events {
            self.observer.before(&self.state, &self.objects, &event);
            self.observer.ledger.is_kept(&self.state, &self.teams, &event);
            self.note(&event);
            self.log.push(event.clone());
            self.state.apply(&event);
            self.observer.ledger.note_cut(&self.state, &event);
            self.amend(&event);
            self.hold(&event);
            self.note_quarantine(&event);
        }
        self.observer.after(&self.state, self.policy);
    }

    fn note(&mut self, event: &Event) {
        if let Event::MatrixArchived { matrix, .. } = event {
            let known = self.state.matrix(matrix).expect("only a known matrix is archived").clone();
            for planned in &known.submitted.plan {
                if let Some(finished) = known.finished_job(planned.ordinal) {
                    self.finished.insert(planned.key, finished);
                }
            }
            self.archive.insert(matrix.clone(), known);
        }
        if let Event::JobLeased { lease, .. } = event {
            self.deadlines.insert(lease.clone(), self.now + LEASE_MS);
        }
    }

    fn hold(&mut self, event: &Event) {
        let (Event::AttemptFailed { lease, .. } | Event::AttemptLost { lease, .. }) = event else { return };
        let released = matches!(event, Event::AttemptFailed { class, .. } if !class.counts());
        if let Some(known) = self.state.job(&lease.job).filter(|_| !released) {
            self.holds.insert(lease.job.clone(), self.now + BACK_OFF.pause_ms(&lease.job, known));
        }
    }

    fn note_quarantine(&mut self, event: &Event) {
        if let Event::WorkerQuarantined { worker, .. } = event {
            self.quarantined.insert(worker.clone(), self.now);
        } else if let Event::WorkerLifted { worker, .. } | Event::WorkerForgotten { worker, .. } = event {
            self.quarantined.remove(worker);
        }
    }

    /// The log of an archived job goes on where it lies.
    fn amend(&mut self, event: &Event) {
        let Event::Logged { lease, .. } = event else { return };
        if let Some(matrix) = self.archive.get_mut(&lease.job.matrix) {
            matrix.jobs[lease.job.ordinal as usize].apply(event);
        }
    }

    fn job(&self, id: &JobId) -> Option<&JobState> {
        let archived = || self.archive.get(&id.matrix)?.jobs.get(id.ordinal as usize);
        self.state.job(id).or_else(archived)
    }

    pub(crate) fn next_segment(&self, lease: &Lease) -> u32 {
        let attempt = self.job(&lease.job).and_then(|job| job.attempt(lease.fence));
        attempt.expect("an attempt that was leased").log.next()
    }

    pub(crate) fn submit(
        &mut self,
        number: u64,
        key: &SubmitKey,
        plan: &Plan,
        fresh: bool,
        retried: Option<Matrix>,
    ) -> Result<MatrixId, Rejection> {
        self.upload_again(plan);
        let is_there = |job: &FinishedJob| {
            let mut files = job.outputs.iter().flat_map(|output| &output.files);
            files.all(|file| !self.objects.gone.contains(&file.key))
        };
        let newer = self.state.finished_by_key(&plan.keys.iter().copied().collect());
        let found = plan
            .keys
            .iter()
            .filter_map(|key| Some((*key, newer.get(key).or_else(|| self.finished.get(key))?.clone())));
        let (present, absent): (Vec<_>, Vec<_>) = found.partition(|(_, job)| is_there(job));
        let of_key = self.archive.values().find(|matrix| matrix.submitted.submit_key == *key);
        let read = ReadSet {
            submitted: of_key.map(|matrix| (matrix.submitted.id.clone(), matrix.submitted.spec_digest)),
            finished: present.into_iter().collect(),
            absent: absent.into_iter().map(|(key, _)| key).collect(),
            fresh,
            retried,
            ..ReadSet::default()
        };
        let matrix = SubmittedMatrix {
            id: MatrixId::new(format!("m-{number}")),
            submit_key: key.clone(),
            name: String::from("trial"),
            spec_digest: plan.digest,
            spec_json: String::new(),
            secret: Digest::of(b"secret"),
            plan: plan.jobs.clone(),
            schedule: schedule(number),
            fixed_at: None,
            budget: spending::budget(number),
            at: self.at(),
        };
        let decided = decide::submit(&self.state, &read, matrix);
        if let Some(before) = &read.retried {
            invariants::retry_is_right(before, &read, decided.as_ref().map(|(_, events)| events.as_slice()));
        }
        let (id, events) = decided?;
        self.record(events);
        Ok(id)
    }

    /// A word arrives; what the coordinator answers to a request for work.
    pub(crate) fn hear(&mut self, word: &Word) -> Vec<Lease> {
        let before = self.log.len();
        let current = self.observer.is_current(word);
        let mut offer = Vec::new();
        match word {
            Word::Ask(worker) => offer = self.offer(worker),
            Word::Renew(lease) => {
                if decide::renew(&self.state, lease).is_ok() {
                    assert!(current, "a stale attempt was renewed: {lease}");
                    self.deadlines.insert(lease.clone(), self.now + LEASE_MS);
                }
            }
            Word::Checkpointed(lease, step) => {
                let (adapter, resume) =
                    (made(lease, &Artifact::adapter_name(*step)), made(lease, &Artifact::resume_name(*step)));
                let decided = decide::checkpointed(&self.state, lease, *step, adapter, resume, self.at());
                self.take(decided, current);
            }
            Word::Logged(lease, number) => {
                self.logged(lease, *number);
                return offer;
            }
            Word::Completed(lease) => {
                let winner = self.archived_winner(lease);
                let outputs = self.outputs_of(lease);
                let read = ReadSet { winner, ..ReadSet::default() };
                let usage = Usage { used: self.used(lease), ..Usage::default() };
                let decided = decide::complete(&self.state, &read, lease, outputs, usage, self.at());
                self.take(decided, current);
            }
            Word::Failed(lease, class) => self.failed(lease, *class, Vec::new(), current),
            Word::More(lease, has) => self.more(lease, *has, current),
            Word::Unread(lease, keys) => {
                let lost = if current { self.verify(lease, keys) } else { Vec::new() };
                self.failed(lease, FailureClass::Transient, lost, current);
            }
        }
        if !current && !matches!(word, Word::Ask(_)) {
            assert_eq!(self.log.len(), before, "a stale word changed something: {word:?}");
        }
        offer
    }

    /// Whoever says it: the job stays as it is but for this log.
    fn logged(&mut self, lease: &Lease, number: u32) {
        let before = self.job(&lease.job).expect("a job that was leased").clone();
        let archived = self.archive.get(&lease.job.matrix).map(|_| before.clone());
        let read = ReadSet { archived, ..ReadSet::default() };
        let (digest, last_line) = (Digest::of(&number.to_le_bytes()), number.into());
        let segment =
            LogSegment { number, last_line, digest, bytes: 1, of: assay_domain::segment::Lines::Log };
        match decide::logged(&self.state, &read, lease, segment, self.at()) {
            Ok(events) => self.record(events),
            Err(Rejection::StaleAttempt { .. }) => {
                assert!(!self.observer.may_log(lease), "the log of {lease} was refused")
            }
            Err(Rejection::SkippedSegment { given, next, .. }) => assert!(given > next),
            Err(other) => panic!("{other}"),
        }
        let mut after = self.job(&lease.job).expect("it is still there").clone();
        for (attempt, before) in after.attempts.iter_mut().zip(&before.attempts) {
            if attempt.fence == lease.fence {
                attempt.log = before.log.clone();
            }
        }
        assert_eq!(after, before, "a log changed its job");
    }

    fn failed(&mut self, lease: &Lease, class: FailureClass, lost: Vec<LostObject>, current: bool) {
        let failed = Failed { class, reason: String::from("it broke"), lost, used: self.used(lease) };
        let decided = decide::fail(&self.state, self.policy, lease, failed, self.at());
        self.take(decided, current);
    }

    /// What a person's submission does first: files that are not there are sent.
    fn upload_again(&mut self, plan: &Plan) {
        for file in plan.jobs.iter().flat_map(uploads) {
            self.objects.gone.remove(&file.key);
        }
    }

    /// A worker's claim is looked into: only inputs of its attempt, and only what is really bad, which goes.
    fn verify(&mut self, lease: &Lease, keys: &[ObjectKey]) -> Vec<LostObject> {
        let inputs = self.inputs(&lease.job);
        let bad =
            inputs.into_iter().filter(|file| keys.contains(&file.key) && self.objects.is_bad(&file.key));
        let lost: Vec<LostObject> =
            bad.map(|file| LostObject { file, found: String::from("is bad") }).collect();
        for object in &lost {
            self.objects.damaged.remove(&object.file.key);
            self.objects.gone.insert(object.file.key.clone());
        }
        lost
    }

    /// All files that an attempt of a job reads now.
    pub(crate) fn inputs(&self, job: &JobId) -> Vec<FileRef> {
        let Some(matrix) = self.state.matrix(&job.matrix) else { return Vec::new() };
        let planned = &matrix.submitted.plan[job.ordinal as usize];
        let outputs = planned.needs().filter_map(|(maker, name)| matrix.output(maker, name));
        let resume = matrix.jobs[job.ordinal as usize].resume().map(|(_, resume)| resume);
        let made = outputs.chain(resume).flat_map(|artifact| &artifact.files);
        made.chain(uploads(planned)).cloned().collect()
    }

    fn take(&mut self, decided: Result<Vec<Event>, Rejection>, current: bool) {
        match decided {
            Ok(events) => self.record(events),
            Err(Rejection::StaleAttempt { lease, .. }) => {
                assert!(!current, "the current attempt {lease} was refused")
            }
            Err(Rejection::MissingOutput { .. }) => assert!(current, "a stale completion was looked at"),
            Err(other) => panic!("{other}"),
        }
    }

    fn offer(&mut self, worker: &WorkerId) -> Vec<Lease> {
        self.holds.retain(|_, until| *until > self.now);
        let left = |until: &u64| *until - self.now;
        let held_ms: BTreeMap<JobId, u64> =
            self.holds.iter().map(|(job, until)| (job.clone(), left(until))).collect();
        let slots = BTreeMap::from([(worker.clone(), 1)]);
        let offers = BTreeMap::from([(worker.clone(), offer_now(self.now, self.memory_mib(worker)))]);
        let (teams, at) = (&self.teams, self.at());
        let moment = Moment { slots: &slots, offers: &offers, held_ms: &held_ms, teams, at };
        let before = self.shares.clone();
        let events = decide::place(&self.state, &moment, &mut self.shares);
        let lease = |event: &Event| {
            if let Event::JobLeased { lease, .. } = event { Some(lease.clone()) } else { None }
        };
        let leases: Vec<Lease> = events.iter().filter_map(lease).collect();
        self.observer.seen.joined += leases.len().saturating_sub(1) as u64;
        // The second opinion costs more than all else: every third time is often enough.
        if self.now.is_multiple_of(3) {
            invariants::placement_is_right(&self.state, &moment, &before, worker, &events);
        }
        self.record(events);
        leases
    }

    /// Workers of two sizes, and now and then one comes back with less.
    fn memory_mib(&self, worker: &WorkerId) -> u64 {
        let size = u64::from(worker.as_str() < "w-2");
        if self.now.is_multiple_of(5) { 8 } else { 8 + 8 * size }
    }

    pub(crate) fn register(&mut self, worker: &WorkerId) {
        let info = WorkerInfo {
            id: worker.clone(),
            host: String::from("here"),
            device: DeviceKind::Cpu,
            device_name: String::new(),
            memory_mib: self.memory_mib(worker),
            kinds: WorkKind::ALL.to_vec(),
            version: String::from("1"),
            // A millionth of a USD for each millisecond.
            usd_per_hour: (worker.as_str() > "w-0").then_some(3.6),
        };
        let events = decide::register(&self.state, info, self.at());
        self.record(events);
    }

    /// It is gone for longer than anyone remembers.
    pub(crate) fn gone(&mut self, worker: &WorkerId) {
        let memory = Memory { gone_ms: LEASE_MS, gone_workers_max: 1 };
        let (since, now) = (BTreeMap::from([(worker.clone(), self.now)]), self.now + LEASE_MS);
        let events = decide::forget(&self.state, memory, &since, now, self.at());
        self.record(events);
    }

    pub(crate) fn expire(&mut self) {
        let due: Vec<Lease> = self
            .deadlines
            .iter()
            .filter(|(_, deadline)| **deadline <= self.now)
            .map(|(lease, _)| lease.clone())
            .collect();
        self.deadlines.retain(|_, deadline| *deadline > self.now);
        let events = decide::expire(&self.state, self.policy, &due, self.at());
        self.record(events);
        let due = decide::lift_due(&self.state, QUARANTINE_MS, &self.quarantined, self.now, self.at());
        self.record(due);
    }

    /// What a person asks, in a state that may refuse it.
    pub(crate) fn steer(&mut self, decided: Result<Vec<Event>, Rejection>) {
        if let Ok(events) = decided {
            self.record(events);
        }
    }

    /// Nothing is held back by a person any more.
    pub(crate) fn let_all_go_on(&mut self) {
        let matrices: Vec<MatrixId> = self.state.matrices.iter().map(|m| m.submitted.id.clone()).collect();
        for id in matrices {
            let decided = decide::unpause(&self.state, &id, self.at());
            self.steer(decided);
        }
        for id in self.state.matrices.iter().map(|m| m.submitted.id.clone()).collect::<Vec<_>>() {
            let decided = decide::set_budget(&self.state, &id, Cap::default(), self.at());
            self.steer(decided);
        }
        let teams = self.teams.named.values_mut().chain([&mut self.teams.other]);
        teams.for_each(|team| team.budget = Cap::default());
        self.teams.month = Cap::default();
        let drained = self.state.standings.iter().filter(|(_, standing)| standing.drain.is_some());
        for worker in drained.map(|(worker, _)| worker.clone()).collect::<Vec<_>>() {
            let decided = decide::lift(&self.state, &worker, self.at());
            self.steer(decided);
        }
    }

    /// A draining worker hands back what it is told to.
    pub(crate) fn must_hand_back(&self, worker: &WorkerId, saved: Option<&Lease>) -> Vec<Lease> {
        decide::to_hand_back(&self.state, worker, saved)
    }

    /// Stops and starts again: the state is what the journal says, open leases get a full term.
    pub(crate) fn restart(&mut self) {
        let mut replayed = State::default();
        for event in &self.log {
            replayed.apply(event);
        }
        assert_eq!(replayed, self.state, "replay gives another state");
        self.state = replayed;
        let term = self.now + LEASE_MS;
        self.deadlines = decide::resume(&self.state).into_iter().map(|(lease, _)| (lease, term)).collect();
        self.holds.clear();
        self.shares = Shares::default();
        let closed = self.state.standings.iter().filter(|(_, standing)| standing.quarantine.is_some());
        self.quarantined = closed.map(|(worker, _)| (worker.clone(), self.now)).collect();
    }

    /// A restore: a new epoch before anything is heard.
    pub(crate) fn restore(&mut self) {
        let epoch = Epoch(self.state.epoch.0 + 1);
        self.record(vec![Event::EpochRaised { epoch }]);
        self.restart();
    }

    fn archived_winner(&self, lease: &Lease) -> Option<Lease> {
        self.archive.get(&lease.job.matrix)?;
        let fence = self.observer.winner(&lease.job)?;
        Some(Lease { job: lease.job.clone(), fence })
    }

    pub(crate) fn planned(&self, job: &JobId) -> Option<&PlannedJob> {
        let live = self.state.matrix(&job.matrix);
        live.or_else(|| self.archive.get(&job.matrix))?.submitted.plan.get(job.ordinal as usize)
    }

    fn outputs_of(&self, lease: &Lease) -> Vec<Artifact> {
        let names =
            self.planned(&lease.job).map(|planned| planned.work.completion_outputs()).unwrap_or_default();
        names.iter().map(|name| made(lease, name)).collect()
    }
}

/// One team that may run little, one of more weight, and those of no team.
fn teams() -> Teams {
    let named = [("few", 1, Some(1)), ("many", 3, None)];
    let named = named.map(|(name, weight, running_max)| {
        let budget = if weight == 3 { spending::MONTH } else { Cap::default() };
        (name.to_owned(), Team { weight, running_max, budget })
    });
    Teams { named: named.into(), ..Teams::default() }
}

fn schedule(number: u64) -> Schedule {
    let team = [None, Some("few"), Some("many")][(number % 3) as usize];
    Schedule {
        team: team.map(str::to_owned),
        user: None,
        priority: (number / 3 % 2) as i32,
        weight: 1 + (number % 2) as u32,
    }
}

/// How a person drains a worker.
pub(crate) const DRAINS: [DrainMode; 3] = [DrainMode::Finish, DrainMode::Checkpoint, DrainMode::Now];

fn uploads(planned: &PlannedJob) -> impl Iterator<Item = &FileRef> {
    let artifacts = planned.inputs.iter().filter_map(|input| match &input.source {
        Source::Upload { artifact } => Some(artifact),
        Source::Output { .. } => None,
    });
    artifacts.flat_map(|artifact| &artifact.files)
}

/// An artifact of one attempt: its key says which.
pub(crate) fn made(lease: &Lease, name: &str) -> Artifact {
    let key = ObjectKey::output(lease, name, "file").expect("a good key");
    let digest = Digest::of(key.as_str().as_bytes());
    Artifact {
        name: name.to_owned(),
        files: vec![FileRef { path: String::from("file"), key, digest, bytes: 1, origin: None }],
    }
}

/// A worker: what it holds, and how far it is with it.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) holds: Vec<Held>,
    /// What it logs for, also when it has ended.
    pub(crate) last: Option<Lease>,
}

/// An attempt, as its worker has it.
pub(crate) struct Held {
    pub(crate) lease: Lease,
    /// The checkpoints to come.
    pub(crate) steps: Vec<u64>,
    /// What it has to fetch before it begins.
    pub(crate) unread: Vec<ObjectKey>,
    /// What it may cost, as far as it has heard.
    pub(crate) limit: Amount,
    /// It asked for more and got nothing.
    pub(crate) refused: bool,
}

impl Worker {
    /// Takes a lease; a resumed training goes on after the newest checkpoint.
    pub(crate) fn take(&mut self, lease: Lease, coordinator: &Coordinator) {
        let Some(planned) = coordinator.planned(&lease.job) else { return };
        let done =
            coordinator.state.job(&lease.job).and_then(|job| job.resume().map(|(step, _)| step)).unwrap_or(0);
        let steps = match &planned.work {
            Work::Train(spec) => spec.checkpoints.iter().copied().filter(|step| *step > done).collect(),
            Work::Generate(_) | Work::Score(_) | Work::Judge(_) | Work::Report(_) => Vec::new(),
        };
        self.last = Some(lease.clone());
        let unread = coordinator.inputs(&lease.job).into_iter().map(|file| file.key).collect();
        let attempt = coordinator.state.job(&lease.job).and_then(|job| job.attempt(lease.fence));
        let limit = attempt.map(|attempt| attempt.account.reserved).unwrap_or_default();
        self.holds.push(Held { lease, steps, unread, limit, refused: false });
    }
}
