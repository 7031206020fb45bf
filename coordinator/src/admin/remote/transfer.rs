//! Files and objects to a bucket and back, a few at once, each in parts: memory is bounded whatever their size.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use assay_domain::FileRef;
use futures::stream::{StreamExt as _, TryStreamExt as _, iter};
use object_store::path::Path as Key;
use object_store::{Error, MultipartUpload, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};

use super::super::store::{Objects, Sink, Wrong, kept};
use super::super::{AdminError, files, objects};
use super::bucket::Bucket;

/// What is sent or fetched in one request: more than the 5 MiB that every store takes as a part, little enough for a slow line.
const PART_BYTES: u64 = 8 << 20;
/// Stores take 10,000 parts of an object at most.
const PARTS_MAX: u64 = 9_000;
/// Files under way at once: most are small, and each request takes its time. With [`PART_BYTES`] this bounds the memory.
const AT_ONCE: usize = 6;

/// What was sent: its length and SHA-256.
type Sent = (u64, String);

impl Bucket {
    /// Downloads files to the same names below a folder.
    pub(super) fn fetch(&self, names: &[String], folder: &Path) -> Result<(), AdminError> {
        let each = |name: &String| {
            let (name, to) = (name.clone(), folder.join(name));
            async move {
                match self.download(&name, &to).await? {
                    true => Ok(()),
                    // It was listed a moment ago.
                    false => Err(AdminError::NoBackup { path: self.url().into() }),
                }
            }
        };
        self.runtime.block_on(iter(names).map(each).buffered(AT_ONCE).try_collect::<()>())
    }

    /// Sends a file as it is read.
    async fn upload(&self, from: &Path, name: &str) -> Result<Sent, AdminError> {
        let key = self.key(name)?;
        let mut reading = Reading::open(from)?;
        let first = reading.part()?;
        if first.len() < reading.part_bytes {
            self.store.put(&key, first.into()).await.map_err(self.refused("write", name))?;
            return Ok(reading.sent());
        }
        let mut upload = self.store.put_multipart(&key).await.map_err(self.refused("write", name))?;
        let sent = self.send_parts(&mut *upload, name, first, &mut reading).await;
        if sent.is_err() {
            // Parts that stay are for the bucket's rule about unfinished uploads.
            let _ = upload.abort().await;
        }
        sent.map(|()| reading.sent())
    }

    /// One part after the other: several files are under way as it is.
    async fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        name: &str,
        first: Vec<u8>,
        reading: &mut Reading<'_>,
    ) -> Result<(), AdminError> {
        let mut part = first;
        while !part.is_empty() {
            upload.put_part(part.into()).await.map_err(self.refused("write", name))?;
            part = reading.part()?;
        }
        upload.complete().await.map_err(self.refused("write", name))?;
        Ok(())
    }

    /// Reads a file part by part; its length, or none if it is not there.
    async fn read(
        &self,
        name: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), AdminError>,
    ) -> Result<Option<u64>, AdminError> {
        let key = self.key(name)?;
        let Some(length) = self.length(&key, name).await? else { return Ok(None) };
        let mut at = 0;
        while at < length {
            let range = at..length.min(at + PART_BYTES);
            at = range.end;
            let part = self.store.get_range(&key, range).await.map_err(self.refused("read", name))?;
            each(&part)?;
        }
        Ok(Some(length))
    }

    async fn length(&self, key: &Key, name: &str) -> Result<Option<u64>, AdminError> {
        match self.store.head(key).await {
            Ok(found) => Ok(Some(found.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.refused("read", name)(error)),
        }
    }

    /// Downloads to a new file, durably. Answers whether there was one.
    async fn download(&self, name: &str, to: &Path) -> Result<bool, AdminError> {
        if let Some(folder) = to.parent() {
            files::make_folder(folder)?;
        }
        let mut file = files::create(to)?;
        let read = self.read(name, |part| file.write_all(part).map_err(AdminError::io("write", to)));
        let found = read.await?.is_some();
        file.sync_all().map_err(AdminError::io("sync", to))?;
        if !found {
            std::fs::remove_file(to).map_err(AdminError::io("remove", to))?;
        }
        Ok(found)
    }

    async fn copy_in(&self, from: &Path, file: &FileRef) -> Result<Option<String>, AdminError> {
        if let Some(wrong) = objects::wrong(from, file, false) {
            return Ok(Some(wrong));
        }
        let name = object_name(file);
        let (bytes, digest) = self.upload(&from.join(file.key.as_str()), &name).await?;
        let wrong = differs(file, bytes, &digest);
        if wrong.is_some() {
            let key = self.key(&name)?;
            self.store.delete(&key).await.map_err(self.refused("remove", &name))?;
        }
        Ok(wrong)
    }

    async fn copy_out(&self, folder: &Path, file: &FileRef) -> Result<Option<String>, AdminError> {
        match self.download(&object_name(file), &folder.join(file.key.as_str())).await? {
            true => kept(folder, file),
            false => Ok(Some(String::from("is missing"))),
        }
    }

    async fn look_at(&self, file: &FileRef, digests: bool) -> Result<Option<String>, AdminError> {
        let name = object_name(file);
        let mut hasher = Sha256::new();
        let found = match digests {
            false => self.length(&self.key(&name)?, &name).await?,
            true => {
                let each = |part: &[u8]| {
                    hasher.update(part);
                    Ok(())
                };
                self.read(&name, each).await?
            }
        };
        Ok(match found {
            None => Some(String::from("is missing")),
            Some(bytes) if !digests => differs(file, bytes, &file.digest.to_string()),
            Some(bytes) => differs(file, bytes, &hex::encode(hasher.finalize())),
        })
    }
}

impl Sink for Bucket {
    fn copy(&self, from: &Path, name: &str) -> Result<String, AdminError> {
        Ok(self.runtime.block_on(self.upload(from, name))?.1)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), AdminError> {
        self.put(name, bytes)
    }

    fn copy_objects(&self, from: &Path, files: &[&FileRef]) -> Result<Wrong, AdminError> {
        let copied = iter(files).map(|file| self.copy_in(from, file)).buffered(AT_ONCE);
        self.runtime.block_on(copied.try_collect())
    }
}

impl Objects for Bucket {
    fn look(&self, files: &[&FileRef], digests: bool) -> Result<Wrong, AdminError> {
        let looked = iter(files).map(|file| self.look_at(file, digests)).buffered(AT_ONCE);
        self.runtime.block_on(looked.try_collect())
    }

    fn copy_to(&self, folder: &Path, files: &[&FileRef]) -> Result<Wrong, AdminError> {
        let copied = iter(files).map(|file| self.copy_out(folder, file)).buffered(AT_ONCE);
        self.runtime.block_on(copied.try_collect())
    }
}

fn object_name(file: &FileRef) -> String {
    format!("objects/{}", file.key)
}

fn differs(file: &FileRef, bytes: u64, digest: &str) -> Option<String> {
    if bytes != file.bytes {
        return Some(format!("has {bytes} bytes, not {}", file.bytes));
    }
    (digest != file.digest.to_string()).then(|| format!("has sha256 {digest}, not {}", file.digest))
}

/// A file on its way out.
struct Reading<'a> {
    path: &'a Path,
    file: File,
    part_bytes: usize,
    hasher: Sha256,
    bytes: u64,
}

impl<'a> Reading<'a> {
    fn open(path: &'a Path) -> Result<Self, AdminError> {
        let opened = File::open(path).and_then(|file| file.metadata().map(|about| (file, about.len())));
        let (file, length) = opened.map_err(AdminError::io("read", path))?;
        let part_bytes = usize::try_from(PART_BYTES.max(length / PARTS_MAX)).unwrap_or(usize::MAX);
        Ok(Self { path, file, part_bytes, hasher: Sha256::new(), bytes: 0 })
    }

    /// The next bytes; fewer than a part only at the end.
    fn part(&mut self) -> Result<Vec<u8>, AdminError> {
        let mut part = Vec::new();
        let read = (&self.file).take(self.part_bytes as u64).read_to_end(&mut part);
        self.bytes += read.map_err(AdminError::io("read", self.path))? as u64;
        self.hasher.update(&part);
        Ok(part)
    }

    fn sent(self) -> Sent {
        (self.bytes, hex::encode(self.hasher.finalize()))
    }
}
