//! The index: what queries see, and what it refuses.

use std::path::Path;
use std::time::Duration;

use assay_coordinator::index::{
    Change, Index, IndexError, IndexOpen, IndexWriter, Order, PageRequest, ProbeCommand, VALUE_MAX_BYTES,
    probe_main,
};

/// The child process of `Index::open` in these tests is this test binary, running only this. Its folder is the last
/// argument; in an ordinary run there is none.
#[test]
fn probe_child() {
    let arguments: Vec<String> = std::env::args().collect();
    let is_child = arguments.iter().any(|argument| argument == "--nocapture");
    if let Some(folder) = arguments.last().map(Path::new).filter(|folder| is_child && folder.is_dir()) {
        probe_main(folder);
    }
}

pub(crate) fn command() -> ProbeCommand {
    let arguments = ["index::probe_child", "--exact", "--nocapture"];
    ProbeCommand {
        program: std::env::current_exe().expect("this program"),
        arguments: arguments.map(Into::into).to_vec(),
        deadline: Duration::from_secs(60),
    }
}

pub(crate) fn open(folder: &Path) -> IndexWriter {
    match Index::open(folder, &command()).expect("open") {
        IndexOpen::Opened { writer, .. } => writer,
        IndexOpen::Damaged { reason } => panic!("damaged: {reason}"),
    }
}

pub(crate) fn put(tree: &'static str, key: &str, value: &[u8]) -> Change {
    Change::Put { tree, key: key.as_bytes().to_vec(), value: value.to_vec() }
}

fn delete(tree: &'static str, key: &str) -> Change {
    Change::Delete { tree, key: key.as_bytes().to_vec() }
}

#[test]
fn batches_are_applied_and_found_after_reopening() {
    let root = tempfile::tempdir().expect("root");
    let folder = root.path().join("index");
    let mut writer = open(&folder);
    assert_eq!(writer.applied_sequence(), 0);
    writer
        .apply(5, vec![put("jobs", "a", b"1"), put("jobs", "b", b"2"), put("matrices", "a", b"3")])
        .expect("apply");
    writer
        .apply(7, vec![delete("jobs", "a"), put("jobs", "b", b"4"), put("jobs", "b", b"5")])
        .expect("apply");
    writer.apply(7, vec![delete("jobs", "none")]).expect("apply");
    let error = writer.apply(6, vec![put("jobs", "c", b"6")]).expect_err("back");
    assert!(matches!(error, IndexError::GoesBack { applied: 7, given: 6 }));
    drop(writer);
    let writer = open(&folder);
    assert_eq!(writer.applied_sequence(), 7);
    let index = writer.reader();
    assert_eq!(index.get("jobs", b"a").expect("get"), None);
    assert_eq!(index.get("jobs", b"b").expect("get"), Some(b"5".to_vec()));
    assert_eq!(index.get("jobs", b"c").expect("get"), None);
    assert_eq!(index.get("matrices", b"a").expect("get"), Some(b"3".to_vec()));
}

#[test]
fn large_values_are_split_replaced_and_removed_without_rest() {
    let root = tempfile::tempdir().expect("root");
    let folder = root.path().join("index");
    let mut writer = open(&folder);
    for (sequence, bytes) in
        [7_999, 8_000, 8_001, 100_000, 16_000, 24_001, 3, VALUE_MAX_BYTES, 0].into_iter().enumerate()
    {
        let value: Vec<u8> = (0..bytes).map(|n| (n / 7) as u8).collect();
        writer
            .apply(sequence as u64 + 1, vec![put("jobs", "a", &value), put("jobs", "ab", b"x")])
            .expect("apply");
        assert_eq!(writer.reader().get("jobs", b"a").expect("get"), Some(value));
        assert_eq!(writer.reader().page(&request("jobs", b"", None, 10)).expect("page").entries.len(), 2);
        drop(writer);
        // The count and sum that the check compares would show what was left over.
        writer = open(&folder);
    }
    let error =
        writer.apply(50, vec![put("jobs", "b", &vec![0; VALUE_MAX_BYTES + 1])]).expect_err("too large");
    assert!(error.to_string().contains("over the limit of 4194304"), "{error}");
    let error = writer.apply(50, vec![put("jobs", &"k".repeat(513), b"")]).expect_err("long key");
    assert!(matches!(error, IndexError::KeyLength { bytes: 513, .. }));
    assert_eq!(writer.applied_sequence(), 9);
}

fn request<'a>(tree: &'a str, prefix: &'a [u8], after: Option<&'a [u8]>, limit: usize) -> PageRequest<'a> {
    PageRequest { tree, prefix, after, order: Order::Ascending, limit }
}

#[test]
fn pages_cover_a_prefix_in_both_orders() {
    let root = tempfile::tempdir().expect("root");
    let mut writer = open(&root.path().join("index"));
    let keys: Vec<String> = (0..25).map(|n| format!("m{}/{n:03}", n % 2)).collect();
    let changes =
        keys.iter().flat_map(|key| [put("jobs", key, key.as_bytes()), put("jobs-2", key, b"other")]);
    writer.apply(1, changes.collect()).expect("apply");
    writer.apply(2, vec![Change::Put { tree: "jobs", key: vec![255, 255], value: vec![1] }]).expect("apply");
    let index = writer.reader();
    for (prefix, order) in [("m0/", Order::Ascending), ("m1/", Order::Descending), ("m", Order::Descending)] {
        let mut expected: Vec<&String> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
        expected.sort();
        if order == Order::Descending {
            expected.reverse();
        }
        for limit in [1, 5, 100] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = PageRequest {
                    tree: "jobs",
                    prefix: prefix.as_bytes(),
                    after: after.as_deref(),
                    order,
                    limit,
                };
                let page = index.page(&page).expect("page");
                found.extend(page.entries.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{prefix} {order:?} {limit}");
        }
    }
    // Cursors from elsewhere neither panic nor leave the prefix.
    for after in [&b""[..], b"a", b"m0/", b"m1/001", b"z", &[255, 255, 255]] {
        for order in [Order::Ascending, Order::Descending] {
            let page = PageRequest { tree: "jobs", prefix: b"m0/", after: Some(after), order, limit: 50 };
            let page = index.page(&page).expect("page");
            assert!(page.entries.iter().all(|(key, _)| key.starts_with(b"m0/")), "{after:?} {order:?}");
        }
    }
    assert_eq!(index.page(&request("jobs", &[255], None, 5)).expect("page").entries.len(), 1);
    assert_eq!(index.page(&request("none", b"", None, 5)).expect("page").entries.len(), 0);
}

#[test]
fn index_in_use_is_not_taken_for_damaged() {
    let root = tempfile::tempdir().expect("root");
    let folder = root.path().join("index");
    let mut writer = open(&folder);
    writer.apply(1, vec![put("jobs", "a", b"1")]).expect("apply");
    let error = Index::open(&folder, &command()).expect_err("in use");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
    drop(writer);
    assert_eq!(open(&folder).applied_sequence(), 1);
}
