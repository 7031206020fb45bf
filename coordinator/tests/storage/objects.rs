//! Local objects on a real disk: written once, verified, and never outside their folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use assay_coordinator::disk::RealDisk;
use assay_coordinator::objects::local::{Expected, Found, LocalObjects, ObjectError, ObjectKey, Stored};
use sha2::{Digest, Sha256};

fn store(root: &Path) -> LocalObjects {
    LocalObjects::open_store(Arc::new(RealDisk), root).expect("open")
}

fn expected(bytes: &[u8]) -> Expected {
    Expected { size_bytes: bytes.len() as u64, sha256: Sha256::digest(bytes).into() }
}

fn put(objects: &LocalObjects, key: &str, bytes: &[u8], expected: Expected) -> Result<Stored, ObjectError> {
    let mut upload = objects.upload(&ObjectKey::parse(key)?, expected)?;
    bytes.chunks(1000).try_for_each(|chunk| upload.write(chunk))?;
    upload.finish()
}

fn key(key: &str) -> ObjectKey {
    ObjectKey::parse(key).expect("key")
}

fn left_over(root: &Path) -> Vec<String> {
    let names = fs::read_dir(root.join(".uploads")).expect("list");
    let names = names.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "lock").collect()
}

#[test]
fn stored_once_read_in_ranges_deleted() {
    let root = tempfile::tempdir().expect("root");
    let objects = store(root.path());
    let bytes: Vec<u8> = (0..10_000_u32).map(|n| (n * 7) as u8).collect();
    let name = "matrix-1/job-2/1-3/adapter@12/weights.safetensors";
    assert_eq!(objects.stat(&key(name)).expect("stat"), None);
    assert_eq!(put(&objects, name, &bytes, expected(&bytes)).expect("put"), Stored::Created);
    assert_eq!(put(&objects, name, &bytes, expected(&bytes)).expect("put"), Stored::AlreadyThere);
    let error = put(&objects, name, b"other", expected(b"other")).expect_err("conflict");
    assert!(matches!(error, ObjectError::Conflict { .. }), "{error}");
    assert_eq!(objects.stat(&key(name)).expect("stat"), Some(10_000));
    let reader = objects.open(&key(name)).expect("open");
    let mut range = [0; 500];
    assert_eq!(reader.read_at(9_800, &mut range).expect("read"), 200);
    assert_eq!(range[..200], bytes[9_800..]);
    assert_eq!(reader.read_at(10_000, &mut range).expect("read"), 0);
    assert!(objects.delete(&key(name)).expect("delete") && !objects.delete(&key(name)).expect("delete"));
    assert_eq!(reader.read_at(0, &mut range).expect("still readable"), 500);
    assert!(matches!(objects.open(&key(name)), Err(ObjectError::NotFound { .. })));
    assert_eq!(left_over(root.path()), [""; 0]);
}

#[test]
fn a_bad_object_goes_and_a_good_one_stays() {
    let root = tempfile::tempdir().expect("root");
    let objects = store(root.path());
    let (good, file) = (expected(b"hello"), root.path().join("a/b"));
    assert_eq!(objects.remove_if_bad(&key("a/b"), good).expect("look"), Some(Found::Nothing));
    put(&objects, "a/b", b"hello", good).expect("put");
    assert_eq!(objects.remove_if_bad(&key("a/b"), good).expect("look"), None);
    for (bytes, found) in
        [(&b"hallo"[..], "has sha256 d3751d33"), (b"hell", "has 4 bytes"), (b"", "has 0 bytes")]
    {
        fs::write(&file, bytes).expect("damage");
        let said = objects.remove_if_bad(&key("a/b"), good).expect("look").expect("it is bad").to_string();
        assert!(said.starts_with(found), "{said}");
        assert!(!file.exists());
        // The key is free for the right bytes.
        assert_eq!(put(&objects, "a/b", b"hello", good).expect("put"), Stored::Created);
    }
}

#[test]
fn an_upload_that_was_damaged_is_replaced_by_the_same_upload() {
    let root = tempfile::tempdir().expect("root");
    let objects = store(root.path());
    let name = format!("sha256/{}", hex::encode(Sha256::digest(b"hello")));
    put(&objects, &name, b"hello", expected(b"hello")).expect("put");
    for damaged in [&b"hallo"[..], b"hell"] {
        fs::write(root.path().join(&name), damaged).expect("damage");
        assert_eq!(put(&objects, &name, b"hello", expected(b"hello")).expect("put"), Stored::Created);
        assert_eq!(fs::read(root.path().join(&name)).expect("read"), b"hello");
        assert_eq!(put(&objects, &name, b"hello", expected(b"hello")).expect("put"), Stored::AlreadyThere);
    }
    // Other bytes under that key are still refused.
    let error = put(&objects, &name, b"other", expected(b"other")).expect_err("conflict");
    assert!(matches!(error, ObjectError::Conflict { .. }), "{error}");
    assert_eq!(left_over(root.path()), [""; 0]);
}

#[test]
fn wrong_length_or_digest_stores_nothing() {
    let root = tempfile::tempdir().expect("root");
    let objects = store(root.path());
    let good = expected(b"hello");
    let cases: [(&[u8], Expected, &str); 4] = [
        (b"hell", good, "announced with 5 bytes, but 4 came"),
        (b"hello!", good, "announced with 5 bytes, but 6 came"),
        (
            b"hallo",
            good,
            "but the bytes have d3751d33f9cd5049c4af2b462735457e4d3baf130bcbb87f389e349fbaeb20b9",
        ),
        (b"", good, "announced with 5 bytes, but 0 came"),
    ];
    for (bytes, expected, message) in cases {
        let error = put(&objects, "a/b", bytes, expected).expect_err("refused");
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(objects.stat(&key("a/b")).expect("stat"), None);
    }
    assert_eq!(put(&objects, "empty", b"", expected(b"")).expect("put"), Stored::Created);
    assert_eq!(left_over(root.path()), [""; 0]);
}

#[test]
fn keys_cannot_leave_the_folder() {
    let long = "a".repeat(129);
    let longer = "a/".repeat(300);
    for bad in [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        ".uploads/x",
        "a/.hidden",
        "a\\b",
        "a b",
        "ü",
        "a\0b",
        "a\n",
        &long,
        &longer,
    ] {
        assert!(matches!(ObjectKey::parse(bad), Err(ObjectError::Key { .. })), "{bad:?}");
    }
    for good in ["a", "a/b/c", "m-1/j_2/adapter@12/x.safetensors", "a..b", "a+b=c"] {
        assert_eq!(ObjectKey::parse(good).expect("good").as_str(), good);
    }
}

/// An object where a folder would have to be, or the reverse, is refused and does not close the store.
#[test]
fn object_and_folder_of_one_name() {
    let root = tempfile::tempdir().expect("root");
    let objects = store(root.path());
    put(&objects, "a/b", b"x", expected(b"x")).expect("put");
    assert!(matches!(put(&objects, "a/b/c", b"y", expected(b"y")), Err(ObjectError::Io { .. })));
    assert!(matches!(put(&objects, "a", b"y", expected(b"y")), Err(ObjectError::Io { .. })));
    assert_eq!(objects.stat(&key("a/b/c")).expect("stat"), None);
    assert_eq!(put(&objects, "a/c", b"y", expected(b"y")).expect("put"), Stored::Created);
    assert_eq!(left_over(root.path()), [""; 0]);
}

#[test]
fn of_many_at_once_one_creates_and_equal_ones_repeat() {
    let root = tempfile::tempdir().expect("root");
    let objects = store(root.path());
    for round in 0..20 {
        let name = format!("deep/{round}/object");
        let outcomes: Vec<_> = thread::scope(|scope| {
            let puts: Vec<_> = (0..6_u8)
                .map(|n| {
                    let (objects, name) = (objects.clone(), &name);
                    let bytes = vec![n / 3; 5000];
                    scope.spawn(move || put(&objects, name, &bytes, expected(&bytes)))
                })
                .collect();
            puts.into_iter().map(|put| put.join().expect("thread")).collect()
        });
        let count =
            |wanted: fn(&Result<Stored, ObjectError>) -> bool| outcomes.iter().filter(|o| wanted(o)).count();
        assert_eq!(count(|o| matches!(o, Ok(Stored::Created))), 1);
        assert_eq!(count(|o| matches!(o, Ok(Stored::AlreadyThere))), 2);
        assert_eq!(count(|o| matches!(o, Err(ObjectError::Conflict { .. }))), 3);
    }
}

#[test]
fn what_a_dead_process_left_is_removed_and_two_cannot_share_a_store() {
    let root = tempfile::tempdir().expect("root");
    fs::create_dir_all(root.path().join(".uploads")).expect("folder");
    fs::write(root.path().join(".uploads/00000000000000000000.part"), b"half").expect("write");
    let objects = store(root.path());
    assert_eq!(left_over(root.path()), [""; 0]);
    let second = LocalObjects::open_store(Arc::new(RealDisk), root.path());
    assert!(matches!(second, Err(ObjectError::InUse { .. })));
    drop(objects);
    drop(store(root.path()));
}
