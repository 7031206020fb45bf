//! The embedded object store's local folder.

pub mod local;
