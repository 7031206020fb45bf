//! Files between the store and one attempt: signed by the coordinator, carried by `assay-artifacts`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use assay_artifacts::{
    BackOff, Cache, DownloadSigner, LocalFile, SignError, SignedRequest, SignedUpload, TransferError,
    Transfers, UploadSigner,
};
use assay_domain::job::FailureClass;
use assay_domain::{Artifact, FileRef, Lease, ObjectKey, Progress};
use assay_proto::convert::lease_ref;
use assay_proto::v1::artifacts_client::ArtifactsClient;
use assay_proto::v1::{self, sign_upload_request::Owner};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};

use crate::config::AgentLimits;
use crate::executor::{Failure, Suspect};
use crate::link::{AuthorizedChannel, Link};

/// What moves the files of one attempt.
#[derive(Clone)]
pub(crate) struct Courier {
    pub(crate) link: Link,
    pub(crate) cache: Cache,
    pub(crate) transfers: Transfers,
    pub(crate) lease: Lease,
    pub(crate) limits: AgentLimits,
}

impl Courier {
    /// Uploads a file or a folder as an artifact of the attempt.
    pub(crate) async fn upload(&self, name: &str, path: &Path) -> Result<Artifact, Failure> {
        let path = path.to_owned();
        let described = tokio::task::spawn_blocking(move || assay_artifacts::describe(&path)).await;
        let files = described
            .map_err(|error| Failure::from_error(FailureClass::Crashed, &error))?
            .map_err(|error| failure(&format!("output `{name}`"), &error))?;
        let signer = OutputSigner { courier: self, artifact: name };
        let files = self.transfers.upload(&files, &signer).await;
        let files = files.map_err(|error| failure(&format!("output `{name}`"), &error))?;
        Ok(Artifact { name: name.to_owned(), files })
    }

    /// Makes an artifact readable below `into`.
    pub(crate) async fn fetch(
        &self,
        role: &str,
        artifact: &Artifact,
        into: &Path,
    ) -> Result<PathBuf, Failure> {
        let fetched = self.cache.fetch(&self.transfers, artifact, into, &InputSigner { courier: self }).await;
        fetched.map_err(|error| Failure {
            suspects: suspect(&error).into_iter().collect(),
            ..failure(&format!("input `{role}`"), &error)
        })
    }

    /// The same courier, showing how many bytes it has moved.
    pub(crate) fn showing(
        &self,
        phase: &'static str,
        total: u64,
        progress: &watch::Sender<Progress>,
    ) -> Self {
        let show = move |done| Progress { phase: String::from(phase), done, total, ..Progress::default() };
        progress.send_replace(show(0));
        let (moved, progress) = (Arc::new(AtomicU64::new(0)), progress.clone());
        let transfers = self.transfers.clone().on_bytes(move |bytes| {
            let moved = moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
            progress.send_replace(show(moved));
        });
        Self { transfers, ..self.clone() }
    }

    /// Calls until there is an answer that will not change, over as many streams as it takes.
    async fn call<Q: Clone, A, F>(
        &self,
        request: Q,
        call: impl Fn(ArtifactsClient<AuthorizedChannel>, Request<Q>) -> F,
    ) -> Result<A, SignError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut back_off = BackOff::new(self.limits.back_off_first_ms, self.limits.back_off_longest_ms);
        let limit = std::time::Duration::from_millis(self.limits.answer_ms);
        let mut tries = 0;
        loop {
            let client = ArtifactsClient::new(self.link.up().await)
                .max_decoding_message_size(self.limits.message_bytes_max);
            let mut asked = Request::new(request.clone());
            asked.set_timeout(limit);
            let status = match call(client, asked).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            tries += 1;
            let transient = is_transient(status.code());
            if !transient || tries >= self.limits.transfer_tries_max {
                let why = format!("{}: {}", status.code(), status.message());
                return Err(SignError { why, transient });
            }
            tokio::time::sleep(back_off.pause()).await;
        }
    }
}

fn is_transient(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
    )
}

/// What a transfer's error means for the attempt.
fn failure(what: &str, error: &TransferError) -> Failure {
    let class = match error {
        // The Hub's no is the same everywhere.
        TransferError::NotAnArtifact { .. } | TransferError::Hub { .. } => FailureClass::BadInput,
        TransferError::Conflict { .. } | TransferError::Refused { .. } => FailureClass::Crashed,
        // A lost or damaged object is made again, a full disk may be another worker's good one.
        TransferError::File { .. }
        | TransferError::WrongDigest { .. }
        | TransferError::WrongSize { .. }
        | TransferError::NotAsListed { .. }
        | TransferError::Missing { .. }
        | TransferError::Unreachable { .. }
        | TransferError::CacheTooSmall { .. }
        | TransferError::CacheInUse { .. }
        | TransferError::Sign(_) => FailureClass::Transient,
    };
    let failure = Failure::from_error(class, error);
    Failure { reason: format!("{what}: {}", failure.reason), ..failure }
}

/// The object that an error puts under suspicion.
fn suspect(error: &TransferError) -> Option<Suspect> {
    let (key, found) = match error {
        TransferError::WrongDigest { key, actual, .. } => (key.to_string(), format!("sha256 {actual}")),
        TransferError::WrongSize { key, actual_bytes, .. } => {
            (key.to_string(), format!("{actual_bytes} bytes"))
        }
        TransferError::Missing { key } => (key.clone(), String::from("nothing")),
        TransferError::File { .. }
        | TransferError::NotAnArtifact { .. }
        | TransferError::Hub { .. }
        | TransferError::NotAsListed { .. }
        | TransferError::Conflict { .. }
        | TransferError::Refused { .. }
        | TransferError::Unreachable { .. }
        | TransferError::CacheTooSmall { .. }
        | TransferError::CacheInUse { .. }
        | TransferError::Sign(_) => return None,
    };
    Some(Suspect { key, found })
}

struct OutputSigner<'a> {
    courier: &'a Courier,
    artifact: &'a str,
}

impl UploadSigner for OutputSigner<'_> {
    async fn sign_uploads(&self, files: &[LocalFile]) -> Result<Vec<SignedUpload>, SignError> {
        let lease = &self.courier.lease;
        let owner = Owner::Output(v1::AttemptOutput {
            job_id: lease.job.to_string(),
            epoch: lease.fence.epoch.0,
            attempt: lease.fence.attempt.0,
            artifact: self.artifact.to_owned(),
        });
        let file = |file: &LocalFile| v1::UploadFile {
            path: file.path.clone(),
            bytes: file.bytes,
            sha256: file.digest.to_string(),
        };
        let request = v1::SignUploadRequest { files: files.iter().map(file).collect(), owner: Some(owner) };
        let call = |mut client: ArtifactsClient<_>, request| async move { client.sign_upload(request).await };
        let answer = self.courier.call(request, call).await?;
        answer.uploads.into_iter().map(signed_upload).collect()
    }
}

struct InputSigner<'a> {
    courier: &'a Courier,
}

impl DownloadSigner for InputSigner<'_> {
    async fn sign_downloads(&self, files: &[FileRef]) -> Result<Vec<SignedRequest>, SignError> {
        let request = v1::SignDownloadRequest {
            keys: files.iter().map(|file| file.key.to_string()).collect(),
            lease: Some(lease_ref(&self.courier.lease)),
        };
        let call =
            |mut client: ArtifactsClient<_>, request| async move { client.sign_download(request).await };
        let answer = self.courier.call(request, call).await?;
        Ok(answer.requests.into_iter().map(signed_request).collect())
    }
}

fn signed_upload(upload: v1::SignedUpload) -> Result<SignedUpload, SignError> {
    let unusable = |why: String| SignError { why, transient: false };
    let key = ObjectKey::parse(upload.key).map_err(|error| unusable(error.to_string()))?;
    let request = match (upload.exists, upload.request) {
        (true, _) => None,
        (false, Some(request)) => Some(signed_request(request)),
        (false, None) => return Err(unusable(format!("none came for `{key}`"))),
    };
    Ok(SignedUpload { key, request })
}

fn signed_request(request: v1::SignedRequest) -> SignedRequest {
    let headers = request.headers.into_iter().collect();
    SignedRequest { method: request.method, url: request.url, headers, from_hub: request.from_hub }
}
