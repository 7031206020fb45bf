//! Downloads into a partial file: resumed where they broke off, verified before anybody sees them.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use assay_domain::{Digest, FileRef};
use reqwest::StatusCode;
use reqwest::header::RANGE;
use sha2::{Digest as _, Sha256};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::from_hub;
use crate::request::{Tries, Trouble, trouble};
use crate::{DownloadSigner, SignError, SignedRequest, TransferError, Transfers};

impl Transfers {
    /// Fetches an object into `partial`, which may hold a part of it already; returns once its bytes are verified and synced.
    pub(crate) async fn download<S: DownloadSigner>(
        &self,
        file: &FileRef,
        partial: &Path,
        signer: &S,
    ) -> Result<(), TransferError> {
        let request = sign(file, signer).await?;
        let from_hub = request.from_hub;
        let done = self.download_signed(file, partial, signer, request).await;
        done.map_err(|error| if from_hub { from_hub::damaged(file, error) } else { error })
    }

    async fn download_signed<S: DownloadSigner>(
        &self,
        file: &FileRef,
        partial: &Path,
        signer: &S,
        mut request: SignedRequest,
    ) -> Result<(), TransferError> {
        let mut tries = Tries::new(self);
        loop {
            let mut part = Part::open(partial, file).await?;
            let before = part.length;
            let result = self.get(&request, file, &mut part).await;
            part.sync().await?;
            if part.length > before {
                tries.progress();
            }
            match result {
                Ok(()) => match part.verified(before > 0) {
                    Verdict::Good => return Ok(()),
                    Verdict::OldPartWasBad => part.empty().await?,
                    Verdict::Bad(error) => {
                        part.empty().await?;
                        return Err(error);
                    }
                },
                Err(Trouble::Again(last)) => tries.again(&request, last).await?,
                Err(Trouble::Expired(last)) => {
                    tries.again(&request, last).await?;
                    request = sign(file, signer).await?;
                }
                Err(Trouble::Final(error)) => return Err(error),
            }
        }
    }

    async fn get(&self, request: &SignedRequest, file: &FileRef, part: &mut Part<'_>) -> Result<(), Trouble> {
        if part.length == file.bytes {
            return Ok(());
        }
        let stall = Duration::from_millis(self.limits.stall_ms);
        let mut builder = self.builder(request)?;
        if part.length > 0 {
            builder = builder.header(RANGE, format!("bytes={}-", part.length));
        }
        let stalled = |_| Trouble::Again(format!("no bytes for {} ms", stall.as_millis()));
        let mut answer = tokio::time::timeout(stall, builder.send()).await.map_err(stalled)??;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if part.length > 0 => {}
            // The store does not do ranges, or the part is longer than the object.
            StatusCode::OK => {
                part.empty().await?;
                right_size(file, answer.content_length())?;
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                part.empty().await?;
                return Err(Trouble::Again(String::from("the part kept was no part of the object")));
            }
            _ if request.from_hub => {
                return Err(from_hub::trouble(request, file, &answer, self.limits).await);
            }
            _ => return Err(trouble(request, file.key.as_str(), answer).await),
        }
        let moved = self.moved();
        while let Some(piece) = tokio::time::timeout(stall, answer.chunk()).await.map_err(stalled)?? {
            part.append(&piece).await?;
            moved(piece.len() as u64);
        }
        if part.length < file.bytes {
            return Err(Trouble::Again(format!("ended after {} of {} bytes", part.length, file.bytes)));
        }
        Ok(())
    }
}

/// The length that the store announces is the object's: another one will not change by trying again.
fn right_size(file: &FileRef, announced: Option<u64>) -> Result<(), TransferError> {
    match announced {
        Some(actual_bytes) if actual_bytes != file.bytes => {
            let (key, expected_bytes) = (file.key.clone(), file.bytes);
            Err(TransferError::WrongSize { key, expected_bytes, actual_bytes })
        }
        Some(_) | None => Ok(()),
    }
}

async fn sign<S: DownloadSigner>(file: &FileRef, signer: &S) -> Result<SignedRequest, TransferError> {
    let mut signed = signer.sign_downloads(std::slice::from_ref(file)).await?;
    match (signed.pop(), signed.is_empty()) {
        (Some(request), true) => Ok(request),
        _ => Err(SignError { why: format!("not one request for `{}`", file.key), transient: false }.into()),
    }
}

/// What is there of a file so far, and its digest so far.
struct Part<'a> {
    path: &'a Path,
    file: &'a FileRef,
    handle: File,
    hasher: Sha256,
    length: u64,
}

enum Verdict {
    Good,
    OldPartWasBad,
    Bad(TransferError),
}

impl<'a> Part<'a> {
    async fn open(path: &'a Path, file: &'a FileRef) -> Result<Self, TransferError> {
        let mut handle = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .await
            .map_err(TransferError::file("opened", path))?;
        let (mut hasher, mut length) = (Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = handle.read(&mut buffer).await.map_err(TransferError::file("read", path))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            length += read as u64;
        }
        let mut part = Self { path, file, handle, hasher, length };
        if part.length > file.bytes {
            part.empty().await?;
        }
        Ok(part)
    }

    async fn append(&mut self, piece: &[u8]) -> Result<(), TransferError> {
        if self.length + piece.len() as u64 > self.file.bytes {
            // More bytes than the artifact says: the object is another one, and a disk is not to be filled with it.
            let actual = Digest::from_bytes(self.hasher.clone().chain_update(piece).finalize().into());
            let (key, expected) = (self.file.key.clone(), self.file.digest);
            return Err(TransferError::WrongDigest { key, expected, actual });
        }
        self.handle.write_all(piece).await.map_err(TransferError::file("written", self.path))?;
        self.hasher.update(piece);
        self.length += piece.len() as u64;
        Ok(())
    }

    async fn empty(&mut self) -> Result<(), TransferError> {
        self.handle.set_len(0).await.map_err(TransferError::file("emptied", self.path))?;
        self.handle.seek(SeekFrom::Start(0)).await.map_err(TransferError::file("emptied", self.path))?;
        (self.hasher, self.length) = (Sha256::new(), 0);
        Ok(())
    }

    // Synced before it is renamed: after a power cut a name must not stand for an empty file.
    async fn sync(&mut self) -> Result<(), TransferError> {
        self.handle.flush().await.map_err(TransferError::file("written", self.path))?;
        self.handle.sync_data().await.map_err(TransferError::file("synced", self.path))
    }

    fn verified(&self, resumed: bool) -> Verdict {
        let actual = Digest::from_bytes(self.hasher.clone().finalize().into());
        if actual == self.file.digest {
            return Verdict::Good;
        }
        if resumed {
            return Verdict::OldPartWasBad;
        }
        let (key, expected) = (self.file.key.clone(), self.file.digest);
        Verdict::Bad(TransferError::WrongDigest { key, expected, actual })
    }
}
