//! What was acknowledged, and that it is so for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use assay_domain::{Artifact, Assignment, JobId, Lease};
use assay_proto::v1;

use crate::matrix::JOBS;
use crate::person;
use crate::place::Client;

/// What a process of its own says of what it was told, after this on a line.
pub(crate) const SAYS: &str = "worker: ";

/// What a worker was told.
#[derive(Serialize, Deserialize)]
enum Told {
    Offered(Lease, Option<u64>),
    Checkpointed(Lease, u64),
    Completed(Lease, Vec<Artifact>),
    Refused,
}

#[derive(Default)]
pub(crate) struct Ledger {
    /// Whether all of it is said on standard output, for another process.
    tells: bool,

    /// Seed and matrix, by submit key.
    submitted: BTreeMap<String, (u64, String)>,
    /// The newest checkpoint of each job.
    checkpointed: BTreeMap<JobId, u64>,
    completed: BTreeMap<JobId, (Lease, Vec<Artifact>)>,
    /// Completions of attempts that were not current any more.
    pub(crate) refused: usize,
}

impl Ledger {
    /// One that says all that it hears.
    pub(crate) fn telling() -> Self {
        Self { tells: true, ..Self::default() }
    }

    fn tell(&self, told: &Told) {
        if self.tells {
            // On a line of its own, whatever the test's own harness has printed.
            println!("\n{SAYS}{}", serde_json::to_string(told).unwrap());
        }
    }

    /// What another process was told.
    pub(crate) fn hear(&mut self, said: &str) {
        // The last line of a process that was killed may be a part of one.
        let Ok(told) = serde_json::from_str(said) else { return };
        match told {
            Told::Offered(lease, resume) => self.offered_from(&lease, resume),
            Told::Checkpointed(lease, step) => self.checkpointed(&lease, step),
            Told::Completed(lease, outputs) => self.completed(lease, outputs),
            Told::Refused => self.refused(),
        }
    }

    /// A completion of an attempt that was not current any more was refused.
    pub(crate) fn refused(&mut self) {
        self.refused += 1;
        self.tell(&Told::Refused);
    }

    pub(crate) fn submitted(&mut self, key: &str, seed: u64, matrix: &str) {
        let before = self.submitted.insert(key.to_owned(), (seed, matrix.to_owned()));
        assert!(before.is_none());
    }

    /// A worker got an attempt: its job must not be done, and no checkpoint lost.
    pub(crate) fn offered(&self, assignment: &Assignment) {
        self.offered_from(&assignment.lease, assignment.resume.as_ref().map(|(step, _)| *step));
    }

    fn offered_from(&self, lease: &Lease, resume: Option<u64>) {
        self.tell(&Told::Offered(lease.clone(), resume));
        if let Some((done, _)) = self.completed.get(&lease.job) {
            panic!("{lease} is offered after {done} was acknowledged");
        }
        assert!(resume >= self.checkpointed.get(&lease.job).copied(), "{lease} resumes from {resume:?}");
    }

    pub(crate) fn checkpointed(&mut self, lease: &Lease, step: u64) {
        self.tell(&Told::Checkpointed(lease.clone(), step));
        self.checkpointed.insert(lease.job.clone(), step);
    }

    pub(crate) fn completed(&mut self, lease: Lease, outputs: Vec<Artifact>) {
        self.tell(&Told::Completed(lease.clone(), outputs.clone()));
        let before = self.completed.insert(lease.job.clone(), (lease.clone(), outputs));
        assert!(before.is_none(), "acknowledged twice: {before:?}, then {lease}");
    }

    /// The keys of all outputs that were acknowledged.
    pub(crate) fn output_keys(&self) -> Vec<String> {
        let outputs = self.completed.values().flat_map(|(_, outputs)| outputs);
        outputs.flat_map(|output| &output.files).map(|file| file.key.to_string()).collect()
    }

    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (self.submitted.len(), self.checkpointed.len(), self.completed.len())
    }

    /// Everything acknowledged is there, and every job succeeded once.
    pub(crate) async fn check(&self, client: &Client) {
        let mut unseen: BTreeMap<String, _> =
            self.completed.iter().map(|(job, done)| (job.to_string(), done)).collect();
        for (key, (seed, matrix)) in &self.submitted {
            let again = person::submit(client, key, *seed).await.unwrap();
            assert_eq!((again.repeated, &again.matrix_id), (true, matrix), "{key}");
            let request = v1::GetMatrixRequest { matrix_id: matrix.clone() };
            let view = client.matrices().get(request).await.unwrap().into_inner().matrix.unwrap();
            assert_eq!(view.jobs.len(), JOBS);
            for job in &view.jobs {
                succeeded_once(job);
                if let Some((lease, outputs)) = unseen.remove(&job.job_id) {
                    completed_by(job, lease, outputs);
                }
            }
        }
        assert!(unseen.is_empty(), "completed, but of no matrix: {:?}", unseen.keys());
        self.check_objects(client).await;
    }

    async fn check_objects(&self, client: &Client) {
        for (_, outputs) in self.completed.values() {
            let files: Vec<_> = outputs.iter().flat_map(|artifact| &artifact.files).collect();
            let found = client.download(files.iter().map(|file| file.key.to_string()).collect()).await;
            for (file, bytes) in files.into_iter().zip(found) {
                assert_eq!(assay_domain::Digest::of(&bytes), file.digest, "{}", file.key);
            }
        }
    }
}

fn succeeded_once(job: &v1::JobView) {
    let wins = job.attempts.iter().filter(|attempt| attempt.outcome == "succeeded").count();
    match job.status.as_str() {
        "succeeded" => assert_eq!(wins, 1, "{job:?}"),
        "reused" => assert_eq!((wins, job.attempts.len()), (0, 0), "{job:?}"),
        // Whoever had it was killed three times: then it may be the job itself.
        "failed" if job.reason.starts_with("given up after 3 attempts that crashed") => {
            assert_eq!(
                (wins, job.attempts.iter().filter(|one| one.outcome == "lost").count()),
                (0, 3),
                "{job:?}"
            );
        }
        "blocked" => assert_eq!(wins, 0, "{job:?}"),
        other => panic!("{other}: {job:?}"),
    }
    assert!(job.attempts.iter().all(|attempt| attempt.outcome != "running"), "{job:?}");
}

fn completed_by(job: &v1::JobView, lease: &Lease, outputs: &[Artifact]) {
    let winner = job.attempts.iter().find(|attempt| attempt.outcome == "succeeded");
    assert_eq!(winner.map(|attempt| &attempt.fence), Some(&lease.fence.to_string()), "{job:?}");
    let kept: Vec<Artifact> = serde_json::from_str(&job.outputs_json).unwrap();
    for output in outputs {
        assert_eq!(kept.iter().filter(|artifact| artifact.name == output.name).count(), 1);
        assert!(kept.contains(output), "{} of {lease} is {kept:?}", output.name);
    }
}
