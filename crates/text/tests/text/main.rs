//! The text crate from outside: what it reads, what it refuses, and values of the reference implementations.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod bad_input;
mod chat;
mod folder;
mod gguf_file;
mod import;
mod mask;
mod rows;
mod support;
mod tokenizer;
