//! Whether the tokens of a trace are those that our tokenizer and chat template make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assay_text::folder::ModelFolder;
use assay_text::rows::{Conversation, LossOn, ReadLimits, RowSettings, read_conversations, training_row};
use assay_text::tokenizer::Tokenizer;

use super::{Comparison, Trace, refused};
use crate::Result;

/// Where a trace's data may lie, from its folder.
const DATA_FOLDERS: [&str; 4] = [".", "data", "../data", "../../data"];
const DATA_FILES: [&str; 2] = ["train.jsonl", "valid.jsonl"];

/// Number of rows whose tokens differ.
pub(super) fn compare(
    dir: &Path,
    model_dir: &Path,
    data: Option<&Path>,
    trace: &Trace,
) -> Result<Comparison> {
    let wrong = |error: &dyn std::error::Error| refused(model_dir, chain(error));
    let folder = ModelFolder::open(model_dir).map_err(|error| wrong(&error))?;
    let tokenizer = folder.tokenizer().map_err(|error| wrong(&error))?;
    let template = folder.template(&tokenizer).map_err(|error| wrong(&error))?;
    let conversations = conversations(dir, data)?;
    let settings = RowSettings {
        max_length: trace.max_length.unwrap_or(usize::MAX),
        loss_on: LossOn::All,
        reference_quirks: false,
        render: assay_text::chat::RenderOptions::default(),
    };
    let (mut differing, mut from_data) = (0, 0);
    for (row, expected) in trace.input_ids.iter().enumerate() {
        let conversation = trace.examples.get(row).and_then(|id| conversations.get(id));
        let equal = match conversation {
            Some(conversation) => {
                from_data += 1;
                let row = training_row(conversation, &template, &tokenizer, &settings);
                row.map_err(|error| wrong(&error))?.ids == *expected
            }
            None => survives(&tokenizer, expected).map_err(|error| wrong(&error))?,
        };
        differing += u32::from(!equal);
    }
    let rows = trace.input_ids.len();
    let what = format!("rows whose tokens differ ({from_data} of {rows} made from data)");
    Ok(Comparison::new(what, f64::from(differing), 0.0))
}

/// Whether the tokens are what the tokenizer makes of their text.
fn survives(
    tokenizer: &Tokenizer,
    ids: &[u32],
) -> std::result::Result<bool, assay_text::tokenizer::TokenizerError> {
    Ok(tokenizer.encode(&tokenizer.decode(ids, false)?, false)? == ids)
}

/// All conversations that can be found, by id.
fn conversations(dir: &Path, data: Option<&Path>) -> Result<BTreeMap<String, Conversation>> {
    let files: Vec<PathBuf> = match data {
        Some(file) => vec![file.to_owned()],
        None => DATA_FOLDERS
            .iter()
            .flat_map(|folder| DATA_FILES.iter().map(move |file| dir.join(folder).join(file)))
            .filter(|file| file.is_file())
            .collect(),
    };
    let mut found = BTreeMap::new();
    for file in files {
        let read = read_conversations(&file, ReadLimits::default());
        let read = read.map_err(|error| refused(&file, chain(&error)))?;
        found.extend(read.into_iter().map(|conversation| (conversation.id.clone(), conversation)));
    }
    Ok(found)
}

/// An error of the text crate with its causes, as reference values are refused with words.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}
