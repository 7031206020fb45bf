//! Which objects the stored state names, and whether they lie in the store as they should.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

use assay_domain::job::Source;
use assay_domain::segment::Lines;
use assay_domain::state::{Matrix, Phase};
use assay_domain::{Artifact, FileRef, JobId, Lease};
use sha2::{Digest as _, Sha256};

const BLOCK_BYTES: usize = 1 << 20;

/// Files by key, each with who names it first.
pub(super) type Named = BTreeMap<String, (FileRef, String)>;

/// Only the files, in the same order.
pub(super) fn files(named: &Named) -> Vec<&FileRef> {
    named.values().map(|(file, _)| file).collect()
}

/// All objects that these matrices name: what people uploaded, outputs, checkpoints, logs and ledgers. What the Hub has too is not
/// among them: it may be here or not.
pub(super) fn named<'a>(matrices: impl Iterator<Item = &'a Matrix>) -> Named {
    let mut named = Named::new();
    for matrix in matrices {
        for planned in &matrix.submitted.plan {
            let id = JobId { matrix: matrix.submitted.id.clone(), ordinal: planned.ordinal };
            let mut add = |file: &FileRef, what: &str| {
                let by = || (file.clone(), format!("{what} of {id}"));
                named.entry(file.key.to_string()).or_insert_with(by);
            };
            for input in &planned.inputs {
                if let Source::Upload { artifact } = &input.source {
                    let only_here = artifact.files.iter().filter(|file| file.origin().is_none());
                    only_here.for_each(|file| add(file, &format!("input {}", input.name)));
                }
            }
            for artifact in kept(matrix, planned.ordinal) {
                artifact.files.iter().for_each(|file| add(file, &artifact.name));
            }
            for (what, file) in lines(matrix, &id) {
                add(&file, what);
            }
        }
    }
    named
}

/// Outputs, adapters of checkpoints and the resume states that are still kept.
fn kept(matrix: &Matrix, ordinal: u32) -> Vec<&Artifact> {
    let Some(job) = matrix.jobs.get(ordinal as usize) else { return Vec::new() };
    let mut kept: Vec<&Artifact> = job
        .checkpoints
        .values()
        .flat_map(|point| std::iter::once(&point.adapter).chain(&point.resume))
        .collect();
    if let Phase::Succeeded { outputs, .. } | Phase::Reused { outputs, .. } = &job.phase {
        kept.extend(outputs);
    }
    kept
}

fn lines(matrix: &Matrix, job: &JobId) -> Vec<(&'static str, FileRef)> {
    let attempts = matrix.jobs.get(job.ordinal as usize).map(|job| job.attempts.as_slice());
    let mut found = Vec::new();
    for attempt in attempts.unwrap_or_default() {
        let lease = Lease { job: job.clone(), fence: attempt.fence };
        for of in Lines::ALL {
            let segments = &attempt.stored(of).segments;
            // A key that cannot be was refused when the segment was said.
            found.extend(
                segments.iter().filter_map(|segment| Some((of.as_str(), segment.file(&lease).ok()?))),
            );
        }
    }
    found
}

/// What is wrong with an object in a store's folder; `None` if nothing. Without `digests` only its length is looked at.
pub(super) fn wrong(objects: &Path, file: &FileRef, digests: bool) -> Option<String> {
    let path = objects.join(file.key.as_str());
    let checked = match digests {
        false => std::fs::metadata(&path).map(|metadata| (metadata.len(), None)),
        true => digest(&path).map(|(bytes, digest)| (bytes, Some(digest))),
    };
    match checked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(String::from("is missing")),
        Err(error) => Some(format!("cannot be read: {error}")),
        Ok((bytes, _)) if bytes != file.bytes => Some(format!("has {bytes} bytes, not {}", file.bytes)),
        Ok((_, Some(found))) if found != file.digest.to_string() => {
            Some(format!("has sha256 {found}, not {}", file.digest))
        }
        Ok(_) => None,
    }
}

/// Length and SHA-256 of a file.
pub(super) fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut block, mut bytes) = (Sha256::new(), vec![0; BLOCK_BYTES], 0);
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok((bytes, hex::encode(hasher.finalize()))),
            Ok(read) => {
                hasher.update(&block[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
