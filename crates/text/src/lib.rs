//! Tokenizers, chat templates, masks, config, GGUF and safetensors readers; no tensors.

pub mod config;
pub mod safetensors;
