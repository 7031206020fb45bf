//! A model's tokenizer: text to ids and back, streaming decode, and the ids that end a text.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bounded;
use crate::guarded::guarded;
use thiserror::Error;

/// Why a tokenizer cannot be used.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// `tokenizer.json` does not load.
    #[error("{path} is not a tokenizer of the Hugging Face tokenizers library: {reason}")]
    Load {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        reason: String,
    },
    /// A text cannot be encoded.
    #[error("cannot tokenize a text of {bytes} bytes: {reason}")]
    Encode {
        /// Its length.
        bytes: usize,
        /// The library's reason.
        reason: String,
    },
    /// Ids cannot be decoded.
    #[error("cannot decode {count} token ids: {reason}")]
    Decode {
        /// How many.
        count: usize,
        /// The library's reason.
        reason: String,
    },
    /// A special token that a config file names is not in the vocabulary.
    #[error(
        "{file} names the {role} {token:?}, which is not in the vocabulary; the folder mixes files of two models"
    )]
    UnknownSpecial {
        /// The config file.
        file: &'static str,
        /// Such as `eos_token`.
        role: &'static str,
        /// Its text.
        token: String,
    },
    /// Nothing says where a text ends.
    #[error(
        "no end-of-sequence token in generation_config.json, config.json or tokenizer_config.json; name one as eos_token_id"
    )]
    NoEndOfSequence,
}

/// The special tokens that a folder's config files name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// First token of a text.
    pub bos: Option<String>,
    /// Last token of a text or turn.
    pub eos: Option<String>,
    /// Filler.
    pub pad: Option<String>,
    /// Stands for what cannot be encoded.
    pub unk: Option<String>,
}

/// Token ids with the bytes of the text that each came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Byte range of each token; empty for tokens that the tokenizer added.
    pub offsets: Vec<Range<usize>>,
}

/// A loaded tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: SpecialTokens,
    eos_ids: Vec<u32>,
    bos_id: Option<u32>,
    pad_id: u32,
}

impl Tokenizer {
    /// Loads `tokenizer.json` beside its config files; absent files are given as `Value::Null`.
    /// All of these end a text: the ids of `generation_config` (else of `config`) and `tokenizer_config`'s `eos_token`.
    /// The pad id is `tokenizer_config`'s, else `config`'s, else the first end-of-sequence id.
    pub fn load(
        path: &Path,
        config: &Value,
        generation_config: &Value,
        tokenizer_config: &Value,
    ) -> Result<Self, TokenizerError> {
        let load = |reason: String| TokenizerError::Load { path: path.to_path_buf(), reason };
        let bytes =
            bounded::read(path, bounded::TOKENIZER_BYTES_MAX).map_err(|error| load(error.to_string()))?;
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(&bytes)).map_err(load)?;
        // Padding and truncation are ours: a file saved with either would cut or fill rows silently.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| load(error.to_string()))?;
        let special = special_tokens(tokenizer_config);
        let named = |role, token: &Option<String>| match token {
            None => Ok(None),
            Some(text) => inner.token_to_id(text).map(Some).ok_or_else(|| TokenizerError::UnknownSpecial {
                file: "tokenizer_config.json",
                role,
                token: text.clone(),
            }),
        };
        let eos_id = named("eos_token", &special.eos)?;
        let eos_ids = eos_ids(config, generation_config, eos_id);
        let first = *eos_ids.first().ok_or(TokenizerError::NoEndOfSequence)?;
        let pad_id =
            named("pad_token", &special.pad)?.or_else(|| ids_of(&config["pad_token_id"]).first().copied());
        let bos_id =
            named("bos_token", &special.bos)?.or_else(|| ids_of(&config["bos_token_id"]).first().copied());
        Ok(Self { special, eos_ids, bos_id, pad_id: pad_id.unwrap_or(first), inner })
    }

    /// Encodes a text. With `add_special_tokens` the tokenizer's own first and last tokens are put around it.
    /// Control tokens that are written out in the text become those tokens, as in Transformers.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.encode_with_offsets(text, add_special_tokens)?.ids)
    }

    /// As `encode`, with the place of each token.
    pub fn encode_with_offsets(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<Encoded, TokenizerError> {
        let encoding = guarded(|| self.inner.encode(text, add_special_tokens))
            .map_err(|reason| TokenizerError::Encode { bytes: text.len(), reason })?;
        let offsets = encoding.get_offsets().iter().map(|(start, end)| *start..*end).collect();
        Ok(Encoded { ids: encoding.get_ids().to_vec(), offsets })
    }

    /// Encodes a text with the tokenizer's own first and last tokens, but never the first token twice
    /// when the text (a rendered chat template) begins with it already.
    pub fn encode_once(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.encode(text, true)?;
        if let (Some(bos), [first, second, ..]) = (self.bos_id, ids.as_slice())
            && *first == bos
            && *second == bos
        {
            ids.remove(0);
        }
        Ok(ids)
    }

    /// Decodes ids to text.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        guarded(|| self.inner.decode(ids, skip_special_tokens))
            .map_err(|reason| TokenizerError::Decode { count: ids.len(), reason })
    }

    /// Starts decoding token by token; see [`TextStream`].
    pub fn stream(&self, skip_special_tokens: bool) -> TextStream<'_> {
        TextStream { tokenizer: self, skip_special_tokens, ids: Vec::new(), context: 0, shown: 0 }
    }

    /// Every id that ends a text, ascending.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// Filler id. It may also be an end-of-sequence id: mask by position, not by id.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// The first token of a text, for models that have one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The special tokens' texts, as templates use them.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// Vocabulary size with added tokens; the model's embedding may have more rows.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token, by its text in the vocabulary (byte-level tokenizers write a space as `Ġ`).
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether an id is a control token.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }

    /// Control tokens that are written out in a text and would become real ones: worth a warning in data checks.
    pub fn control_text<'a>(&self, text: &'a str) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        for token in self.inner.get_added_tokens_decoder().values().filter(|token| token.special) {
            if let Some(at) = text.find(&token.content) {
                found.insert(&text[at..at + token.content.len()]);
            }
        }
        found
    }
}

/// Decodes ids as they come. Text is given out only when later tokens cannot change it: a byte-level token may hold part of
/// a character.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: bool,
    ids: Vec<u32>,
    /// First id of the window that is decoded again with each step.
    context: usize,
    /// Ids whose text was given out.
    shown: usize,
}

impl TextStream<'_> {
    /// Adds an id; gives the text that is now certain, if any.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, TokenizerError> {
        self.ids.push(id);
        let window = self.window()?;
        if window.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(None);
        }
        Ok(Some(self.give(&window)?).filter(|text| !text.is_empty()))
    }

    /// What is left at the end, with replacement characters where bytes are missing.
    pub fn finish(mut self) -> Result<String, TokenizerError> {
        let window = self.window()?;
        self.give(&window)
    }

    fn window(&self) -> Result<String, TokenizerError> {
        self.tokenizer.decode(&self.ids[self.context..], self.skip_special_tokens)
    }

    fn give(&mut self, window: &str) -> Result<String, TokenizerError> {
        let before = self.tokenizer.decode(&self.ids[self.context..self.shown], self.skip_special_tokens)?;
        let text = window.strip_prefix(before.as_str()).unwrap_or_default().to_owned();
        self.context = self.shown;
        self.shown = self.ids.len();
        Ok(text)
    }
}

/// A token in `tokenizer_config.json` is a text or an object with `content`.
fn special_tokens(tokenizer_config: &Value) -> SpecialTokens {
    let text = |key: &str| {
        let token = &tokenizer_config[key];
        token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
    };
    SpecialTokens {
        bos: text("bos_token"),
        eos: text("eos_token"),
        pad: text("pad_token"),
        unk: text("unk_token"),
    }
}

fn eos_ids(config: &Value, generation_config: &Value, named: Option<u32>) -> Vec<u32> {
    let mut ids = ids_of(&generation_config["eos_token_id"]);
    if ids.is_empty() {
        ids = ids_of(&config["eos_token_id"]);
    }
    ids.extend(named);
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// An id or a list of ids.
fn ids_of(value: &Value) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value.as_array() {
        Some(items) => items.iter().filter_map(one).collect(),
        None => one(value).into_iter().collect(),
    }
}
