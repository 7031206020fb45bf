//! The projections of a layer by name, with their widths: what LoRA can adapt and what parameters are counted from.

use super::DecoderConfig;

/// A linear map of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// Name in checkpoints and in `target_modules`.
    pub name: &'static str,
    /// Width of its input.
    pub input: usize,
    /// Width of its output.
    pub output: usize,
}

impl DecoderConfig {
    /// The projections of one layer, in the order of the forward pass.
    pub fn projections(&self) -> Vec<Projection> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (query, kv) = (self.query_size(), self.key_value_size());
        let projection = |name, input, output| Projection { name, input, output };
        let output = projection("o_proj", query, hidden);
        let down = projection("down_proj", inner, hidden);
        if self.fused_projections {
            let fused = projection("qkv_proj", hidden, query + 2 * kv);
            return vec![fused, output, projection("gate_up_proj", hidden, 2 * inner), down];
        }
        vec![
            projection("q_proj", hidden, query),
            projection("k_proj", hidden, kv),
            projection("v_proj", hidden, kv),
            output,
            projection("gate_proj", hidden, inner),
            projection("up_proj", hidden, inner),
            down,
        ]
    }
}
