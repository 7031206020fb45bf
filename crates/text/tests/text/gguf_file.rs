//! Writes small GGUF files for the tests.

use crate::support::{CONTROL, byte_characters};

pub(crate) enum Meta {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(&'static str),
    Texts(Vec<String>),
    I32s(Vec<i32>),
}

pub(crate) struct Tensor {
    pub(crate) name: String,
    /// Slowest first.
    pub(crate) shape: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) bytes: Vec<u8>,
}

/// What a file is made of; tests change parts before writing.
pub(crate) struct Parts {
    pub(crate) version: u32,
    pub(crate) meta: Vec<(&'static str, Meta)>,
    pub(crate) tensors: Vec<Tensor>,
}

pub(crate) const HIDDEN: u64 = 32;
pub(crate) const HEADS: u64 = 4;
pub(crate) const KV_HEADS: u64 = 2;
pub(crate) const INNER: u64 = 64;
const LAYERS: u64 = 2;

/// The value at `place` of a tensor: exact in bf16, different for every row.
pub(crate) fn value(seed: usize, place: usize) -> f32 {
    ((place * 7 + seed * 3) % 251) as f32 - 125.0
}

fn tensor(name: &str, shape: &[u64], seed: usize) -> Tensor {
    let count = shape.iter().product::<u64>() as usize;
    let bytes = (0..count).flat_map(|place| value(seed, place).to_le_bytes()).collect();
    Tensor { name: format!("{name}.weight"), shape: shape.to_vec(), kind: 0, bytes }
}

/// A llama of two layers with tied embeddings and a byte vocabulary with two merges.
pub(crate) fn llama() -> Parts {
    let mut tokens: Vec<String> = byte_characters();
    tokens.extend(CONTROL.iter().map(|text| (*text).to_owned()));
    tokens.extend(["he".to_owned(), "12".to_owned()]);
    let kinds =
        (0..tokens.len()).map(|id| if (256..256 + CONTROL.len()).contains(&id) { 3 } else { 1 }).collect();
    let vocabulary = tokens.len() as u64;
    let meta = vec![
        ("general.architecture", Meta::Text("llama")),
        ("llama.block_count", Meta::U32(LAYERS as u32)),
        ("llama.context_length", Meta::U32(128)),
        ("llama.embedding_length", Meta::U32(HIDDEN as u32)),
        ("llama.feed_forward_length", Meta::U32(INNER as u32)),
        ("llama.attention.head_count", Meta::U32(HEADS as u32)),
        ("llama.attention.head_count_kv", Meta::U32(KV_HEADS as u32)),
        ("llama.rope.freq_base", Meta::F32(100_000.0)),
        ("llama.attention.layer_norm_rms_epsilon", Meta::F32(1e-5)),
        ("tokenizer.ggml.model", Meta::Text("gpt2")),
        ("tokenizer.ggml.pre", Meta::Text("smollm")),
        ("tokenizer.ggml.tokens", Meta::Texts(tokens)),
        ("tokenizer.ggml.token_type", Meta::I32s(kinds)),
        ("tokenizer.ggml.merges", Meta::Texts(vec!["h e".to_owned(), "1 2".to_owned()])),
        ("tokenizer.ggml.bos_token_id", Meta::U32(256)),
        ("tokenizer.ggml.eos_token_id", Meta::U32(257)),
        ("tokenizer.ggml.padding_token_id", Meta::U32(257)),
        ("tokenizer.ggml.add_bos_token", Meta::Bool(false)),
        ("tokenizer.chat_template", Meta::Text(crate::support::CHATML)),
    ];
    let keys = KV_HEADS * HIDDEN / HEADS;
    let mut tensors =
        vec![tensor("token_embd", &[vocabulary, HIDDEN], 0), tensor("output_norm", &[HIDDEN], 1)];
    for layer in 0..LAYERS as usize {
        for (place, (name, shape)) in [
            ("attn_norm", vec![HIDDEN]),
            ("attn_q", vec![HIDDEN, HIDDEN]),
            ("attn_k", vec![keys, HIDDEN]),
            ("attn_v", vec![keys, HIDDEN]),
            ("attn_output", vec![HIDDEN, HIDDEN]),
            ("ffn_norm", vec![HIDDEN]),
            ("ffn_gate", vec![INNER, HIDDEN]),
            ("ffn_up", vec![INNER, HIDDEN]),
            ("ffn_down", vec![HIDDEN, INNER]),
        ]
        .into_iter()
        .enumerate()
        {
            tensors.push(tensor(&format!("blk.{layer}.{name}"), &shape, 10 * layer + place + 2));
        }
    }
    Parts { version: 3, meta, tensors }
}

impl Parts {
    pub(crate) fn set(mut self, key: &'static str, value: Meta) -> Self {
        self.meta.retain(|(name, _)| *name != key);
        self.meta.push((key, value));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.meta.retain(|(key, _)| *key != name);
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.meta.len() as u64).to_le_bytes());
        for (key, value) in &self.meta {
            text(&mut out, key);
            meta(&mut out, value);
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            text(&mut out, &tensor.name);
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            for size in tensor.shape.iter().rev() {
                out.extend(size.to_le_bytes());
            }
            out.extend(tensor.kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (tensor.bytes.len() as u64).next_multiple_of(32);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        for tensor in &self.tensors {
            out.extend(&tensor.bytes);
            out.resize(out.len().next_multiple_of(32), 0);
        }
        out
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn meta(out: &mut Vec<u8>, value: &Meta) {
    let code = |out: &mut Vec<u8>, code: u32| out.extend(code.to_le_bytes());
    match value {
        Meta::U32(number) => {
            code(out, 4);
            out.extend(number.to_le_bytes());
        }
        Meta::F32(number) => {
            code(out, 6);
            out.extend(number.to_le_bytes());
        }
        Meta::Bool(truth) => {
            code(out, 7);
            out.push(u8::from(*truth));
        }
        Meta::Text(words) => {
            code(out, 8);
            text(out, words);
        }
        Meta::Texts(items) => {
            code(out, 9);
            code(out, 8);
            out.extend((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| text(out, item));
        }
        Meta::I32s(items) => {
            code(out, 9);
            code(out, 5);
            out.extend((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| out.extend(item.to_le_bytes()));
        }
    }
}
