//! Fetching: list, make room, download what is missing, verify. A broken download goes on where it broke off, in this process
//! or a later one.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_domain::chain;
use assay_domain::origin::file_address;
use reqwest::{Client, RequestBuilder, Response};
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use tokio::io::AsyncWriteExt as _;

use super::error::{Trouble, of_status};
use super::{Hub, HubError, HubFile, HubRepo, Listing, Snapshot, is_commit};
use crate::{BackOff, TransferError, digest_file};

/// What is known of a commit, kept beside its files: with it, a pinned commit needs no network.
#[derive(Serialize, Deserialize)]
struct Known {
    listing: Listing,
    /// SHA-256 of the files that were fetched and verified, by path.
    verified: BTreeMap<String, String>,
}

impl Hub {
    /// The files of a model folder. A revision that is no commit is looked up, and what it is now is in the answer.
    pub fn model(&self, repo: &HubRepo, revision: &str) -> Result<Snapshot, HubError> {
        self.fetch(repo, revision, |listing| listing.model_files().into_iter().cloned().collect())
    }

    /// The same without the weights that [`Listing::weights_apart`] names.
    pub fn model_without_weights(&self, repo: &HubRepo, revision: &str) -> Result<Snapshot, HubError> {
        self.fetch(repo, revision, |listing| {
            let apart = listing.weights_apart();
            listing.model_files().into_iter().filter(|file| !apart.contains(file)).cloned().collect()
        })
    }

    /// Some files of a repository.
    pub fn files(&self, repo: &HubRepo, revision: &str, paths: &[&str]) -> Result<Snapshot, HubError> {
        let wanted = |listing: &Listing| -> Vec<HubFile> {
            listing.files.iter().filter(|file| paths.contains(&file.path.as_str())).cloned().collect()
        };
        let snapshot = self.fetch(repo, revision, wanted)?;
        match paths.iter().find(|path| !snapshot.files.iter().any(|file| file == *path)) {
            None => Ok(snapshot),
            Some(file) => Err(HubError::NoFile {
                what: format!("{}@{}", repo.name, snapshot.commit),
                file: (*file).to_owned(),
            }),
        }
    }

    fn fetch(
        &self,
        repo: &HubRepo,
        revision: &str,
        wanted: impl Fn(&Listing) -> Vec<HubFile> + Send,
    ) -> Result<Snapshot, HubError> {
        apart(self.fetch_here(repo, revision, wanted))
    }

    async fn fetch_here(
        &self,
        repo: &HubRepo,
        revision: &str,
        wanted: impl Fn(&Listing) -> Vec<HubFile> + Send,
    ) -> Result<Snapshot, HubError> {
        fs::create_dir_all(&self.cache).map_err(TransferError::file("created", &self.cache))?;
        let (home, lock) = self.claim(repo)?;
        let session = Session::new(self)?;
        let mut known = match is_commit(revision).then(|| Known::read(&home, revision)).flatten() {
            Some(known) => known,
            None => {
                let listing = session.list(repo, revision).await?;
                let before = Known::read(&home, &listing.commit);
                Known { listing, verified: before.map_or_else(BTreeMap::new, |before| before.verified) }
            }
        };
        let commit = known.listing.commit.clone();
        let folder = home.join("snapshots").join(&commit);
        let files = wanted(&known.listing);
        let missing: Vec<&HubFile> = files.iter().filter(|file| !known.holds(&folder, file)).collect();
        self.make_room(repo, missing.iter().map(|file| file.bytes).sum())?;
        let mut fetched_bytes = 0;
        for file in missing {
            let sha256 = session.file(repo, &commit, file, &folder.join(&file.path)).await?;
            fetched_bytes += file.bytes;
            known.verified.insert(file.path.clone(), sha256);
            known.write(&home)?;
        }
        let files = files.into_iter().map(|file| file.path).collect();
        Ok(Snapshot { commit, listing: known.listing, folder, files, fetched_bytes, _in_use: lock })
    }
}

/// A client on one runtime.
struct Session<'a> {
    hub: &'a Hub,
    http: Client,
    stall: Duration,
}

impl<'a> Session<'a> {
    fn new(hub: &'a Hub) -> Result<Self, HubError> {
        // Redirects are followed, and the token is left out where they lead to another host.
        let http = Client::builder()
            .connect_timeout(Duration::from_millis(hub.limits.connect_ms))
            .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| HubError::Client { why: chain(&error.without_url()) })?;
        Ok(Self { hub, http, stall: Duration::from_millis(hub.limits.stall_ms) })
    }

    /// Sends a request; an answer that is no success is a trouble.
    async fn send(&self, what: &str, request: RequestBuilder) -> Result<Response, Trouble> {
        let request = match &self.hub.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = self.in_time(request.send()).await?;
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(of_status(what, status.as_u16(), retry_after.and_then(|text| text.parse().ok()))),
        }
    }

    async fn in_time<T>(&self, step: impl Future<Output = reqwest::Result<T>>) -> Result<T, Trouble> {
        let stalled = |_| Trouble::Again(format!("no bytes for {} ms", self.stall.as_millis()), None);
        let done = tokio::time::timeout(self.stall, step).await.map_err(stalled)?;
        // The address of a redirect holds a signature.
        done.map_err(|error| Trouble::Again(chain(&error.without_url()), None))
    }

    async fn list(&self, repo: &HubRepo, revision: &str) -> Result<Listing, HubError> {
        let what = format!("{}@{revision}", repo.name);
        // A branch such as `refs/pr/1` is one part of the path.
        let revision =
            revision.replace('%', "%25").replace('/', "%2F").replace('?', "%3F").replace('#', "%23");
        let url = format!("{}/api/{}/{}/revision/{revision}", self.hub.endpoint, repo.plural(), repo.name);
        let mut tries = Tries::new(self.hub);
        loop {
            match self.list_once(&what, &url).await {
                Ok(bytes) => return Listing::parse(&what, &bytes),
                Err(trouble) => tries.again(&what, trouble).await?,
            }
        }
    }

    async fn list_once(&self, what: &str, url: &str) -> Result<Vec<u8>, Trouble> {
        let most = self.hub.limits.listing_bytes_max;
        let mut answer = self.send(what, self.http.get(format!("{url}?blobs=true"))).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = self.in_time(answer.chunk()).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > most {
                let problem = format!("is longer than {most} bytes");
                return Err(HubError::Listing { what: what.to_owned(), problem }.into());
            }
        }
        Ok(bytes)
    }

    /// Fetches one file and gives its SHA-256. What does not verify is deleted, and fetched once more: a part from before may
    /// have been bad.
    async fn file(
        &self,
        repo: &HubRepo,
        commit: &str,
        file: &HubFile,
        path: &Path,
    ) -> Result<String, HubError> {
        let what = format!("{}@{commit}/{}", repo.name, file.path);
        let kind = if repo.plural() == "datasets" { "datasets/" } else { "" };
        let url = file_address(&self.hub.endpoint, &format!("{kind}{}", repo.name), commit, &file.path);
        let mut part = Part::open(path).await?;
        if let Ok(sha256) = verify(&what, path, file) {
            // Another process was faster.
            fs::remove_file(&part.path).map_err(TransferError::file("removed", &part.path))?;
            return Ok(sha256);
        }
        let mut again = true;
        loop {
            self.download(&what, &url, file, &mut part).await?;
            match verify(&what, &part.path, file) {
                Ok(sha256) => {
                    part.place(path).await?;
                    return Ok(sha256);
                }
                Err(error) => part.empty().await.and(if again { Ok(()) } else { Err(error) })?,
            }
            again = false;
        }
    }

    async fn download(&self, what: &str, url: &str, file: &HubFile, part: &mut Part) -> Result<(), HubError> {
        let mut tries = Tries::new(self.hub);
        while part.bytes != file.bytes {
            let before = part.bytes;
            match self.download_once(what, url, file, part).await {
                Ok(()) => {}
                Err(trouble) => {
                    if part.bytes > before {
                        tries = Tries::new(self.hub);
                    }
                    tries.again(what, trouble).await?;
                }
            }
        }
        part.sync().await
    }

    async fn download_once(
        &self,
        what: &str,
        url: &str,
        file: &HubFile,
        part: &mut Part,
    ) -> Result<(), Trouble> {
        if part.bytes > file.bytes {
            part.empty().await?;
        }
        let mut request = self.http.get(url);
        if part.bytes > 0 {
            request = request.header("range", format!("bytes={}-", part.bytes));
        }
        let mut answer = self.send(what, request).await?;
        if part.bytes > 0 && answer.status().as_u16() != 206 {
            // The server does not do ranges.
            part.empty().await?;
        }
        while let Some(piece) = self.in_time(answer.chunk()).await? {
            if part.bytes + piece.len() as u64 > file.bytes {
                let expected = format!("{} bytes", file.bytes);
                part.empty().await?;
                let actual = String::from("more");
                return Err(HubError::Damaged { what: what.to_owned(), expected, actual }.into());
            }
            part.append(&piece).await?;
        }
        match part.bytes == file.bytes {
            true => Ok(()),
            false => Err(Trouble::Again(format!("ended after {} of {} bytes", part.bytes, file.bytes), None)),
        }
    }
}

/// Counts tries without progress and pauses between them.
struct Tries<'a> {
    hub: &'a Hub,
    done: u32,
    back_off: BackOff,
}

impl<'a> Tries<'a> {
    fn new(hub: &'a Hub) -> Self {
        let limits = &hub.limits;
        Self { hub, done: 0, back_off: BackOff::new(limits.back_off_first_ms, limits.back_off_longest_ms) }
    }

    async fn again(&mut self, what: &str, trouble: Trouble) -> Result<(), HubError> {
        let (last, retry_after_s) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Again(last, retry_after_s) => (last, retry_after_s),
        };
        self.done += 1;
        if self.done >= self.hub.limits.tries_max {
            return Err(HubError::Unreachable { what: what.to_owned(), tries: self.done, last });
        }
        let longest_ms = self.hub.limits.back_off_longest_ms;
        let asked = Duration::from_millis(retry_after_s.unwrap_or(0).saturating_mul(1000).min(longest_ms));
        tracing::debug!(what, last, "the Hub is tried again");
        tokio::time::sleep(self.back_off.pause().max(asked)).await;
        Ok(())
    }
}

/// What is there of a file so far. Locked: two processes that need the same file do not write into each other's.
struct Part {
    path: PathBuf,
    file: tokio::fs::File,
    bytes: u64,
}

impl Part {
    async fn open(target: &Path) -> Result<Self, HubError> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.part"));
        let open = || -> std::io::Result<fs::File> {
            fs::create_dir_all(target.parent().unwrap_or(Path::new(".")))?;
            loop {
                let file = fs::OpenOptions::new().append(true).create(true).open(&path)?;
                file.lock()?;
                // Whoever held the lock before us may have put the file in its place: then it is no part any more.
                if fs::metadata(&path)
                    .is_ok_and(|named| file.metadata().is_ok_and(|ours| ours.ino() == named.ino()))
                {
                    return Ok(file);
                }
            }
        };
        let file = open().map_err(TransferError::file("opened", &path))?;
        let bytes = file.metadata().map_err(TransferError::file("read", &path))?.len();
        Ok(Self { path, file: tokio::fs::File::from_std(file), bytes })
    }

    async fn append(&mut self, piece: &[u8]) -> Result<(), HubError> {
        self.file.write_all(piece).await.map_err(TransferError::file("written", &self.path))?;
        self.bytes += piece.len() as u64;
        Ok(())
    }

    async fn empty(&mut self) -> Result<(), HubError> {
        self.sync().await?;
        self.file.set_len(0).await.map_err(TransferError::file("emptied", &self.path))?;
        self.bytes = 0;
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), HubError> {
        self.file.flush().await.map_err(TransferError::file("written", &self.path))?;
        Ok(self.file.sync_data().await.map_err(TransferError::file("synced", &self.path))?)
    }

    async fn place(self, target: &Path) -> Result<(), HubError> {
        Ok(fs::rename(&self.path, target).map_err(TransferError::file("renamed", &self.path))?)
    }
}

impl Known {
    fn path(home: &Path, commit: &str) -> PathBuf {
        home.join("known").join(format!("{commit}.json"))
    }

    /// None where nothing, or nothing sound, is known.
    fn read(home: &Path, commit: &str) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(home, commit)).ok()?).ok()
    }

    fn write(&self, home: &Path) -> Result<(), HubError> {
        let path = Self::path(home, &self.listing.commit);
        let text = serde_json::to_vec(self).map_err(|error| HubError::Client { why: error.to_string() })?;
        // Several may write at once: each to a name of its own. What the last one does not know is there is verified again.
        let staged = path.with_extension(format!("{:016x}.new", fastrand::u64(..)));
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(home.join("known"))?;
            fs::write(&staged, &text)?;
            fs::File::open(&staged)?.sync_all()?;
            fs::rename(&staged, &path)
        };
        Ok(write().map_err(TransferError::file("written", &path))?)
    }

    /// Whether a file is there and still what was verified: its bytes are read again.
    fn holds(&self, folder: &Path, file: &HubFile) -> bool {
        let Some(known) = self.verified.get(&file.path) else { return false };
        digest_file(&folder.join(&file.path))
            .is_ok_and(|(digest, bytes)| bytes == file.bytes && digest.to_string() == *known)
    }
}

/// Runs on a thread and runtime of its own: callers may be on a runtime themselves, which must not block.
fn apart<T: Send>(work: impl Future<Output = Result<T, HubError>> + Send) -> Result<T, HubError> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| HubError::Client { why: error.to_string() })?.block_on(work)
    };
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Size and digest against the listing; gives the SHA-256.
fn verify(what: &str, path: &Path, file: &HubFile) -> Result<String, HubError> {
    let damaged =
        |expected: String, actual: String| HubError::Damaged { what: what.to_owned(), expected, actual };
    let (digest, bytes) = digest_file(path)?;
    if bytes != file.bytes {
        return Err(damaged(format!("{} bytes", file.bytes), format!("{bytes} bytes")));
    }
    let sha256 = digest.to_string();
    match (&file.sha256, &file.git_blob) {
        (Some(expected), _) if *expected == sha256 => Ok(sha256),
        (Some(expected), _) => Err(damaged(format!("SHA-256 {expected}"), format!("SHA-256 {sha256}"))),
        (None, Some(expected)) => match git_blob(path, bytes)? {
            actual if actual == *expected => Ok(sha256),
            actual => Err(damaged(format!("git blob {expected}"), format!("git blob {actual}"))),
        },
        (None, None) => Err(damaged(String::from("no digest"), format!("SHA-256 {sha256}"))),
    }
}

/// Git's id of a file's content: SHA-1 of `blob LENGTH`, a zero byte and the bytes. Files that are not large are small.
fn git_blob(path: &Path, bytes: u64) -> Result<String, HubError> {
    let content = fs::read(path).map_err(TransferError::file("read", path))?;
    let id = Sha1::new().chain_update(format!("blob {bytes}\0")).chain_update(content).finalize();
    Ok(id.iter().map(|byte| format!("{byte:02x}")).collect())
}
