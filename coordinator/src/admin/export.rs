//! Everything that is stored, as JSON lines that other programs read; but for secrets.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use assay_domain::UnixMillis;
use serde::Serialize;
use serde_json::{Value, json};

use super::AdminError;
use super::files::Whole;
use super::stored::{Damage, Stored};
use crate::disk::RealDisk;

/// The version of the lines.
const FORMAT: u32 = 1;

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exported {
    /// The last record in it.
    pub last_sequence: u64,
    /// Matrices, one line for each.
    pub matrices: usize,
    /// Workers, one line for each.
    pub workers: usize,
}

/// Writes one line for the state, one for each worker and one for each matrix with all its jobs, to a new file or, for `-`,
/// to standard output.
///
/// # Errors
/// What was wrong with source or target; a file appears whole or not at all.
pub fn export(data_dir: &Path, target: &Path, now: UnixMillis) -> Result<Exported, AdminError> {
    let stored = Stored::load(&RealDisk, data_dir, Damage::Refused)?;
    if stored.last_sequence == 0 {
        return Err(AdminError::NoState { path: data_dir.to_path_buf() });
    }
    if target == Path::new("-") {
        return write(&stored, now, &mut io::stdout().lock()).map_err(AdminError::io("write", target));
    }
    let mut file = Whole::create(target)?;
    let exported = write(&stored, now, file.writer()).map_err(AdminError::io("write", target))?;
    file.finish()?;
    Ok(exported)
}

fn write(stored: &Stored, now: UnixMillis, out: &mut dyn Write) -> io::Result<Exported> {
    let mut line = |value: Value| {
        serde_json::to_writer(&mut *out, &value)?;
        out.write_all(b"\n")
    };
    line(json!({
        "line": "state", "format": FORMAT, "exported_at": now, "last_sequence": stored.last_sequence,
        "epoch": stored.state.epoch,
    }))?;
    for worker in stored.state.workers.values() {
        line(json!({ "line": "worker", "worker": worker }))?;
    }
    let mut matrices = 0;
    for matrix in stored.matrices() {
        let mut value = serde_json::to_value(matrix)?;
        if let Some(submitted) = value["submitted"].as_object_mut() {
            // Slots and labels of judges derive from it.
            submitted.remove("secret");
        }
        line(json!({ "line": "matrix", "finished": matrix.is_finished(), "matrix": value }))?;
        matrices += 1;
    }
    out.flush()?;
    Ok(Exported { last_sequence: stored.last_sequence, matrices, workers: stored.state.workers.len() })
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { last_sequence, matrices, workers } = self;
        write!(f, "exported as of sequence {last_sequence}: {matrices} matrices, {workers} workers")
    }
}
