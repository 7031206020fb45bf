//! The text crate from outside: what it reads, what it refuses, and values of the reference implementations.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod bad_input;
mod chat;
mod folder;
mod fuzz;
mod gguf_file;
mod import;
mod mask;
mod rows;
mod support;
mod tokenizer;

/// Counts memory, so that no damaged file may ask for any amount of it.
#[global_allocator]
static PEAK: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
