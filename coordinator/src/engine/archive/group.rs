//! Jobs of a finished matrix, some in one compressed record: they have most of their text in common, and an index is read whole at
//! every start.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde_json::value::RawValue;

use super::{EngineError, JobRecord, decode};
use crate::index::VALUE_MAX_BYTES;

/// Jobs of a record. More of them are hardly smaller together, since digests stay as they are, and no longer one pair of the index.
pub(super) const JOBS: usize = 16;

/// Jobs with a longer text stay apart, so that no record is too large, however badly it is compressed.
pub(super) const TEXT_MAX_BYTES: usize = VALUE_MAX_BYTES / 2;

/// The first job of a job's group.
pub(super) const fn first_of(ordinal: u32) -> u32 {
    ordinal / JOBS as u32 * JOBS as u32
}

/// Some jobs' records, one after the other, as one; none where they are too large for that.
pub(super) fn pack(records: &[Vec<u8>]) -> Result<Option<Vec<u8>>, EngineError> {
    let text = [b"[", records.join(&b',').as_slice(), b"]"].concat();
    if text.len() > TEXT_MAX_BYTES {
        return Ok(None);
    }
    let failed = |source| EngineError::IndexPacked { source };
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&text).map_err(failed)?;
    encoder.finish().map(Some).map_err(failed)
}

/// All jobs of a group.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<JobRecord>, EngineError> {
    decode(&text(packed)?)
}

/// One of them.
pub(super) fn unpack_one(packed: &[u8], ordinal: u32) -> Result<Option<JobRecord>, EngineError> {
    let text = text(packed)?;
    let records: Vec<&RawValue> = decode(&text)?;
    let record = records.get((ordinal - first_of(ordinal)) as usize);
    record.map(|record| decode(record.get().as_bytes())).transpose()
}

fn text(packed: &[u8]) -> Result<Vec<u8>, EngineError> {
    let mut text = Vec::new();
    let mut decoder = DeflateDecoder::new(packed).take(TEXT_MAX_BYTES as u64);
    decoder.read_to_end(&mut text).map_err(|source| EngineError::IndexPacked { source })?;
    Ok(text)
}
