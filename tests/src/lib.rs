//! What tests share: the things they need from outside, and skips that cannot go unseen.
//!
//! `cargo xtask test` provides the needs through variables; a plain `cargo test` skips what lacks one and says so.

mod needs;
mod skips;

pub use needs::{Need, binary, need, repeats};
pub use skips::skip;
