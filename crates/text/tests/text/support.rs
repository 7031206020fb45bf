//! A tokenizer of bytes and control tokens, and what the tests share.

use std::path::{Path, PathBuf};

use assay_text::chat::{ChatTemplate, Message, RenderOptions};
use assay_text::tokenizer::{SpecialTokens, Tokenizer};
use serde_json::{Map, Value, json};

pub(crate) const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Control tokens after the 256 bytes, from id 256.
pub(crate) const CONTROL: [&str; 10] = [
    "<|im_start|>",
    "<|im_end|>",
    "<s>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|assistant|>",
    "<|end|>",
];

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub(crate) fn fixture_json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// The characters that byte-level tokenizers write for bytes (GPT-2's `bytes_to_unicode`).
pub(crate) fn byte_characters() -> Vec<String> {
    let mut next = 256;
    (0..=255_u8)
        .map(|byte| {
            let plain = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let code = if plain { u32::from(byte) } else { next };
            next += u32::from(!plain);
            char::from_u32(code).unwrap().to_string()
        })
        .collect()
}

/// `tokenizer.json` whose ids are bytes, then control tokens; `bos` is put before texts.
pub(crate) fn tokenizer_json(bos: Option<&str>) -> Value {
    let mut vocab = Map::new();
    for (id, text) in byte_characters().iter().map(String::as_str).chain(CONTROL).enumerate() {
        vocab.insert(text.to_owned(), json!(id));
    }
    let added: Vec<Value> = (256..).zip(CONTROL).map(|(id, content)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
    }).collect();
    let post = bos.map(|bos| {
        let first = json!({"SpecialToken": {"id": bos, "type_id": 0}});
        json!({
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {bos: {"id": bos, "ids": [vocab[bos]], "tokens": [bos]}},
        })
    });
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}, "padding": null,
        "added_tokens": added, "normalizer": null, "pre_tokenizer": byte_level, "post_processor": post, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": []},
    })
}

pub(crate) fn tokenizer(bos: Option<&str>, eos: &str) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, tokenizer_json(bos).to_string()).unwrap();
    Tokenizer::load(&path, &Value::Null, &Value::Null, &json!({"bos_token": bos, "eos_token": eos})).unwrap()
}

/// A family's real tokenizer, with the words that its cases need.
pub(crate) fn family_tokenizer(name: &str, cases: &Value) -> Tokenizer {
    let path = fixture(&format!("chat/{name}.tokenizer.json"));
    // Phi-3's texts were rendered with another family's.
    let special = cases.get("tokenizer_special").unwrap_or(&cases["special"]);
    Tokenizer::load(&path, &Value::Null, &Value::Null, special).unwrap()
}

pub(crate) fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, &SpecialTokens { bos: Some("<s>".to_owned()), ..SpecialTokens::default() })
        .unwrap()
}

pub(crate) fn messages(turns: &[(&str, &str)]) -> Vec<Message> {
    turns.iter().map(|(role, content)| Message::new(*role, *content)).collect()
}

pub(crate) fn options(kwargs: Value) -> RenderOptions {
    RenderOptions { kwargs: kwargs.as_object().unwrap().clone(), ..RenderOptions::default() }
}
