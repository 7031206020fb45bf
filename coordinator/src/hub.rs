//! The Hub as workers reach it: files at a pinned commit, and the token for those that need one, held in memory alone.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use assay_domain::Origin;
use assay_domain::origin::HUB_ENDPOINT;
use assay_proto::v1;

/// Where the Hub is, and who asks it.
#[derive(Clone)]
pub struct HubAccess {
    endpoint: Arc<str>,
    token: Option<Arc<str>>,
}

impl HubAccess {
    /// The Hub itself unless another endpoint is named. What is empty is not there.
    pub fn new(endpoint: Option<String>, token: Option<String>) -> Self {
        let given =
            |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let endpoint = given(endpoint).unwrap_or_else(|| HUB_ENDPOINT.to_owned());
        Self { endpoint: endpoint.into(), token: given(token).map(Into::into) }
    }

    /// Whether it may give a worker what a file needs.
    pub(crate) fn has_token_for(&self, origin: &Origin) -> bool {
        self.token.is_some() || !origin.needs_token()
    }

    /// The right to read one file, for the worker that asks: its token is in the headers only where the file needs one.
    pub(crate) fn request(&self, origin: &Origin, expires_at_unix_ms: u64) -> v1::SignedRequest {
        let token = self.token.as_ref().filter(|_| origin.needs_token());
        let header = token.map(|token| (String::from("authorization"), format!("Bearer {token}")));
        v1::SignedRequest {
            method: String::from("GET"),
            url: origin.address(&self.endpoint),
            headers: HashMap::from_iter(header),
            expires_at_unix_ms,
            from_hub: true,
        }
    }
}

impl Default for HubAccess {
    fn default() -> Self {
        Self::new(None, None)
    }
}

impl fmt::Debug for HubAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubAccess").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
