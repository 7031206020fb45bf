//! GGUF files, versions 2 and 3: metadata, tensor table, and tensors dequantised to f32.
//! A file is untrusted: every count and length is checked against the bytes that are left before anything is allocated.

mod cursor;
mod dequant;
mod half;
mod import;
mod llama;
mod meta;
mod safetensors_out;
mod tokenizer;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use thiserror::Error;

use cursor::Cursor;
pub use dequant::TensorType;
pub use import::{ImportError, Imported, import};
pub use meta::{MetaArray, MetaValue};

/// Most metadata entries, and most tensors, that a file may announce.
pub const ENTRIES_MAX: u64 = 65_536;
const DIMENSIONS_MAX: u32 = 4;
const ALIGNMENT_DEFAULT: u64 = 32;

/// Why a GGUF file was refused.
#[derive(Debug, Error)]
pub enum GgufError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The bytes do not form a GGUF file.
    #[error("{path} is not a usable GGUF file: at byte {offset}, {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where reading stopped.
        offset: u64,
        /// What was found there and what the format asks for.
        reason: String,
    },
    /// A metadata key is absent or has another type.
    #[error("{path}: metadata key {key} {problem}")]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor is absent or cannot be used.
    #[error("{path}: tensor {name} {problem}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// One row of the tensor table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name as in the file, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Sizes with the slowest dimension first, as in PyTorch (the file has them the other way round).
    pub shape: Vec<u64>,
    /// How elements are stored.
    pub kind: TensorType,
    offset: u64,
    elements: u64,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.elements / self.kind.block_elements() * self.kind.block_bytes()
    }
}

/// An open GGUF file: its header in memory, its tensors on disk.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    file: File,
    metadata: BTreeMap<String, MetaValue>,
    tensors: Vec<TensorInfo>,
    data_start: u64,
}

impl GgufFile {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let io = |source| GgufError::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let reader = BufReader::with_capacity(1 << 20, file.try_clone().map_err(io)?);
        let mut cursor = Cursor::new(path, reader, length);
        let (tensor_count, entry_count) = read_preamble(&mut cursor)?;
        let metadata = read_metadata(&mut cursor, entry_count)?;
        let mut tensors = read_tensor_table(&mut cursor, tensor_count)?;
        let alignment = alignment_of(&cursor, &metadata)?;
        let data_start = cursor.position().next_multiple_of(alignment);
        check_tensors(&cursor, &mut tensors, data_start, alignment, length)?;
        Ok(Self { path: path.to_path_buf(), file, metadata, tensors, data_start })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, MetaValue> {
        &self.metadata
    }

    /// The tensor table in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Finds a tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Reads a tensor of this file and dequantises it, row-major in `shape`.
    pub fn read_f32(&mut self, tensor: &TensorInfo) -> Result<Vec<f32>, GgufError> {
        let io = |source| GgufError::Io { path: self.path.clone(), source };
        let mut bytes = vec![0_u8; usize_of(tensor.bytes())];
        self.file.seek(SeekFrom::Start(self.data_start + tensor.offset)).map_err(io)?;
        self.file.read_exact(&mut bytes).map_err(io)?;
        Ok(dequant::dequantise(tensor.kind, &bytes))
    }

    /// A string of the metadata; an error that names the key when it is absent or of another type.
    pub fn string(&self, key: &str) -> Result<&str, GgufError> {
        match self.metadata.get(key) {
            Some(MetaValue::String(text)) => Ok(text),
            other => Err(self.metadata_error(key, "a string", other)),
        }
    }

    /// An unsigned integer of the metadata.
    pub fn unsigned(&self, key: &str) -> Result<u64, GgufError> {
        match self.metadata.get(key) {
            Some(MetaValue::Unsigned(number)) => Ok(*number),
            Some(MetaValue::Signed(number)) if *number >= 0 => Ok(number.unsigned_abs()),
            other => Err(self.metadata_error(key, "an unsigned integer", other)),
        }
    }

    /// A finite float of the metadata, as the decimal that a 32-bit float prints as (`1e-5`, not `9.99999974737875e-6`).
    pub fn float(&self, key: &str) -> Result<f64, GgufError> {
        match self.metadata.get(key) {
            Some(MetaValue::F32(number)) if number.is_finite() => Ok(shortest_decimal(*number)),
            Some(MetaValue::F64(number)) if number.is_finite() => Ok(*number),
            other => Err(self.metadata_error(key, "a finite float", other)),
        }
    }

    fn metadata_error(&self, key: &str, wanted: &str, found: Option<&MetaValue>) -> GgufError {
        let problem = match found {
            None => format!("is missing; it must be {wanted}"),
            Some(value) => format!("is {}; it must be {wanted}", value.describe()),
        };
        GgufError::Metadata { path: self.path.clone(), key: key.to_owned(), problem }
    }
}

fn shortest_decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// File sizes fit in memory's index type on every platform that can hold a model.
fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn read_preamble<R: Read>(cursor: &mut Cursor<R>) -> Result<(u64, u64), GgufError> {
    let magic = cursor.bytes(4)?;
    if magic != b"GGUF" {
        return Err(cursor.malformed(format!("the first four bytes are {magic:?}, not the letters GGUF")));
    }
    let version = cursor.u32()?;
    if version != 2 && version != 3 {
        return Err(cursor.malformed(format!(
            "the version is {version}; 2 and 3 in little-endian order can be read: convert the file again"
        )));
    }
    let tensors = cursor.u64()?;
    let entries = cursor.u64()?;
    if tensors > ENTRIES_MAX || entries > ENTRIES_MAX {
        return Err(cursor.malformed(format!(
            "it announces {tensors} tensors and {entries} metadata entries; at most {ENTRIES_MAX} of each are read"
        )));
    }
    Ok((tensors, entries))
}

fn read_metadata<R: Read>(
    cursor: &mut Cursor<R>,
    count: u64,
) -> Result<BTreeMap<String, MetaValue>, GgufError> {
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.string()?;
        let value = meta::read_value(cursor)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(cursor.malformed(format!("the metadata key {key:?} comes twice")));
        }
    }
    Ok(metadata)
}

fn read_tensor_table<R: Read>(cursor: &mut Cursor<R>, count: u64) -> Result<Vec<TensorInfo>, GgufError> {
    let mut tensors = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..count {
        let name = cursor.string()?;
        if !names.insert(name.clone()) {
            return Err(cursor.malformed(format!("the tensor {name:?} comes twice")));
        }
        let dimensions = cursor.u32()?;
        if dimensions == 0 || dimensions > DIMENSIONS_MAX {
            return Err(cursor.malformed(format!(
                "the tensor {name:?} has {dimensions} dimensions; 1 to {DIMENSIONS_MAX} are possible"
            )));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(cursor.u64()?);
        }
        shape.reverse();
        let code = cursor.u32()?;
        let offset = cursor.u64()?;
        let kind = TensorType::from_code(code).map_err(|named| {
            cursor.malformed(format!(
                "the tensor {name:?} is stored as {named}; readable are {}",
                TensorType::readable()
            ))
        })?;
        tensors.push(TensorInfo { name, shape, kind, offset, elements: 0 });
    }
    Ok(tensors)
}

fn alignment_of<R: Read>(
    cursor: &Cursor<R>,
    metadata: &BTreeMap<String, MetaValue>,
) -> Result<u64, GgufError> {
    match metadata.get("general.alignment") {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(MetaValue::Unsigned(number)) if number.is_power_of_two() && (8..=1 << 20).contains(number) => {
            Ok(*number)
        }
        Some(other) => Err(cursor.malformed(format!(
            "general.alignment is {}; it must be a power of two from 8 to 1048576",
            other.describe()
        ))),
    }
}

/// Computes element counts and refuses tensors that do not lie wholly inside the file.
fn check_tensors<R: Read>(
    cursor: &Cursor<R>,
    tensors: &mut [TensorInfo],
    data_start: u64,
    alignment: u64,
    length: u64,
) -> Result<(), GgufError> {
    for tensor in tensors {
        let refuse = |problem: String| cursor.malformed(format!("the tensor {:?} {problem}", tensor.name));
        let shape = &tensor.shape;
        let elements = shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
        let Some(elements) = elements.filter(|elements| *elements > 0) else {
            return Err(refuse(format!("has the shape {shape:?}, which is empty or too large")));
        };
        let row = shape.last().copied().unwrap_or(0);
        let block = tensor.kind.block_elements();
        if !row.is_multiple_of(block) {
            return Err(refuse(format!(
                "has rows of {row}, not a multiple of {block} as {:?} needs",
                tensor.kind
            )));
        }
        let end = (elements / block)
            .checked_mul(tensor.kind.block_bytes())
            .and_then(|bytes| bytes.checked_add(tensor.offset))
            .and_then(|bytes| bytes.checked_add(data_start));
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(refuse(format!("starts at {}, not a multiple of {alignment}", tensor.offset)));
        }
        if end.is_none_or(|end| end > length) {
            return Err(refuse(format!(
                "reaches past the end of the file ({length} bytes): the file is cut or corrupt"
            )));
        }
        tensor.elements = elements;
    }
    Ok(())
}
