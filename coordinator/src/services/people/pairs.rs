//! The pairs of a matrix, as its judges get them: from the answers of both sides of every comparison.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use assay_domain::job::{Comparison, Source, Work};
use assay_domain::state::{Matrix, Phase};
use assay_domain::{Artifact, FileRef, PlannedJob};
use assay_judging::pair::{PairInput, match_generations};
use assay_judging::records::{GENERATIONS_FILE, GenerationRecord, from_jsonl};
use sha2::{Digest as _, Sha256};
use tonic::Status;

use crate::objects::local::{LocalObjects, ObjectKey};
use crate::services::internal;

/// The most bytes of one file of answers.
const ANSWERS_BYTES_MAX: u64 = 256 << 20;

/// All of them.
///
/// # Errors
/// Answers that are not there yet, or are damaged.
pub(super) fn pairs(matrix: &Matrix, objects: &LocalObjects) -> Result<Vec<PairInput>, Status> {
    let mut read: BTreeMap<u32, Vec<GenerationRecord>> = BTreeMap::new();
    let mut pairs = Vec::new();
    for (comparison, sides) in compared(&matrix.submitted.plan) {
        for job in sides {
            if let Entry::Vacant(unread) = read.entry(job) {
                unread.insert(answers(matrix, job, objects)?);
            }
        }
        let of = |job: u32| read.get(&job).map(Vec::as_slice).unwrap_or_default();
        let [base, tuned] = sides;
        let matched = match_generations(&comparison.id, of(base), of(tuned));
        pairs.extend(matched.map_err(|error| Status::failed_precondition(error.to_string()))?);
    }
    if pairs.is_empty() {
        return Err(Status::failed_precondition(
            "no judge of the matrix takes part: there are no pairs to judge",
        ));
    }
    Ok(pairs)
}

/// Every comparison that somebody judges, with the jobs that answered for `base` and `tuned`.
fn compared(plan: &[PlannedJob]) -> Vec<(&Comparison, [u32; 2])> {
    let mut found: Vec<(&Comparison, [u32; 2])> = Vec::new();
    for job in plan {
        let comparison = match &job.work {
            Work::Score(spec) => &spec.comparison,
            Work::Judge(spec) => &spec.comparison,
            Work::Train(_) | Work::Generate(_) | Work::Report(_) => continue,
        };
        if found.iter().any(|(known, _)| known.id == comparison.id) {
            continue;
        }
        let side = |role: &str| {
            job.inputs.iter().find(|input| input.name == role).and_then(|input| match &input.source {
                Source::Output { job, .. } => Some(*job),
                Source::Upload { .. } => None,
            })
        };
        if let (Some(base), Some(tuned)) = (side("base"), side("tuned")) {
            found.push((comparison, [base, tuned]));
        }
    }
    found
}

fn answers(matrix: &Matrix, ordinal: u32, objects: &LocalObjects) -> Result<Vec<GenerationRecord>, Status> {
    let label = matrix.submitted.plan.get(ordinal as usize).map_or("", |job| job.label.as_str());
    let not_yet = || {
        let status = matrix.status(ordinal).as_str();
        Status::failed_precondition(format!(
            "the answers of `{label}` are not there: its job is {status}; people judge when all answers are"
        ))
    };
    let outputs: &[Artifact] = match matrix.jobs.get(ordinal as usize).map(|job| &job.phase) {
        Some(Phase::Succeeded { outputs, .. } | Phase::Reused { outputs, .. }) => outputs,
        Some(Phase::Waiting | Phase::Leased { .. } | Phase::Failed { .. } | Phase::Cancelled) | None => &[],
    };
    let generations = outputs.iter().find(|artifact| artifact.name == "generations").ok_or_else(not_yet)?;
    // Answers of older builds are a file of another name.
    let file =
        generations.files.iter().find(|file| file.path == GENERATIONS_FILE).or(generations.files.first());
    let text = text(file.ok_or_else(not_yet)?, objects)?;
    from_jsonl(label, &text).map_err(|error| internal("reading answers", &error))
}

/// A file's text, seen to be what it was.
fn text(file: &FileRef, objects: &LocalObjects) -> Result<String, Status> {
    let failed = |error: crate::objects::local::ObjectError| internal("reading answers", &error);
    let damaged = || {
        Status::data_loss(format!(
            "object {} is damaged: `assay admin verify` looks at all of them; submitting the matrix again makes it again",
            file.key
        ))
    };
    if file.bytes > ANSWERS_BYTES_MAX {
        return Err(Status::failed_precondition(format!(
            "the answers have {} bytes: {ANSWERS_BYTES_MAX} at most are judged by hand",
            file.bytes
        )));
    }
    let object = objects.open(&ObjectKey::parse(file.key.as_str()).map_err(failed)?).map_err(failed)?;
    let mut bytes = vec![0; file.bytes as usize];
    let mut at = 0;
    while at < bytes.len() {
        match object.read_at(at as u64, &mut bytes[at..]).map_err(failed)? {
            0 => return Err(damaged()),
            read => at += read,
        }
    }
    if Sha256::digest(&bytes).as_slice() != file.digest.as_bytes() {
        return Err(damaged());
    }
    String::from_utf8(bytes).map_err(|_| damaged())
}
