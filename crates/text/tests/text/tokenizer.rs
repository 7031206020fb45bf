//! The tokenizer's wrapper: special tokens, end ids, streaming.

use assay_text::tokenizer::{Tokenizer, TokenizerError};
use serde_json::{Value, json};

use crate::support::{tokenizer, tokenizer_json};

fn load(config: Value, generation: Value, tokenizer_config: Value) -> Result<Tokenizer, TokenizerError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, tokenizer_json(Some("<s>")).to_string()).unwrap();
    Tokenizer::load(&path, &config, &generation, &tokenizer_config)
}

#[test]
fn first_tokens_are_added_once() {
    let tokenizer = tokenizer(Some("<s>"), "<|im_end|>");
    assert_eq!(tokenizer.encode("ab", false).unwrap(), [97, 98]);
    assert_eq!(tokenizer.encode("ab", true).unwrap(), [258, 97, 98]);
    assert_eq!(tokenizer.encode("<s>ab", true).unwrap(), [258, 258, 97, 98]);
    assert_eq!(tokenizer.encode_once("<s>ab").unwrap(), [258, 97, 98]);
    assert_eq!(tokenizer.encode_once("ab").unwrap(), [258, 97, 98]);
    assert_eq!(tokenizer.bos_id(), Some(258));
}

#[test]
fn truncation_and_padding_of_the_file_are_not_used() {
    assert_eq!(tokenizer(None, "<s>").encode("a longer text", false).unwrap().len(), 13);
}

#[test]
fn control_text_becomes_control_tokens_and_is_told() {
    let tokenizer = tokenizer(None, "<|im_end|>");
    assert_eq!(tokenizer.encode("a<|im_end|>", false).unwrap(), [97, 257]);
    assert_eq!(
        tokenizer.control_text("x<|im_end|> <s> <s> y").into_iter().collect::<Vec<_>>(),
        ["<s>", "<|im_end|>"]
    );
    assert!(tokenizer.is_special(257) && !tokenizer.is_special(97));
}

#[test]
fn end_ids_come_from_all_config_files() {
    let eos = json!({"eos_token": "<|im_end|>"});
    let from = |config: Value, generation: Value, tokenizer_config: &Value| {
        load(config, generation, tokenizer_config.clone()).unwrap().eos_ids().to_vec()
    };
    assert_eq!(from(json!({}), Value::Null, &eos), [257]);
    assert_eq!(from(json!({"eos_token_id": 9}), Value::Null, &eos), [9, 257]);
    assert_eq!(from(json!({"eos_token_id": 9}), json!({"eos_token_id": [260, 257]}), &eos), [257, 260]);
    assert!(matches!(load(json!({}), Value::Null, json!({})), Err(TokenizerError::NoEndOfSequence)));
}

#[test]
fn the_filler_is_named_or_an_end_id() {
    let pad = |config: Value, tokenizer_config: Value| {
        load(config, Value::Null, tokenizer_config).unwrap().pad_id()
    };
    assert_eq!(pad(json!({"eos_token_id": 9}), json!({"pad_token": {"content": "<|eot_id|>"}})), 259);
    assert_eq!(pad(json!({"eos_token_id": 9, "pad_token_id": 4}), json!({})), 4);
    assert_eq!(pad(json!({"eos_token_id": [9, 3]}), json!({"pad_token": null})), 3);
}

#[test]
fn files_of_two_models_are_refused() {
    let error = load(json!({}), Value::Null, json!({"eos_token": "<|other|>"})).unwrap_err();
    assert!(error.to_string().contains("<|other|>") && error.to_string().contains("vocabulary"), "{error}");
}

#[test]
fn streams_give_whole_characters_and_the_same_text() {
    let tokenizer = tokenizer(None, "<s>");
    for text in ["plain words", "naïve 現象学 🙂!", " leading and  double spaces\n\n"] {
        let ids = tokenizer.encode(text, false).unwrap();
        let mut stream = tokenizer.stream(false);
        let mut parts = Vec::new();
        for id in &ids {
            parts.extend(stream.push(*id).unwrap());
        }
        assert!(parts.iter().all(|part| !part.contains(char::REPLACEMENT_CHARACTER)), "{parts:?}");
        assert_eq!(parts.concat() + &stream.finish().unwrap(), text);
    }
    // A character that never ends is shown when the stream does.
    let mut stream = tokenizer.stream(false);
    assert_eq!(stream.push(0xe7).unwrap(), None);
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
}
