//! Model folders: what is missing is named, and where templates may lie.

use std::path::Path;

use assay_text::folder::ModelFolder;
use serde_json::{Value, json};

use crate::support::tokenizer_json;

fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content.to_string()).unwrap();
    }
    folder
}

fn complete() -> Vec<(&'static str, Value)> {
    vec![
        ("config.json", json!({"eos_token_id": 257})),
        ("tokenizer.json", tokenizer_json(None)),
        ("model.safetensors", json!({})),
        ("tokenizer_config.json", json!({"eos_token": "<|im_end|>", "chat_template": "from config"})),
    ]
}

fn refusal(path: &Path) -> String {
    ModelFolder::open(path).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn what_is_missing_is_named() {
    let empty = tempfile::tempdir().unwrap();
    assert!(refusal(empty.path()).contains("config.json, model.safetensors, tokenizer.json missing"));
    assert!(refusal(&empty.path().join("nowhere")).contains("missing"));
    let parts = folder(&[
        ("config.json", json!({})),
        ("tokenizer.json", json!({})),
        (
            "model.safetensors.index.json",
            json!({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}),
        ),
        ("model-1.safetensors", json!({})),
    ]);
    assert!(refusal(parts.path()).contains("model-2.safetensors missing"));
}

#[test]
fn parts_outside_the_folder_are_refused() {
    let outside =
        folder(&[("model.safetensors.index.json", json!({"weight_map": {"a": "../x.safetensors"}}))]);
    assert!(refusal(outside.path()).contains("same folder"));
}

#[test]
fn json_that_is_none_is_named() {
    let broken = folder(&complete());
    std::fs::write(broken.path().join("generation_config.json"), "{").unwrap();
    assert!(refusal(broken.path()).contains("generation_config.json is not JSON"));
    let broken = folder(&complete());
    std::fs::write(broken.path().join("tokenizer.json"), "{}").unwrap();
    let error = ModelFolder::open(broken.path()).unwrap().tokenizer().unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("tokenizer.json"));
}

#[test]
fn templates_lie_in_three_places() {
    let source = |files: &[(&str, Value)]| {
        let folder = folder(files);
        ModelFolder::open(folder.path()).unwrap().template_source()
    };
    let mut files = complete();
    assert_eq!(source(&files).unwrap(), "from config");
    files.push(("chat_template.jinja", json!("from jinja")));
    assert_eq!(source(&files).unwrap(), "\"from jinja\"");
    files.truncate(3);
    let named = json!([{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]);
    files.push(("tokenizer_config.json", json!({"chat_template": named})));
    assert_eq!(source(&files).unwrap(), "d");
    files.truncate(3);
    assert!(source(&files).unwrap_err().to_string().contains("no chat_template"));
}
