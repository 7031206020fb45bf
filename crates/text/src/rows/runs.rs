//! A training row as text again, cut where training begins and ends: what people look at before they train.

use serde::Serialize;

use super::TrainRow;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Neighbouring tokens of a row that are all trained on, or all not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Whether they give loss.
    pub trained: bool,
    /// Their text, control tokens included.
    pub text: String,
}

impl TrainRow {
    /// The row's text in runs. A character that several tokens hold belongs to the last of them.
    pub fn runs(&self, tokenizer: &Tokenizer) -> Result<Vec<Run>, TokenizerError> {
        let mut runs: Vec<Run> = Vec::new();
        let mut add = |trained: bool, text: &str| match runs.last_mut() {
            Some(run) if run.trained == trained => run.text.push_str(text),
            _ if text.is_empty() => {}
            _ => runs.push(Run { trained, text: text.to_owned() }),
        };
        let mut stream = tokenizer.stream(false);
        let mut last = false;
        for (id, trained) in self.ids.iter().zip(&self.trained) {
            last = *trained;
            if let Some(text) = stream.push(*id)? {
                add(last, &text);
            }
        }
        add(last, &stream.finish()?);
        Ok(runs)
    }
}
