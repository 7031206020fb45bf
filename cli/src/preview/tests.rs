//! A real template and tokenizer; conversations whose masks Transformers made.

use std::path::{Path, PathBuf};

use assay_domain::job::LossOn;
use serde_json::{Value, json};

use super::{Chosen, Preview, settings, show};

/// A model folder without weights: what a preview reads.
fn model(dir: &Path) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/text/tests/fixtures/chat");
    let folder = dir.join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(fixtures.join("smollm2.tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    std::fs::copy(fixtures.join("smollm2.jinja"), folder.join("chat_template.jinja")).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), json!({"eos_token": "<|im_end|>"}).to_string())
        .unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    std::fs::write(folder.join("model.safetensors"), "").unwrap();
    folder
}

/// One conversation of the golden files, as a data file.
fn data(dir: &Path, conversation: u64) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/text/tests/fixtures/chat");
    let cases: Value =
        serde_json::from_slice(&std::fs::read(fixtures.join("smollm2.json")).unwrap()).unwrap();
    let whole = |one: &&Value| one["conversation"] == conversation && one["add_generation_prompt"] == false;
    let one = cases["cases"].as_array().unwrap().iter().find(whole).unwrap();
    let path = dir.join("data.jsonl");
    std::fs::write(&path, json!({"id": "one", "messages": one["messages"]}).to_string()).unwrap();
    path
}

fn preview(conversation: u64, loss_on: LossOn, max_length: u32) -> Preview {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (model(dir.path()), data(dir.path(), conversation));
    let settings = settings(loss_on, max_length, false);
    let sources = crate::source::Sources::default();
    let model = model.into();
    Preview::of(&Chosen { model, data, take: None, settings, _sources: sources }, 3).unwrap()
}

#[test]
fn trained_turns_are_marked_and_counted() {
    let preview = preview(9, LossOn::Assistant, 2048);
    let trained: Vec<&str> =
        preview.rows[0].runs.iter().filter(|run| run.trained).map(|run| run.text.as_str()).collect();
    assert_eq!(
        trained,
        ["<think>\nadd them\n</think>\n\n4<|im_end|>", "<think>\nyes\n</think>\n\nYes.<|im_end|>"]
    );
    assert_eq!((preview.counts.rows, preview.counts.trained_tokens, preview.counts.rows_cut), (1, 27, 0));
    let text = show::text(&preview, &show::PLAIN);
    assert!(
        text.contains("<|im_start|>user\nsure?<|im_end|>\n<|im_start|>assistant\n⟦<think>\nyes"),
        "{text}"
    );
    assert!(text.contains("27 of them trained"), "{text}");
    assert!(show::text(&preview, &show::COLOUR).contains("assistant\n\u{1b}[32m<think>"));
    let json = serde_json::to_value(&preview).unwrap();
    assert_eq!(json["rows"][0]["runs"][1]["trained"], true);
    assert_eq!(json["settings"]["render"]["date"], "2024-07-26");
}

#[test]
fn what_is_cut_and_what_trains_nothing_is_told() {
    let preview = preview(3, LossOn::Assistant, 16);
    assert_eq!((preview.rows[0].tokens, preview.counts.rows_cut), (16, 1));
    assert_eq!(preview.counts.rows_without_training, 1);
    let text = show::text(&preview, &show::PLAIN);
    assert!(text.contains("cut off at the end") && text.contains("train nothing"), "{text}");
    assert!(!text.contains("⟦<"), "{text}");
}

#[test]
fn control_text_is_warned_of_and_a_terminal_obeys_no_row() {
    let mut preview = preview(10, LossOn::All, 2048);
    let text = show::text(&preview, &show::PLAIN);
    assert!(text.contains("messages of 1 rows write out <|im_end|>"), "{text}");
    preview.rows[0].runs[0].text = String::from("a\u{1b}]0;title\u{7}b\tc");
    let text = show::text(&preview, &show::COLOUR);
    assert!(text.contains("a\\u{1b}]0;title\\u{7}b\tc"), "{text}");
}
