//! Remembers and decides: gRPC, journal and sled state, signed URLs.
//!
//! Reading order: `server` (the whole), `services` (messages to commands), `engine` (the one that decides and remembers),
//! and what it stands on: `journal`, `snapshot`, `index`, `objects`, all over `disk`.

pub mod clock;
pub mod config;
pub mod disk;
mod engine;
mod fatal;
pub mod index;
pub mod journal;
pub mod objects;
mod secrets;
pub mod server;
mod services;
pub mod snapshot;

pub use engine::EngineError;
pub use secrets::SecretError;

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
