//! A model folder in the Hugging Face layout: what it must hold, what it may hold, and its digests.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::bounded;
use crate::chat::{ChatTemplate, TemplateError};
use crate::staged::sha256;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Why a folder is no model folder.
#[derive(Debug, Error)]
pub enum FolderError {
    /// Files that every model needs are absent.
    #[error("{path} is not a complete model folder: {} missing; it needs config.json, tokenizer.json and model.safetensors (or model.safetensors.index.json with its parts)", missing.join(", "))]
    Missing {
        /// The folder.
        path: PathBuf,
        /// What is absent.
        missing: Vec<String>,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it must.
    #[error("{path} {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// The tokenizer is unusable.
    #[error("the tokenizer of {path} is unusable")]
    Tokenizer {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: TokenizerError,
    },
    /// The chat template is unusable.
    #[error("the chat template of {path} is unusable")]
    Template {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: TemplateError,
    },
}

/// Digest and length of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDigest {
    /// Name inside the folder.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// An opened model folder. Weights are not read here.
#[derive(Debug)]
pub struct ModelFolder {
    path: PathBuf,
    config: Value,
    generation_config: Value,
    tokenizer_config: Value,
    weights: Vec<String>,
}

impl ModelFolder {
    /// Checks that everything is there and reads the JSON files.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        Self::open_with(path, &[])
    }

    /// The same for a folder of which some files lie elsewhere, such as weights that nobody needs here.
    pub fn open_with(path: &Path, elsewhere: &[&str]) -> Result<Self, FolderError> {
        let (weights, missing) = find_weights(path, elsewhere)?;
        let mut missing = missing;
        for name in ["config.json", "tokenizer.json"] {
            if !path.join(name).is_file() {
                missing.push(name.to_owned());
            }
        }
        if !missing.is_empty() {
            missing.sort();
            return Err(FolderError::Missing { path: path.to_path_buf(), missing });
        }
        Ok(Self {
            config: read_json(&path.join("config.json"))?,
            generation_config: read_optional(&path.join("generation_config.json"))?,
            tokenizer_config: read_optional(&path.join("tokenizer_config.json"))?,
            path: path.to_path_buf(),
            weights,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.json`.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// `generation_config.json`, or null.
    pub fn generation_config(&self) -> &Value {
        &self.generation_config
    }

    /// Names of the safetensors files.
    pub fn weights(&self) -> &[String] {
        &self.weights
    }

    /// Loads the tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer, FolderError> {
        let file = self.path.join("tokenizer.json");
        Tokenizer::load(&file, &self.config, &self.generation_config, &self.tokenizer_config)
            .map_err(|source| FolderError::Tokenizer { path: self.path.clone(), source })
    }

    /// The chat template: `chat_template.jinja`, else the one in `tokenizer_config.json` (of a list, the one named `default`).
    pub fn template(&self, tokenizer: &Tokenizer) -> Result<ChatTemplate, FolderError> {
        let source = self.template_source()?;
        ChatTemplate::new(&source, tokenizer.special_tokens())
            .map_err(|source| FolderError::Template { path: self.path.clone(), source })
    }

    /// The chat template's text.
    pub fn template_source(&self) -> Result<String, FolderError> {
        let file = self.path.join("chat_template.jinja");
        let not_text = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        match bounded::read(&file, bounded::JSON_BYTES_MAX)
            .and_then(|bytes| String::from_utf8(bytes).map_err(not_text))
        {
            Ok(text) => return Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(FolderError::Io { path: file, source }),
        }
        let template = &self.tokenizer_config["chat_template"];
        let named = || template.as_array()?.iter().find(|one| one["name"] == "default")?["template"].as_str();
        template.as_str().or_else(named).map(str::to_owned).ok_or_else(|| FolderError::Content {
            path: self.path.join("tokenizer_config.json"),
            problem: "has no chat_template, and there is no chat_template.jinja beside it; use an instruction-tuned model or add its template".to_owned(),
        })
    }

    /// Digests of all files in the folder, by name. Reads everything.
    pub fn digests(&self) -> Result<Vec<FileDigest>, FolderError> {
        digest_folder(&self.path)
    }
}

/// Digests of the plain files of a folder, by name; folders in it are not entered.
pub fn digest_folder(path: &Path) -> Result<Vec<FileDigest>, FolderError> {
    let io = |path: &Path, source| FolderError::Io { path: path.to_path_buf(), source };
    let mut digests = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|source| io(path, source))? {
        let file = entry.map_err(|source| io(path, source))?.path();
        if let Some(name) = file.file_name().filter(|_| file.is_file()) {
            let (sha256, bytes) = sha256(&file).map_err(|source| io(&file, source))?;
            digests.push(FileDigest { name: name.to_string_lossy().into_owned(), bytes, sha256 });
        }
    }
    digests.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(digests)
}

/// Names of the weight files, and those of them that are absent.
fn find_weights(path: &Path, elsewhere: &[&str]) -> Result<(Vec<String>, Vec<String>), FolderError> {
    let there = |name: &str| elsewhere.contains(&name) || path.join(name).is_file();
    let single = "model.safetensors".to_owned();
    if there(&single) {
        return Ok((vec![single], Vec::new()));
    }
    let index = path.join("model.safetensors.index.json");
    if !index.is_file() {
        return Ok((Vec::new(), vec![single]));
    }
    let document = read_json(&index)?;
    let content = |problem: &str| FolderError::Content { path: index.clone(), problem: problem.to_owned() };
    let map = document["weight_map"].as_object().ok_or_else(|| content("has no object named weight_map"))?;
    let mut parts: Vec<String> = Vec::new();
    for part in map.values() {
        let name = part.as_str().filter(|name| !name.contains(['/', '\\']) && name.ends_with(".safetensors"));
        parts.push(
            name.ok_or_else(|| content("names a part that is not a .safetensors file of the same folder"))?
                .to_owned(),
        );
    }
    parts.sort();
    parts.dedup();
    let missing = parts.iter().filter(|part| !there(part)).cloned().collect();
    Ok((parts, missing))
}

fn read_optional(path: &Path) -> Result<Value, FolderError> {
    if path.exists() { read_json(path) } else { Ok(Value::Null) }
}

fn read_json(path: &Path) -> Result<Value, FolderError> {
    let bytes = bounded::read(path, bounded::JSON_BYTES_MAX)
        .map_err(|source| FolderError::Io { path: path.to_path_buf(), source })?;
    serde_json::from_slice(&bytes).map_err(|error| FolderError::Content {
        path: path.to_path_buf(),
        problem: format!("is not JSON: {error}"),
    })
}
