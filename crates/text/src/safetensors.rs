//! Safetensors folders and files: a memory-mapped reader over one file or many shards, and a durable writer.
//! Tensors come out as bytes with shape and type; only `assay-model` turns them into numbers.

mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
pub use safetensors::{Dtype, SafeTensorError};

use crate::bounded;
pub use write::{TensorBytes, sync_folder, write_bytes, write_file, write_streamed};

/// Name of a model's weights in one file.
pub const SINGLE_FILE: &str = "model.safetensors";
/// Name of the list of shards of a model.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// Why tensors could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    /// The system refused a read or write.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The folder holds no weights.
    #[error(
        "`{}` has neither `{SINGLE_FILE}` nor `{INDEX_FILE}`: only safetensors weights are read", dir.display()
    )]
    NoWeights {
        /// The folder.
        dir: PathBuf,
    },
    /// The file is not a well-formed safetensors file.
    #[error("`{}` is not a valid safetensors file (cut short or damaged?)", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SafeTensorError,
    },
    /// The list of shards is not usable.
    #[error("`{}`: {problem}", path.display())]
    Index {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor is not in the file.
    #[error("tensor `{name}` is not in `{}`", path.display())]
    MissingTensor {
        /// Its name.
        name: String,
        /// The file or folder.
        path: PathBuf,
    },
}

impl TensorFileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// One tensor as it lies in its file.
#[derive(Debug, Clone, Copy)]
pub struct TensorSlice<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first; empty for a scalar.
    pub shape: &'a [usize],
    /// Little-endian elements in row-major order; not aligned.
    pub bytes: &'a [u8],
}

/// The tensors of one file or of a sharded model, mapped into memory and read on demand.
#[derive(Debug)]
pub struct TensorFiles {
    path: PathBuf,
    shards: Vec<Shard>,
    places: BTreeMap<String, Place>,
}

#[derive(Debug)]
struct Shard {
    map: Mmap,
}

#[derive(Debug)]
struct Place {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

impl TensorFiles {
    /// Opens a model folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    pub fn open_folder(dir: &Path) -> Result<Self, TensorFileError> {
        let single = dir.join(SINGLE_FILE);
        if single.is_file() {
            return Self::open_file(&single);
        }
        let index = dir.join(INDEX_FILE);
        if !index.is_file() {
            return Err(TensorFileError::NoWeights { dir: dir.to_owned() });
        }
        let mut files = Self::empty(dir);
        for name in shard_names(&index)? {
            files.add(&dir.join(name))?;
        }
        Ok(files)
    }

    /// Opens one safetensors file.
    pub fn open_file(path: &Path) -> Result<Self, TensorFileError> {
        let mut files = Self::empty(path);
        files.add(path)?;
        Ok(files)
    }

    fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), shards: Vec::new(), places: BTreeMap::new() }
    }

    fn add(&mut self, path: &Path) -> Result<(), TensorFileError> {
        let file = File::open(path).map_err(TensorFileError::io("open", path))?;
        #[expect(unsafe_code, reason = "a model can be larger than memory, so it is mapped and not read")]
        // Safety: the mapping is read-only; weights are write-once files that nothing of ours changes in place.
        let map = unsafe { Mmap::map(&file) }.map_err(TensorFileError::io("map", path))?;
        let (header_len, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|source| TensorFileError::Format { path: path.to_owned(), source })?;
        let data_start = header_len + size_of::<u64>();
        let shard = self.shards.len();
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let place = Place {
                shard,
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: data_start + start,
                end: data_start + end,
            };
            self.places.insert(name, place);
        }
        self.shards.push(Shard { map });
        Ok(())
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Result<TensorSlice<'_>, TensorFileError> {
        let place = self.places.get(name).ok_or_else(|| TensorFileError::MissingTensor {
            name: name.to_owned(),
            path: self.path.clone(),
        })?;
        let bytes = &self.shards[place.shard].map[place.start..place.end];
        Ok(TensorSlice { dtype: place.dtype, shape: &place.shape, bytes })
    }

    /// Whether a tensor of this name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The file or folder that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Names of the files that hold a model folder's weights: one, or those that the index lists.
pub fn weight_files(dir: &Path) -> Result<Vec<String>, TensorFileError> {
    if dir.join(SINGLE_FILE).is_file() {
        return Ok(vec![SINGLE_FILE.to_owned()]);
    }
    shard_names(&dir.join(INDEX_FILE))
}

/// The distinct shard files of an index, sorted.
fn shard_names(index: &Path) -> Result<Vec<String>, TensorFileError> {
    let problem = |problem: String| TensorFileError::Index { path: index.to_owned(), problem };
    let bytes = bounded::read(index, bounded::JSON_BYTES_MAX).map_err(TensorFileError::io("read", index))?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| problem(format!("not valid JSON: {error}")))?;
    let map = value
        .get("weight_map")
        .and_then(serde_json::Value::as_object)
        .ok_or_else(|| problem("has no object `weight_map`".to_owned()))?;
    let mut names = Vec::new();
    for (tensor, file) in map {
        // A path would let a model folder name files outside of itself.
        match file.as_str() {
            Some(name) if !name.contains(['/', '\\']) => names.push(name.to_owned()),
            _ => return Err(problem(format!("`{tensor}` is in {file}, which is not a plain file name"))),
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests;
