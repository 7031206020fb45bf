//! A real HTTP server that speaks the Hub's protocol: a listing by revision, redirects of large files to a second host, ranges; and
//! that refuses, breaks off, limits and lies on demand. The tests of the whole system have it too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_secret";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the Hub has, does and saw.
#[derive(Default)]
pub(crate) struct World {
    /// (path in the repository) to (bytes, whether it is in large-file storage); every repository has them.
    pub(crate) files: BTreeMap<String, (Vec<u8>, bool)>,
    /// Answers before anything else is done, last first: what the path must contain, status.
    pub(crate) answers: Vec<(&'static str, u16)>,
    /// Only requests with the token are answered.
    pub(crate) gated: bool,
    /// Statuses of the second host in place of files, last first.
    pub(crate) storage_answers: Vec<u16>,
    /// Large files break off before these bytes, one for each request, last first.
    pub(crate) cuts: Vec<usize>,
    /// Answers from the next broken-off file on.
    pub(crate) after_cut: Vec<(&'static str, u16)>,
    /// The storage does not know ranges.
    pub(crate) no_ranges: bool,
    /// The first byte of large files is another one.
    pub(crate) lies: bool,
    /// Host, path and `range` of each request.
    pub(crate) seen: Vec<(&'static str, String, Option<String>)>,
    /// Whether a token came to the second host.
    pub(crate) leaked: bool,
    /// Requests for files that brought a token to the Hub.
    pub(crate) tokens: u32,
    storage: String,
}

/// Both hosts, until it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) world: Arc<Mutex<World>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let weights: Vec<u8> = (0..300_000).map(|index| (index * 31 % 251) as u8).collect();
        let files = [
            ("config.json", b"{}".to_vec(), false),
            ("tokenizer.json", b"{\"model\": 1}".to_vec(), false),
            ("model.safetensors", weights.clone(), true),
            ("pytorch_model.bin", weights, true),
            ("data/train.jsonl", b"{}\n".to_vec(), false),
        ];
        let files = files.into_iter().map(|(path, bytes, large)| (path.to_owned(), (bytes, large))).collect();
        let world = Arc::new(Mutex::new(World { files, ..World::default() }));
        let serve = |handler: Router| {
            let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            runtime.spawn(async move { axum::serve(listener, handler).await });
            url
        };
        let url = serve(Router::new().fallback(hub).with_state(world.clone()));
        world.lock().unwrap().storage = serve(Router::new().fallback(storage).with_state(world.clone()));
        Self { url, world, _runtime: runtime }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    pub(crate) fn seen(&self) -> Vec<(&'static str, String, Option<String>)> {
        std::mem::take(&mut self.world.lock().unwrap().seen)
    }

    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        self.world.lock().unwrap().files[path].0.clone()
    }
}

fn answer(status: u16, headers: &[(&str, String)], body: Body) -> Response<Body> {
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body).unwrap()
}

fn range_of(headers: &HeaderMap) -> Option<String> {
    headers.get("range").map(|range| range.to_str().unwrap().to_owned())
}

/// Where the bytes of `bytes=FIRST-` begin; at the start without a range.
pub(crate) fn first_of(range: Option<&str>) -> usize {
    range.map_or(0, |range| range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap())
}

/// The bytes from where the range begins, maybe not all of them.
fn partial(
    bytes: &[u8],
    range: Option<&str>,
    extra: &[(&str, String)],
    cut: Option<usize>,
) -> Response<Body> {
    let (first, end) = (first_of(range), bytes.len());
    let mut headers = extra.to_vec();
    headers.push(("content-length", (end - first).to_string()));
    if range.is_some() {
        headers.push(("content-range", format!("bytes {first}-{}/{end}", end - 1)));
    }
    let body = match cut {
        None => Body::from(bytes[first..].to_vec()),
        Some(cut) => {
            let sent = Bytes::copy_from_slice(&bytes[first..cut]);
            // The pause lets the server send what it has before it breaks off.
            let broken = async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            };
            let sent = futures::stream::iter([Ok(sent)]);
            Body::from_stream(futures::StreamExt::chain(sent, futures::stream::once(broken)))
        }
    };
    answer(if range.is_some() { 206 } else { 200 }, &headers, body)
}

async fn hub(State(world): State<Arc<Mutex<World>>>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let mut world = world.lock().unwrap();
    let path = uri.path().to_owned();
    world.seen.push(("hub", path.clone(), range_of(&headers)));
    if let Some((part, status)) = world.answers.last().copied().filter(|(part, _)| path.contains(part)) {
        world.answers.pop();
        assert!(!part.is_empty());
        return answer(status, &[("retry-after", String::from("0"))], Body::from("{\"error\": \"no\"}"));
    }
    world.tokens += u32::from(headers.contains_key("authorization") && path.contains("/resolve/"));
    let authorized = headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"));
    if world.gated && !authorized {
        return answer(401, &[("x-error-code", String::from("GatedRepo"))], Body::from("gated"));
    }
    if path.starts_with("/api/") {
        return listing(&world, &path);
    }
    let Some((_, file)) = path.split_once(&format!("/resolve/{COMMIT}/")) else {
        return answer(404, &[("x-error-code", String::from("EntryNotFound"))], Body::empty());
    };
    let (bytes, large) = world.files[file].clone();
    let etag = if large { hex(&Sha256::digest(&bytes)) } else { blob(&bytes) };
    let mut found = vec![("x-repo-commit", COMMIT.to_owned()), ("etag", format!("\"{etag}\""))];
    if large {
        found.push(("x-linked-etag", format!("\"{etag}\"")));
        found.push(("location", format!("{}/{file}?signature=secret", world.storage)));
        return answer(302, &found, Body::empty());
    }
    partial(&bytes, range_of(&headers).as_deref(), &found, None)
}

fn listing(world: &World, path: &str) -> Response<Body> {
    assert!(path.contains("/revision/main") || path.contains(COMMIT), "{path}");
    let siblings: Vec<serde_json::Value> = world
        .files
        .iter()
        .map(|(name, (bytes, large))| match large {
            true => serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": "0".repeat(40),
                "lfs": {"sha256": hex(&Sha256::digest(bytes)), "size": bytes.len(), "pointerSize": 131}}),
            false => serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": blob(bytes)}),
        })
        .collect();
    let gated = if world.gated { serde_json::json!("manual") } else { serde_json::json!(false) };
    let text = serde_json::json!({"id": "org/tiny", "sha": COMMIT, "private": false, "gated": gated,
        "siblings": siblings})
    .to_string();
    answer(200, &[], Body::from(text))
}

fn blob(bytes: &[u8]) -> String {
    hex(&Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

async fn storage(State(world): State<Arc<Mutex<World>>>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let mut world = world.lock().unwrap();
    let (path, range) = (uri.path().to_owned(), range_of(&headers));
    world.leaked |= headers.contains_key("authorization");
    world.seen.push(("storage", path.clone(), range.clone()));
    if let Some(status) = world.storage_answers.pop() {
        return answer(status, &[], Body::from("no"));
    }
    let mut bytes = world.files[path.trim_start_matches('/')].0.clone();
    bytes[0] ^= u8::from(world.lies);
    let cut = world.cuts.pop();
    if cut.is_some() {
        let answers = std::mem::take(&mut world.after_cut);
        world.answers.extend(answers);
    }
    // A storage that knows no ranges answers with all of it.
    let range = range.as_deref().filter(|_| !world.no_ranges);
    partial(&bytes, range, &[], cut)
}
