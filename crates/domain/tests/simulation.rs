//! Seeded histories of `decide` and `apply` with several workers: lost, late, repeated and stale words, crashes and
//! restarts, restores, expiries, clocks that jump, slow disks, cancels, second submissions, retries, and objects that go bad. `SIMULATION_SEEDS=N..M` runs these,
//! `N..N+1` one of them; `cargo xtask simulate` runs a million.

#[path = "simulation/demands.rs"]
mod demands;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/histories.rs"]
mod histories;
#[path = "simulation/invariants.rs"]
mod invariants;
#[path = "simulation/ledger.rs"]
mod ledger;
#[path = "support/resolved.rs"]
mod resolved;
#[path = "simulation/spending.rs"]
mod spending;
#[path = "simulation/world.rs"]
mod world;

use assay_domain::budget::Amount;
use assay_domain::decide;
use assay_domain::job::FailureClass;
use assay_domain::plan::plan;
use assay_domain::state::Status;
use assay_domain::{JobId, Lease, ObjectKey, SubmitKey, WorkerId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use histories::seeds;
use invariants::Seen;
use world::{Coordinator, DRAINS, Plan, Word, Worker};

const STEPS: u64 = 120;

/// Plans that share jobs: the same base, other recipes, seeds and judges.
fn plans() -> Vec<Plan> {
    let matrix = |recipes: &str, seeds: &str, judges: &str| {
        format!(
            "name: trial\nmodels: [{{name: small, path: m}}]\ndata: [{{name: talks, train: t.jsonl, train_rows: 24}}]\n\
             recipes: [{recipes}]\nseeds: [{seeds}]\nprompts: [{{name: eval, file: p.jsonl, take: {{math: 1}}}}]\n\
             sampling: [{{name: s, max_new_tokens: 8}}]\npanel: {{judges: [{judges}]}}\n"
        )
    };
    let (one, two) = (
        "{name: a, accumulate: 2, warmup_steps: 2}",
        "{name: b, rank: 8, accumulate: 2, warmup_steps: 2, checkpoints: {every_steps: 3}}",
    );
    let plain = "{name: plain, kind: logprob, model: small, template: smoke-plain-v1}";
    let api = "{name: api, kind: api, provider: openai, model: gpt-4o-mini, base_url: 'https://x/v1', key_env: K, template: assay-v1}";
    let both = (format!("{one}, {two}"), format!("{plain}, {api}"));
    let texts = [
        matrix(one, "42", plain),
        matrix(two, "42", plain),
        matrix(one, "42, 43", &both.1),
        matrix(&both.0, "42", &both.1),
    ];
    let resolved = texts.iter().map(|text| resolved::resolve(resolved::parse(text), 24));
    resolved.map(|matrix| Plan::new(plan(&matrix).expect("a good matrix"))).collect()
}

struct Simulation<'a> {
    rng: ChaCha8Rng,
    coordinator: Coordinator,
    workers: Vec<Worker>,
    /// Words on their way.
    network: Vec<Word>,
    /// What the disk is busy with, and whether it is a slow one.
    sync: Option<disk::Sync>,
    slow_disk: bool,
    plans: &'a [Plan],
    submitted: u64,
    faults: bool,
    /// Whether the last worker does nothing well as long as there are faults.
    spoilt: bool,
}

impl Simulation<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    fn step(&mut self) {
        self.coordinator.now += 1 + self.below(4);
        while self.waits_for_the_disk() {
            self.coordinator.now += 1 + self.below(4);
        }
        self.coordinator.expire();
        match self.below(100) {
            0..3 => self.submit(),
            3 => self.retry(),
            4 => self.steer(),
            5..7 => self.coordinator.restart(),
            7 if self.below(4) == 0 => self.coordinator.restore(),
            // The wall clock is set, forward or back: nothing but what people are shown may follow it.
            7 if self.below(4) == 0 => self.coordinator.wall_ahead = self.below(1 << 40),
            8..10 => self.worker_dies(),
            10 => self.object_goes_bad(),
            11 if self.below(8) == 0 => self.coordinator.month_ends(),
            11..60 => self.worker_speaks(),
            _ => self.deliver(),
        }
    }

    fn submit(&mut self) {
        let plan = &self.plans[(self.rng.next_u64() % self.plans.len() as u64) as usize];
        // A key that is sometimes used before: a repeat, or another matrix under the same key.
        let number = self.rng.next_u64() % (self.submitted + 2);
        let fresh = self.rng.next_u64().is_multiple_of(8);
        let key = SubmitKey::new(format!("k-{number}"));
        self.submitted += 1;
        // A refusal is an answer too; the observer sees that it changed nothing.
        let _answer = self.coordinator.submit(self.submitted, &key, plan, fresh, None);
    }

    /// Any matrix, finished or not: a refusal is an answer too.
    fn retry(&mut self) {
        let count = self.coordinator.archive.len() + self.coordinator.state.matrices.len();
        let place = self.below(count as u64) as usize;
        let mut known = self.coordinator.archive.values().chain(&self.coordinator.state.matrices);
        let Some(before) = known.nth(place).cloned() else { return };
        let plan = self.plans.iter().find(|plan| plan.digest == before.submitted.spec_digest);
        self.submitted += 1;
        let key = SubmitKey::new(format!("retry-{}", self.submitted));
        let plan = plan.expect("every matrix is of one of the plans");
        let _answer = self.coordinator.submit(self.submitted, &key, plan, false, Some(before));
    }

    fn steer(&mut self) {
        let (choice, branch) = (self.below(8), self.below(2) == 0);
        let budget = spending::budget(self.rng.next_u64());
        let worker = self.workers[self.rng.next_u64() as usize % self.workers.len()].id.clone();
        let (count, mode) = (self.coordinator.state.matrices.len() as u64, DRAINS[self.below(3) as usize]);
        let place = self.below(count) as usize;
        let Some(matrix) = self.coordinator.state.matrices.get(place) else { return };
        let (id, jobs) = (matrix.submitted.id.clone(), matrix.jobs.len() as u64);
        let job = JobId { matrix: id.clone(), ordinal: self.below(jobs) as u32 };
        let (state, at) = (&self.coordinator.state, self.coordinator.at());
        let decided = match choice {
            0 => decide::cancel(state, &id, at),
            1 => decide::cancel_job(state, &job, branch, at),
            2 => decide::pause(state, &id, at),
            3 => decide::unpause(state, &id, at),
            4 => decide::drain(state, &worker, mode, at),
            // Never less than before: what is set aside stays so.
            5 if self.coordinator.state.matrices[place].budget.is_none() => return,
            5 => decide::set_budget(
                state,
                &id,
                spending::raised(&self.coordinator.state.matrices[place], budget),
                at,
            ),
            _ => decide::lift(state, &worker, at),
        };
        self.coordinator.steer(decided);
    }

    /// It forgets what it does, and is forgotten before it comes back; what it said may still be on its way.
    fn worker_dies(&mut self) {
        let place = self.below(self.workers.len() as u64) as usize;
        let worker = &mut self.workers[place];
        worker.holds.clear();
        self.coordinator.gone(&worker.id);
        self.coordinator.register(&worker.id);
    }

    /// One that has been accepted or uploaded: there, but with other bytes.
    fn object_goes_bad(&mut self) {
        let matrices = self.coordinator.state.matrices.iter();
        let jobs =
            matrices.flat_map(|matrix| matrix.submitted.plan.iter().map(move |job| (matrix, job.ordinal)));
        let ids = jobs.map(|(matrix, ordinal)| JobId { matrix: matrix.submitted.id.clone(), ordinal });
        let mut files: Vec<_> = ids.flat_map(|job| self.coordinator.inputs(&job)).collect();
        // Uploads fail all that needs them: most of the time something is to be made again instead.
        let keep_uploads = self.below(16) == 0;
        files.retain(|file| file.key != ObjectKey::upload(file.digest) || keep_uploads);
        let place = self.below(files.len() as u64) as usize;
        if let Some(file) = files.into_iter().nth(place) {
            self.coordinator.objects.damaged.insert(file.key);
        }
    }

    fn worker_speaks(&mut self) {
        let place = self.below(self.workers.len() as u64) as usize;
        // One that does nothing well is quick at it.
        let place = if self.spoilt && self.faults && self.below(2) == 0 { 3 } else { place };
        let choice = self.below(10);
        let class = self.failure();
        let spoils = self.spoilt && self.faults && place == 3;
        let skips = self.below(8) == 0;
        let (worker, objects) = (&mut self.workers[place], &self.coordinator.objects);
        if let Some(lease) = worker.last.clone().filter(|_| choice > 7) {
            let number = self.coordinator.next_segment(&lease) + u32::from(skips);
            self.network.push(Word::Logged(lease, number));
            return;
        }
        // All that answer in one batch speak in turn.
        if worker.holds.len() > 1 {
            worker.holds.rotate_left(1);
        }
        let word = match worker.holds.first_mut() {
            None => Word::Ask(worker.id.clone()),
            Some(held) if choice < 3 => Word::Renew(held.lease.clone()),
            Some(held) if held.refused => Word::Failed(worker.holds.remove(0).lease, FailureClass::Budget),
            Some(held) if choice == 4 => Word::More(held.lease.clone(), held.limit),
            Some(held) if held.unread.iter().any(|key| objects.is_bad(key)) => {
                let bad = held.unread.iter().filter(|key| objects.is_bad(key)).cloned().collect();
                Word::Unread(worker.holds.remove(0).lease, bad)
            }
            Some(held) if let Some(lease) = handed_back(held, &self.coordinator, &worker.id) => {
                worker.holds.remove(0);
                Word::Failed(lease, FailureClass::Released)
            }
            Some(_) if spoils => Word::Failed(worker.holds.remove(0).lease, FailureClass::Crashed),
            Some(_) if choice == 3 && self.faults => Word::Failed(worker.holds.remove(0).lease, class),
            Some(held) if !held.steps.is_empty() => {
                held.unread.clear();
                Word::Checkpointed(held.lease.clone(), held.steps.remove(0))
            }
            Some(_) => Word::Completed(worker.holds.remove(0).lease),
        };
        self.network.push(word);
    }

    fn failure(&mut self) -> FailureClass {
        match self.below(20) {
            0 => FailureClass::BadInput,
            1..7 => FailureClass::Transient,
            7..10 => FailureClass::Crashed,
            10 => FailureClass::Stalled,
            11..18 => FailureClass::OutOfMemory,
            // A worker that says so without having been refused.
            18 => FailureClass::Budget,
            _ => FailureClass::Released,
        }
    }

    /// A word arrives in any order, once, twice or never.
    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let place = if self.faults { self.below(self.network.len() as u64) as usize } else { 0 };
        let fate = if self.faults { self.below(10) } else { 9 };
        let word = if fate == 0 { self.network[place].clone() } else { self.network.remove(place) };
        if fate == 1 {
            return;
        }
        self.arrive(word);
    }

    /// Without faults, everything comes to an end.
    fn settle(&mut self) {
        self.faults = false;
        self.sync_to_the_end();
        self.coordinator.let_all_go_on();
        let mut rounds = 0;
        while !self.coordinator.state.matrices.is_empty() {
            rounds += 1;
            assert!(rounds < 20_000, "nothing ends: {:#?}", self.unfinished());
            self.coordinator.now += 1;
            self.coordinator.expire();
            self.worker_speaks();
            self.deliver();
            self.renew_all();
        }
    }

    fn renew_all(&mut self) {
        let held: Vec<Word> = self
            .workers
            .iter()
            .flat_map(|worker| &worker.holds)
            .map(|held| Word::Renew(held.lease.clone()))
            .collect();
        for word in held {
            self.coordinator.hear(&word);
        }
        // A worker that is told that its attempt is stale drops it.
        let state = &self.coordinator.state;
        for worker in &mut self.workers {
            worker.holds.retain(|held| assay_domain::decide::renew(state, &held.lease).is_ok());
        }
    }

    fn unfinished(&self) -> Vec<(String, Status)> {
        let matrices = self.coordinator.state.matrices.iter();
        let jobs = matrices.flat_map(|matrix| matrix.submitted.plan.iter().zip(matrix.statuses()));
        jobs.filter(|(_, status)| !status.is_final())
            .map(|(job, status)| (job.label.clone(), status))
            .collect()
    }

    /// What ended without being cancelled has a result or a reason for each job.
    fn ends_are_explained(&self) {
        for matrix in self.coordinator.archive.values() {
            for (job, status) in matrix.submitted.plan.iter().zip(matrix.statuses()) {
                assert!(status.is_final(), "{} ended as {status:?}", job.label);
                let id = JobId { matrix: matrix.submitted.id.clone(), ordinal: job.ordinal };
                let cancelled =
                    matrix.cancelled_at.is_some() || self.coordinator.observer.cancelled.contains(&id);
                assert!(status != Status::Cancelled || cancelled, "{} was cancelled by nobody", job.label);
            }
        }
    }
}

/// How many matrices came to a good end, and what there was to see.
fn run(seed: u64, plans: &[Plan]) -> (usize, Seen) {
    let ids = (0..4).map(|number| WorkerId::new(format!("w-{number}")));
    let workers = ids.map(|id| Worker { id, holds: Vec::new(), last: None }).collect();
    let rng = ChaCha8Rng::seed_from_u64(seed);
    let mut coordinator = Coordinator::new();
    if seed.is_multiple_of(4) {
        coordinator.teams.month = spending::MONTH;
    }
    let mut simulation = Simulation {
        rng,
        coordinator,
        workers,
        network: Vec::new(),
        sync: None,
        slow_disk: seed.is_multiple_of(3),
        plans,
        submitted: 0,
        faults: true,
        spoilt: seed.is_multiple_of(2),
    };
    for place in 0..simulation.workers.len() {
        let id = simulation.workers[place].id.clone();
        simulation.coordinator.register(&id);
    }
    simulation.submit();
    for _ in 0..STEPS {
        simulation.step();
    }
    simulation.settle();
    simulation.coordinator.restart();
    simulation.ends_are_explained();
    let good = simulation.coordinator.archive.values().filter(|matrix| succeeded(matrix)).count();
    (good, simulation.coordinator.observer.seen)
}

/// The attempt, if a person wants it back from its worker. What has saved a checkpoint says so with its next word.
fn handed_back(held: &world::Held, coordinator: &Coordinator, worker: &WorkerId) -> Option<Lease> {
    let state = &coordinator.state;
    let saved = state.job(&held.lease.job).is_some_and(|job| job.resume().is_some());
    let back = coordinator.must_hand_back(worker, saved.then_some(&held.lease));
    back.contains(&held.lease).then(|| held.lease.clone())
}

fn succeeded(matrix: &assay_domain::state::Matrix) -> bool {
    matrix.statuses().iter().all(|status| matches!(status, Status::Succeeded | Status::Reused))
}

#[test]
fn whatever_happens_the_invariants_hold_and_everything_ends() {
    let (plans, seeds) = (plans(), seeds());
    let count = seeds.end - seeds.start;
    let (good, seen) = histories::run_all(seeds, |seed| run(seed, &plans));
    println!("{good} matrices of {count} histories came to a good end; {seen:?}");
    if count < histories::ENOUGH {
        return;
    }
    // A simulation in which nothing ever succeeds, or nothing ever goes wrong, would prove little.
    assert!(good as u64 > count, "only {good} matrices of {count} histories came to a good end");
    let Seen { losses, lost_attempts, crash_ends, crashes_survived, memory_ends, memory_found, .. } = seen;
    for (times, what) in [
        (losses, "losses in the store"),
        (lost_attempts / 10, "ten lost attempts"),
        (crash_ends, "jobs at the crash limit"),
        (crashes_survived, "jobs that crashed and succeeded"),
        (memory_ends, "jobs too large for every worker"),
        (memory_found, "jobs that found more memory"),
        (seen.quarantines, "workers in quarantine"),
        (seen.drains, "workers taken out"),
        (seen.pauses, "matrices held back"),
        (seen.cancels, "jobs cancelled"),
        (seen.limits, "teams at their limit"),
        (seen.reached, "budgets that keep something back"),
        (seen.grants, "attempts that got more of a budget"),
        (seen.refusals, "attempts that a budget ended"),
        (seen.slow_syncs, "slow syncs"),
        (seen.joined, "jobs that joined the batch of another"),
        (seen.taken_back, "crashes before the sync"),
    ] {
        assert!(times > count / 20, "only {times} times in {count} histories: {what}");
    }
}
