//! Tensors: architectures, LoRA, training, generation.
//! Everything here runs on one OS thread per device; gradients are on unless a guard says otherwise.

pub mod adamw;
pub mod check;
pub mod decoder;
pub mod device;
mod error;
pub mod export;
pub mod generate;
pub mod lora;
mod module;
mod nf4;
pub mod oom;
mod packed;
pub(crate) mod random;
pub mod sample;
pub mod schedule;
pub mod score;
pub mod train;
mod varlen;
pub(crate) mod weights;
mod whole;

pub use error::{ModelError, Result};
pub use module::{Module, SizedModule};
pub use nf4::FourBits;
pub use whole::Whole;
