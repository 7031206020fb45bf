//! The vocabulary of a GGUF file: tokens, their kinds, merges and special ids, checked against each other.

use super::llama::SpecialIds;
use super::{GgufError, GgufFile, MetaArray, MetaValue};

/// What llama.cpp says of a token (`llama_token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Normal,
    Control,
    UserDefined,
}

#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) tokens: Vec<String>,
    pub(super) kinds: Vec<TokenKind>,
    pub(super) merges: Vec<String>,
    pub(super) pre: String,
    pub(super) special: SpecialIds,
    pub(super) add_bos: bool,
    pub(super) chat_template: Option<String>,
}

impl Vocabulary {
    pub(super) fn read(file: &GgufFile) -> Result<Self, GgufError> {
        let model = file.string("tokenizer.ggml.model")?;
        if model != "gpt2" {
            return Err(problem(
                file,
                "tokenizer.ggml.model",
                format!(
                    "is {model:?}; only byte-level BPE (\"gpt2\") is imported: use the model's Hugging Face folder"
                ),
            ));
        }
        let tokens = strings(file, "tokenizer.ggml.tokens")?;
        let merges = strings(file, "tokenizer.ggml.merges")?;
        let kinds = kinds(file, tokens.len())?;
        let id = |key: &str| special_id(file, key, tokens.len());
        Ok(Self {
            special: SpecialIds {
                bos: id("tokenizer.ggml.bos_token_id")?,
                eos: id("tokenizer.ggml.eos_token_id")?,
                pad: id("tokenizer.ggml.padding_token_id")?,
                unknown: id("tokenizer.ggml.unknown_token_id")?,
            },
            pre: file.string("tokenizer.ggml.pre")?.to_owned(),
            add_bos: file.metadata().get("tokenizer.ggml.add_bos_token") == Some(&MetaValue::Bool(true)),
            chat_template: match file.metadata().contains_key("tokenizer.chat_template") {
                true => Some(file.string("tokenizer.chat_template")?.to_owned()),
                false => None,
            },
            tokens,
            kinds,
            merges,
        })
    }

    /// The text of a special token.
    pub(super) fn text(&self, id: Option<u64>) -> Option<&str> {
        let index = usize::try_from(id?).ok()?;
        self.tokens.get(index).map(String::as_str)
    }
}

fn problem(file: &GgufFile, key: &str, problem: String) -> GgufError {
    GgufError::Metadata { path: file.path().to_path_buf(), key: key.to_owned(), problem }
}

fn strings(file: &GgufFile, key: &str) -> Result<Vec<String>, GgufError> {
    match file.metadata().get(key) {
        Some(MetaValue::Array(MetaArray::Strings(items))) => Ok(items.clone()),
        Some(other) => {
            Err(problem(file, key, format!("is {}; it must be an array of strings", other.describe())))
        }
        None => Err(problem(file, key, "is missing; the vocabulary cannot be built".to_owned())),
    }
}

fn kinds(file: &GgufFile, count: usize) -> Result<Vec<TokenKind>, GgufError> {
    let key = "tokenizer.ggml.token_type";
    let items = match file.metadata().get(key) {
        Some(MetaValue::Array(MetaArray::Scalars(items))) if items.len() == count => items,
        Some(other) => {
            return Err(problem(
                file,
                key,
                format!("is {}; it must hold {count} integers", other.describe()),
            ));
        }
        None => return Err(problem(file, key, "is missing; special tokens cannot be told".to_owned())),
    };
    let mut kinds = Vec::with_capacity(count);
    for item in items {
        let code = match item {
            MetaValue::Signed(code) => u64::try_from(*code).unwrap_or(0),
            MetaValue::Unsigned(code) => *code,
            MetaValue::F32(_)
            | MetaValue::F64(_)
            | MetaValue::Bool(_)
            | MetaValue::String(_)
            | MetaValue::Array(_) => 0,
        };
        kinds.push(match code {
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            1..=6 => TokenKind::Normal,
            _ => return Err(problem(file, key, format!("holds {}; kinds are 1 to 6", item.describe()))),
        });
    }
    Ok(kinds)
}

fn special_id(file: &GgufFile, key: &str, tokens: usize) -> Result<Option<u64>, GgufError> {
    if !file.metadata().contains_key(key) {
        return Ok(None);
    }
    let id = file.unsigned(key)?;
    if id < tokens as u64 {
        return Ok(Some(id));
    }
    Err(problem(file, key, format!("is {id}; the vocabulary has {tokens} tokens")))
}
