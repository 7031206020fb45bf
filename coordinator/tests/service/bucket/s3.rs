//! A store that speaks S3's wire format over real HTTP, in memory: signed requests, ranges, pages of a listing, uploads in parts, XML
//! errors. Tests say what goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use assay_domain::Digest;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use tokio::net::TcpListener;

use super::signed;
use super::xml;

pub(super) const BUCKET: &str = "assay-test";
pub(super) const ACCESS_KEY: &str = "AKTEST";
pub(super) const SECRET_KEY: &str = "a-secret-that-nobody-may-see";
/// Keys on one page of a listing: few, so that there are several.
const PAGE: usize = 5;
/// What S3 takes as a part that is not the last.
const PART_MIN: usize = 5 << 20;

/// What goes wrong next.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// So many requests are told to come more slowly.
    pub(super) slow_down: usize,
    /// Requests of this method are forbidden.
    pub(super) forbidden: Option<Method>,
    /// So many long answers end in their middle.
    pub(super) cut: usize,
    /// Reads of keys that hold this text give other bytes.
    pub(super) flipped: Option<&'static str>,
    /// Writes of keys that hold this text are answered, and forgotten.
    pub(super) lost: Option<&'static str>,
}

/// What is stored, and what was asked.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) objects: BTreeMap<String, Bytes>,
    /// By their ids: the key and the parts.
    uploads: BTreeMap<String, (String, BTreeMap<u32, Bytes>)>,
    pub(super) faults: Faults,
    /// Method, key and status of each request.
    pub(super) asked: Vec<(Method, String, StatusCode)>,
    /// Uploads in parts that were completed.
    pub(super) completed: usize,
    count: u64,
}

/// A running one; clones share it.
#[derive(Debug, Clone)]
pub(super) struct S3 {
    pub(super) stored: Arc<Mutex<Stored>>,
    pub(super) address: String,
}

impl S3 {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let s3 = Self { stored: Arc::default(), address: listener.local_addr().unwrap().to_string() };
        let router = Router::new().fallback(answer).with_state(s3.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        s3
    }

    /// The environment of a process that uses it, at this address or at one before it.
    pub(super) fn environment(address: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
            ("AWS_ALLOW_HTTP", String::from("true")),
            ("AWS_REGION", String::from("us-east-1")),
            ("AWS_ACCESS_KEY_ID", String::from(ACCESS_KEY)),
            ("AWS_SECRET_ACCESS_KEY", String::from(SECRET_KEY)),
        ]
    }

    pub(super) fn with<T>(&self, with: impl FnOnce(&mut Stored) -> T) -> T {
        with(&mut self.stored.lock().unwrap())
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.with(|stored| stored.objects.keys().cloned().collect())
    }
}

async fn answer(State(s3): State<S3>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // A client that goes away in the middle has stored nothing.
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return xml::error(StatusCode::BAD_REQUEST, "IncompleteBody");
    };
    let asked = Asked::new(&parts.method, &parts.uri, &parts.headers, body);
    let mut stored = s3.stored.lock().unwrap();
    let answer = match asked.refusal(&mut stored.faults) {
        Some(refusal) => refusal,
        None => stored.answer(&asked),
    };
    stored.asked.push((asked.method, asked.key, answer.status()));
    answer
}

/// A request, taken apart.
struct Asked {
    method: Method,
    bucket: String,
    key: String,
    query: BTreeMap<String, String>,
    range: Option<(usize, usize)>,
    body: Bytes,
    is_signed: bool,
}

impl Asked {
    fn new(method: &Method, uri: &axum::http::Uri, headers: &HeaderMap, body: Bytes) -> Self {
        let path = xml::percent_decoded(uri.path().trim_start_matches('/'));
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let raw = uri.query().unwrap_or_default();
        let pairs = raw.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self {
            method: method.clone(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            query: pairs.map(|(name, value)| (name.to_owned(), xml::percent_decoded(value))).collect(),
            range: headers.get(header::RANGE).map(|range| xml::range(range.to_str().unwrap())),
            is_signed: signed::is_well(method, uri, headers, &body, (ACCESS_KEY, SECRET_KEY)),
            body,
        }
    }

    fn refusal(&self, faults: &mut Faults) -> Option<Response> {
        if faults.slow_down > 0 {
            faults.slow_down -= 1;
            return Some(xml::error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"));
        }
        if !self.is_signed {
            return Some(xml::error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch"));
        }
        if faults.forbidden.as_ref() == Some(&self.method) {
            return Some(xml::error(StatusCode::FORBIDDEN, "AccessDenied"));
        }
        (self.bucket != BUCKET).then(|| xml::error(StatusCode::NOT_FOUND, "NoSuchBucket"))
    }
}

impl Stored {
    fn answer(&mut self, asked: &Asked) -> Response {
        let has = |name: &str| asked.query.contains_key(name);
        match (&asked.method, asked.key.is_empty()) {
            (&Method::GET, true) => self.list(&asked.query),
            (&Method::POST, true) if has("delete") => self.delete_many(&asked.body),
            (&Method::GET | &Method::HEAD, false) => self.get(asked),
            (&Method::PUT, false) if has("partNumber") => self.put_part(asked),
            (&Method::PUT, false) => self.put(&asked.key, asked.body.clone()),
            (&Method::POST, false) if has("uploads") => self.begin(&asked.key),
            (&Method::POST, false) if has("uploadId") => self.complete(asked),
            (&Method::DELETE, false) if has("uploadId") => {
                self.uploads.remove(&asked.query["uploadId"]);
                xml::empty(StatusCode::NO_CONTENT)
            }
            (&Method::DELETE, false) => {
                self.objects.remove(&asked.key);
                xml::empty(StatusCode::NO_CONTENT)
            }
            _ => xml::error(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        }
    }

    fn put(&mut self, key: &str, bytes: Bytes) -> Response {
        let etag = Digest::of(&bytes).to_string();
        if !self.faults.lost.is_some_and(|lost| key.contains(lost)) {
            self.objects.insert(key.to_owned(), bytes);
        }
        xml::tagged(&etag)
    }

    fn get(&mut self, asked: &Asked) -> Response {
        let Some(object) = self.objects.get(&asked.key).cloned() else {
            return xml::error(StatusCode::NOT_FOUND, "NoSuchKey");
        };
        let (from, to) = asked.range.unwrap_or((0, object.len()));
        let to = to.min(object.len());
        let mut bytes = object[from..to].to_vec();
        if self.faults.flipped.is_some_and(|flipped| asked.key.contains(flipped)) {
            bytes[0] ^= 1;
        }
        let partial = asked.range.map(|_| format!("bytes {from}-{}/{}", to.saturating_sub(1), object.len()));
        let mut response = Response::builder()
            .status(if partial.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK })
            .header(header::CONTENT_LENGTH, bytes.len())
            .header(header::ETAG, format!("\"{}\"", Digest::of(&object)))
            .header(header::LAST_MODIFIED, xml::LAST_MODIFIED_HTTP);
        if let Some(partial) = partial {
            response = response.header(header::CONTENT_RANGE, partial);
        }
        let cut = self.faults.cut > 0 && bytes.len() > 100_000 && asked.method == Method::GET;
        if cut {
            self.faults.cut -= 1;
            let half = Bytes::from(bytes).slice(..100_000);
            let pieces = [Ok(half), Err("the connection is cut")];
            return response.body(Body::from_stream(futures::stream::iter(pieces))).unwrap();
        }
        response.body(if asked.method == Method::HEAD { Body::empty() } else { Body::from(bytes) }).unwrap()
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let given = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let (prefix, delimiter, after) = (given("prefix"), given("delimiter"), given("continuation-token"));
        // An entry is a key, or all keys that go on with the same folder.
        let mut entries = BTreeMap::new();
        for (key, bytes) in self.objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let folder = key[prefix.len()..].split_once('/').filter(|_| !delimiter.is_empty());
            match folder {
                Some((folder, _)) => entries.insert(format!("{prefix}{folder}/"), None),
                None => entries.insert(key.clone(), Some(bytes.len())),
            };
        }
        let mut rest = entries.into_iter().filter(|(entry, _)| entry.as_str() > after);
        let page: Vec<_> = rest.by_ref().take(PAGE).collect();
        xml::listing(&page, rest.next().is_some())
    }

    fn delete_many(&mut self, body: &[u8]) -> Response {
        let keys = xml::texts(std::str::from_utf8(body).unwrap(), "Key");
        for key in &keys {
            self.objects.remove(key);
            self.asked.push((Method::DELETE, key.clone(), StatusCode::OK));
        }
        xml::deleted(&keys)
    }

    fn begin(&mut self, key: &str) -> Response {
        self.count += 1;
        let id = format!("upload-{}", self.count);
        self.uploads.insert(id.clone(), (key.to_owned(), BTreeMap::new()));
        xml::begun(key, &id)
    }

    fn put_part(&mut self, asked: &Asked) -> Response {
        let Some((_, parts)) = self.uploads.get_mut(&asked.query["uploadId"]) else {
            return xml::error(StatusCode::NOT_FOUND, "NoSuchUpload");
        };
        parts.insert(asked.query["partNumber"].parse().unwrap(), asked.body.clone());
        xml::tagged(&Digest::of(&asked.body).to_string())
    }

    fn complete(&mut self, asked: &Asked) -> Response {
        let Some((key, parts)) = self.uploads.remove(&asked.query["uploadId"]) else {
            return xml::error(StatusCode::NOT_FOUND, "NoSuchUpload");
        };
        let text = std::str::from_utf8(&asked.body).unwrap();
        let mut bytes = Vec::new();
        let named = xml::texts(text, "PartNumber");
        for (place, number) in named.iter().enumerate() {
            let part = &parts[&number.parse::<u32>().unwrap()];
            if place + 1 < named.len() && part.len() < PART_MIN {
                return xml::error(StatusCode::BAD_REQUEST, "EntityTooSmall");
            }
            bytes.extend_from_slice(part);
        }
        self.completed += 1;
        let etag = Digest::of(&bytes).to_string();
        self.put(&key, bytes.into());
        xml::completed(&key, &etag)
    }
}
