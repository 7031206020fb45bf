//! An open bucket: how it is reached, and its small calls.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as Key;
use object_store::{ClientConfigKey, Error, ObjectStore, ObjectStoreExt as _, RetryConfig};
use tokio::runtime::{Builder, Runtime};

use super::super::AdminError;
use super::url::{BucketUrl, Store};

/// For one request, of a part at most.
const REQUEST: Duration = Duration::from_secs(120);
/// A request that fails in passing is tried again for so long, with pauses that grow to 15 s.
const RETRY: Duration = Duration::from_secs(60);
/// More than there can be in that time.
const RETRIES_MAX: usize = 100;

/// A prefix of a bucket, open.
pub(in super::super) struct Bucket {
    pub(super) at: BucketUrl,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) runtime: Arc<Runtime>,
}

impl Bucket {
    /// With credentials, region and endpoint from the environment. Nothing is asked of the store yet.
    pub(in super::super) fn open(at: &BucketUrl) -> Result<Self, AdminError> {
        let store = connect(at).map_err(refused("open", at.to_string()))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(AdminError::io("start a runtime for", at.to_string().as_ref()))?;
        Ok(Self { at: at.clone(), store, runtime: Arc::new(runtime) })
    }

    /// What is below it.
    pub(super) fn within(&self, name: &str) -> Self {
        Self { at: self.at.within(name), store: Arc::clone(&self.store), runtime: Arc::clone(&self.runtime) }
    }

    pub(in super::super) fn url(&self) -> String {
        self.at.to_string()
    }

    /// The key of a file below it.
    pub(super) fn key(&self, name: &str) -> Result<Key, AdminError> {
        Key::parse(self.at.key(name))
            .map_err(|source| self.refused("name", name)(Error::InvalidPath { source }))
    }

    /// Its own key: of characters that need no encoding.
    pub(super) fn prefix(&self) -> Key {
        Key::from(self.at.prefix.as_str())
    }

    pub(super) fn refused(&self, action: &'static str, name: &str) -> impl FnOnce(Error) -> AdminError {
        let url = match name {
            "" => self.url(),
            name => format!("{}/{name}", self.at),
        };
        refused(action, url)
    }

    pub(super) fn holds_anything(&self) -> Result<bool, AdminError> {
        let mut listed = self.store.list(Some(&self.prefix()));
        let first = self.runtime.block_on(listed.next()).transpose();
        Ok(first.map_err(self.refused("list", ""))?.is_some())
    }

    /// Names of all files in a folder of it and below.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<String>, AdminError> {
        let prefix = self.key(folder)?;
        let listed = self.store.list(Some(&prefix)).map_ok(|found| found.location).try_collect();
        let keys: Vec<Key> = self.runtime.block_on(listed).map_err(self.refused("list", folder))?;
        let below = format!("{}/", self.at.prefix);
        Ok(keys.iter().filter_map(|key| key.as_ref().strip_prefix(&below).map(str::to_owned)).collect())
    }

    /// Writes a small file.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), AdminError> {
        let key = self.key(name)?;
        let put = self.store.put(&key, bytes.to_vec().into());
        self.runtime.block_on(put).map_err(self.refused("write", name))?;
        Ok(())
    }

    /// A small file; none if it is not there.
    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>, AdminError> {
        let key = self.key(name)?;
        let got = self.runtime.block_on(async { self.store.get(&key).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.refused("read", name)(error)),
        }
    }

    /// Removes all that is below it, `first` before all else.
    pub(super) fn remove(&self, first: &str) -> Result<(), AdminError> {
        let key = self.key(first)?;
        match self.runtime.block_on(self.store.delete(&key)) {
            Ok(()) | Err(Error::NotFound { .. }) => self.remove_all(),
            Err(error) => Err(self.refused("remove", first)(error)),
        }
    }

    /// Removes all that is below it.
    pub(super) fn remove_all(&self) -> Result<(), AdminError> {
        let listed = self.store.list(Some(&self.prefix())).map_ok(|found| found.location).boxed();
        let removed = self.store.delete_stream(listed);
        let removing = removed.try_for_each(|_| std::future::ready(Ok(())));
        self.runtime.block_on(removing).map_err(self.refused("remove", ""))
    }
}

fn connect(at: &BucketUrl) -> Result<Arc<dyn ObjectStore>, Error> {
    let (timeout, name) = (ClientConfigKey::Timeout, &at.bucket);
    let time = format!("{}s", REQUEST.as_secs());
    let retry = RetryConfig { retry_timeout: RETRY, max_retries: RETRIES_MAX, ..RetryConfig::default() };
    Ok(match at.store {
        Store::S3 => {
            let builder = AmazonS3Builder::from_env().with_config(AmazonS3ConfigKey::Client(timeout), time);
            Arc::new(builder.with_bucket_name(name).with_retry(retry).build()?)
        }
        Store::Google => {
            let builder =
                GoogleCloudStorageBuilder::from_env().with_config(GoogleConfigKey::Client(timeout), time);
            Arc::new(builder.with_bucket_name(name).with_retry(retry).build()?)
        }
        Store::Azure => {
            let builder =
                MicrosoftAzureBuilder::from_env().with_config(AzureConfigKey::Client(timeout), time);
            Arc::new(builder.with_container_name(name).with_retry(retry).build()?)
        }
    })
}

fn refused(action: &'static str, url: String) -> impl FnOnce(Error) -> AdminError {
    move |error| {
        let advice = advice(&error);
        AdminError::Remote { action, url, reason: error.to_string(), advice }
    }
}

/// What to do about it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other errors say what they are")]
fn advice(error: &Error) -> &'static str {
    // Of a listing that was refused `object_store` has only the text.
    let says = |status: &str| error.to_string().contains(&format!("status code: {status}"));
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => FORBIDDEN,
        Error::NotFound { .. } => NOT_THERE,
        Error::Generic { .. } if says("403") || says("401") => FORBIDDEN,
        Error::Generic { .. } if says("404") => NOT_THERE,
        Error::Generic { .. } => {
            "are credentials, region and endpoint set in the environment as docs/operations.md says, and is the store reachable from here?"
        }
        _ => "see docs/operations.md",
    }
}

const FORBIDDEN: &str = "the store does not take the credentials of the environment, or they may not do that: they need to list, read, \
                         write and remove below this prefix (docs/operations.md)";
const NOT_THERE: &str = "is the bucket there, and are region and endpoint of the environment the right ones?";
