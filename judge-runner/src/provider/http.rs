//! A lab's server: one POST for each question, and the response as it came.

use std::collections::BTreeMap;
use std::time::Duration;

use assay_domain::job::ApiJudge;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, Response};

use super::{Cut, Exchange, Provider};
use crate::keys::Key;
use crate::ledger::EntryKey;
use crate::wire::batch::Call;
use crate::wire::{Question, RawResponse, Wire};

/// One call may take this long: a model that thinks takes minutes.
const CALL_LIMIT: Duration = Duration::from_secs(600);
/// A server that cannot be reached in this time is down.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of a response that are read; the rest is left.
const RESPONSE_BYTES_MAX: usize = 4 << 20;
/// Bytes of a batch's results that are read.
const BATCH_RESPONSE_BYTES_MAX: usize = 256 << 20;
/// Headers that say something about limits and identity; the others are not kept.
const KEPT: [&str; 6] =
    ["retry-after", "anthropic-ratelimit-", "x-ratelimit-", "x-should-retry", "request-id", "x-request-id"];

/// A server with one judge's settings.
pub(crate) struct Http {
    client: reqwest::Client,
    judge: ApiJudge,
    wire: &'static dyn Wire,
    key: Option<Key>,
}

impl Http {
    pub(super) fn new(judge: ApiJudge, wire: &'static dyn Wire, key: Option<Key>) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(CALL_LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            // A redirect would carry the key elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { client, judge, wire, key })
    }

    async fn post(&self, body: String) -> Result<RawResponse, Cut> {
        let request = self.client.post(self.wire.url(&self.judge)).body(body);
        self.sent(request.header("content-type", "application/json"), RESPONSE_BYTES_MAX).await
    }

    /// Sends a request with what every one carries; nothing that comes back holds the key.
    async fn sent(&self, mut request: RequestBuilder, bytes_max: usize) -> Result<RawResponse, Cut> {
        for (name, value) in self.wire.headers() {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.key {
            let (name, value) = self.wire.key_header(key.secret());
            let mut value = reqwest::header::HeaderValue::from_str(&value)
                .map_err(|_| Cut { why: String::from("the key cannot stand in a header"), reached: false })?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| self.cut(error))?;
        let (status, headers) = (response.status().as_u16(), kept(response.headers()));
        let headers = headers.into_iter().map(|(name, value)| (name, self.redact(value))).collect();
        let body = self.redact(self.text(response, bytes_max).await?);
        Ok(RawResponse { status, headers, body })
    }

    async fn text(&self, response: Response, bytes_max: usize) -> Result<String, Cut> {
        let (mut bytes, mut stream) = (Vec::new(), response.bytes_stream());
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| self.cut(error))?);
            if bytes.len() > bytes_max {
                return Err(Cut { why: format!("a response of more than {bytes_max} bytes"), reached: true });
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn cut(&self, error: reqwest::Error) -> Cut {
        let reached = !(error.is_connect() || error.is_builder());
        Cut { why: self.redact(assay_domain::chain(&error)), reached }
    }
}

impl Provider for Http {
    fn wire(&self) -> &dyn Wire {
        self.wire
    }

    fn request(&self, question: Question<'_>) -> serde_json::Result<String> {
        self.wire.body(&self.judge, question)
    }

    fn send<'a>(&'a self, _: &'a EntryKey, request: String) -> BoxFuture<'a, Result<Exchange, Cut>> {
        Box::pin(async move {
            let response = self.post(request.clone()).await?;
            Ok(Exchange { request, response })
        })
    }

    fn call<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<RawResponse, Cut>> {
        Box::pin(async move {
            let request = match call {
                Call::Get(url) => self.client.get(url),
                Call::Post { url, body } => {
                    self.client.post(url).header("content-type", "application/json").body(body.clone())
                }
                Call::Upload { url, name, text } => {
                    let file = Part::text(text.clone()).file_name(name.clone()).mime_str("application/jsonl");
                    let file = file.map_err(|error| self.cut(error))?;
                    self.client.post(url).multipart(Form::new().text("purpose", "batch").part("file", file))
                }
            };
            self.sent(request, BATCH_RESPONSE_BYTES_MAX).await
        })
    }

    fn redact(&self, text: String) -> String {
        match &self.key {
            Some(key) => key.redact(text),
            None => text,
        }
    }
}

fn kept(headers: &HeaderMap) -> BTreeMap<String, String> {
    let known = headers.iter().filter(|(name, _)| KEPT.iter().any(|kept| name.as_str().starts_with(kept)));
    known
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}
