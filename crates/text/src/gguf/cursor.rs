//! Reads little-endian values in order and never allocates more than the file can still hold.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{GgufError, usize_of};

/// Longest string: chat templates reach some tens of kilobytes.
const STRING_BYTES_MAX: u64 = 8 << 20;

pub(super) struct Cursor<R> {
    path: PathBuf,
    reader: R,
    position: u64,
    length: u64,
}

impl<R: Read> Cursor<R> {
    pub(super) fn new(path: &Path, reader: R, length: u64) -> Self {
        Self { path: path.to_path_buf(), reader, position: 0, length }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn remaining(&self) -> u64 {
        self.length - self.position
    }

    pub(super) fn malformed(&self, reason: String) -> GgufError {
        GgufError::Malformed { path: self.path.clone(), offset: self.position, reason }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GgufError> {
        let wanted = bytes.len() as u64;
        if wanted > self.remaining() {
            return Err(
                self.malformed(format!("{wanted} bytes are needed and {} are left", self.remaining()))
            );
        }
        self.reader.read_exact(bytes).map_err(|source| GgufError::Io { path: self.path.clone(), source })?;
        self.position += wanted;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// `count` bytes; the count is checked before memory is taken.
    pub(super) fn bytes(&mut self, count: u64) -> Result<Vec<u8>, GgufError> {
        if count > self.remaining() {
            return Err(self.malformed(format!("{count} bytes are needed and {} are left", self.remaining())));
        }
        let mut bytes = vec![0; usize_of(count)];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, GgufError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, GgufError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn string(&mut self) -> Result<String, GgufError> {
        let length = self.u64()?;
        if length > STRING_BYTES_MAX {
            return Err(
                self.malformed(format!("a string of {length} bytes; at most {STRING_BYTES_MAX} are read"))
            );
        }
        let bytes = self.bytes(length)?;
        String::from_utf8(bytes).map_err(|error| self.malformed(format!("a string is not UTF-8: {error}")))
    }
}
