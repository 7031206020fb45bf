//! Remembers and decides: gRPC, journal and sled state, signed URLs.
//!
//! Reading order: `server` (the whole), `services` (messages to commands), `engine` (the one that decides and remembers),
//! and what it stands on: `journal`, `snapshot`, `index`, `objects`, all over `disk`.

pub mod admin;
mod annotations;
pub mod clock;
pub mod config;
pub mod disk;
mod engine;
mod fatal;
pub mod hub;
pub mod incoming;
pub mod index;
pub mod journal;
pub mod objects;
mod secrets;
pub mod server;
mod services;
pub mod snapshot;

pub use engine::EngineError;
pub use secrets::SecretError;
