//! Whether the objects that an attempt or a plan names are in the store: seen before the engine is told.

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::job::Source;
use assay_domain::state::FinishedJob;
use assay_domain::{Artifact, FileRef, JobKey, Lease, LostObject, ObjectKey, PlannedJob, Rejection};
use tonic::Status;

use super::internal;
use crate::fatal::Fatal;
use crate::hub::HubAccess;
use crate::objects::local::{self, Expected, Found, LocalObjects, ObjectError};

/// Looks into the store.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) objects: LocalObjects,
    pub(crate) fatal: Fatal,
}

/// What of earlier runs can be taken.
#[derive(Debug, Default)]
pub(super) struct Present {
    pub(super) finished: BTreeMap<JobKey, FinishedJob>,
    pub(super) absent: BTreeSet<JobKey>,
}

impl Named {
    /// Why artifacts of attempts cannot be accepted: a file under another key than its own, or not in the store. One answer for each
    /// of the given.
    pub(super) async fn check(
        &self,
        named: Vec<(Lease, Vec<Artifact>)>,
    ) -> Result<Vec<Option<Rejection>>, Status> {
        self.look(move |objects| named.iter().map(|(lease, made)| refused(objects, lease, made)).collect())
            .await
    }

    /// The finished jobs all of whose outputs are still in the store, and the keys of the others.
    pub(super) async fn present(&self, finished: BTreeMap<JobKey, FinishedJob>) -> Result<Present, Status> {
        self.look(move |objects| {
            let mut present = Present::default();
            for (key, job) in finished {
                if all_there(objects, job.outputs.iter().flat_map(|artifact| &artifact.files))? {
                    present.finished.insert(key, job);
                } else {
                    present.absent.insert(key);
                }
            }
            Ok(present)
        })
        .await
    }

    /// Those of the files that are not in the store as they should be. Their keys are free afterwards.
    pub(super) async fn lost(&self, files: Vec<FileRef>) -> Result<Vec<LostObject>, Status> {
        self.look(move |objects| {
            let mut lost = Vec::new();
            for file in files {
                let key = local::ObjectKey::parse(file.key.as_str())?;
                let expected = Expected { size_bytes: file.bytes, sha256: *file.digest.as_bytes() };
                match objects.remove_if_bad(&key, expected) {
                    // It never was here: its readers go to the Hub.
                    Ok(Some(Found::Nothing)) if file.origin().is_some() => {}
                    Ok(Some(found)) => lost.push(LostObject { file, found: found.to_string() }),
                    Ok(None) => {}
                    // A disk that cannot read proves nothing; the worker's words stand as they are.
                    Err(error @ ObjectError::Io { .. }) => {
                        tracing::error!(
                            error = assay_domain::chain(&error),
                            "a suspected object cannot be looked at"
                        );
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(lost)
        })
        .await
    }

    /// The uploads that a plan needs and neither the store has nor the Hub gives to workers, for people.
    pub(super) async fn lacking(&self, plan: &[PlannedJob], hub: &HubAccess) -> Result<Vec<String>, Status> {
        let mut uploads = BTreeMap::new();
        let given = |file: &&FileRef| file.origin().is_some_and(|origin| hub.has_token_for(origin));
        for input in plan.iter().flat_map(|job| &job.inputs) {
            if let Source::Upload { artifact } = &input.source {
                let files = artifact.files.iter().filter(|file| !given(file));
                uploads.extend(files.map(|file| (file.key.clone(), (artifact.name.clone(), file.clone()))));
            }
        }
        self.look(move |objects| {
            let mut lacking = Vec::new();
            for (name, file) in uploads.into_values() {
                let own = file.key == ObjectKey::upload(file.digest);
                if own && is_there(objects, &file)? {
                    continue;
                }
                lacking.push(match file.origin() {
                    Some(origin) => format!(
                        "{origin}, which is gated or private, or not said to be open (start this coordinator with HF_TOKEN set to a token that may read it, \
                         or give the model `upload: true`)"
                    ),
                    None => format!("{} of {name} ({}, {} bytes)", file.path, file.key, file.bytes),
                });
            }
            Ok(lacking)
        })
        .await
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&LocalObjects) -> Result<T, ObjectError> + Send + 'static,
    ) -> Result<T, Status> {
        let objects = self.objects.clone();
        let outcome = tokio::task::spawn_blocking(move || look(&objects)).await;
        match outcome {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                self.fatal.notice(&error);
                Err(internal("looking into the object store", &error))
            }
            Err(error) => Err(internal("looking into the object store", &error)),
        }
    }
}

/// Why the artifacts of one attempt cannot be accepted.
fn refused(
    objects: &LocalObjects,
    lease: &Lease,
    made: &[Artifact],
) -> Result<Option<Rejection>, ObjectError> {
    for artifact in made {
        if artifact.files.is_empty() {
            return Ok(Some(Rejection::MissingOutput { lease: lease.clone(), name: artifact.name.clone() }));
        }
        for file in &artifact.files {
            if let Some(found) = wrong(objects, lease, &artifact.name, file)? {
                let (lease, key, bytes) = (lease.clone(), file.key.to_string(), file.bytes);
                return Ok(Some(Rejection::MissingObject { lease, key, bytes, found }));
            }
        }
    }
    Ok(None)
}

fn wrong(
    objects: &LocalObjects,
    lease: &Lease,
    artifact: &str,
    file: &FileRef,
) -> Result<Option<String>, ObjectError> {
    if ObjectKey::output(lease, artifact, &file.path).as_ref() != Ok(&file.key) {
        return Ok(Some(String::from("that key is not this attempt's own for this file")));
    }
    Ok(match objects.stat(&local::ObjectKey::parse(file.key.as_str())?)? {
        Some(bytes) if bytes == file.bytes => None,
        Some(bytes) => Some(format!("{bytes} bytes are there")),
        None => Some(String::from("nothing is there")),
    })
}

fn all_there<'a>(
    objects: &LocalObjects,
    files: impl IntoIterator<Item = &'a FileRef>,
) -> Result<bool, ObjectError> {
    for file in files {
        if !is_there(objects, file)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_there(objects: &LocalObjects, file: &FileRef) -> Result<bool, ObjectError> {
    let Ok(key) = local::ObjectKey::parse(file.key.as_str()) else { return Ok(false) };
    Ok(objects.stat(&key)? == Some(file.bytes))
}
