//! A coordinator in this process, the scripted worker beside it, and judge-runners that can be killed.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use assay_agent::{AgentConfig, Coordinator, Token};
use assay_coordinator::clock::SystemClock;
use assay_coordinator::config::Config;
use assay_coordinator::index::ProbeCommand;
use assay_coordinator::server::Server;
use assay_domain::event::WorkerInfo;
use assay_domain::{DeviceKind, Digest, FileRef, WorkKind, WorkerId};
use assay_proto::client::{AuthorizedChannel, Credentials};
use assay_proto::v1::artifacts_client::ArtifactsClient;
use assay_proto::v1::matrices_client::MatricesClient;
use assay_proto::v1::people_client::PeopleClient;
use assay_proto::v1::{self, sign_upload_request::Owner};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{matrix, worker};

/// Longer than anything here takes: what does not end fails the test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(240);
/// The judge's key, which must be in nothing that is written.
pub(crate) const KEY: &str = "sk-planted-0a1b2c3d4e5f";

pub(crate) struct Stack {
    pub(crate) folder: tempfile::TempDir,
    server: Server,
    stop: CancellationToken,
    /// Where judge-runners send their traces; those that do log all there is.
    observer: Option<String>,
}

/// A judge-runner's process; killed when dropped.
pub(crate) struct Runner(Child);

impl Runner {
    /// SIGKILL, and nothing of it is left.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("data"));
        config.limits.reconnect_grace_ms = 200;
        config.limits.retry_hold_ms = 10;
        config.limits.retry_hold_max_ms = 10;
        // A store that is new needs no check.
        let probe =
            ProbeCommand { program: PathBuf::from("true"), arguments: Vec::new(), deadline: PATIENCE };
        let server = Server::start(config, Arc::new(SystemClock::new()), probe).await.unwrap();
        let keys = folder.path().join("keys.env");
        fs::write(&keys, format!("ASSAY_TEST_KEY={KEY}\n")).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        let stack = Self { folder, server, stop: CancellationToken::new(), observer: None };
        stack.start_worker();
        stack
    }

    /// Has judge-runners send their traces here at once, and log at the level `trace`.
    pub(crate) fn observed(mut self, endpoint: &str) -> Self {
        self.observer = Some(endpoint.to_owned());
        self
    }

    fn start_worker(&self) {
        let worker = WorkerInfo {
            id: WorkerId::new("scripted"),
            host: String::from("here"),
            device: DeviceKind::Cpu,
            device_name: String::from("none"),
            memory_mib: 0,
            kinds: vec![WorkKind::Train, WorkKind::Generate],
            version: String::from("0"),
            usd_per_hour: None,
        };
        let place = Coordinator::At { url: self.url(), token: Token::new(&self.token()) };
        let config = AgentConfig::new(place, worker, self.folder.path().join("worker"));
        tokio::spawn(assay_agent::run(config, worker::Scripted, self.stop.clone()));
    }

    /// Starts a judge-runner whose ledgers and logs lie in `host`.
    pub(crate) fn judge_runner(&self, host: &str) -> Runner {
        let folder = self.folder.path().join(host);
        fs::create_dir_all(&folder).unwrap();
        let log = File::options().create(true).append(true).open(folder.join("stderr.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay-judge-runner"));
        command.env("ASSAY_LOG", if self.observer.is_some() { "trace" } else { "debug" });
        if let Some(endpoint) = &self.observer {
            // A process that will be killed has sent what it had by then.
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_BSP_SCHEDULE_DELAY", "50");
        }
        let child = command
            .args(["run", "--coordinator", &self.url()])
            .arg("--token-file")
            .arg(self.server.token_path())
            .arg("--work-dir")
            .arg(&folder)
            .arg("--keys-file")
            .arg(self.folder.path().join("keys.env"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Runner(child)
    }

    /// Uploads the files and submits.
    pub(crate) async fn submit(&self, prompts: usize, judge: &Value) -> String {
        self.submit_changed(prompts, judge, |_| {}).await
    }

    /// The same with another matrix.
    pub(crate) async fn submit_changed(
        &self,
        prompts: usize,
        judge: &Value,
        change: impl FnOnce(&mut Value),
    ) -> String {
        let mut resolved = matrix::resolved(prompts, judge);
        change(&mut resolved["matrix"]);
        for text in matrix::FILES {
            self.upload(text.as_bytes()).await;
        }
        let request = v1::SubmitRequest {
            submit_key: String::from("one"),
            resolved_json: resolved.to_string(),
            fresh: false,
        };
        self.matrices().submit(request).await.unwrap().into_inner().matrix_id
    }

    /// A person cancels a matrix.
    pub(crate) async fn cancel(&self, matrix: &str) {
        self.matrices().cancel(v1::CancelRequest { matrix_id: matrix.to_owned() }).await.unwrap();
    }

    /// Submits what a matrix lacks again.
    pub(crate) async fn retry(&self, matrix: &str) -> String {
        let request = v1::RetryRequest {
            matrix_id: matrix.to_owned(),
            submit_key: format!("again {matrix}"),
            budget_usd: None,
        };
        self.matrices().retry(request).await.unwrap().into_inner().matrix_id
    }

    /// Waits until the stored ledger of a matrix's judge job is as wanted; its lines.
    pub(crate) async fn ledger(&self, matrix: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let stored = async {
            loop {
                let request = v1::GetMatrixRequest { matrix_id: matrix.to_owned() };
                let view = self.matrices().get(request).await.unwrap().into_inner().matrix.unwrap();
                let judge = view.jobs.iter().find(|job| job.kind == "judge").unwrap();
                let files: Vec<FileRef> = serde_json::from_str(&judge.ledger_json).unwrap();
                // A part that a later one covers may be gone by now.
                let objects = self.folder.path().join("data/objects");
                let texts = files.iter().map(|file| fs::read_to_string(objects.join(file.key.as_str())));
                let texts: String = texts.map(Result::unwrap_or_default).collect();
                let lines: Vec<Value> =
                    texts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                if wanted(&lines) {
                    return lines;
                }
            }
        };
        tokio::time::timeout(PATIENCE, stored).await.expect("the ledger is not stored")
    }

    async fn upload(&self, bytes: &[u8]) {
        let file = v1::UploadFile {
            path: String::from("file"),
            bytes: bytes.len() as u64,
            sha256: Digest::of(bytes).to_string(),
        };
        let request =
            v1::SignUploadRequest { owner: Some(Owner::Upload(v1::PersonUpload {})), files: vec![file] };
        let mut artifacts = ArtifactsClient::new(self.channel());
        let signed = artifacts.sign_upload(request).await.unwrap().into_inner().uploads.remove(0);
        if let Some(request) = signed.request {
            let put = reqwest::Client::new().put(&request.url).body(bytes.to_vec()).send().await.unwrap();
            assert!(put.status().is_success(), "{}", put.status());
        }
    }

    /// Waits until nothing of a matrix can run any more.
    pub(crate) async fn finished(&self, matrix: &str) -> v1::MatrixView {
        let request = v1::WatchRequest { matrix_id: matrix.to_owned(), interval_ms: 100 };
        let end = async {
            let mut watch = self.matrices().watch(request).await.unwrap().into_inner();
            while let Some(seen) = watch.message().await.unwrap() {
                if seen.finished {
                    return seen.matrix.unwrap();
                }
            }
            panic!("the watch ended before the matrix");
        };
        tokio::time::timeout(PATIENCE, end).await.expect("the matrix does not end")
    }

    /// Every file that was written anywhere, but for the one that holds the key.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(self.folder.path(), &mut found);
        found.retain(|path| !path.ends_with("keys.env"));
        found
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.server.stop().await.unwrap();
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn token(&self) -> String {
        fs::read_to_string(self.server.token_path()).unwrap()
    }

    fn channel(&self) -> AuthorizedChannel {
        Credentials::new(&self.token()).unwrap().channel(&self.url()).unwrap()
    }

    pub(crate) fn people(&self) -> PeopleClient<AuthorizedChannel> {
        PeopleClient::new(self.channel())
    }

    fn matrices(&self) -> MatricesClient<AuthorizedChannel> {
        MatricesClient::new(self.channel()).max_decoding_message_size(assay_proto::MESSAGE_BYTES_MAX)
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}
