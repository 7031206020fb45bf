//! Writing safetensors and other small files so that a reader sees all of the file or none of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::TensorFileError;

/// A tensor to be written: type, dimensions, and little-endian elements in row-major order.
#[derive(Debug, Clone)]
pub struct TensorBytes {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Elements.
    pub bytes: Vec<u8>,
}

/// Writes a safetensors file with `{"format": "pt"}`, tensors in the order of their names: temporary file,
/// fsync, rename, fsync of the folder.
pub fn write_file(path: &Path, tensors: &BTreeMap<String, TensorBytes>) -> Result<(), TensorFileError> {
    let format = |source| TensorFileError::Format { path: path.to_owned(), source };
    let mut infos = Vec::with_capacity(tensors.len());
    let mut end = 0;
    for (name, tensor) in tensors {
        let start = end;
        end += tensor.bytes.len();
        let info =
            TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets: (start, end) };
        infos.push((name.clone(), info));
    }
    let tags = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(tags), infos).map_err(format)?;
    let mut header = serde_json::to_vec(&metadata).map_err(|error| format(error.into()))?;
    // Readers map the elements: start them at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
    durably(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors.values().try_for_each(|tensor| file.write_all(&tensor.bytes))
    })
}

/// Writes a whole file: temporary file, fsync, rename, fsync of the folder.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), TensorFileError> {
    durably(path, |file| file.write_all(bytes))
}

fn durably(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), TensorFileError> {
    let temporary = temporary_beside(path);
    let written = write_synced(&temporary, write)
        .map_err(TensorFileError::io("write", &temporary))
        .and_then(|()| std::fs::rename(&temporary, path).map_err(TensorFileError::io("rename to", path)));
    if written.is_err() {
        // Best effort: the write's own error is the one to report.
        drop(std::fs::remove_file(&temporary));
    }
    written?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    write(&mut file)?;
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

/// Makes renames in a folder durable.
pub fn sync_folder(dir: &Path) -> Result<(), TensorFileError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(TensorFileError::io("sync", dir))
}
