//! `import`: one GGUF file to a Hugging Face folder, written beside its place, synced, and renamed into it.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::llama::LlamaShape;
use super::safetensors_out::{Bf16Writer, Planned};
use super::vocabulary::Vocabulary;
use super::{GgufError, GgufFile, tokenizer};
use crate::staged::{Placed, StagedFolder};

/// Why nothing was imported; the destination is as it was.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The GGUF file is unusable.
    #[error("cannot import the model")]
    Gguf(#[from] GgufError),
    /// The destination exists and differs.
    #[error("{path} exists and is not this model ({difference}); give another folder or remove it")]
    Exists {
        /// The destination.
        path: PathBuf,
        /// The first difference.
        difference: String,
    },
    /// The destination cannot be written.
    #[error("cannot write the model folder {path}")]
    Io {
        /// The destination.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// What an import did.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Imported {
    /// False when the folder held exactly this model already.
    pub written: bool,
    /// Tensors in `model.safetensors`.
    pub tensors: usize,
    /// Parameters in all.
    pub parameters: u64,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Whether the file had a chat template.
    pub chat_template: bool,
}

/// Reads `gguf`, dequantises its weights, rounds them once to bf16 and writes `folder`: `config.json`,
/// `generation_config.json`, `model.safetensors`, `tokenizer.json`, `tokenizer_config.json` (with the chat template).
/// A folder that exists is refused unless it holds the same bytes.
pub fn import(gguf: &Path, folder: &Path) -> Result<Imported, ImportError> {
    let mut file = GgufFile::open(gguf)?;
    let architecture = file.string("general.architecture")?;
    if architecture != "llama" {
        return Err(ImportError::Gguf(GgufError::Metadata {
            path: gguf.to_path_buf(),
            key: "general.architecture".to_owned(),
            problem: format!(
                "is {architecture:?}; \"llama\" is imported, others from their Hugging Face folder"
            ),
        }));
    }
    let shape = LlamaShape::read(&file)?;
    let vocabulary = Vocabulary::read(&file)?;
    let documents = documents(&file, &shape, &vocabulary)?;
    let staged = StagedFolder::create(folder).map_err(|source| io_error(folder, source))?;
    for (name, document) in documents {
        staged.write(name, &document).map_err(|source| io_error(folder, source))?;
    }
    let (tensors, parameters) = write_weights(&mut file, &shape, &staged, folder)?;
    let written = match staged.place().map_err(|source| io_error(folder, source))? {
        Placed::New => true,
        Placed::Identical => false,
        Placed::Differs(difference) => {
            return Err(ImportError::Exists { path: folder.to_path_buf(), difference });
        }
    };
    Ok(Imported {
        written,
        tensors,
        parameters,
        vocabulary: vocabulary.tokens.len(),
        chat_template: vocabulary.chat_template.is_some(),
    })
}

fn io_error(folder: &Path, source: io::Error) -> ImportError {
    ImportError::Io { path: folder.to_path_buf(), source }
}

fn documents(
    file: &GgufFile,
    shape: &LlamaShape,
    vocabulary: &Vocabulary,
) -> Result<[(&'static str, Vec<u8>); 4], GgufError> {
    let metadata = |key: &str, problem: String| GgufError::Metadata {
        path: file.path().to_path_buf(),
        key: key.to_owned(),
        problem,
    };
    if vocabulary.tokens.len() > shape.vocabulary() {
        let problem =
            format!("has {} tokens; the embedding has {} rows", vocabulary.tokens.len(), shape.vocabulary());
        return Err(metadata("tokenizer.ggml.tokens", problem));
    }
    let tokenizer = tokenizer::tokenizer_json(vocabulary).ok_or_else(|| {
        let problem = format!("is {:?}; known are {}", vocabulary.pre, tokenizer::KNOWN_PRE);
        metadata("tokenizer.ggml.pre", problem)
    })?;
    let tokenizer = pretty(&tokenizer);
    // What is written must load: a merge of tokens that do not exist is found here, not by the first user of the folder.
    tokenizers::Tokenizer::from_bytes(&tokenizer)
        .map_err(|error| metadata("tokenizer.ggml.merges", format!("does not give a tokenizer: {error}")))?;
    let config = shape.config(&vocabulary.special);
    let tokenizer_config = tokenizer::tokenizer_config(vocabulary, &config["max_position_embeddings"]);
    let special = &vocabulary.special;
    let generation = json!({
        "_from_model_config": true, "bos_token_id": special.bos, "eos_token_id": special.eos, "pad_token_id": special.pad,
    });
    Ok([
        ("config.json", pretty(&config)),
        ("generation_config.json", pretty(&generation)),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", pretty(&tokenizer_config)),
    ])
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn write_weights(
    file: &mut GgufFile,
    shape: &LlamaShape,
    staged: &StagedFolder,
    folder: &Path,
) -> Result<(usize, u64), ImportError> {
    let mapped = shape.map(file)?;
    let planned: Vec<Planned> = mapped.iter().map(|tensor| tensor.planned.clone()).collect();
    let io = |source| io_error(folder, source);
    let mut writer = Bf16Writer::create(&staged.path().join("model.safetensors"), &planned).map_err(io)?;
    let mut parameters = 0;
    for tensor in &mapped {
        let values = tensor.restore_row_order(file.read_f32(&tensor.source)?);
        parameters += values.len() as u64;
        writer.push(&values).map_err(io)?;
    }
    writer.finish().map_err(io)?;
    Ok((mapped.len(), parameters))
}
