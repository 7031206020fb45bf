//! Who hands out signed requests: the coordinator, reached by the agent or the command line.

use std::future::Future;

use assay_domain::FileRef;

use crate::{LocalFile, SignError, SignedRequest, SignedUpload};

/// Asks for signed uploads.
pub trait UploadSigner: Sync {
    /// One for each file, in order.
    fn sign_uploads(
        &self,
        files: &[LocalFile],
    ) -> impl Future<Output = Result<Vec<SignedUpload>, SignError>> + Send;
}

/// Asks for signed downloads.
pub trait DownloadSigner: Sync {
    /// One for each file, in order.
    fn sign_downloads(
        &self,
        files: &[FileRef],
    ) -> impl Future<Output = Result<Vec<SignedRequest>, SignError>> + Send;
}
