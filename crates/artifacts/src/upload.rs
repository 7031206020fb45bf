//! Uploads: each file with the request that was signed for it; an object that exists already is a success.

use std::time::Duration;

use assay_domain::FileRef;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, StatusCode};
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::request::{Tries, Trouble, trouble};
use crate::{LocalFile, SignError, SignedRequest, SignedUpload, TransferError, Transfers, UploadSigner};

const PIECE_BYTES: usize = 256 << 10;

impl Transfers {
    /// Sends the files, several at a time, and returns where they lie, in order. What exists already is not sent.
    pub async fn upload<S: UploadSigner>(
        &self,
        files: &[LocalFile],
        signer: &S,
    ) -> Result<Vec<FileRef>, TransferError> {
        let signed = sign(files, signer).await?;
        let sends = files.iter().zip(signed).map(|(file, signed)| self.upload_one(file, signed, signer));
        // Boxed: a stream of borrowed futures is otherwise too general for `Send` to be proven.
        let sends: Vec<futures::future::BoxFuture<'_, _>> = sends.map(|send| Box::pin(send) as _).collect();
        futures::stream::iter(sends).buffered(self.limits.parallel_max.max(1)).try_collect().await
    }

    async fn upload_one<S: UploadSigner>(
        &self,
        file: &LocalFile,
        mut signed: SignedUpload,
        signer: &S,
    ) -> Result<FileRef, TransferError> {
        let mut tries = Tries::new(self);
        while let Some(request) = signed.request.take() {
            match self.put(&request, file, signed.key.as_str()).await {
                Ok(()) => break,
                Err(Trouble::Again(last)) => {
                    tries.again(&request, last).await?;
                    signed.request = Some(request);
                }
                Err(Trouble::Expired(last)) => {
                    tries.again(&request, last).await?;
                    signed = sign(std::slice::from_ref(file), signer).await?.remove(0);
                }
                Err(Trouble::Final(error)) => return Err(error),
            }
        }
        let (path, digest, bytes) = (file.path.clone(), file.digest, file.bytes);
        Ok(FileRef { path, key: signed.key, digest, bytes, origin: None })
    }

    async fn put(&self, request: &SignedRequest, file: &LocalFile, key: &str) -> Result<(), Trouble> {
        let source = File::open(&file.local).await.map_err(TransferError::file("read", &file.local))?;
        let moved = self.moved();
        let pieces = ReaderStream::with_capacity(source, PIECE_BYTES)
            .inspect_ok(move |piece| moved(piece.len() as u64));
        // The client's read timeout would count the whole upload: its length sets the limit instead.
        let limit_ms = self.limits.stall_ms + file.bytes * 1000 / self.limits.upload_rate_min.max(1);
        let answer = self
            .builder(request)?
            .header(CONTENT_LENGTH, file.bytes)
            .timeout(Duration::from_millis(limit_ms))
            .body(Body::wrap_stream(pieces))
            .send()
            .await?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            // A store that binds if-none-match says so when an earlier try of ours arrived after all.
            StatusCode::PRECONDITION_FAILED => Ok(()),
            _ => Err(trouble(request, key, answer).await),
        }
    }
}

async fn sign<S: UploadSigner>(files: &[LocalFile], signer: &S) -> Result<Vec<SignedUpload>, TransferError> {
    let signed = signer.sign_uploads(files).await?;
    if signed.len() != files.len() {
        let why = format!("{} requests came for {} files", signed.len(), files.len());
        return Err(SignError { why, transient: false }.into());
    }
    Ok(signed)
}
