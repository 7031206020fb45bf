//! How many rows are decoded at once: as many as the memory of a GPU has room for, as each more costs next to nothing there.

use assay_text::config::DecoderConfig;
use tch::Kind;

use crate::decoder::Decoder;
use crate::device;

/// Rows at once on processors, and on devices that do not say what is free.
pub const ROWS: usize = 16;
/// The most that are worth it: beyond, products wait for arithmetic and no longer for weights.
const ROWS_MAX: usize = 256;
/// The share of free memory that rows take: prompts are run beside them, and a cache that grows has two of one layer.
const SHARE: f64 = 0.7;
/// The most that a cache has beyond the tokens in it.
const GROWTH: f64 = 1.25;
/// Bytes for each entry of the vocabulary: a row's logits, the same in float32, their probabilities, and what filters leave.
const LOGIT_BYTES: f64 = 16.0;

/// Rows of at most so many tokens, prompt and answer, that fit on the model's device now.
pub fn rows_that_fit(decoder: &Decoder, tokens: usize) -> usize {
    let free = device::free_bytes(decoder.device());
    free.map_or(ROWS, |free| rows_within(free, row_bytes(decoder.config(), decoder.kind(), tokens)))
}

fn row_bytes(config: &DecoderConfig, kind: Kind, tokens: usize) -> f64 {
    let values = 2 * config.layer_count * config.key_value_size() * kind.elt_size_in_bytes();
    GROWTH * (values * tokens) as f64 + LOGIT_BYTES * config.vocab_size as f64
}

fn rows_within(free: u64, row_bytes: f64) -> usize {
    ((SHARE * free as f64 / row_bytes) as usize).clamp(1, ROWS_MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tch::Device;

    use super::*;

    #[test]
    fn rows_follow_from_what_is_free_and_what_a_row_holds() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/mistral");
        let decoder = Decoder::load(&dir, Device::Cpu, Kind::Float).unwrap();
        assert_eq!(rows_that_fit(&decoder, 1000), ROWS, "a processor");
        // 3 layers, 2 key-value heads of 12, 256 entries: keys and values of 2 x 3 x 24 x 2 bytes a token.
        let row = row_bytes(decoder.config(), Kind::BFloat16, 1000);
        assert_eq!(row, 1.25 * 288.0 * 1000.0 + 16.0 * 256.0);
        assert_eq!(rows_within((101.0 * row) as u64, row), 70);
        assert_eq!((rows_within(0, row), rows_within(1 << 40, row)), (1, ROWS_MAX));
    }
}
