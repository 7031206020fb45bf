//! Downloads from the Hub instead of the store: what its answers mean to a worker, and what a person can do about them.

use std::collections::BTreeMap;
use std::time::Duration;

use assay_domain::{FileRef, Origin};
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode, Url};

use crate::request::Trouble;
use crate::{SignedRequest, TransferError, TransferLimits};

/// The header that holds the token.
pub(crate) const AUTHORIZATION: &str = "authorization";

impl SignedRequest {
    /// A file of the Hub at `endpoint`. The token goes along where the file needs one.
    pub fn of_hub(origin: &Origin, endpoint: &str, token: Option<&str>) -> Self {
        let token = token.filter(|_| origin.needs_token());
        let headers = token.map(|token| (AUTHORIZATION.to_owned(), format!("Bearer {token}")));
        let headers: BTreeMap<_, _> = headers.into_iter().collect();
        Self { method: String::from("GET"), url: origin.address(endpoint), headers, from_hub: true }
    }
}

/// Sorts an answer that is no success. A pause that the Hub asks for is kept here.
pub(crate) async fn trouble(
    request: &SignedRequest,
    file: &FileRef,
    answer: &Response,
    limits: TransferLimits,
) -> Trouble {
    let status = answer.status();
    let by_hub = Url::parse(&request.url).is_ok_and(|asked| asked.origin() == answer.url().origin());
    let may_change = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    if may_change {
        let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let asked_ms = asked.map_or(0, |seconds: u64| seconds.saturating_mul(1000));
        tokio::time::sleep(Duration::from_millis(asked_ms.min(limits.retry_after_max_ms))).await;
        return Trouble::Again(status.to_string());
    }
    if !by_hub {
        // The link that the Hub made was refused, perhaps since it is old: the next try gets a new one.
        return Trouble::Again(format!("{status} of the storage that the Hub names"));
    }
    let way_out = way_out(status, file.origin(), request.headers.contains_key(AUTHORIZATION));
    Trouble::Final(TransferError::Hub { what: name(file), status: status.as_u16(), way_out })
}

fn way_out(status: StatusCode, origin: Option<&Origin>, with_token: bool) -> &'static str {
    let needs_token = origin.is_some_and(Origin::needs_token);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if with_token => {
            "HF_TOKEN (for workers, the coordinator's) may not read it: accept the repository's terms on its page with the account \
             of that token, or use another one, then `assay retry`"
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if needs_token => {
            "it is gated or private, and no token was sent: start the coordinator with HF_TOKEN set to a token that may read it, \
             then `assay retry`"
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "it was open to all when the matrix was submitted: submit it again, which looks at the repository again"
        }
        StatusCode::NOT_FOUND => {
            "it was there when the matrix was submitted: check the repository and the coordinator's HF_ENDPOINT, then submit again"
        }
        _ => "its answer will not change by asking again: look at the repository's page",
    }
}

/// What the store's words for damage are where there is no store: nothing is lost, and nobody has to look at a disk.
pub(crate) fn damaged(file: &FileRef, error: TransferError) -> TransferError {
    let not_listed = |expected, actual| TransferError::NotAsListed { what: name(file), expected, actual };
    if let TransferError::WrongDigest { expected, actual, .. } = error {
        return not_listed(format!("SHA-256 {expected}"), format!("SHA-256 {actual}"));
    }
    if let TransferError::WrongSize { expected_bytes, actual_bytes, .. } = error {
        return not_listed(format!("{expected_bytes} bytes"), format!("{actual_bytes} bytes"));
    }
    error
}

fn name(file: &FileRef) -> String {
    file.origin().map_or_else(|| file.key.to_string(), ToString::to_string)
}
