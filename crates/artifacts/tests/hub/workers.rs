//! A worker's downloads from the Hub: through the cache and its signed requests, as for objects of the store.

use std::path::{Path, PathBuf};

use assay_artifacts::{
    Cache, DownloadSigner, SignError, SignedRequest, TransferError, TransferLimits, Transfers,
};
use assay_domain::{Artifact, Digest, FileRef, ObjectKey, Origin};

use crate::server::{COMMIT, Server, TOKEN, first_of};

const WEIGHTS: &str = "model.safetensors";

/// What a coordinator answers that has this token, or none.
struct Signer<'a> {
    server: &'a Server,
    token: Option<&'a str>,
}

impl DownloadSigner for Signer<'_> {
    async fn sign_downloads(&self, files: &[FileRef]) -> Result<Vec<SignedRequest>, SignError> {
        let sign =
            |file: &FileRef| SignedRequest::of_hub(file.origin().unwrap(), &self.server.url, self.token);
        Ok(files.iter().map(sign).collect())
    }
}

fn weights(server: &Server, needs_token: bool) -> Artifact {
    let bytes = server.bytes(WEIGHTS);
    let digest = Digest::of(&bytes);
    let origin = Some(Origin::new("org/tiny", COMMIT, WEIGHTS, needs_token).unwrap());
    let (path, key, bytes) = (WEIGHTS.to_owned(), ObjectKey::upload(digest), bytes.len() as u64);
    Artifact { name: String::from("model"), files: vec![FileRef { path, key, digest, bytes, origin }] }
}

/// A worker with an empty cache fetches the weights.
async fn fetch(
    folder: &Path,
    server: &Server,
    needs_token: bool,
    token: Option<&str>,
) -> Result<PathBuf, TransferError> {
    let limits = TransferLimits {
        tries_max: 3,
        back_off_first_ms: 1,
        back_off_longest_ms: 2,
        retry_after_max_ms: 5,
        ..TransferLimits::default()
    };
    let cache = Cache::open(folder.join("cache"), 1 << 30)?;
    let (transfers, into) = (Transfers::new(limits)?, folder.join(format!("a{}", fastrand::u32(..))));
    let artifact = weights(server, needs_token);
    cache.fetch(&transfers, &artifact, &into, &Signer { server, token }).await
}

#[test]
fn the_token_goes_to_the_hub_alone_and_only_for_what_needs_one() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    server.set(|world| world.gated = true);
    let run = |needs_token| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(fetch(folder.path(), &server, needs_token, Some(TOKEN)))
    };
    let path = run(true).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), server.bytes(WEIGHTS));
    let seen: Vec<_> = server.seen().into_iter().map(|(host, ..)| host).collect();
    assert_eq!(seen, ["hub", "storage"]);
    server.set(|world| assert!(world.tokens == 1 && !world.leaked, "{} {}", world.tokens, world.leaked));
    // In the cache: nobody is asked.
    run(true).unwrap();
    assert_eq!(server.seen(), []);

    let other = tempfile::tempdir().unwrap();
    server.set(|world| world.gated = false);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(fetch(other.path(), &server, false, Some(TOKEN))).unwrap();
    server.set(|world| assert_eq!(world.tokens, 1, "an open repository gets none"));
}

#[test]
fn a_cut_is_resumed_by_range_and_what_may_change_is_tried_again() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // More cuts than tries: each brings bytes.
    server.set(|world| {
        world.cuts = vec![250_000, 200_000, 150_000, 100_000, 50_000];
        (world.after_cut, world.storage_answers) = (vec![("/resolve/", 429)], vec![403]);
    });
    let path = runtime.block_on(fetch(folder.path(), &server, false, None)).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), server.bytes(WEIGHTS));
    let seen = server.seen();
    let starts: Vec<usize> = seen
        .iter()
        .filter(|(host, ..)| *host == "storage")
        .map(|(_, _, range)| first_of(range.as_deref()))
        .collect();
    // The first is the refused one.
    assert_eq!(starts.len(), 7, "{seen:?}");
    assert!(starts[1..].windows(2).all(|pair| pair[0] < pair[1]), "{starts:?}");

    let busy = tempfile::tempdir().unwrap();
    server.set(|world| world.answers = vec![("/resolve/", 503); 3]);
    let gone = runtime.block_on(fetch(busy.path(), &server, false, None)).unwrap_err();
    assert!(gone.is_transient() && gone.to_string().contains("org/tiny/resolve"), "{gone}");
}

#[test]
fn refusals_name_the_repository_and_what_to_do_and_are_not_repeated() {
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refused = |needs_token, token| {
        let folder = tempfile::tempdir().unwrap();
        let error = runtime.block_on(fetch(folder.path(), &server, needs_token, token)).unwrap_err();
        assert!(matches!(error, TransferError::Hub { .. }) && !error.is_transient(), "{error:?}");
        assert_eq!(server.seen().len(), 1, "{error}");
        assert!(!format!("{error:?}").contains("hf_"), "{error:?}");
        error.to_string()
    };
    let named = format!("the Hub does not give org/tiny@{COMMIT}/{WEIGHTS} (status ");
    server.set(|world| world.gated = true);
    for (error, words) in [
        (refused(true, None), "start the coordinator with HF_TOKEN"),
        (refused(true, Some("hf_another")), "accept the repository's terms"),
        (refused(false, Some(TOKEN)), "submit it again"),
    ] {
        assert!(error.starts_with(&named) && error.contains("401") && error.contains(words), "{error}");
    }
    for (status, words) in [(403, "accept the repository's terms"), (404, "HF_ENDPOINT"), (400, "page")] {
        server.set(|world| world.answers = vec![("/resolve/", status)]);
        let error = refused(true, Some(TOKEN));
        assert!(error.contains(&status.to_string()) && error.contains(words), "{error}");
    }
}

#[test]
fn other_bytes_than_the_listed_ones_are_never_handed_out() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    server.set(|world| world.lies = true);
    let error = runtime.block_on(fetch(folder.path(), &server, false, None)).unwrap_err();
    assert!(matches!(&error, TransferError::NotAsListed { .. }), "{error:?}");
    assert!(error.to_string().starts_with("org/tiny@") && error.to_string().contains("SHA-256"), "{error}");
    server.set(|world| world.lies = false);
    let path = runtime.block_on(fetch(folder.path(), &server, false, None)).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), server.bytes(WEIGHTS));
}

#[test]
fn neither_request_nor_client_shows_the_token() {
    let origin = Origin::new("org/tiny", COMMIT, WEIGHTS, true).unwrap();
    let request = SignedRequest::of_hub(&origin, "https://hub.test", Some(TOKEN));
    assert_eq!(request.headers["authorization"], format!("Bearer {TOKEN}"));
    assert!(!format!("{request:?}").contains(TOKEN));
}
