//! `tokenizer.json` and `tokenizer_config.json` from a GGUF vocabulary.

use serde_json::{Map, Value, json};

use super::vocabulary::{TokenKind, Vocabulary};

/// llama.cpp's name of a pre-tokenizer (`tokenizer.ggml.pre`) and what the original tokenizers have.
fn pre_tokenizer(pre: &str) -> Option<Value> {
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    match pre {
        // `\p{N}` before GPT-2's expression: each digit by itself (SmolLM, SmolLM2; StarCoder and Command R have the same).
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => Some(json!({
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": true}, byte_level(true)],
        })),
        "gpt-2" => Some(byte_level(true)),
        "llama-bpe" => Some(json!({
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": LLAMA3_EXPRESSION}, "behavior": "Isolated", "invert": false},
                byte_level(false),
            ],
        })),
        _ => None,
    }
}

/// Llama 3's split, as in its `tokenizer.json`.
const LLAMA3_EXPRESSION: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Names of the pre-tokenizers that are known, for error messages.
pub(super) const KNOWN_PRE: &str = "smollm, starcoder, refact, command-r, codeshell, gpt-2 and llama-bpe";

/// `tokenizer.json`, or nothing when the pre-tokenizer is unknown.
pub(super) fn tokenizer_json(vocabulary: &Vocabulary) -> Option<Value> {
    let pre_tokenizer = pre_tokenizer(&vocabulary.pre)?;
    let mut vocab = Map::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        vocab.insert(token.clone(), json!(id));
    }
    let added: Vec<Value> = (vocabulary.tokens.iter().zip(&vocabulary.kinds).enumerate())
        .filter(|(_, (_, kind))| **kind != TokenKind::Normal)
        .map(|(id, (content, kind))| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *kind == TokenKind::Control,
            })
        })
        .collect();
    Some(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor(vocabulary),
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": vocabulary.pre == "llama-bpe",
            "vocab": vocab, "merges": vocabulary.merges,
        },
    }))
}

/// Puts the first token before a text, for tokenizers that do.
fn post_processor(vocabulary: &Vocabulary) -> Value {
    let Some((id, bos)) = vocabulary.special.bos.zip(vocabulary.text(vocabulary.special.bos)) else {
        return Value::Null;
    };
    if !vocabulary.add_bos {
        return Value::Null;
    }
    let first = json!({"SpecialToken": {"id": bos, "type_id": 0}});
    json!({
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
    })
}

/// `tokenizer_config.json`. The class is the generic one: newer versions of Transformers rebuild named classes
/// (`GPT2Tokenizer`) without this file's pre-tokenizer.
pub(super) fn tokenizer_config(vocabulary: &Vocabulary, context: &Value) -> Value {
    let special = &vocabulary.special;
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
        "bos_token": vocabulary.text(special.bos),
        "eos_token": vocabulary.text(special.eos),
        "pad_token": vocabulary.text(special.pad),
        "unk_token": vocabulary.text(special.unknown),
    });
    if let Some(template) = &vocabulary.chat_template {
        config["chat_template"] = json!(template);
    }
    config
}
