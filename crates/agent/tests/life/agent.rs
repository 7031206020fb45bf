//! A real agent whose executor hands each run to the test and ends it as the test says.

use assay_agent::{
    AgentConfig, AgentError, AgentLimits, AttemptContext, Coordinator as Place, Executor, Failure, Finished,
    Token,
};
use assay_domain::event::WorkerInfo;
use assay_domain::job::{Estimate, ReportSpec};
use assay_domain::{
    Assignment, Attempt, DeviceKind, Digest, Epoch, Fence, JobId, JobKey, Lease, MatrixId, PlannedJob, Work,
    WorkKind, WorkerId,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::coordinator::{Coordinator, TOKEN};

pub(crate) const LEASE_MS: u64 = 3_000;

pub(crate) struct Agent {
    pub(crate) shutdown: CancellationToken,
    runs: mpsc::Receiver<Run>,
    task: JoinHandle<Result<(), AgentError>>,
    _folder: TempDir,
}

/// A run that waits for its end.
pub(crate) struct Run {
    pub(crate) cx: AttemptContext,
    end: oneshot::Sender<End>,
}

enum End {
    With(Result<Finished, Failure>),
    Panic(String),
}

impl Run {
    pub(crate) fn end(self, result: Result<Finished, Failure>) {
        let _ = self.end.send(End::With(result));
    }

    pub(crate) fn panic(self, text: &str) {
        let _ = self.end.send(End::Panic(text.to_owned()));
    }
}

struct Handing(mpsc::Sender<Run>);

impl Executor for Handing {
    async fn run(&self, cx: AttemptContext) -> Result<Finished, Failure> {
        let (end, ended) = oneshot::channel();
        self.0.send(Run { cx, end }).await.unwrap();
        match ended.await.unwrap() {
            End::With(result) => result,
            End::Panic(text) => panic!("{text}"),
        }
    }
}

impl Agent {
    pub(crate) fn start(coordinator: &Coordinator) -> Self {
        Self::with_token(coordinator, TOKEN)
    }

    pub(crate) fn with_token(coordinator: &Coordinator, token: &str) -> Self {
        Self::with(coordinator, token, |_| ())
    }

    /// With other limits.
    pub(crate) fn with(
        coordinator: &Coordinator,
        token: &str,
        change: impl FnOnce(&mut AgentLimits),
    ) -> Self {
        Self::with_config(coordinator, token, |config| change(&mut config.limits))
    }

    /// Told other things.
    pub(crate) fn with_config(
        coordinator: &Coordinator,
        token: &str,
        change: impl FnOnce(&mut AgentConfig),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let worker = WorkerInfo {
            id: WorkerId::new("w-test"),
            host: String::from("here"),
            device: DeviceKind::None,
            device_name: String::from("none"),
            memory_mib: 0,
            kinds: WorkKind::ALL.to_vec(),
            version: String::from("0"),
            usd_per_hour: None,
        };
        let place = Place::At { url: format!("http://{}", coordinator.address), token: Token::new(token) };
        let mut config = AgentConfig::new(place, worker, folder.path());
        config.limits.back_off_first_ms = 10;
        config.limits.back_off_longest_ms = 50;
        config.limits.answer_ms = 1_000;
        config.limits.log_interval_ms = 10;
        // Parts of logs go out with checkpoints and at the end, unless a test says otherwise.
        config.limits.log_segment_ms = 3_600_000;
        change(&mut config);
        let (runs_to, runs) = mpsc::channel(10);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(assay_agent::run(config, Handing(runs_to), shutdown.clone()));
        Self { shutdown, runs, task, _folder: folder }
    }

    pub(crate) async fn next_run(&mut self) -> Run {
        let patience = std::time::Duration::from_secs(30);
        tokio::time::timeout(patience, self.runs.recv()).await.expect("no run began in time").unwrap()
    }

    pub(crate) async fn shut_down(self) {
        self.shutdown.cancel();
        self.ended().await.unwrap();
    }

    pub(crate) async fn ended(self) -> Result<(), AgentError> {
        let patience = std::time::Duration::from_secs(30);
        tokio::time::timeout(patience, self.task).await.expect("the agent did not end in time").unwrap()
    }
}

pub(crate) fn assignment(ordinal: u32, attempt: u32) -> Assignment {
    let job = JobId { matrix: MatrixId::new("m-test"), ordinal };
    let lease = Lease { job, fence: Fence { epoch: Epoch(1), attempt: Attempt(attempt) } };
    let spec = ReportSpec {
        matrix: String::from("test"),
        matrix_digest: Digest::of(b""),
        comparisons: Vec::new(),
        direct: Vec::new(),
        trainings: Vec::new(),
        judges: Vec::new(),
        uploads: Vec::new(),
        bootstrap_seed: 0,
        analysis: None,
    };
    let job = PlannedJob {
        ordinal,
        label: String::from("report"),
        work: Work::Report(spec),
        inputs: Vec::new(),
        key: JobKey(Digest::of(b"key")),
        estimate: Estimate::default(),
        demand: assay_domain::job::Demand::default(),
    };
    Assignment {
        lease,
        job,
        inputs: Vec::new(),
        resume: None,
        secret: None,
        history: Vec::new(),
        fixed_at: None,
        traceparent: assay_telemetry::propagate::traceparent_of(&MatrixId::new("m-test")),
        spend_limit: None,
        lease_ms: LEASE_MS,
    }
}
