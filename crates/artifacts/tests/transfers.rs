//! Uploads and downloads against a real HTTP server that is slow, broken, forgetful or wrong on demand.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use assay_artifacts::{
    Cache, DownloadSigner, LocalFile, SignError, SignedRequest, SignedUpload, TransferError, TransferLimits,
    Transfers, UploadSigner, describe,
};
use assay_domain::{Artifact, Digest, FileRef, ObjectKey};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SECRET: &str = "very-secret-signature";

/// What the server has, does and saw.
#[derive(Default)]
struct World {
    objects: BTreeMap<String, Vec<u8>>,
    /// Statuses to answer with before anything else is done, last first.
    answers: Vec<StatusCode>,
    /// Method and `range` of each request.
    seen: Vec<(String, Option<String>)>,
    /// How often something was signed.
    signed: usize,
}

#[derive(Clone)]
struct Server {
    url: String,
    world: Arc<Mutex<World>>,
}

impl Server {
    async fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let app = Router::new().route("/{*key}", get(read).put(write)).with_state(world.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, world }
    }

    fn sign(&self, method: &str, key: &str) -> SignedRequest {
        let mut world = self.world.lock().unwrap();
        world.signed += 1;
        let url = format!("{}/{key}?signature={SECRET}", self.url);
        SignedRequest { method: method.to_owned(), url, headers: BTreeMap::new(), from_hub: false }
    }

    fn artifact(&self, files: &[(&str, &[u8])]) -> Artifact {
        let file = |(path, bytes): &(&str, &[u8])| {
            let digest = Digest::of(bytes);
            let key = ObjectKey::upload(digest);
            self.world.lock().unwrap().objects.insert(key.to_string(), bytes.to_vec());
            FileRef { path: (*path).to_owned(), key, digest, bytes: bytes.len() as u64, origin: None }
        };
        Artifact { name: String::from("input"), files: files.iter().map(file).collect() }
    }

    fn seen(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.world.lock().unwrap().seen)
    }
}

impl DownloadSigner for Server {
    async fn sign_downloads(&self, files: &[FileRef]) -> Result<Vec<SignedRequest>, SignError> {
        Ok(files.iter().map(|file| self.sign("GET", file.key.as_str())).collect())
    }
}

impl UploadSigner for Server {
    async fn sign_uploads(&self, files: &[LocalFile]) -> Result<Vec<SignedUpload>, SignError> {
        let sign = |file: &LocalFile| {
            let key = ObjectKey::upload(file.digest);
            let exists = self.world.lock().unwrap().objects.contains_key(key.as_str());
            SignedUpload { request: (!exists).then(|| self.sign("PUT", key.as_str())), key }
        };
        Ok(files.iter().map(sign).collect())
    }
}

fn refusal(world: &mut World, method: &str, headers: &HeaderMap) -> Option<StatusCode> {
    let range = headers.get("range").map(|range| range.to_str().unwrap().to_owned());
    world.seen.push((method.to_owned(), range));
    world.answers.pop()
}

async fn read(
    State(world): State<Arc<Mutex<World>>>,
    UrlPath(key): UrlPath<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let mut world = world.lock().unwrap();
    let answer = |status: StatusCode, body: Body| Response::builder().status(status).body(body).unwrap();
    if let Some(status) = refusal(&mut world, "GET", &headers) {
        return answer(status, Body::from("not now"));
    }
    let Some(bytes) = world.objects.get(&key).cloned() else {
        return answer(StatusCode::NOT_FOUND, Body::empty());
    };
    let start = headers.get("range").map_or(0, |range| {
        let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
        range.strip_suffix('-').unwrap().parse::<usize>().unwrap()
    });
    let status = if start > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let rest = bytes[start..].to_vec();
    answer(status, Body::from(rest))
}

async fn write(
    State(world): State<Arc<Mutex<World>>>,
    UrlPath(key): UrlPath<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> StatusCode {
    let mut world = world.lock().unwrap();
    if let Some(status) = refusal(&mut world, "PUT", &headers) {
        return status;
    }
    assert_eq!(headers["content-length"], bytes.len().to_string());
    world.objects.insert(key, bytes.to_vec());
    StatusCode::CREATED
}

fn transfers() -> Transfers {
    let limits =
        TransferLimits { back_off_first_ms: 1, back_off_longest_ms: 5, tries_max: 4, ..Default::default() };
    Transfers::new(limits).unwrap()
}

struct Disk {
    folder: TempDir,
    cache: Cache,
    targets: std::sync::atomic::AtomicU32,
}

impl Disk {
    fn new(bytes_max: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache"), bytes_max).unwrap();
        Self { folder, cache, targets: Default::default() }
    }

    async fn fetch(&self, server: &Server, artifact: &Artifact) -> Result<PathBuf, TransferError> {
        let target = self.targets.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let into = self.folder.path().join(format!("attempt-{target}"));
        self.cache.fetch(&transfers(), artifact, &into, server).await
    }

    fn object(&self, artifact: &Artifact) -> PathBuf {
        self.folder.path().join("cache/objects").join(artifact.files[0].digest.to_string())
    }
}

fn gets(seen: &[(String, Option<String>)]) -> usize {
    seen.iter().filter(|(method, _)| method == "GET").count()
}

#[tokio::test]
async fn a_file_comes_as_a_file_a_folder_as_a_folder_and_both_only_once() {
    let (server, disk) = (Server::start().await, Disk::new(1 << 20));
    let one = server.artifact(&[("train.jsonl", b"rows")]);
    let path = disk.fetch(&server, &one).await.unwrap();
    assert!(path.ends_with("train.jsonl") && fs::read(&path).unwrap() == b"rows");
    assert!(fs::metadata(&path).unwrap().permissions().readonly());
    let two = server.artifact(&[("a/config.json", b"{}"), ("rows", b"rows")]);
    let folder = disk.fetch(&server, &two).await.unwrap();
    assert_eq!(fs::read(folder.join("a/config.json")).unwrap(), b"{}");
    assert_eq!(fs::read(folder.join("rows")).unwrap(), b"rows");
    assert_eq!(gets(&server.seen()), 2, "equal digests are one object");
}

/// Answers ranged GETs of `bytes` on one connection after the other, each of which it ends after so many bytes.
async fn serve_in_pieces(listener: TcpListener, bytes: Vec<u8>, pieces: [usize; 3]) -> Vec<usize> {
    let mut starts = Vec::new();
    for piece in pieces {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(socket.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap().to_lowercase();
        let range = request.lines().find_map(|line| line.strip_prefix("range: bytes="));
        let start: usize = range.map_or(0, |range| range.strip_suffix('-').unwrap().parse().unwrap());
        let (status, length) =
            (if start > 0 { "206 Partial Content" } else { "200 OK" }, bytes.len() - start);
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&bytes[start..(start + piece).min(bytes.len())]).await.unwrap();
        socket.shutdown().await.unwrap();
        starts.push(start);
    }
    starts
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let (mut server, disk) = (Server::start().await, Disk::new(1 << 20));
    let bytes: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    let artifact = server.artifact(&[("w.bin", &bytes)]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    server.url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(serve_in_pieces(listener, bytes.clone(), [10_000, 30_000, 100_000]));
    let path = disk.fetch(&server, &artifact).await.unwrap();
    assert!(fs::read(path).unwrap() == bytes);
    assert_eq!(serving.await.unwrap(), [0, 10_000, 40_000]);
}

#[tokio::test]
async fn a_part_of_another_life_is_used_or_thrown_away() {
    let (server, disk) = (Server::start().await, Disk::new(1 << 20));
    let artifact = server.artifact(&[("w.bin", b"0123456789")]);
    let partial = disk.folder.path().join("cache/partial").join(artifact.files[0].digest.to_string());
    fs::write(&partial, b"XXXX").unwrap();
    let path = disk.fetch(&server, &artifact).await.unwrap();
    assert_eq!(fs::read(path).unwrap(), b"0123456789");
    assert_eq!(server.seen()[0].1.as_deref(), Some("bytes=4-"));
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_not_kept() {
    let (server, disk) = (Server::start().await, Disk::new(1 << 20));
    let artifact = server.artifact(&[("w.bin", b"good")]);
    let key = artifact.files[0].key.to_string();
    for wrong in [&b"evil"[..], b"good and more", b"goo", b""] {
        server.world.lock().unwrap().objects.insert(key.clone(), wrong.to_vec());
        let error = disk.fetch(&server, &artifact).await.unwrap_err();
        let size_is_wrong = matches!(error, TransferError::WrongSize { .. });
        assert!(size_is_wrong || matches!(error, TransferError::WrongDigest { .. }), "{error}");
        assert_eq!(size_is_wrong, wrong.len() != 4, "{error}");
        assert!(!disk.object(&artifact).exists());
    }
    server.world.lock().unwrap().objects.insert(key, b"good".to_vec());
    disk.fetch(&server, &artifact).await.unwrap();
}

#[tokio::test]
async fn concurrent_fetches_of_one_digest_are_one() {
    let (server, disk) = (Server::start().await, Disk::new(1 << 20));
    let artifact = server.artifact(&[("w.bin", &[7; 50_000])]);
    let fetches = (0..8).map(|_| disk.fetch(&server, &artifact));
    let paths = futures::future::try_join_all(fetches).await.unwrap();
    assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), 8);
    assert_eq!(gets(&server.seen()), 1);
}

#[tokio::test]
async fn the_least_recently_used_object_goes_and_what_was_linked_stays() {
    let (server, disk) = (Server::start().await, Disk::new(25));
    let [a, b, c] = [[1; 10], [2; 10], [3; 10]].map(|bytes| server.artifact(&[("x", &bytes)]));
    let linked = disk.fetch(&server, &a).await.unwrap();
    disk.fetch(&server, &b).await.unwrap();
    disk.fetch(&server, &a).await.unwrap();
    disk.fetch(&server, &c).await.unwrap();
    assert!(disk.object(&a).exists() && !disk.object(&b).exists() && disk.object(&c).exists());
    disk.fetch(&server, &b).await.unwrap();
    assert!(!disk.object(&a).exists());
    assert_eq!(fs::read(linked).unwrap(), [1; 10]);
    let huge = server.artifact(&[("x", &[0; 26])]);
    let error = disk.fetch(&server, &huge).await.unwrap_err().to_string();
    assert!(error.contains("26 bytes do not fit") && error.contains("25 bytes"), "{error}");
}

#[tokio::test]
async fn a_cache_is_found_again_and_belongs_to_one_process() {
    let (server, disk) = (Server::start().await, Disk::new(1 << 20));
    let artifact = server.artifact(&[("x", b"kept")]);
    disk.fetch(&server, &artifact).await.unwrap();
    let folder = disk.folder.path().join("cache");
    let second = Cache::open(&folder, 1 << 20).err().unwrap();
    assert!(matches!(second, TransferError::CacheInUse { .. }), "{second}");
    let Disk { folder: kept, cache, .. } = disk;
    drop(cache);
    server.seen();
    let again = Cache::open(&folder, 1 << 20).unwrap();
    again.fetch(&transfers(), &artifact, &kept.path().join("again"), &server).await.unwrap();
    assert_eq!(gets(&server.seen()), 0);
}

#[tokio::test]
async fn an_artifact_cannot_write_outside_its_folder() {
    let (server, disk) = (Server::start().await, Disk::new(1 << 20));
    for bad in ["../x", "/x", "a/../../x", ""] {
        let error = disk.fetch(&server, &server.artifact(&[(bad, b"x")])).await.unwrap_err();
        assert!(matches!(error, TransferError::NotAnArtifact { .. }), "{bad}: {error}");
    }
}

fn upload_folder() -> (TempDir, Vec<LocalFile>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "first").unwrap();
    fs::write(folder.path().join("b"), vec![9; 600_000]).unwrap();
    let files = describe(folder.path()).unwrap();
    (folder, files)
}

#[tokio::test]
async fn uploads_try_again_sign_again_and_send_nothing_twice() {
    let server = Server::start().await;
    let (_folder, files) = upload_folder();
    server.world.lock().unwrap().answers =
        vec![StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
    let moved = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = moved.clone();
    let transfers = transfers().on_bytes(move |bytes| {
        counted.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    });
    let stored = transfers.upload(&files, &server).await.unwrap();
    assert_eq!(stored.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(server.world.lock().unwrap().objects[stored[1].key.as_str()], vec![9; 600_000]);
    assert_eq!(server.world.lock().unwrap().signed, 3, "two files, one of them twice");
    assert!(moved.load(std::sync::atomic::Ordering::Relaxed) >= 600_005);
    server.seen();
    assert_eq!(transfers.upload(&files, &server).await.unwrap(), stored);
    assert!(server.seen().is_empty(), "what exists is not sent");
}

#[tokio::test]
async fn conflicts_and_refusals_are_final_and_a_store_that_is_away_is_transient() {
    let server = Server::start().await;
    let (_folder, files) = upload_folder();
    let file = &files[..1];
    let answer = async |status| {
        server.world.lock().unwrap().answers = vec![status];
        transfers().upload(file, &server).await
    };
    assert!(matches!(answer(StatusCode::CONFLICT).await.unwrap_err(), TransferError::Conflict { .. }));
    let refused = answer(StatusCode::UNPROCESSABLE_ENTITY).await.unwrap_err();
    assert!(matches!(refused, TransferError::Refused { status: 422, .. }), "{refused}");
    answer(StatusCode::PRECONDITION_FAILED).await.unwrap();
    server.world.lock().unwrap().answers = vec![StatusCode::BAD_GATEWAY; 9];
    let away = transfers().upload(file, &server).await.unwrap_err();
    assert!(away.is_transient() && away.to_string().contains("in 4 tries"), "{away}");
}

#[tokio::test]
async fn no_error_shows_a_signature() {
    let (mut server, disk) = (Server::start().await, Disk::new(1 << 20));
    let (_folder, files) = upload_folder();
    let artifact = server.artifact(&[("x", b"x")]);
    let mut errors = Vec::new();
    for status in
        [StatusCode::FORBIDDEN, StatusCode::BAD_REQUEST, StatusCode::CONFLICT, StatusCode::BAD_GATEWAY]
    {
        server.world.lock().unwrap().answers = vec![status; 9];
        errors.push(transfers().upload(&files, &server).await.unwrap_err());
        server.world.lock().unwrap().answers = vec![status; 9];
        errors.push(disk.fetch(&server, &artifact).await.unwrap_err());
    }
    server.url = String::from("http://127.0.0.1:1");
    errors.push(disk.fetch(&server, &artifact).await.unwrap_err());
    server.url = String::from("no url at all");
    errors.push(disk.fetch(&server, &artifact).await.unwrap_err());
    for error in errors {
        let text = format!("{error} {error:?} {:?}", server.sign("GET", "key"));
        assert!(!text.contains(SECRET), "{text}");
    }
}
