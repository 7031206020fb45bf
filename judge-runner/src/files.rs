//! Reading and writing the records that jobs exchange.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use assay_agent::{AttemptContext, Failure};
use assay_domain::chain;
use assay_domain::job::FailureClass;
use assay_judging::records::{
    GENERATIONS_FILE, GenerationRecord, SAMPLING_FILE, SamplingRecord, from_jsonl, to_jsonl,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::executor::bad_input;

/// The records of one input.
pub(crate) fn read<T: DeserializeOwned>(cx: &AttemptContext, role: &str) -> Result<Vec<T>, Failure> {
    lines(role, cx.input(role)?)
}

/// The answers of a `generations` artifact.
pub(crate) fn generations(cx: &AttemptContext, role: &str) -> Result<Vec<GenerationRecord>, Failure> {
    lines(role, &cx.input_file(role, GENERATIONS_FILE)?)
}

/// How the answers of a `generations` artifact were drawn; those of older builds do not say.
pub(crate) fn sampling(cx: &AttemptContext, role: &str) -> Result<Option<SamplingRecord>, Failure> {
    let folder = cx.input(role)?;
    if !folder.is_dir() {
        return Ok(None);
    }
    let path = folder.join(SAMPLING_FILE);
    let text = fs::read_to_string(&path).map_err(|error| disk(&path, &error))?;
    let record = serde_json::from_str(&text);
    record.map(Some).map_err(|error| bad_input(format!("{role}, {SAMPLING_FILE}: {error}")))
}

/// What `read` makes of all inputs whose role is `prefix/N`, by N: the ordinal of the job that made them.
pub(crate) fn each<T>(
    cx: &AttemptContext,
    prefix: &str,
    read: impl Fn(&AttemptContext, &str) -> Result<T, Failure>,
) -> Result<BTreeMap<u32, T>, Failure> {
    let mut found = BTreeMap::new();
    for (role, _) in cx.inputs() {
        let ordinal = role.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
        let Some(ordinal) = ordinal.and_then(|ordinal| ordinal.parse().ok()) else { continue };
        found.insert(ordinal, read(cx, role)?);
    }
    Ok(found)
}

fn lines<T: DeserializeOwned>(role: &str, path: &Path) -> Result<Vec<T>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| disk(path, &error))?;
    from_jsonl(role, &text).map_err(|error| bad_input(chain(&error)))
}

/// Writes records as JSON lines into the attempt's folder.
pub(crate) fn write<T: Serialize>(
    cx: &AttemptContext,
    name: &str,
    records: &[T],
) -> Result<PathBuf, Failure> {
    let text = to_jsonl(records).map_err(|error| bad_input(format!("{name} cannot be written: {error}")))?;
    write_text(cx, name, &text)
}

/// Writes a text into the attempt's folder.
pub(crate) fn write_text(cx: &AttemptContext, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let path = cx.work_dir().join(name);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_data()
    });
    written.map_err(|error| disk(&path, &error))?;
    Ok(path)
}

/// An error of the local disk.
pub(crate) fn disk(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureClass::Transient, format!("{}: {error}", path.display()))
}
