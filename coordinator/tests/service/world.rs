//! A server in a temporary folder, its clients, and a clock that tests move.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use assay_coordinator::admin::BackupSchedule;
use assay_coordinator::clock::Clock;
use assay_coordinator::config::{Config, Limits};
use assay_coordinator::hub::HubAccess;
use assay_coordinator::index::ProbeCommand;
use assay_coordinator::server::{Server, ServerError};
use assay_domain::{Digest, UnixMillis};
use assay_proto::client::{AuthorizedChannel, Credentials};
use assay_proto::v1;
use assay_proto::v1::artifacts_client::ArtifactsClient;
use assay_proto::v1::fleet_client::FleetClient;
use assay_proto::v1::leases_client::LeasesClient;
use assay_proto::v1::matrices_client::MatricesClient;

/// Longer than anything here takes: an answer that does not come fails the test instead of hanging it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Both clocks stand still until moved.
#[derive(Debug, Default)]
pub(crate) struct ManualClock {
    ms: AtomicU64,
}

impl Clock for ManualClock {
    fn monotonic_ms(&self) -> u64 {
        self.ms.load(Ordering::SeqCst)
    }

    fn unix(&self) -> UnixMillis {
        UnixMillis(1_700_000_000_000 + self.ms.load(Ordering::SeqCst))
    }
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) limits: Limits,
    pub(crate) backups: Option<BackupSchedule>,
    pub(crate) hub: HubAccess,
    server: Option<Server>,
    /// The address of a coordinator in a process of its own.
    outside: Option<String>,
}

pub(crate) fn probe() -> ProbeCommand {
    ProbeCommand {
        program: env!("CARGO_BIN_EXE_assay-coordinator").into(),
        arguments: vec!["index-probe".into()],
        deadline: Duration::from_secs(60),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Limits { drain_ms: 500, ..Limits::default() }).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::started(tempfile::tempdir().unwrap(), limits).await
    }

    /// On a folder that holds the folder `data` already.
    pub(crate) async fn on(folder: tempfile::TempDir) -> Self {
        Self::started(folder, Limits { drain_ms: 500, ..Limits::default() }).await
    }

    async fn started(folder: tempfile::TempDir, limits: Limits) -> Self {
        let clock = Arc::default();
        let hub = HubAccess::default();
        let mut world = Self { folder, clock, limits, backups: None, hub, server: None, outside: None };
        world.start().await;
        world
    }

    /// A coordinator that serves the folder `data` in a process of its own.
    pub(crate) fn outside(folder: tempfile::TempDir, address: &str) -> Self {
        let outside = Some(address.to_owned());
        let (limits, hub) = (Limits::default(), HubAccess::default());
        Self { folder, clock: Arc::default(), limits, backups: None, hub, server: None, outside }
    }

    pub(crate) async fn start(&mut self) {
        self.try_start().await.unwrap();
    }

    pub(crate) async fn try_start(&mut self) -> Result<(), ServerError> {
        let (limits, backups, hub) = (self.limits.clone(), self.backups.clone(), self.hub.clone());
        let config = Config { limits, backups, hub, ..Config::new(self.data_dir()) };
        self.server = Some(Server::start(config, self.clock.clone(), probe()).await?);
        Ok(())
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) async fn stop(&mut self) {
        self.server.take().unwrap().stop().await.unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Moves the clock, in steps small enough not to look like a machine that slept.
    pub(crate) async fn pass(&self, ms: u64) {
        let step_ms = (self.limits.lease_ms / 4).max(1);
        let mut left_ms = ms;
        while left_ms > 0 {
            let step_ms = step_ms.min(left_ms);
            self.clock.ms.fetch_add(step_ms, Ordering::SeqCst);
            self.server().tick().await;
            left_ms -= step_ms;
        }
        // What was due at the last step has happened before this answer.
        self.server().tick().await;
    }

    pub(crate) fn url(&self) -> String {
        match &self.outside {
            Some(address) => format!("http://{address}"),
            None => format!("http://{}", self.server().address()),
        }
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("token")).unwrap()
    }

    pub(crate) fn channel(&self) -> AuthorizedChannel {
        Credentials::new(&self.token()).unwrap().channel(&self.url()).unwrap()
    }

    pub(crate) fn matrices(&self) -> MatricesClient<AuthorizedChannel> {
        MatricesClient::new(self.channel()).max_decoding_message_size(assay_proto::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn leases(&self) -> LeasesClient<AuthorizedChannel> {
        LeasesClient::new(self.channel())
    }

    pub(crate) fn artifacts(&self) -> ArtifactsClient<AuthorizedChannel> {
        ArtifactsClient::new(self.channel())
    }

    pub(crate) fn fleet(&self) -> FleetClient<AuthorizedChannel> {
        FleetClient::new(self.channel())
    }

    /// Uploads a person's file by its digest.
    pub(crate) async fn upload(&self, bytes: &[u8]) {
        let file = v1::UploadFile {
            path: "file".into(),
            bytes: bytes.len() as u64,
            sha256: Digest::of(bytes).to_string(),
        };
        let owner = Some(v1::sign_upload_request::Owner::Upload(v1::PersonUpload {}));
        let request = v1::SignUploadRequest { owner, files: vec![file] };
        let signed = self.artifacts().sign_upload(request).await.unwrap().into_inner().uploads.remove(0);
        if let Some(request) = signed.request {
            assert!(put(&request.url, bytes).await.0.is_success());
        }
    }

    pub(crate) async fn submit(&self, key: &str, seed: u64) -> v1::SubmitResponse {
        self.upload_matrix().await;
        self.try_submit(key, seed).await.unwrap()
    }

    /// One whose files are there already.
    pub(crate) async fn try_submit(&self, key: &str, seed: u64) -> Result<v1::SubmitResponse, tonic::Status> {
        let request = v1::SubmitRequest {
            submit_key: key.into(),
            resolved_json: super::matrix::resolved(seed).to_string(),
            fresh: false,
        };
        Ok(self.matrices().submit(request).await?.into_inner())
    }

    pub(crate) async fn upload_matrix(&self) {
        for text in super::matrix::FILES {
            self.upload(text.as_bytes()).await;
        }
    }

    pub(crate) async fn view(&self, matrix: &str) -> v1::MatrixView {
        let request = v1::GetMatrixRequest { matrix_id: matrix.into() };
        self.matrices().get(request).await.unwrap().into_inner().matrix.unwrap()
    }

    pub(crate) async fn statuses(&self, matrix: &str) -> Vec<String> {
        self.view(matrix).await.jobs.into_iter().map(|job| job.status).collect()
    }
}

/// PUTs bytes; answers status and text.
pub(crate) async fn put(url: &str, bytes: &[u8]) -> (reqwest::StatusCode, String) {
    let response = reqwest::Client::new().put(url).body(bytes.to_vec()).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}
