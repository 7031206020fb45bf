//! The embedded object store: a local folder, signed requests for it, and the HTTP endpoint that they point to.

pub mod http;
pub mod local;
pub mod signature;
