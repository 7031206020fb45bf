//! A scripted worker over the real stream: it says what a test wants it to say, and otherwise does as real ones do.

use std::collections::VecDeque;

use assay_domain::event::WorkerInfo;
use assay_domain::job::{Offer, Progress, Usage};
use assay_domain::{
    Artifact, Assignment, DeviceKind, Digest, FileRef, Lease, LogSegment, ObjectKey, Rejection, Work,
    WorkKind, WorkerId,
};
use assay_proto::v1::coordinator_message::Body as Told;
use assay_proto::v1::worker_message::Body as Said;
use assay_proto::{PROTOCOL, convert, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::world::{PATIENCE, World, put};

pub(crate) struct Worker<'a> {
    world: &'a World,
    sender: mpsc::Sender<v1::WorkerMessage>,
    receiver: Streaming<v1::CoordinatorMessage>,
    kept: VecDeque<Told>,
    sequence: u64,
    /// The lease's term as the last answer told it.
    pub(crate) term_ms: u64,
    pub(crate) welcome: v1::Welcome,
}

pub(crate) fn info(id: &str, kinds: &[WorkKind]) -> WorkerInfo {
    WorkerInfo {
        id: WorkerId::new(id),
        host: "test".into(),
        device: DeviceKind::Cpu,
        device_name: "test".into(),
        memory_mib: 1024,
        kinds: kinds.to_vec(),
        version: "0".into(),
        usd_per_hour: None,
    }
}

pub(crate) fn hello(id: &str, running: &[Lease]) -> v1::Hello {
    v1::Hello {
        protocol: PROTOCOL,
        worker_json: convert::to_json(&info(id, &WorkKind::ALL)),
        running: running.iter().map(convert::lease_ref).collect(),
    }
}

impl<'a> Worker<'a> {
    /// A worker that runs everything.
    pub(crate) async fn connect(world: &'a World, id: &str, running: &[Lease]) -> Worker<'a> {
        Self::try_connect(world, hello(id, running)).await.unwrap()
    }

    pub(crate) async fn try_connect(world: &'a World, hello: v1::Hello) -> Result<Worker<'a>, Status> {
        let (sender, messages) = mpsc::channel(64);
        sender.send(v1::WorkerMessage { sequence: 0, body: Some(Said::Hello(hello)) }).await.unwrap();
        let mut receiver = world.leases().work(ReceiverStream::new(messages)).await?.into_inner();
        let first = tokio::time::timeout(PATIENCE, receiver.message()).await.expect("a welcome")?;
        let Some(Told::Welcome(welcome)) = first.and_then(|message| message.body) else {
            panic!("the first message is no welcome");
        };
        Ok(Worker { world, sender, receiver, kept: VecDeque::new(), sequence: 0, term_ms: 0, welcome })
    }

    pub(crate) async fn say(&mut self, body: Said) -> u64 {
        self.sequence += 1;
        let message = v1::WorkerMessage { sequence: self.sequence, body: Some(body) };
        self.sender.send(message).await.unwrap();
        self.sequence
    }

    pub(crate) async fn ready(&mut self, slots: u32) {
        self.say(Said::Ready(v1::Ready { slots, ..Default::default() })).await;
    }

    /// The same, with what it has to offer; answers when the coordinator has heard it.
    pub(crate) async fn ready_with(&mut self, slots: u32, offer: Offer) {
        let offer_json = convert::to_json(&offer);
        self.say(Said::Ready(v1::Ready { slots, offer_json })).await;
        // It reads in order: whatever this is answered, that was read before.
        let nobody = convert::lease_of("m-none/0", 1, 1).unwrap();
        assert!(self.renew(&nobody, None).await.is_err());
    }

    /// The next message, or how the stream ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>, Status> {
        if let Some(kept) = self.kept.pop_front() {
            return Ok(Some(kept));
        }
        self.read().await
    }

    async fn read(&mut self) -> Result<Option<Told>, Status> {
        let message =
            tokio::time::timeout(PATIENCE, self.receiver.message()).await.expect("a message in time")?;
        Ok(message.and_then(|message| message.body))
    }

    /// The next offer, with one more slot asked for.
    pub(crate) async fn offer(&mut self) -> Assignment {
        self.ready(1).await;
        self.offered().await
    }

    pub(crate) async fn offered(&mut self) -> Assignment {
        match self.next().await.unwrap() {
            Some(Told::Offers(mut batch)) => {
                let first = batch.assignments_json.remove(0);
                if !batch.assignments_json.is_empty() {
                    self.kept.push_front(Told::Offers(batch));
                }
                convert::from_json("assignment", &first).unwrap()
            }
            other => panic!("not an offer: {other:?}"),
        }
    }

    pub(crate) async fn stopped(&mut self) -> (Lease, String) {
        match self.next().await.unwrap() {
            Some(Told::Stops(mut batch)) => {
                let item = batch.items.remove(0);
                (convert::lease(item.lease).unwrap(), item.reason)
            }
            other => panic!("not a stop: {other:?}"),
        }
    }

    /// The trainings that it is to save.
    pub(crate) async fn asked_to_save(&mut self) -> Vec<Lease> {
        match self.next().await.unwrap() {
            Some(Told::Saves(batch)) => {
                batch.leases.into_iter().map(|lease| convert::lease(Some(lease)).unwrap()).collect()
            }
            other => panic!("not asked to save: {other:?}"),
        }
    }

    /// The outcome of the one item of a batch.
    pub(crate) async fn answer(&mut self, body: Said) -> Result<(), Rejection> {
        let sequence = self.say(body).await;
        loop {
            match self.read().await.unwrap() {
                Some(Told::Answers(batch)) => {
                    let answer = &batch.answers[0];
                    assert_eq!((answer.sequence, answer.items.len()), (sequence, 1));
                    self.term_ms = answer.lease_ms;
                    return convert::item_outcome(&answer.items[0]).unwrap();
                }
                Some(other) => self.kept.push_back(other),
                None => panic!("the stream ended before its answer"),
            }
        }
    }

    pub(crate) async fn renew(&mut self, lease: &Lease, progress: Option<Progress>) -> Result<(), Rejection> {
        let progress_json = progress.map(|progress| convert::to_json(&progress)).unwrap_or_default();
        let renewal = v1::Renewal { lease: Some(convert::lease_ref(lease)), progress_json };
        self.answer(Said::Renew(v1::RenewBatch { renewals: vec![renewal] })).await
    }

    pub(crate) async fn fail(&mut self, lease: &Lease, class: &str, reason: &str) -> Result<(), Rejection> {
        self.fail_with(lease, class, reason, &[]).await
    }

    /// The attempt could not read inputs as they should be.
    pub(crate) async fn suspect(&mut self, lease: &Lease, keys: &[&ObjectKey]) -> Result<(), Rejection> {
        self.fail_with(lease, "transient", "an input cannot be read", keys).await
    }

    async fn fail_with(
        &mut self,
        lease: &Lease,
        class: &str,
        reason: &str,
        suspects: &[&ObjectKey],
    ) -> Result<(), Rejection> {
        let suspect = |key: &&ObjectKey| v1::SuspectObject { key: key.to_string(), found: "?".into() };
        let item = v1::FailedItem {
            lease: Some(convert::lease_ref(lease)),
            class: class.into(),
            reason: reason.into(),
            suspects: suspects.iter().map(suspect).collect(),
            used_json: String::new(),
        };
        self.answer(Said::Failed(v1::FailedBatch { items: vec![item] })).await
    }

    pub(crate) async fn log(&mut self, lease: &Lease, line: &str) {
        self.log_numbered(lease, 0, line).await;
    }

    pub(crate) async fn log_numbered(&mut self, lease: &Lease, number: u64, line: &str) {
        let lease = Some(convert::lease_ref(lease));
        let item = v1::LogItem { lease, at_unix_ms: 7, line: line.into(), number };
        self.say(Said::Logs(v1::LogBatch { items: vec![item] })).await;
    }

    /// Uploads a part of the log and says so.
    pub(crate) async fn store_log(
        &mut self,
        lease: &Lease,
        number: u32,
        last_line: u64,
        text: &str,
    ) -> Result<(), Rejection> {
        let stored = self.upload(lease, "log", &number.to_string(), text.as_bytes()).await;
        let (digest, bytes) = (stored.files[0].digest, stored.files[0].bytes);
        self.say_logged(
            lease,
            &LogSegment { number, last_line, digest, bytes, of: assay_domain::segment::Lines::Log },
        )
        .await
    }

    pub(crate) async fn say_logged(&mut self, lease: &Lease, segment: &LogSegment) -> Result<(), Rejection> {
        let lease = Some(convert::lease_ref(lease));
        let item = v1::LoggedItem { lease, segment_json: convert::to_json(segment) };
        self.answer(Said::Logged(v1::LoggedBatch { items: vec![item] })).await
    }

    /// Uploads one file of an artifact by a signed request.
    pub(crate) async fn upload(&self, lease: &Lease, artifact: &str, path: &str, bytes: &[u8]) -> Artifact {
        let signed =
            self.world.artifacts().sign_upload(sign_request(lease, artifact, path, bytes)).await.unwrap();
        let signed = signed.into_inner().uploads.remove(0);
        let (status, text) = put(&signed.request.unwrap().url, bytes).await;
        assert!(status.is_success(), "{status}: {text}");
        let file = FileRef {
            path: path.into(),
            key: ObjectKey::parse(signed.key).unwrap(),
            digest: Digest::of(bytes),
            bytes: bytes.len() as u64,
            origin: None,
        };
        Artifact { name: artifact.into(), files: vec![file] }
    }

    pub(crate) async fn checkpoint(&mut self, lease: &Lease, step: u64) -> Result<(), Rejection> {
        let bytes = format!("adapter {lease} {step}");
        let adapter =
            self.upload(lease, &format!("adapter@{step}"), "adapter.safetensors", bytes.as_bytes()).await;
        let resume = self.upload(lease, &format!("resume@{step}"), "state.json", b"{}").await;
        self.say_checkpoint(lease, step, &adapter, &resume).await
    }

    pub(crate) async fn say_checkpoint(
        &mut self,
        lease: &Lease,
        step: u64,
        adapter: &Artifact,
        resume: &Artifact,
    ) -> Result<(), Rejection> {
        let item = v1::CheckpointedItem {
            lease: Some(convert::lease_ref(lease)),
            step,
            adapter_json: convert::to_json(adapter),
            resume_json: convert::to_json(resume),
        };
        self.answer(Said::Checkpointed(v1::CheckpointedBatch { items: vec![item] })).await
    }

    pub(crate) async fn complete(&mut self, lease: &Lease, outputs: &[Artifact]) -> Result<(), Rejection> {
        let usage = Usage { tokens: 10, ..Usage::default() };
        let item = v1::CompletedItem {
            lease: Some(convert::lease_ref(lease)),
            outputs_json: convert::to_json(outputs),
            usage_json: convert::to_json(&usage),
        };
        self.answer(Said::Completed(v1::CompletedBatch { items: vec![item] })).await
    }

    /// Does a job as a worker does: checkpoints, outputs, completion.
    pub(crate) async fn perform(&mut self, assignment: &Assignment) -> Vec<Artifact> {
        let lease = &assignment.lease;
        if let Work::Train(spec) = &assignment.job.work {
            for step in &spec.checkpoints {
                self.checkpoint(lease, *step).await.unwrap();
            }
        }
        let mut outputs = Vec::new();
        for name in assignment.job.work.completion_outputs() {
            let bytes = format!("{name} of {lease}");
            outputs.push(self.upload(lease, name, &format!("{name}.jsonl"), bytes.as_bytes()).await);
        }
        self.complete(lease, &outputs).await.unwrap();
        outputs
    }
}

pub(crate) fn sign_request(lease: &Lease, artifact: &str, path: &str, bytes: &[u8]) -> v1::SignUploadRequest {
    let output = v1::AttemptOutput {
        job_id: lease.job.to_string(),
        epoch: lease.fence.epoch.0,
        attempt: lease.fence.attempt.0,
        artifact: artifact.into(),
    };
    v1::SignUploadRequest {
        owner: Some(v1::sign_upload_request::Owner::Output(output)),
        files: vec![v1::UploadFile {
            path: path.into(),
            bytes: bytes.len() as u64,
            sha256: Digest::of(bytes).to_string(),
        }],
    }
}
