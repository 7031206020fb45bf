//! Write-once objects from the outside: signed requests carry the bytes, digests verify them, a bounded cache keeps them.
//!
//! What a signed request's query holds is a secret: it appears in no error and no log of this crate.

pub use back_off::BackOff;
pub use cache::Cache;
pub use error::{SignError, TransferError};
pub use local::{LocalFile, describe, digest_file, digest_folder};
pub use request::{SignedRequest, SignedUpload, TransferLimits, Transfers};
pub use signer::{DownloadSigner, UploadSigner};

mod back_off;
mod cache;
mod download;
mod error;
mod from_hub;
pub mod hub;
mod local;
mod request;
mod signer;
mod upload;
