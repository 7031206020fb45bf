use assay_domain::event::SubmittedMatrix;
use assay_domain::job::{FailureClass, GenerateSpec, Sampling, SamplingDefaults, System, Usage};
use assay_domain::{
    Artifact, Digest, Event, FileRef, JobKey, MatrixId, ObjectKey, PlannedJob, Progress, State, SubmitKey,
    UnixMillis, Work, WorkerId,
};

use super::*;

fn planned(ordinal: u32) -> PlannedJob {
    let sampling = Sampling {
        name: "t075".into(),
        defaults: SamplingDefaults::Matrix,
        temperature: Some(0.75),
        top_p: Some(1.0),
        top_k: Some(0),
        min_p: Some(0.0),
        repetition_penalty: Some(1.0),
        max_new_tokens: 48,
        samples: 1,
        seed: 7,
    };
    let spec = GenerateSpec {
        model: "m".into(),
        model_settings: assay_domain::job::ModelSettings::default(),
        system: System::Base,
        prompts: "eval".into(),
        prompt_ids: vec!["p1".into()],
        system_prompt: None,
        sampling,
        quantization: None,
    };
    PlannedJob {
        ordinal,
        label: format!("generate {ordinal}"),
        work: Work::Generate(spec),
        inputs: Vec::new(),
        key: JobKey(Digest::of(&ordinal.to_le_bytes())),
        estimate: assay_domain::job::Estimate::default(),
        demand: assay_domain::job::Demand::default(),
    }
}

fn lease_n(attempt: u32) -> Lease {
    lease_of("m-1/0", 1, attempt).unwrap()
}

fn generations(lease: &Lease) -> Artifact {
    let path = String::from("generations.jsonl");
    let key = ObjectKey::output(lease, "generations", &path).unwrap();
    Artifact {
        name: "generations".into(),
        files: vec![FileRef { path, key, digest: Digest::of(b"x"), bytes: 1, origin: None }],
    }
}

fn state() -> State {
    let mut state = State::default();
    let worker = WorkerId::new("w-1");
    let at = UnixMillis(10);
    let matrix = SubmittedMatrix {
        id: MatrixId::new("m-1"),
        submit_key: SubmitKey::new("k"),
        name: "demo".into(),
        spec_digest: Digest::of(b"{}"),
        spec_json: "{}".into(),
        secret: Digest::of(b"secret"),
        plan: vec![planned(0), planned(1)],
        schedule: Default::default(),
        fixed_at: None,
        budget: Default::default(),
        at,
    };
    let failed = |lease| Event::AttemptFailed {
        lease,
        class: FailureClass::Crashed,
        reason: "signal 9".into(),
        memory_mib: None,
        used: None,
        needs_permille: None,
        at: UnixMillis(12),
    };
    for event in [
        Event::MatrixSubmitted { matrix: Box::new(matrix) },
        Event::JobLeased { lease: lease_n(1), worker: worker.clone(), account: Default::default(), at },
        failed(lease_n(1)),
        Event::JobLeased { lease: lease_n(2), worker, account: Default::default(), at: UnixMillis(13) },
    ] {
        state.apply(&event);
    }
    state
}

#[test]
fn a_running_job_shows_attempts_and_progress_and_a_finished_one_its_outputs() {
    let mut state = state();
    let id = MatrixId::new("m-1");
    let progress = Progress { phase: "generate".into(), done: 1, total: 12, ..Progress::default() };
    let said = |ordinal| (ordinal == 0).then(|| progress.clone());
    let view = matrix_view(state.matrix(&id).unwrap(), said, true);
    let job = &view.jobs[0];
    assert_eq!((job.status.as_str(), view.jobs[1].status.as_str()), ("running", "ready"));
    assert_eq!(job.attempts[0].reason, "signal 9");
    assert_eq!(job.attempts[1].fence, "e1-a2");
    assert_eq!(from_json::<Progress>("progress_json", &job.progress_json).unwrap(), progress);
    assert_eq!(view.resolved_json, "{}");
    assert_eq!(view.summary.unwrap().finished_at_unix_ms, 0);

    let outputs = vec![generations(&lease_n(2))];
    let usage = Usage { tokens: 5, ..Usage::default() };
    let done = Event::JobSucceeded { lease: lease_n(2), outputs: outputs.clone(), usage, at: UnixMillis(20) };
    state.apply(&done);
    let view = matrix_view(state.matrix(&id).unwrap(), |_| None, false);
    assert_eq!(artifacts("outputs_json", &view.jobs[0].outputs_json).unwrap(), outputs);
    assert!(view.resolved_json.is_empty() && view.jobs[0].progress_json.is_empty());
    assert_eq!(view.summary.unwrap().jobs["succeeded"], 1);
}

#[test]
fn a_lease_survives_the_wire() {
    let lease_there = lease_n(7);
    assert_eq!(lease(Some(lease_ref(&lease_there))).unwrap(), lease_there);
    assert_eq!(lease(None).unwrap_err().to_string(), "field `lease` is missing");
}

#[test]
fn what_cannot_be_read_is_named() {
    let bad = lease_of("nonsense", 1, 1).unwrap_err();
    let status = tonic::Status::from(bad);
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("`job_id`") && status.message().contains("`nonsense`"), "{status}");
    let bad = from_json::<Progress>("progress_json", "{}").unwrap_err();
    assert!(tonic::Status::from(bad).message().contains("missing field `phase`"));
}

#[test]
fn an_answer_keeps_its_rejection() {
    let stale = Rejection::StaleAttempt { lease: lease_n(1), current: None };
    assert_eq!(item_outcome(&item_answer(Err(stale.clone()))).unwrap(), Err(stale));
    assert_eq!(item_outcome(&item_answer(Ok(()))).unwrap(), Ok(()));
}

#[test]
fn the_trace_of_a_matrix_is_derived() {
    let id = MatrixId::new("m-1");
    let text = traceparent(&id);
    assert_eq!((text.len(), text), (55, traceparent(&MatrixId::new("m-1"))));
    assert_ne!(traceparent(&id), traceparent(&MatrixId::new("m-2")));
}
