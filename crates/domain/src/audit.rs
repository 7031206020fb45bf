//! What happened, as people read it: who did what to what, when. Nothing secret is in it.

use crate::budget::{Account, Amount, Cap};
use crate::event::{SubmittedMatrix, WorkerInfo};
use crate::job::FailureClass;
use crate::{Event, JobId, Lease, MatrixId, UnixMillis, WorkerId};

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Someone with the token; there are no other identities yet.
    Person,
    /// The coordinator by itself.
    Coordinator,
    /// A worker.
    Worker(WorkerId),
    /// The worker that has this attempt, named by an earlier event.
    HolderOf(Lease),
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The event's name, as it is stored.
    pub kind: &'static str,
    /// When; a raised epoch has no time.
    pub at: Option<UnixMillis>,
    /// Who.
    pub who: Who,
    /// The matrix it is about.
    pub matrix: Option<MatrixId>,
    /// The job it is about.
    pub job: Option<JobId>,
    /// The attempt it is about.
    pub lease: Option<Lease>,
    /// What, in words.
    pub what: String,
}

/// The names of all events.
pub const KINDS: [&str; 27] = [
    "epoch_raised",
    "matrix_submitted",
    "job_reused",
    "worker_registered",
    "worker_forgotten",
    "job_leased",
    "spend_granted",
    "checkpointed",
    "logged",
    "job_succeeded",
    "attempt_failed",
    "attempt_lost",
    "artifact_lost",
    "job_failed",
    "matrix_cancelled",
    "job_cancelled",
    "matrix_paused",
    "matrix_resumed",
    "matrix_budgeted",
    "budget_reached",
    "worker_quarantined",
    "worker_draining",
    "worker_lifted",
    "matrix_archived",
    "history_forgotten",
    "backup_taken",
    "backup_failed",
];

/// An event as people read it.
pub fn entry(event: &Event) -> Entry {
    let (kind, at, who, what) = told(event);
    Entry {
        kind,
        at,
        who,
        matrix: event.matrix().cloned(),
        job: event.job().cloned(),
        lease: lease(event).cloned(),
        what,
    }
}

/// The attempt that an event is about.
fn lease(event: &Event) -> Option<&Lease> {
    match event {
        Event::JobLeased { lease, .. }
        | Event::SpendGranted { lease, .. }
        | Event::Checkpointed { lease, .. }
        | Event::Logged { lease, .. }
        | Event::JobSucceeded { lease, .. }
        | Event::AttemptFailed { lease, .. }
        | Event::AttemptLost { lease, .. } => Some(lease),
        Event::EpochRaised { .. }
        | Event::HistoryForgotten { .. }
        | Event::BackupTaken { .. }
        | Event::BackupFailed { .. }
        | Event::MatrixSubmitted { .. }
        | Event::JobReused { .. }
        | Event::WorkerRegistered { .. }
        | Event::WorkerForgotten { .. }
        | Event::ArtifactLost { .. }
        | Event::JobFailed { .. }
        | Event::MatrixCancelled { .. }
        | Event::JobCancelled { .. }
        | Event::MatrixPaused { .. }
        | Event::MatrixResumed { .. }
        | Event::MatrixBudgeted { .. }
        | Event::BudgetReached { .. }
        | Event::WorkerQuarantined { .. }
        | Event::WorkerDraining { .. }
        | Event::WorkerLifted { .. }
        | Event::MatrixArchived { .. } => None,
    }
}

type Told = (&'static str, Option<UnixMillis>, Who, String);

fn told(event: &Event) -> Told {
    let here = |kind, at: &UnixMillis, what| (kind, Some(*at), Who::Coordinator, what);
    let asked = |kind, at: &UnixMillis, what| (kind, Some(*at), Who::Person, what);
    let there =
        |kind, at: &UnixMillis, lease: &Lease, what| (kind, Some(*at), Who::HolderOf(lease.clone()), what);
    match event {
        Event::EpochRaised { epoch } => {
            let what = format!("epoch {epoch} begins: attempts of older ones are void");
            ("epoch_raised", None, Who::Coordinator, what)
        }
        Event::MatrixSubmitted { matrix } => {
            ("matrix_submitted", Some(matrix.at), Who::Person, submitted(matrix))
        }
        Event::MatrixCancelled { at, .. } => asked("matrix_cancelled", at, String::from("cancelled")),
        Event::JobCancelled { at, .. } => asked("job_cancelled", at, String::from("cancelled")),
        Event::MatrixPaused { at, .. } => asked("matrix_paused", at, String::from("paused")),
        Event::MatrixResumed { at, .. } => asked("matrix_resumed", at, String::from("goes on")),
        Event::MatrixBudgeted { budget, at, .. } => asked("matrix_budgeted", at, budgeted(*budget)),
        Event::BudgetReached { at, .. } => here("budget_reached", at, reached(event)),
        Event::WorkerDraining { worker, mode, at } => {
            asked("worker_draining", at, format!("{worker} is drained ({})", mode.as_str()))
        }
        // A person lifts it, or its time is over: the journal does not say which.
        Event::WorkerLifted { worker, at } => here("worker_lifted", at, format!("{worker} gets jobs again")),
        Event::WorkerQuarantined { worker, reason, at } => {
            here("worker_quarantined", at, format!("{worker} gets no more jobs: {reason}"))
        }
        Event::WorkerRegistered { worker, at } => {
            ("worker_registered", Some(*at), Who::Worker(worker.id.clone()), registered(worker))
        }
        Event::WorkerForgotten { worker, at } => {
            here("worker_forgotten", at, format!("{worker} was gone for long and is forgotten"))
        }
        Event::JobReused { from, at, .. } => here("job_reused", at, format!("taken from {from}")),
        Event::JobLeased { worker, account, at, .. } => here("job_leased", at, leased(worker, account)),
        Event::SpendGranted { lease, more, at } => there("spend_granted", at, lease, granted(*more)),
        Event::Checkpointed { lease, step, at, .. } => {
            there("checkpointed", at, lease, format!("checkpoint at step {step}"))
        }
        Event::Logged { lease, segment, at } => there(
            "logged",
            at,
            lease,
            format!("stored its {} up to line {}", segment.of.as_str(), segment.last_line),
        ),
        Event::JobSucceeded { lease, outputs, at, .. } => {
            let names: Vec<_> = outputs.iter().map(|artifact| artifact.name.as_str()).collect();
            there("job_succeeded", at, lease, format!("succeeded with {}", names.join(", ")))
        }
        Event::AttemptFailed { lease, class, reason, at, .. } => {
            there("attempt_failed", at, lease, format!("failed ({}): {reason}", word(*class)))
        }
        Event::AttemptLost { at, .. } => {
            here("attempt_lost", at, String::from("its lease ran out: the worker was not heard"))
        }
        Event::ArtifactLost { name, key, reason, at, .. } => {
            here("artifact_lost", at, format!("lost {name}: {key} {reason}"))
        }
        Event::JobFailed { reason, at, .. } => here("job_failed", at, format!("not tried again: {reason}")),
        Event::HistoryForgotten { before, at } => here(
            "history_forgotten",
            at,
            format!("finished matrices that ended before {} are forgotten", before.0),
        ),
        Event::BackupTaken { at, .. } => here("backup_taken", at, backed_up(event)),
        Event::BackupFailed { reason, at } => here("backup_failed", at, format!("no backup: {reason}")),
        Event::MatrixArchived { at, .. } => here("matrix_archived", at, String::from("ended")),
    }
}

fn registered(worker: &WorkerInfo) -> String {
    format!("registered: {}, {}, version {}", worker.host, worker.device_name, worker.version)
}

fn leased(worker: &WorkerId, account: &Account) -> String {
    let limit = account.limited.then(|| format!(", {} set aside", account.reserved));
    format!("leased to {worker}{}", limit.unwrap_or_default())
}

fn granted(more: Amount) -> String {
    format!("asked for more and got {more}")
}

fn budgeted(budget: Cap) -> String {
    format!("may cost {budget} from now on")
}

fn reached(event: &Event) -> String {
    let Event::BudgetReached { scope, needs, left, .. } = event else { return String::new() };
    let remedy = scope.remedy();
    format!("its next job needs about {needs}, and of the budget of {scope} there is {left} left: {remedy}")
}

fn backed_up(event: &Event) -> String {
    let Event::BackupTaken { name, sequence, objects, object_bytes, missing, .. } = event else {
        return String::new();
    };
    let lacking = if *missing == 0 { String::new() } else { format!("; {missing} objects are not in it") };
    format!(
        "backup {name} as of sequence {sequence}, with {objects} objects of {object_bytes} bytes, read back{lacking}"
    )
}

fn submitted(matrix: &SubmittedMatrix) -> String {
    format!("submitted {}: {} jobs, submit key {}", matrix.name, matrix.plan.len(), matrix.submit_key)
}

/// As it is stored.
fn word(class: FailureClass) -> String {
    serde_json::to_value(class).ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Scope;
    use crate::{Attempt, Digest, Epoch, Fence, SubmitKey};

    fn matrix() -> Box<SubmittedMatrix> {
        Box::new(SubmittedMatrix {
            id: MatrixId::new("m-1"),
            submit_key: SubmitKey::new("mine"),
            name: String::from("talk"),
            spec_digest: Digest::of(b"spec"),
            spec_json: String::from("{}"),
            secret: Digest::of(b"secret"),
            plan: Vec::new(),
            schedule: crate::matrix::Schedule::default(),
            fixed_at: None,
            budget: Cap::default(),
            at: UnixMillis(7),
        })
    }

    #[test]
    fn a_submission_is_told_without_its_secret() {
        let told = entry(&Event::MatrixSubmitted { matrix: matrix() });
        assert_eq!((told.kind, told.at, &told.who), ("matrix_submitted", Some(UnixMillis(7)), &Who::Person));
        assert_eq!(told.what, "submitted talk: 0 jobs, submit key mine");
        assert!(!format!("{told:?}").contains(&Digest::of(b"secret").to_string()));
    }

    #[test]
    fn kinds_are_the_stored_names() {
        let job = JobId { matrix: MatrixId::new("m-1"), ordinal: 3 };
        let lease = Lease { job: job.clone(), fence: Fence { epoch: Epoch(1), attempt: Attempt(2) } };
        let at = UnixMillis(9);
        let (matrix, worker) = (MatrixId::new("m-1"), WorkerId::new("w"));
        let events = [
            Event::EpochRaised { epoch: Epoch(2) },
            Event::WorkerForgotten { worker: worker.clone(), at },
            Event::JobLeased { lease: lease.clone(), worker, account: Account::default(), at },
            Event::SpendGranted { lease: lease.clone(), more: Amount::ZERO, at },
            Event::AttemptLost { lease: lease.clone(), at },
            Event::AttemptFailed {
                lease,
                class: FailureClass::BadInput,
                reason: String::from("no row"),
                memory_mib: None,
                used: None,
                needs_permille: None,
                at,
            },
            Event::JobFailed { job: job.clone(), reason: String::from("no row"), at },
            Event::JobCancelled { job, at },
            Event::MatrixCancelled { matrix: matrix.clone(), at },
            Event::MatrixPaused { matrix: matrix.clone(), at },
            Event::MatrixResumed { matrix: matrix.clone(), at },
            Event::MatrixBudgeted { matrix: matrix.clone(), budget: Cap::default(), at },
            Event::BudgetReached {
                matrix: matrix.clone(),
                scope: Scope::Matrix { matrix: matrix.clone() },
                needs: Amount::ZERO,
                left: Cap::default(),
                at,
            },
            Event::WorkerQuarantined { worker: WorkerId::new("w"), reason: String::new(), at },
            Event::WorkerDraining { worker: WorkerId::new("w"), mode: crate::state::DrainMode::Now, at },
            Event::WorkerLifted { worker: WorkerId::new("w"), at },
            Event::MatrixArchived { matrix, at },
            Event::HistoryForgotten { before: at, at },
            Event::BackupTaken {
                name: String::from("b"),
                sequence: 1,
                objects: 2,
                object_bytes: 3,
                missing: 1,
                at,
            },
            Event::BackupFailed { reason: String::from("a full disk"), at },
        ];
        for event in events {
            let told = entry(&event);
            let stored = serde_json::to_value(&event).unwrap();
            assert_eq!(stored["event"], told.kind);
            assert!(KINDS.contains(&told.kind));
            assert_eq!(told.job.as_ref(), event.job());
        }
    }
}
