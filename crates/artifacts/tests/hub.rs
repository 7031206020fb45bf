//! The Hub client against a real HTTP server that speaks the Hub's protocol: a listing by revision, redirects of large files
//! to a second host, ranges; and that refuses, breaks off, limits and lies on demand.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use assay_artifacts::hub::{Hub, HubError, HubKind, HubLimits, HubRepo, Snapshot};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the Hub has, does and saw.
#[derive(Default)]
struct World {
    /// (path in the repository) to (bytes, whether it is in large-file storage); every repository has them.
    files: BTreeMap<String, (Vec<u8>, bool)>,
    /// Answers before anything else is done, last first: what the path must contain, status.
    answers: Vec<(&'static str, u16)>,
    /// Only requests with the token are answered.
    gated: bool,
    /// Large files break off before these bytes, one for each request, last first.
    cuts: Vec<usize>,
    /// The storage does not know ranges.
    no_ranges: bool,
    /// The first byte of large files is another one.
    lies: bool,
    /// Host, path and `range` of each request.
    seen: Vec<(&'static str, String, Option<String>)>,
    /// Whether a token came to the second host.
    leaked: bool,
    storage: String,
}

struct Server {
    url: String,
    world: Arc<Mutex<World>>,
    cache: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start() -> Self {
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
        Self { url, world, cache: tempfile::tempdir().unwrap(), _runtime: runtime }
    }

    fn limits() -> HubLimits {
        HubLimits {
            tries_max: 3,
            back_off_first_ms: 1,
            back_off_longest_ms: 2,
            stall_ms: 10_000,
            ..HubLimits::default()
        }
    }

    fn client(&self, token: Option<&str>, limits: HubLimits) -> Hub {
        Hub::new(&self.url, token.map(str::to_owned), self.cache.path().join("hub"), limits)
    }

    fn model(&self, name: &str, revision: &str) -> Result<Snapshot, HubError> {
        self.client(None, Self::limits()).model(&repo(name), revision)
    }

    fn set(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    fn seen(&self) -> Vec<(&'static str, String, Option<String>)> {
        std::mem::take(&mut self.world.lock().unwrap().seen)
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        self.world.lock().unwrap().files[path].0.clone()
    }

    fn cached(&self, name: &str) -> bool {
        self.cache.path().join("hub").join(format!("models--org--{name}")).exists()
    }
}

fn repo(name: &str) -> HubRepo {
    HubRepo::new(HubKind::Model, &format!("org/{name}")).unwrap()
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
fn first_of(range: Option<&str>) -> usize {
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
    let text = serde_json::json!({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}).to_string();
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
    let mut bytes = world.files[path.trim_start_matches('/')].0.clone();
    bytes[0] ^= u8::from(world.lies);
    let cut = world.cuts.pop();
    // A storage that knows no ranges answers with all of it.
    let range = range.as_deref().filter(|_| !world.no_ranges);
    partial(&bytes, range, &[], cut)
}

fn is_listing((_, path, _): &(&str, String, Option<String>)) -> bool {
    path.starts_with("/api/models/org/tiny/revision/")
}

#[test]
fn a_branch_is_pinned_and_only_what_a_model_needs_is_fetched_once() {
    let server = Server::start();
    server.set(|world| world.gated = true);
    let hub = server.client(Some(TOKEN), Server::limits());
    let first = hub.model(&repo("tiny"), "main").unwrap();
    assert_eq!(first.commit, COMMIT);
    assert_eq!(first.files, ["config.json", "model.safetensors", "tokenizer.json"]);
    for file in &first.files {
        assert_eq!(fs::read(first.folder.join(file)).unwrap(), server.bytes(file));
    }
    assert_eq!(
        first.fetched_bytes as usize,
        first.files.iter().map(|file| server.bytes(file).len()).sum::<usize>()
    );
    assert!(!server.world.lock().unwrap().leaked, "the token went to another host");
    let seen = server.seen();
    assert!(
        is_listing(&seen[0]) && seen.iter().all(|(_, path, _)| !path.contains("pytorch_model")),
        "{seen:?}"
    );
    drop(first);
    // A branch is looked up again, and nothing else; a commit needs no network.
    assert_eq!(hub.model(&repo("tiny"), "main").unwrap().fetched_bytes, 0);
    let seen = server.seen();
    assert!(seen.len() == 1 && is_listing(&seen[0]), "{seen:?}");
    assert_eq!(hub.model(&repo("tiny"), COMMIT).unwrap().commit, COMMIT);
    assert_eq!(server.seen(), []);
}

#[test]
fn files_of_a_data_set_are_fetched_by_name() {
    let server = Server::start();
    let data = HubRepo::new(HubKind::DataSet, "org/talks").unwrap();
    let hub = server.client(None, Server::limits());
    let found = hub.files(&data, "main", &["data/train.jsonl"]).unwrap();
    assert_eq!(fs::read(found.folder.join("data/train.jsonl")).unwrap(), b"{}\n");
    assert!(server.seen()[0].1.starts_with("/api/datasets/org/talks/"));
    let refused = hub.files(&data, "main", &["data/valid.jsonl"]);
    assert!(matches!(refused, Err(HubError::NoFile { file, .. }) if file == "data/valid.jsonl"));
    assert!(matches!(HubRepo::new(HubKind::Model, "../x"), Err(HubError::Name { .. })));
}

#[test]
fn a_cut_connection_goes_on_where_it_broke_off_in_a_later_process_too() {
    let server = Server::start();
    let weights = server.bytes("model.safetensors");
    let ranges = || -> Vec<Option<String>> {
        server.seen().into_iter().filter(|(host, ..)| *host == "storage").map(|(_, _, range)| range).collect()
    };
    // More cuts than tries: each brings bytes, so none of them counts against the next.
    server.set(|world| world.cuts = vec![50_000, 40_000, 30_000, 20_000, 10_000]);
    let whole = server.model("tiny", "main").unwrap();
    assert_eq!(fs::read(whole.folder.join("model.safetensors")).unwrap(), weights);
    let starts: Vec<usize> = ranges().iter().map(|range| first_of(range.as_deref())).collect();
    assert_eq!(starts.len(), 6);
    assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "{starts:?}");

    // A client that gives up at once, then another one.
    let hasty = server.client(None, HubLimits { tries_max: 1, ..Server::limits() });
    server.set(|world| world.cuts = vec![30_000]);
    assert!(matches!(hasty.model(&repo("other"), "main"), Err(HubError::Unreachable { .. })));
    assert_eq!(ranges(), [None]);
    let whole = server.model("other", "main").unwrap();
    assert_eq!(fs::read(whole.folder.join("model.safetensors")).unwrap(), weights);
    assert!(matches!(ranges().as_slice(), [Some(range)] if first_of(Some(range.as_str())) > 0));

    // Without ranges it starts again, and is right.
    server.set(|world| (world.cuts, world.no_ranges) = (vec![30_000], true));
    let whole = server.model("third", "main").unwrap();
    assert_eq!(fs::read(whole.folder.join("model.safetensors")).unwrap(), weights);
}

#[test]
fn two_that_need_the_same_files_at_once_both_get_them() {
    let server = Server::start();
    let weights = server.bytes("model.safetensors");
    std::thread::scope(|scope| {
        let fetch =
            || fs::read(server.model("tiny", "main").unwrap().folder.join("model.safetensors")).unwrap();
        let both = [scope.spawn(fetch), scope.spawn(fetch)];
        assert!(both.into_iter().all(|one| one.join().unwrap() == weights));
    });
}

#[test]
fn refusals_say_what_to_do_and_are_not_repeated() {
    let server = Server::start();
    server.set(|world| world.gated = true);
    let gated = server.model("tiny", "main").unwrap_err();
    assert!(matches!(&gated, HubError::Denied { status: 401, .. }), "{gated}");
    assert!(gated.to_string().contains("HF_TOKEN"), "{gated}");
    assert_eq!(server.seen().len(), 1);
    server.set(|world| (world.gated, world.answers) = (false, vec![("/resolve/", 403)]));
    let denied = server.model("tiny", "main").unwrap_err();
    assert!(
        matches!(&denied, HubError::Denied { status: 403, what } if what.contains("org/tiny")),
        "{denied}"
    );
    // The refusal's body is in no file.
    assert!(!holds(server.cache.path(), b"{\"error\": \"no\"}"));
    server.set(|world| world.answers = vec![("/api/", 404)]);
    let absent = server.model("tiny", "main").unwrap_err();
    assert!(
        matches!(&absent, HubError::NotFound { .. }) && absent.to_string().contains("org/tiny@main"),
        "{absent}"
    );
    server.set(|world| world.answers = vec![("/api/", 400)]);
    assert!(matches!(server.model("tiny", "main"), Err(HubError::Refused { status: 400, .. })));
}

fn holds(folder: &Path, text: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, text),
            false => fs::read(&path).is_ok_and(|bytes| bytes == text),
        }
    })
}

#[test]
fn limits_and_failures_of_the_server_are_waited_out_so_often_and_no_longer() {
    let server = Server::start();
    server.set(|world| {
        world.answers = vec![("/resolve/", 503), ("/resolve/", 429), ("/api/", 500), ("/api/", 429)]
    });
    server.model("tiny", "main").unwrap();
    server.set(|world| world.answers = vec![("/api/", 429); 3]);
    let limited = server.model("other", "main").unwrap_err();
    assert!(
        matches!(&limited, HubError::Unreachable { tries: 3, last, .. } if last == "status 429"),
        "{limited}"
    );
}

#[test]
fn what_has_another_digest_is_never_handed_out_and_not_kept() {
    let server = Server::start();
    server.set(|world| world.lies = true);
    let damaged = server.model("tiny", "main").unwrap_err();
    assert!(
        matches!(&damaged, HubError::Damaged { expected, .. } if expected.starts_with("SHA-256 ")),
        "{damaged}"
    );
    let mut lie = server.bytes("model.safetensors");
    lie[0] ^= 1;
    assert!(!holds(server.cache.path(), &lie));
    server.set(|world| world.lies = false);
    let healed = server.model("tiny", "main").unwrap();
    // A file that changed in the cache is noticed by its digest and fetched again.
    let path = healed.folder.join("config.json");
    drop(healed);
    fs::write(&path, "[]").unwrap();
    let again = server.model("tiny", COMMIT).unwrap();
    assert_eq!((fs::read(path).unwrap(), again.fetched_bytes), (b"{}".to_vec(), 2));
}

#[test]
fn the_least_recently_used_goes_first_and_what_is_in_use_stays() {
    let server = Server::start();
    let one: u64 = ["config.json", "tokenizer.json", "model.safetensors"]
        .map(|file| server.bytes(file).len() as u64)
        .iter()
        .sum();
    // Room for two, with what is known of them.
    let limits = HubLimits { cache_bytes_max: 2 * one + one / 2, ..Server::limits() };
    let hub = server.client(None, limits);
    drop(hub.model(&repo("a"), "main").unwrap());
    drop(hub.model(&repo("b"), "main").unwrap());
    drop(hub.model(&repo("a"), COMMIT).unwrap());
    let third = hub.model(&repo("c"), "main").unwrap();
    assert!(server.cached("a") && !server.cached("b") && server.cached("c"));
    let held = hub.model(&repo("a"), COMMIT).unwrap();
    let full = hub.model(&repo("d"), "main").unwrap_err();
    assert!(matches!(&full, HubError::CacheTooSmall { needed_bytes, .. } if *needed_bytes == one), "{full}");
    drop(held);
    drop(third);
    drop(hub.model(&repo("d"), "main").unwrap());
    assert!(server.cached("d") && !(server.cached("a") && server.cached("c")));
}
