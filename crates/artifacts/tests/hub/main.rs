//! The Hub client against a real HTTP server that speaks the Hub's protocol.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

mod server;
mod workers;

use std::fs;
use std::path::Path;

use assay_artifacts::hub::{Hub, HubError, HubKind, HubLimits, HubRepo, Snapshot};
use server::{COMMIT, Server, TOKEN, first_of};
use tempfile::TempDir;

/// A Hub and a cache.
struct Place {
    server: Server,
    cache: TempDir,
}

impl std::ops::Deref for Place {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Place {
    fn start() -> Self {
        Self { server: Server::start(), cache: tempfile::tempdir().unwrap() }
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

    fn cached(&self, name: &str) -> bool {
        self.cache.path().join("hub").join(format!("models--org--{name}")).exists()
    }
}

fn repo(name: &str) -> HubRepo {
    HubRepo::new(HubKind::Model, &format!("org/{name}")).unwrap()
}

fn is_listing((_, path, _): &(&str, String, Option<String>)) -> bool {
    path.starts_with("/api/models/org/tiny/revision/")
}

#[test]
fn a_branch_is_pinned_and_only_what_a_model_needs_is_fetched_once() {
    let server = Place::start();
    server.set(|world| world.gated = true);
    let hub = server.client(Some(TOKEN), Place::limits());
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
    let server = Place::start();
    let data = HubRepo::new(HubKind::DataSet, "org/talks").unwrap();
    let hub = server.client(None, Place::limits());
    let found = hub.files(&data, "main", &["data/train.jsonl"]).unwrap();
    assert_eq!(fs::read(found.folder.join("data/train.jsonl")).unwrap(), b"{}\n");
    assert!(server.seen()[0].1.starts_with("/api/datasets/org/talks/"));
    let refused = hub.files(&data, "main", &["data/valid.jsonl"]);
    assert!(matches!(refused, Err(HubError::NoFile { file, .. }) if file == "data/valid.jsonl"));
    assert!(matches!(HubRepo::new(HubKind::Model, "../x"), Err(HubError::Name { .. })));
}

#[test]
fn a_cut_connection_goes_on_where_it_broke_off_in_a_later_process_too() {
    let server = Place::start();
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
    let hasty = server.client(None, HubLimits { tries_max: 1, ..Place::limits() });
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
    let server = Place::start();
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
    let server = Place::start();
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
    let server = Place::start();
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
    let server = Place::start();
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
    let server = Place::start();
    let one: u64 = ["config.json", "tokenizer.json", "model.safetensors"]
        .map(|file| server.bytes(file).len() as u64)
        .iter()
        .sum();
    // Room for two, with what is known of them.
    let limits = HubLimits { cache_bytes_max: 2 * one + one / 2, ..Place::limits() };
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
