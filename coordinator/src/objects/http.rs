//! `/objects/KEY`: what signed requests point to. Bytes stream between socket and disk; errors are clear text.

use std::sync::Arc;

use assay_domain::{Digest, UnixMillis};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::local::{Expected, LocalObjects, ObjectError, ObjectKey, ObjectReader, Stored};
use super::signature::{BadSignature, Permit, Signer};
use crate::clock::Clock;
use crate::fatal::Fatal;

/// Bytes read from disk at once.
const READ_BYTES: usize = 256 << 10;
/// Blocks between disk and socket.
const BLOCKS_MAX: usize = 4;
/// Uploads and downloads at once; further ones wait.
const TRANSFERS_MAX: usize = 64;

/// What the endpoint needs.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) objects: LocalObjects,
    pub(crate) signer: Signer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fatal: Fatal,
    transfers: Arc<Semaphore>,
}

impl Endpoint {
    pub(crate) fn new(objects: LocalObjects, signer: Signer, clock: Arc<dyn Clock>, fatal: Fatal) -> Self {
        Self { objects, signer, clock, fatal, transfers: Arc::new(Semaphore::new(TRANSFERS_MAX)) }
    }

    pub(crate) fn router(self) -> Router {
        Router::new().route("/objects/{*key}", get(read).put(write)).with_state(self)
    }

    /// The path and query of a signed request.
    pub(crate) fn signed_path(&self, permit: Permit, key: &ObjectKey, expires: UnixMillis) -> String {
        format!("/objects/{key}?{}", self.signer.query(permit, key.as_str(), expires))
    }
}

/// A refused request.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Signature(#[from] BadSignature),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(
        "range `{range}` is outside of the object's {size_bytes} bytes: ask for bytes=FIRST-LAST with FIRST below {size_bytes}"
    )]
    Range { range: String, size_bytes: u64 },
    #[error("the body has {given} bytes, but the request is signed for {signed}: send exactly these")]
    ContentLength { given: u64, signed: u64 },
    #[error("the body ended early: send it again whole")]
    Aborted,
    #[error("the coordinator is stopping: try again")]
    Stopping,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Signature(_) => StatusCode::FORBIDDEN,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::ContentLength { .. } | Self::Aborted => StatusCode::BAD_REQUEST,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Object(error) => match error {
                ObjectError::Key { .. } | ObjectError::Length { .. } | ObjectError::Digest { .. } => {
                    StatusCode::BAD_REQUEST
                }
                ObjectError::NotFound { .. } => StatusCode::NOT_FOUND,
                ObjectError::Conflict { .. } => StatusCode::CONFLICT,
                ObjectError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                    StatusCode::INSUFFICIENT_STORAGE
                }
                ObjectError::Io { .. } | ObjectError::Poisoned { .. } | ObjectError::InUse { .. } => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            },
        };
        let mut headers = HeaderMap::new();
        if let Self::Range { size_bytes, .. } = &self
            && let Ok(value) = HeaderValue::from_str(&format!("bytes */{size_bytes}"))
        {
            headers.insert(header::CONTENT_RANGE, value);
        }
        if status.is_server_error() {
            // The reason may hold paths of this machine: it is for the operator's log.
            tracing::error!(error = assay_domain::chain(&self), "an object request failed");
            let told = match status {
                StatusCode::INSUFFICIENT_STORAGE => {
                    "the coordinator's disk is full, and nothing of this was stored: once its operator has made room, send it again\n"
                }
                _ => "the object store failed: its operator finds the reason in the coordinator's log\n",
            };
            return (status, headers, told).into_response();
        }
        (status, headers, format!("{}\n", assay_domain::chain(&self))).into_response()
    }
}

async fn read(
    State(endpoint): State<Endpoint>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    endpoint.signer.check(false, &key, &query.unwrap_or_default(), endpoint.clock.unix())?;
    let key = ObjectKey::parse(&key)?;
    let transfer = Arc::clone(&endpoint.transfers).acquire_owned().await.map_err(|_| Refusal::Stopping)?;
    let objects = endpoint.objects.clone();
    let reader = blocking(move || objects.open(&key)).await??;
    let size_bytes = reader.size_bytes();
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let range = asked.and_then(|range| parse_range(range, size_bytes).map(|parsed| (range, parsed)));
    let (status, start, end) = match range {
        None => (StatusCode::OK, 0, size_bytes),
        Some((_, Some((start, end)))) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some((range, None)) => return Err(Refusal::Range { range: range.to_owned(), size_bytes }),
    };
    let (sender, blocks) = mpsc::channel(BLOCKS_MAX);
    tokio::task::spawn_blocking(move || {
        send_blocks(&reader, start, end, &sender);
        drop(transfer);
    });
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, end - start);
    if status == StatusCode::PARTIAL_CONTENT {
        response = response
            .header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size_bytes}", end.saturating_sub(1)));
    }
    response.body(Body::from_stream(ReceiverStream::new(blocks))).map_err(|_| Refusal::Stopping)
}

/// One range of bytes as (start, end); `None` outside: it is not one that we serve in part, so the whole is sent;
/// `None` inside: it cannot be satisfied.
#[expect(clippy::option_option, reason = "the two ways of not being a range have different answers in HTTP")]
fn parse_range(range: &str, size_bytes: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let suffix: u64 = last.parse().ok()?;
        return Some((suffix > 0 && size_bytes > 0).then(|| (size_bytes.saturating_sub(suffix), size_bytes)));
    }
    let first: u64 = first.parse().ok()?;
    let last: u64 = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    if last < first {
        return None;
    }
    Some((first < size_bytes).then(|| (first, last.saturating_add(1).min(size_bytes))))
}

fn send_blocks(
    reader: &ObjectReader,
    mut start: u64,
    end: u64,
    sender: &mpsc::Sender<Result<Bytes, ObjectError>>,
) {
    while start < end {
        let mut block = vec![0; READ_BYTES.min(usize::try_from(end - start).unwrap_or(READ_BYTES))];
        let outcome = reader.read_at(start, &mut block);
        let failed = matches!(outcome, Err(_) | Ok(0));
        let message = outcome.map(|read| {
            block.truncate(read);
            start += read as u64;
            Bytes::from(block)
        });
        // The reader of the body is gone, or the file is: the body ends short, which its length shows.
        if sender.blocking_send(message).is_err() || failed {
            return;
        }
    }
}

async fn write(
    State(endpoint): State<Endpoint>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let permit = endpoint.signer.check(true, &key, &query.unwrap_or_default(), endpoint.clock.unix())?;
    let Permit::Put { bytes, sha256 } = permit else { return Err(BadSignature::Wrong.into()) };
    let key = ObjectKey::parse(&key)?;
    let given = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(given) = given.filter(|given| *given != bytes) {
        return Err(Refusal::ContentLength { given, signed: bytes });
    }
    let _transfer = endpoint.transfers.acquire().await.map_err(|_| Refusal::Stopping)?;
    let (sender, blocks) = mpsc::channel(BLOCKS_MAX);
    let objects = endpoint.objects.clone();
    let written = tokio::task::spawn_blocking(move || write_blocks(&objects, &key, bytes, sha256, blocks));
    send_body(body, bytes, sender).await;
    let stored = written.await.map_err(|_| Refusal::Stopping)?;
    if let Err(Refusal::Object(error)) = &stored {
        endpoint.fatal.notice(error);
    }
    match stored? {
        Stored::Created => Ok((StatusCode::CREATED, "stored\n").into_response()),
        Stored::AlreadyThere => Ok((StatusCode::OK, "was there already\n").into_response()),
    }
}

/// A block of a body, or its end: a body that breaks off has none.
enum Block {
    Bytes(Bytes),
    End,
}

/// Reads the body to its end, though not past what was signed for: whoever is still sending when the writer has refused it, and the
/// connection is closed, does not read why.
async fn send_body(body: Body, bytes_signed: u64, sender: mpsc::Sender<Block>) {
    let (mut stream, mut bytes) = (body.into_data_stream(), 0);
    while let Some(block) = stream.next().await {
        let Ok(block) = block else { return };
        bytes += block.len() as u64;
        let refused = sender.send(Block::Bytes(block)).await.is_err();
        if refused && bytes > bytes_signed {
            return;
        }
    }
    // Refused before its end: the writer says why.
    let _ = sender.send(Block::End).await;
}

fn write_blocks(
    objects: &LocalObjects,
    key: &ObjectKey,
    size_bytes: u64,
    sha256: Digest,
    mut blocks: mpsc::Receiver<Block>,
) -> Result<Stored, Refusal> {
    let mut upload = objects.upload(key, Expected { size_bytes, sha256: *sha256.as_bytes() })?;
    loop {
        match blocks.blocking_recv() {
            Some(Block::Bytes(bytes)) => upload.write(&bytes)?,
            Some(Block::End) => return Ok(upload.finish()?),
            None => return Err(Refusal::Aborted),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Stopping)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_http_has_them() {
        assert_eq!(parse_range("bytes=0-3", 10), Some(Some((0, 4))));
        assert_eq!(parse_range("bytes=4-", 10), Some(Some((4, 10))));
        assert_eq!(parse_range("bytes=4-99", 10), Some(Some((4, 10))));
        assert_eq!(parse_range("bytes=-3", 10), Some(Some((7, 10))));
        assert_eq!(parse_range("bytes=-30", 10), Some(Some((0, 10))));
        assert_eq!(parse_range("bytes=10-", 10), Some(None));
        assert_eq!(parse_range("bytes=-0", 10), Some(None));
        assert_eq!(parse_range("bytes=0-", 0), Some(None));
        assert_eq!(parse_range("bytes=5-2", 10), None);
        assert_eq!(parse_range("bytes=0-1,3-4", 10), None);
        assert_eq!(parse_range("lines=0-1", 10), None);
    }
}
