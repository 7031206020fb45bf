//! Writing safetensors and other small files so that a reader sees all of the file or none of it.

use std::borrow::Cow;
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
    let heads = tensors.iter().map(|(name, tensor)| (name.clone(), (tensor.dtype, tensor.shape.clone())));
    write_streamed(path, &heads.collect(), |name| Ok(Cow::Borrowed(tensors[name].bytes.as_slice())))
}

/// The same for tensors of these types and dimensions whose elements `bytes` gives one tensor at a time: no two of them need
/// to be in memory.
pub fn write_streamed<'b, E: From<TensorFileError>>(
    path: &Path,
    tensors: &BTreeMap<String, (Dtype, Vec<usize>)>,
    mut bytes: impl FnMut(&str) -> Result<Cow<'b, [u8]>, E>,
) -> Result<(), E> {
    let format = |source| TensorFileError::Format { path: path.to_owned(), source };
    let mut infos = Vec::with_capacity(tensors.len());
    let mut end = 0;
    for (name, (dtype, shape)) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        infos.push((
            name.clone(),
            TensorInfo { dtype: *dtype, shape: shape.clone(), data_offsets: (start, end) },
        ));
    }
    let lengths: Vec<usize> =
        infos.iter().map(|(_, info)| info.data_offsets.1 - info.data_offsets.0).collect();
    let tags = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(tags), infos).map_err(format)?;
    let mut header = serde_json::to_vec(&metadata).map_err(|error| format(error.into()))?;
    // Readers map the elements: start them at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
    durably(path, |file| {
        let wrong = |error| E::from(TensorFileError::io("write", path)(error));
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(wrong)?;
        file.write_all(&header).map_err(wrong)?;
        for (name, length) in tensors.keys().zip(lengths) {
            let bytes = bytes(name)?;
            if bytes.len() != length {
                let problem =
                    format!("tensor `{name}` has {} bytes, but its shape takes {length}", bytes.len());
                return Err(wrong(std::io::Error::other(problem)));
            }
            file.write_all(&bytes).map_err(wrong)?;
        }
        Ok(())
    })
}

/// Writes a whole file: temporary file, fsync, rename, fsync of the folder.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), TensorFileError> {
    durably(path, |file| file.write_all(bytes).map_err(TensorFileError::io("write", path)))
}

fn durably<E: From<TensorFileError>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let temporary = temporary_beside(path);
    let written = write_synced(&temporary, write).and_then(|()| {
        Ok(std::fs::rename(&temporary, path).map_err(TensorFileError::io("rename to", path))?)
    });
    if written.is_err() {
        // Best effort: the write's own error is the one to report.
        drop(std::fs::remove_file(&temporary));
    }
    written?;
    Ok(sync_folder(path.parent().unwrap_or(Path::new(".")))?)
}

fn write_synced<E: From<TensorFileError>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let file = File::create(path).map_err(TensorFileError::io("create", path))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    write(&mut file)?;
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
    Ok(file.and_then(|file| file.sync_all()).map_err(TensorFileError::io("write", path))?)
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
