//! Tokenizers, chat templates, masks, config, GGUF and safetensors readers; no tensors.

mod bounded;
pub mod chat;
pub mod config;
pub mod folder;
pub mod gguf;
mod guarded;
pub mod mask;
pub mod rows;
pub mod safetensors;
mod staged;
pub mod tokenizer;
