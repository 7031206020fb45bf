//! Signed requests and the client that carries them out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use assay_domain::{ObjectKey, chain};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode};

use crate::{BackOff, TransferError};

const ANSWER_CHARS_SHOWN: usize = 300;

/// A request that its maker signed: the right to one method on one object, for a while. The query of its URL and its headers
/// are secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// `GET` or `PUT`.
    pub method: String,
    /// All of the URL, with the signature in its query.
    pub url: String,
    /// Headers that must be sent as they are.
    pub headers: BTreeMap<String, String>,
    /// Whether it goes to the Hub, which sends on to its storage: there the token does not go.
    pub from_hub: bool,
}

impl SignedRequest {
    /// The URL without its query: fit for logs.
    pub fn public_url(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest")
            .field("method", &self.method)
            .field("url", &self.public_url())
            .finish_non_exhaustive()
    }
}

/// What a signer answers for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUpload {
    /// Where the bytes lie, or will.
    pub key: ObjectKey,
    /// None: the object is there already.
    pub request: Option<SignedRequest>,
}

/// Limits of transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferLimits {
    /// A connection that takes longer is given up, and tried again.
    pub connect_ms: u64,
    /// A transfer that stands still for longer is broken off, and tried again.
    pub stall_ms: u64,
    /// A slower upload, in bytes for each second, is broken off.
    pub upload_rate_min: u64,
    /// Tries without progress before a transfer fails.
    pub tries_max: u32,
    /// The first pause between tries; each further one doubles, with jitter.
    pub back_off_first_ms: u64,
    /// The longest pause between tries.
    pub back_off_longest_ms: u64,
    /// The longest pause that the Hub is given when it asks for one.
    pub retry_after_max_ms: u64,
    /// Objects of one artifact that are on their way at the same time.
    pub parallel_max: usize,
}

impl Default for TransferLimits {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            stall_ms: 60_000,
            upload_rate_min: 16 << 10,
            tries_max: 8,
            back_off_first_ms: 100,
            back_off_longest_ms: 5_000,
            retry_after_max_ms: 60_000,
            parallel_max: 4,
        }
    }
}

/// Sends and fetches objects. Clones share connections.
#[derive(Clone)]
pub struct Transfers {
    http: Client,
    /// Follows redirects, and leaves `authorization` out where they lead to another host.
    hub: Client,
    pub(crate) limits: TransferLimits,
    on_bytes: Option<Arc<dyn Fn(u64) + Send + Sync>>,
}

impl Transfers {
    /// A client with these limits.
    pub fn new(limits: TransferLimits) -> Result<Self, TransferError> {
        let client = |redirects| {
            Client::builder()
                .connect_timeout(Duration::from_millis(limits.connect_ms))
                .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
                .redirect(redirects)
                .build()
                .map_err(|error| TransferError::Unreachable {
                    method: String::from("building"),
                    url: String::from("an HTTP client"),
                    tries: 1,
                    last: chain(&error.without_url()),
                })
        };
        // A request of the store names one place; being sent elsewhere would hand its signature on.
        let http = client(Policy::none())?;
        let hub = client(Policy::default())?;
        Ok(Self { http, hub, limits, on_bytes: None })
    }

    /// Calls `on_bytes` with the length of each piece that was sent or fetched: for progress bars.
    #[must_use]
    pub fn on_bytes(mut self, on_bytes: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.on_bytes = Some(Arc::new(on_bytes));
        self
    }

    pub(crate) fn moved(&self) -> impl Fn(u64) + Send + Sync + 'static {
        let on_bytes = self.on_bytes.clone();
        move |bytes| {
            if let Some(on_bytes) = &on_bytes {
                on_bytes(bytes);
            }
        }
    }

    pub(crate) fn back_off(&self) -> BackOff {
        BackOff::new(self.limits.back_off_first_ms, self.limits.back_off_longest_ms)
    }

    pub(crate) fn builder(&self, request: &SignedRequest) -> Result<RequestBuilder, TransferError> {
        let unusable = |what: &str| TransferError::Refused {
            method: request.method.clone(),
            url: request.public_url().to_owned(),
            status: 0,
            answer: format!("the signed request has an unusable {what}"),
        };
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| unusable("method"))?;
        let url = reqwest::Url::parse(&request.url).map_err(|_| unusable("URL"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable("header name"))?;
            let mut value = HeaderValue::from_str(value).map_err(|_| unusable("header value"))?;
            // Shown in no debug output.
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let http = if request.from_hub { &self.hub } else { &self.http };
        Ok(http.request(method, url).headers(headers))
    }
}

/// Why one try did not work.
pub(crate) enum Trouble {
    /// Try again after a pause.
    Again(String),
    /// Ask for a new signature, then try again.
    Expired(String),
    /// Never.
    Final(TransferError),
}

impl From<TransferError> for Trouble {
    fn from(error: TransferError) -> Self {
        Self::Final(error)
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        // The URL holds a secret.
        Self::Again(chain(&error.without_url()))
    }
}

/// Sorts an answer that is not a success.
pub(crate) async fn trouble(request: &SignedRequest, key: &str, answer: reqwest::Response) -> Trouble {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let text: String = text.chars().take(ANSWER_CHARS_SHOWN).collect();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Trouble::Expired(format!("{status}: {text}")),
        StatusCode::NOT_FOUND => Trouble::Final(TransferError::Missing { key: key.to_owned() }),
        StatusCode::CONFLICT => Trouble::Final(TransferError::Conflict { key: key.to_owned() }),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Trouble::Again(format!("{status}: {text}"))
        }
        status if status.is_server_error() => Trouble::Again(format!("{status}: {text}")),
        status => Trouble::Final(TransferError::Refused {
            method: request.method.clone(),
            url: request.public_url().to_owned(),
            status: status.as_u16(),
            answer: text,
        }),
    }
}

/// Counts tries without progress and pauses between them.
pub(crate) struct Tries {
    done: u32,
    max: u32,
    back_off: BackOff,
}

impl Tries {
    pub(crate) fn new(transfers: &Transfers) -> Self {
        Self { done: 0, max: transfers.limits.tries_max.max(1), back_off: transfers.back_off() }
    }

    /// Bytes have moved: the count starts again.
    pub(crate) fn progress(&mut self) {
        self.done = 0;
        self.back_off.reset();
    }

    /// Pauses before the next try, or fails when there were enough.
    pub(crate) async fn again(&mut self, request: &SignedRequest, last: String) -> Result<(), TransferError> {
        self.done += 1;
        if self.done >= self.max {
            let (method, url) = (request.method.clone(), request.public_url().to_owned());
            return Err(TransferError::Unreachable { method, url, tries: self.done, last });
        }
        tracing::debug!(url = request.public_url(), tries = self.done, last, "transfer broke off");
        tokio::time::sleep(self.back_off.pause()).await;
        Ok(())
    }
}
