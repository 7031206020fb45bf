//! A bounded cache of objects by digest: fetched once, verified, read-only, least recently used out first.
//!
//! Attempts get hard links, so that what they read stays when the cache lets go of it.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, PoisonError};

use assay_domain::{Artifact, Digest, FileRef};
use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use crate::{DownloadSigner, TransferError, Transfers};
use store::{Pin, Store};

mod store;

/// The cache of one process. Clones share it.
#[derive(Clone)]
pub struct Cache {
    store: Arc<Store>,
    turns: Arc<std::sync::Mutex<HashMap<Digest, Arc<Mutex<()>>>>>,
}

impl Cache {
    /// Opens a cache folder, which belongs to this process until the cache is dropped.
    pub fn open(folder: impl Into<PathBuf>, bytes_max: u64) -> Result<Self, TransferError> {
        let store = Arc::new(Store::open(folder.into(), bytes_max)?);
        Ok(Self { store, turns: Arc::default() })
    }

    /// Makes an artifact readable below the folder `into`, which is created. Returns the path of its file, or of the folder when it
    /// has several. Files that the cache lacks are fetched, several at a time; two fetches of one digest are one.
    pub async fn fetch<S: DownloadSigner>(
        &self,
        transfers: &Transfers,
        artifact: &Artifact,
        into: &Path,
        signer: &S,
    ) -> Result<PathBuf, TransferError> {
        let mut targets = Vec::new();
        for file in &artifact.files {
            targets.push(target(into, &file.path)?);
        }
        // Boxed: a stream of borrowed futures is otherwise too general for `Send` to be proven.
        let fetches = artifact.files.iter().zip(&targets).map(|(file, target)| {
            Box::pin(self.materialise(transfers, file, target, signer)) as BoxFuture<'_, _>
        });
        let fetches: Vec<_> = fetches.collect();
        let () = futures::stream::iter(fetches)
            .buffer_unordered(transfers.limits.parallel_max.max(1))
            .try_collect()
            .await?;
        match targets.as_slice() {
            [only] => Ok(only.clone()),
            _ => Ok(into.to_owned()),
        }
    }

    async fn materialise<S: DownloadSigner>(
        &self,
        transfers: &Transfers,
        file: &FileRef,
        target: &Path,
        signer: &S,
    ) -> Result<(), TransferError> {
        let pin = self.object(transfers, file, signer).await?;
        let target = target.to_owned();
        on_blocking_thread(move || link(&pin.path(), &target)).await
    }

    /// The object in the cache, which stays there as long as the pin.
    async fn object<S: DownloadSigner>(
        &self,
        transfers: &Transfers,
        file: &FileRef,
        signer: &S,
    ) -> Result<Pin, TransferError> {
        let turn = self.turn(file.digest);
        let _turn = turn.lock().await;
        let pin = self.store.pin(file.digest, file.bytes)?;
        if !pin.is_present() {
            transfers.download(file, &pin.partial_path(), signer).await?;
            pin.publish()?;
        }
        Ok(pin)
    }

    /// Whoever fetches a digest holds its turn; those who wait find it present.
    fn turn(&self, digest: Digest) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(digest).or_default().clone()
    }
}

/// Where a file of an artifact goes; refused when its path would leave the folder.
fn target(into: &Path, path: &str) -> Result<PathBuf, TransferError> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !inside {
        let why = String::from("its path must stay inside the artifact");
        return Err(TransferError::NotAnArtifact { path: PathBuf::from(path), why });
    }
    Ok(into.join(path))
}

fn link(object: &Path, target: &Path) -> Result<(), TransferError> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(TransferError::file("created", folder))?;
    }
    if fs::hard_link(object, target).is_ok() {
        return Ok(());
    }
    // Another file system, or one without hard links. A target that exists fails here too, with its name.
    let mut options = fs::OpenOptions::new();
    let mut copy =
        options.write(true).create_new(true).open(target).map_err(TransferError::file("created", target))?;
    let mut source = fs::File::open(object).map_err(TransferError::file("read", object))?;
    std::io::copy(&mut source, &mut copy).map_err(TransferError::file("written", target))?;
    Ok(())
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(TransferError::File {
            path: PathBuf::new(),
            action: "worked on",
            source: std::io::Error::other(error),
        }),
    }
}
