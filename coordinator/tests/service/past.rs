//! What the journal holds of matrices that ran: events as the engine records them.

use assay_domain::event::SubmittedMatrix;
use assay_domain::job::Usage;
use assay_domain::segment::Lines;
use assay_domain::{
    Artifact, Digest, Event, FileRef, Lease, LogSegment, MatrixId, ObjectKey, PlannedJob, SubmitKey,
    UnixMillis, Work, WorkerId,
};

fn artifact(lease: &Lease, name: &str) -> Artifact {
    let key = ObjectKey::output(lease, name, "file.jsonl").unwrap();
    let digest = Digest::of(key.as_str().as_bytes());
    let file = FileRef { path: String::from("file.jsonl"), key, digest, bytes: 1_000, origin: None };
    Artifact { name: name.to_owned(), files: vec![file] }
}

pub(crate) fn submitted(number: u64, plan: &[PlannedJob], at: UnixMillis) -> SubmittedMatrix {
    SubmittedMatrix {
        id: MatrixId::new(format!("m-{number:012}")),
        submit_key: SubmitKey::new(format!("key {number}")),
        name: String::from("small"),
        spec_digest: Digest::of(&number.to_le_bytes()),
        spec_json: super::matrix::resolved(number).to_string(),
        secret: Digest::of(b"secret"),
        plan: plan.to_vec(),
        fixed_at: None,
        at,
        budget: assay_domain::budget::Cap::default(),
        schedule: Default::default(),
    }
}

/// All that happens to a job: a lease, a log segment, checkpoints of a training, success.
pub(crate) fn life(lease: &Lease, work: &Work, at: UnixMillis) -> Vec<Event> {
    let digest = Digest::of(b"log");
    let segment = LogSegment { number: 1, last_line: 50, digest, bytes: 4_000, of: Lines::Log };
    let mut events = vec![
        Event::JobLeased {
            lease: lease.clone(),
            worker: WorkerId::new("w"),
            account: Default::default(),
            at,
        },
        Event::Logged { lease: lease.clone(), segment, at },
    ];
    if let Work::Train(spec) = work {
        events.extend(spec.checkpoints.iter().map(|step| Event::Checkpointed {
            lease: lease.clone(),
            step: *step,
            adapter: artifact(lease, &Artifact::adapter_name(*step)),
            resume: artifact(lease, &Artifact::resume_name(*step)),
            asked_for: false,
            at,
        }));
    }
    let outputs = work.completion_outputs().iter().map(|name| artifact(lease, name)).collect();
    events.push(Event::JobSucceeded { lease: lease.clone(), outputs, usage: Usage::default(), at });
    events
}
