//! The `llama` architecture of GGUF as a Hugging Face `LlamaForCausalLM`: config, names, shapes, row order.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::safetensors_out::Planned;
use super::{GgufError, GgufFile, MetaValue, TensorInfo, usize_of};

/// Sizes of the model, from the metadata and the embedding's shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LlamaShape {
    hidden: u64,
    layers: u64,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    intermediate: u64,
    vocabulary: u64,
    context: u64,
    rope_theta: f64,
    norm_eps: f64,
    tied: bool,
}

/// One tensor to write: where it comes from, its name and shape, and the heads to put back in order.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) source: TensorInfo,
    pub(super) planned: Planned,
    permuted_heads: Option<u64>,
}

/// Largest value of any size, far above every model and far below an overflow of their products.
const SIZE_MAX: u64 = 1 << 24;

impl LlamaShape {
    pub(super) fn read(file: &GgufFile) -> Result<Self, GgufError> {
        refuse_scaled_rope(file)?;
        let heads = sized(file, "llama.attention.head_count")?;
        let hidden = sized(file, "llama.embedding_length")?;
        let head_dim = match file.metadata().contains_key("llama.attention.key_length") {
            true => sized(file, "llama.attention.key_length")?,
            false => hidden / heads,
        };
        let kv_heads = match file.metadata().contains_key("llama.attention.head_count_kv") {
            true => sized(file, "llama.attention.head_count_kv")?,
            false => heads,
        };
        let embedding = file.tensor("token_embd.weight").ok_or_else(|| absent(file, "token_embd.weight"))?;
        let shape = Self {
            hidden,
            layers: sized(file, "llama.block_count")?,
            heads,
            kv_heads,
            head_dim,
            intermediate: sized(file, "llama.feed_forward_length")?,
            vocabulary: embedding.shape.first().copied().unwrap_or(0),
            context: sized(file, "llama.context_length")?,
            rope_theta: match file.metadata().contains_key("llama.rope.freq_base") {
                true => file.float("llama.rope.freq_base")?,
                false => 10_000.0,
            },
            norm_eps: file.float("llama.attention.layer_norm_rms_epsilon")?,
            tied: file.tensor("output.weight").is_none(),
        };
        shape.check(file)?;
        Ok(shape)
    }

    fn check(&self, file: &GgufFile) -> Result<(), GgufError> {
        let problem = if !self.head_dim.is_multiple_of(2) || self.head_dim == 0 {
            format!("gives heads of {} elements; rotary embeddings need an even number", self.head_dim)
        } else if !self.heads.is_multiple_of(self.kv_heads) {
            format!("gives {} heads over {} key-value heads; they must divide", self.heads, self.kv_heads)
        } else {
            return Ok(());
        };
        let key = "llama.attention.head_count".to_owned();
        Err(GgufError::Metadata { path: file.path().to_path_buf(), key, problem })
    }

    /// `config.json`, in the spelling that every version of Transformers reads.
    pub(super) fn config(&self, special: &SpecialIds) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": null,
            "hidden_act": "silu",
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "tie_word_embeddings": self.tied,
            "bos_token_id": special.bos,
            "eos_token_id": special.eos,
            "pad_token_id": special.pad,
            "initializer_range": 0.02,
            "use_cache": true,
            "torch_dtype": "bfloat16",
        })
    }

    pub(super) fn vocabulary(&self) -> usize {
        usize_of(self.vocabulary)
    }

    /// Every tensor of the model with its source, in the order of the layers; tensors of the file that have no place are refused.
    pub(super) fn map(&self, file: &GgufFile) -> Result<Vec<Mapped>, GgufError> {
        let mut mapped = vec![self.one(
            file,
            "token_embd",
            "model.embed_tokens",
            &[self.vocabulary, self.hidden],
            None,
        )?];
        for layer in 0..self.layers {
            self.map_layer(file, layer, &mut mapped)?;
        }
        mapped.push(self.one(file, "output_norm", "model.norm", &[self.hidden], None)?);
        if !self.tied {
            mapped.push(self.one(file, "output", "lm_head", &[self.vocabulary, self.hidden], None)?);
        }
        let used: BTreeSet<&str> = mapped.iter().map(|tensor| tensor.source.name.as_str()).collect();
        match file.tensors().iter().find(|tensor| !used.contains(tensor.name.as_str())) {
            None => Ok(mapped),
            Some(extra) => Err(GgufError::Tensor {
                path: file.path().to_path_buf(),
                name: extra.name.clone(),
                problem: "has no place in a llama model without biases and with plain RoPE; import a Hugging Face folder instead".to_owned(),
            }),
        }
    }

    fn map_layer(&self, file: &GgufFile, layer: u64, mapped: &mut Vec<Mapped>) -> Result<(), GgufError> {
        let (hidden, queries, keys) =
            (self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let inner = self.intermediate;
        let (attention, mlp) = ("self_attn", "mlp");
        let parts: [(&str, String, &[u64], Option<u64>); 9] = [
            ("attn_norm", "input_layernorm".to_owned(), &[hidden], None),
            ("attn_q", format!("{attention}.q_proj"), &[queries, hidden], Some(self.heads)),
            ("attn_k", format!("{attention}.k_proj"), &[keys, hidden], Some(self.kv_heads)),
            ("attn_v", format!("{attention}.v_proj"), &[keys, hidden], None),
            ("attn_output", format!("{attention}.o_proj"), &[hidden, queries], None),
            ("ffn_norm", "post_attention_layernorm".to_owned(), &[hidden], None),
            ("ffn_gate", format!("{mlp}.gate_proj"), &[inner, hidden], None),
            ("ffn_up", format!("{mlp}.up_proj"), &[inner, hidden], None),
            ("ffn_down", format!("{mlp}.down_proj"), &[hidden, inner], None),
        ];
        for (source, target, shape, heads) in parts {
            let target = format!("model.layers.{layer}.{target}");
            mapped.push(self.one(file, &format!("blk.{layer}.{source}"), &target, shape, heads)?);
        }
        Ok(())
    }

    fn one(
        &self,
        file: &GgufFile,
        source: &str,
        target: &str,
        shape: &[u64],
        permuted_heads: Option<u64>,
    ) -> Result<Mapped, GgufError> {
        let name = format!("{source}.weight");
        let source = file.tensor(&name).ok_or_else(|| absent(file, &name))?;
        if source.shape != shape {
            let problem = format!("has the shape {:?}; the metadata asks for {shape:?}", source.shape);
            return Err(GgufError::Tensor { path: file.path().to_path_buf(), name, problem });
        }
        let planned = Planned { name: format!("{target}.weight"), shape: shape.to_vec() };
        Ok(Mapped { source: source.clone(), planned, permuted_heads })
    }
}

impl Mapped {
    /// Puts the rows back as Hugging Face has them. llama.cpp rotates neighbouring pairs, Transformers pairs from the two
    /// halves of a head, so that its converter interleaves the halves of every query and key head (`LlamaModel.permute`).
    pub(super) fn restore_row_order(&self, values: Vec<f32>) -> Vec<f32> {
        let Some(heads) = self.permuted_heads else {
            return values;
        };
        let rows = usize_of(self.planned.shape[0]);
        let width = values.len() / rows;
        let head_dim = rows / usize_of(heads);
        let mut restored = Vec::with_capacity(values.len());
        for row in 0..rows {
            let (head, within) = (row / head_dim, row % head_dim);
            let (half, pair) = (within / (head_dim / 2), within % (head_dim / 2));
            let source = head * head_dim + 2 * pair + half;
            restored.extend_from_slice(&values[source * width..(source + 1) * width]);
        }
        restored
    }
}

/// Ids of special tokens in the metadata.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecialIds {
    pub(super) bos: Option<u64>,
    pub(super) eos: Option<u64>,
    pub(super) pad: Option<u64>,
    pub(super) unknown: Option<u64>,
}

fn sized(file: &GgufFile, key: &str) -> Result<u64, GgufError> {
    let number = file.unsigned(key)?;
    if (1..=SIZE_MAX).contains(&number) {
        return Ok(number);
    }
    let problem = format!("is {number}; it must be from 1 to {SIZE_MAX}");
    Err(GgufError::Metadata { path: file.path().to_path_buf(), key: key.to_owned(), problem })
}

fn absent(file: &GgufFile, name: &str) -> GgufError {
    GgufError::Tensor {
        path: file.path().to_path_buf(),
        name: name.to_owned(),
        problem: "is missing; the file may be one part of a split model: join the parts first".to_owned(),
    }
}

/// A scaled RoPE is kept as a table of factors from which its parameters cannot be told.
fn refuse_scaled_rope(file: &GgufFile) -> Result<(), GgufError> {
    let key = "llama.rope.scaling.type";
    match file.metadata().get(key) {
        None => Ok(()),
        Some(MetaValue::String(kind)) if kind == "none" => Ok(()),
        Some(other) => Err(GgufError::Metadata {
            path: file.path().to_path_buf(),
            key: key.to_owned(),
            problem: format!(
                "is {}; only an unscaled RoPE is imported: use the model's Hugging Face folder",
                other.describe()
            ),
        }),
    }
}
