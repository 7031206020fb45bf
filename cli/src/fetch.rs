//! Small artifacts, fetched through signed requests and verified.

use std::collections::BTreeMap;

use assay_artifacts::{Cache, DownloadSigner, SignError, SignedRequest, TransferLimits, Transfers};
use assay_domain::{Artifact, FileRef};
use assay_proto::v1::SignDownloadRequest;

use crate::connect::Coordinator;
use crate::source;
use crate::submit::{sign_error, signed_request};

/// The text of an artifact with one file.
pub(crate) async fn text(coordinator: &Coordinator, artifact: &Artifact) -> anyhow::Result<String> {
    Ok(files(coordinator, artifact).await?.into_values().collect())
}

/// The texts of an artifact's files, by path.
pub(crate) async fn files(
    coordinator: &Coordinator,
    artifact: &Artifact,
) -> anyhow::Result<BTreeMap<String, String>> {
    let folder = tempfile::tempdir()?;
    let cache = Cache::open(folder.path().join("cache"), artifact.bytes().max(1))?;
    let transfers = Transfers::new(TransferLimits::default())?;
    let into = folder.path().join("artifact");
    let path = cache.fetch(&transfers, artifact, &into, &Signer { coordinator }).await?;
    let read = |file: &FileRef| {
        // One file alone is the artifact.
        let path = if path.is_dir() { path.join(&file.path) } else { path.clone() };
        Ok((file.path.clone(), std::fs::read_to_string(path)?))
    };
    artifact.files.iter().map(read).collect()
}

/// Signs through the coordinator; what the Hub has comes from there, by this person's own token.
pub(crate) struct Signer<'a> {
    pub(crate) coordinator: &'a Coordinator,
}

impl DownloadSigner for Signer<'_> {
    async fn sign_downloads(&self, files: &[FileRef]) -> Result<Vec<SignedRequest>, SignError> {
        let request = SignDownloadRequest {
            keys: files.iter().map(|file| file.key.to_string()).collect(),
            // No attempt of a job: then the coordinator gives its own token to nobody.
            lease: None,
        };
        let answer = self.coordinator.artifacts().sign_download(request).await;
        let answer = answer.map_err(|status| sign_error(&status))?.into_inner();
        let of = |(file, request): (&FileRef, _)| match file.origin() {
            Some(origin) => source::signed(origin),
            None => signed_request(request),
        };
        Ok(files.iter().zip(answer.requests).map(of).collect())
    }
}
