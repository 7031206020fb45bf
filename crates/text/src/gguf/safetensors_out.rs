//! Writes one bf16 safetensors file tensor by tensor, so that only one tensor is in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::half::bf16_from_f32;

/// Name and shape of a tensor to come.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
}

#[derive(Serialize)]
struct Entry<'a> {
    dtype: &'static str,
    shape: &'a [u64],
    data_offsets: [u64; 2],
}

/// Tensors must be pushed in the order they were planned.
pub(super) struct Bf16Writer {
    out: BufWriter<File>,
}

impl Bf16Writer {
    /// Creates the file and writes its header.
    pub(super) fn create(path: &Path, planned: &[Planned]) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        let mut offset = 0;
        for tensor in planned {
            let end = offset + 2 * tensor.shape.iter().product::<u64>();
            entries.insert(
                tensor.name.as_str(),
                Entry { dtype: "BF16", shape: &tensor.shape, data_offsets: [offset, end] },
            );
            offset = end;
        }
        let mut header = String::from(r#"{"__metadata__":{"format":"pt"},"#);
        header.push_str(serde_json::to_string(&entries)?.trim_start_matches('{'));
        // The data start on a multiple of 8 bytes, so that readers may map them.
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        Ok(Self { out })
    }

    /// Rounds the values to bf16, once, and appends them.
    pub(super) fn push(&mut self, values: &[f32]) -> io::Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| bf16_from_f32(*value).to_le_bytes()).collect();
        self.out.write_all(&bytes)
    }

    /// Flushes and syncs the file.
    pub(super) fn finish(self) -> io::Result<()> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}
