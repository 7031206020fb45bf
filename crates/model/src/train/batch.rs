//! Rows of tokens, and micro-batches of them without padding.

use assay_text::config::DecoderConfig;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::decoder::{Decoder, PackedCausal, Positions};
use crate::{ModelError, Result};

/// The label of a token that is not trained on.
pub const IGNORED: i64 = -100;

/// One training example: tokens, and per token its own id or [`IGNORED`]. The loss shifts: the model's output at a
/// token predicts the label of the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainRow {
    /// Token ids.
    pub ids: Vec<u32>,
    /// As many labels.
    pub labels: Vec<i64>,
}

impl TrainRow {
    /// Trains on every token.
    pub fn all(ids: Vec<u32>) -> Self {
        let labels = ids.iter().map(|id| i64::from(*id)).collect();
        Self { ids, labels }
    }

    /// Trains on the tokens whose flag is set; missing flags are unset.
    pub fn masked(ids: Vec<u32>, trained: &[bool]) -> Self {
        let flags = trained.iter().copied().chain(std::iter::repeat(false));
        let labels =
            ids.iter().zip(flags).map(|(id, is)| if is { i64::from(*id) } else { IGNORED }).collect();
        Self { ids, labels }
    }

    /// Positions that predict, and what: output at `position` predicts `target`.
    fn predictions(&self) -> impl DoubleEndedIterator<Item = (usize, i64)> {
        let next = self.labels.iter().copied().enumerate().skip(1);
        next.filter(|(_, label)| *label != IGNORED).map(|(position, label)| (position - 1, label))
    }

    /// Tokens up to the last that predicts: what comes after it cannot change the loss, as attention looks back only.
    pub(super) fn kept(&self) -> usize {
        self.predictions().next_back().map_or(0, |(last, _)| last + 1)
    }

    pub(super) fn counts(&self) -> RowCounts {
        RowCounts {
            tokens: self.ids.len() as u64,
            labelled: self.labels.iter().filter(|label| **label != IGNORED).count() as u64,
            predicted: self.predictions().count() as u64,
        }
    }
}

/// Numbers of tokens.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowCounts {
    pub(super) tokens: u64,
    /// Labels that are not ignored, a row's first included.
    pub(super) labelled: u64,
    /// Labels that are predicted.
    pub(super) predicted: u64,
}

impl RowCounts {
    /// What the sum of token losses is divided by. Transformers 4.57 counted labels before the shift, so also those of
    /// first tokens, which nothing predicts; Transformers 5 counts predictions.
    pub(super) fn divisor(self, before_shift: bool) -> f64 {
        let count = if before_shift { self.labelled } else { self.predicted };
        count.max(1) as f64
    }
}

impl std::iter::Sum for RowCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, counts| Self {
            tokens: sum.tokens + counts.tokens,
            labelled: sum.labelled + counts.labelled,
            predicted: sum.predicted + counts.predicted,
        })
    }
}

/// Refuses rows that the model cannot read.
pub(super) fn check_rows(rows: &[TrainRow], config: &DecoderConfig) -> Result<()> {
    rows.iter().enumerate().try_for_each(|(row, tokens)| {
        check_row(tokens, config).map_err(|problem| ModelError::Row { row, problem })
    })
}

fn check_row(row: &TrainRow, config: &DecoderConfig) -> std::result::Result<(), String> {
    if row.ids.is_empty() {
        return Err("it has no tokens".to_owned());
    }
    if row.ids.len() != row.labels.len() {
        return Err(format!("it has {} tokens but {} labels", row.ids.len(), row.labels.len()));
    }
    if row.ids.len() > config.max_positions {
        let (length, most) = (row.ids.len(), config.max_positions);
        return Err(format!("it has {length} tokens, but the model's positions end at {most}: cut it"));
    }
    let vocab_size = config.vocab_size as i64;
    if let Some(id) = row.ids.iter().find(|id| i64::from(**id) >= vocab_size) {
        return Err(format!("token {id} is not below the model's vocabulary of {vocab_size}"));
    }
    match row.labels.iter().find(|label| **label != IGNORED && !(0..vocab_size).contains(*label)) {
        Some(label) => Err(format!("label {label} is neither a token id nor {IGNORED}")),
        None => Ok(()),
    }
}

/// Rows of one pass, one after the other.
pub(super) struct MicroBatch {
    /// `[N]`.
    pub(super) ids: Tensor,
    pub(super) positions: Positions,
    pub(super) attention: PackedCausal,
    /// Flat tokens that predict, `[P]`, ascending.
    pub(super) predicting: Tensor,
    /// What they predict, `[P]`.
    pub(super) targets: Tensor,
}

impl MicroBatch {
    /// Packs what is kept of the rows; none if nothing in them is predicted.
    pub(super) fn new(rows: &[&TrainRow], model: &Decoder) -> Result<Option<Self>> {
        let (mut ids, mut lengths, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
        let (mut predicting, mut targets) = (Vec::new(), Vec::new());
        for row in rows {
            let kept = row.kept();
            if kept == 0 {
                continue;
            }
            let start = ids.len() as i64;
            ids.extend(row.ids[..kept].iter().map(|id| i64::from(*id)));
            lengths.push(kept as i64);
            tokens.extend((0..kept).map(|place| (place as i64, row.ids.len() as i64)));
            for (position, target) in row.predictions() {
                predicting.push(start + position as i64);
                targets.push(target);
            }
        }
        if lengths.is_empty() {
            return Ok(None);
        }
        let device = model.device();
        let on_device = |values: &[i64]| Tensor::f_from_slice(values)?.f_to_device(device);
        let attention = model.attention_over(&lengths)?;
        Ok(Some(Self {
            ids: on_device(&ids)?,
            positions: model.positions(tokens)?,
            attention,
            predicting: on_device(&predicting)?,
            targets: on_device(&targets)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_before_the_shift_count_the_first_token_and_predictions_do_not() {
        let all = TrainRow::all(vec![5, 6, 7]).counts();
        assert_eq!((all.tokens, all.labelled, all.predicted), (3, 3, 2));
        let part = TrainRow::masked(vec![5, 6, 7, 8], &[false, true, true]).counts();
        assert_eq!((part.labelled, part.predicted), (2, 2));
        assert_eq!(part.divisor(true), 2.0);
        assert_eq!(
            RowCounts::default().divisor(false),
            1.0,
            "a group without predictions has loss 0, not NaN"
        );
    }

    #[test]
    fn rows_that_cannot_be_read_are_refused_by_number() {
        let config = DecoderConfig::from_json(&serde_json::json!({
            "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 4
        }))
        .unwrap();
        let refusal =
            |row: TrainRow| check_rows(&[TrainRow::all(vec![1]), row], &config).unwrap_err().to_string();
        assert_eq!(refusal(TrainRow::all(vec![])), "row 1: it has no tokens");
        assert!(refusal(TrainRow::all(vec![1, 10])).contains("token 10 is not below"));
        assert!(refusal(TrainRow::all(vec![1; 5])).contains("5 tokens, but the model's positions end at 4"));
        assert!(refusal(TrainRow { ids: vec![1], labels: vec![] }).contains("1 tokens but 0 labels"));
        assert!(refusal(TrainRow { ids: vec![1], labels: vec![-1] }).contains("label -1 is neither"));
    }
}
