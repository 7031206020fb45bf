//! Remembers and decides: gRPC, journal and sled state, signed URLs.

pub mod disk;
pub mod index;
pub mod journal;
pub mod objects;
pub mod snapshot;
