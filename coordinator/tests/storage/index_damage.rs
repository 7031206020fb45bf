//! The index with its files cut, flipped, emptied or gone: noticed at opening, and rebuilt to the same contents.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_coordinator::index::{Index, IndexOpen, IndexWriter, Order, PageRequest, ProbeCommand};
use tempfile::TempDir;

use crate::index::{command, open, put};
use crate::random::Random;

const BATCHES: u64 = 160;
const BATCH_RECORDS: u64 = 50;

fn key(sequence: u64, record: u64) -> String {
    // Not in the order of writing, so that pages are rewritten, as with digests.
    format!("{:016x}", (sequence * BATCH_RECORDS + record).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn value(sequence: u64, record: u64) -> Vec<u8> {
    Random(sequence << 32 | record).bytes(400)
}

fn apply(writer: &mut IndexWriter, sequence: u64) {
    let changes =
        (0..BATCH_RECORDS).map(|record| put("jobs", &key(sequence, record), &value(sequence, record)));
    writer.apply(sequence, changes.collect()).expect("apply");
}

/// Writes a store in a process of its own, which ends without closing it. Its folder is the last argument; in an
/// ordinary run there is none.
#[test]
fn killed_child() {
    let arguments: Vec<String> = std::env::args().collect();
    let is_child = arguments.iter().any(|argument| argument == "--nocapture");
    if let Some(folder) = arguments.last().map(Path::new).filter(|folder| is_child && folder.is_dir()) {
        let mut writer = open(&folder.join("index"));
        (1..=BATCHES).for_each(|sequence| apply(&mut writer, sequence));
        writer.flush().expect("flush");
        std::process::exit(0);
    }
}

/// A store as a killed process leaves it, all of its writes in the files.
fn killed() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().expect("root");
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
    let child =
        child.args(["index_damage::killed_child", "--exact", "--nocapture"]).arg(root.path()).output();
    assert!(child.expect("child").status.success());
    let folder = root.path().join("index");
    assert!(fs::metadata(folder.join("db")).expect("db").len() > 3 << 20);
    (root, folder)
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("list") {
        let path = entry.expect("entry").path();
        let target = to.join(path.file_name().expect("name"));
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => drop(fs::copy(&path, target).expect("copy")),
        }
    }
}

fn contents(writer: &IndexWriter) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let request = PageRequest {
            tree: "jobs",
            prefix: b"",
            after: after.as_deref(),
            order: Order::Ascending,
            limit: 1000,
        };
        let page = writer.reader().page(&request).expect("page");
        found.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

fn expected(applied: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let all = (1..=applied).flat_map(|sequence| (0..BATCH_RECORDS).map(move |record| (sequence, record)));
    all.map(|(sequence, record)| (key(sequence, record).into_bytes(), value(sequence, record))).collect()
}

/// What the coordinator does: damaged is set aside; behind catches up from the journal. Answers what was found.
fn recover(folder: &Path) -> String {
    let mut found = String::new();
    let mut writer = match Index::open(folder, &command()).expect("open") {
        IndexOpen::Opened { writer, applied_sequence } => {
            found.push_str(&format!("opened at {applied_sequence}"));
            assert_eq!(
                contents(&writer),
                expected(applied_sequence),
                "an index opened with other contents than it claims"
            );
            writer
        }
        IndexOpen::Damaged { reason } => {
            found.push_str(&format!("damaged: {reason}"));
            let aside = Index::set_aside(folder).expect("set aside");
            assert!(aside.is_dir() && !folder.exists());
            open(folder)
        }
    };
    for sequence in writer.applied_sequence() + 1..=BATCHES {
        apply(&mut writer, sequence);
    }
    assert_eq!(contents(&writer), expected(BATCHES));
    found
}

fn with_damage(damage: impl FnOnce(&Path)) -> String {
    let (_root, folder) = killed();
    damage(&folder);
    recover(&folder)
}

fn cut(folder: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(folder.join("db")).expect("db");
    let length = file.metadata().expect("metadata").len();
    file.set_len(length.saturating_sub(bytes)).expect("cut");
}

#[test]
fn whole_index_of_a_killed_process_is_used() {
    assert_eq!(with_damage(|_| {}), format!("opened at {BATCHES}"));
}

#[test]
fn cut_file_is_noticed_or_consistently_behind_and_rebuilt() {
    for bytes in [100 << 10, 512 << 10, 1 << 20, u64::MAX] {
        let found = with_damage(|folder| cut(folder, bytes));
        println!("cut by {bytes}: {found}");
        // How much of the end of the file is in use is sled's affair; without any of it nothing is left.
        assert!(bytes < u64::MAX || found != format!("opened at {BATCHES}"), "{found}");
    }
}

#[test]
fn zeroed_tail_missing_file_and_missing_folder_are_rebuilt() {
    let found = with_damage(|folder| {
        let mut bytes = fs::read(folder.join("db")).expect("read");
        let tail = bytes.len() - (1 << 20);
        bytes[tail..].fill(0);
        fs::write(folder.join("db"), bytes).expect("write");
    });
    println!("zeroed tail: {found}");
    let found = with_damage(|folder| fs::remove_file(folder.join("db")).expect("remove"));
    println!("missing file: {found}");
    assert_ne!(found, format!("opened at {BATCHES}"));
    assert_eq!(with_damage(|folder| fs::remove_dir_all(folder).expect("remove")), "opened at 0");
}

#[test]
fn empty_snapshot_of_sled_is_noticed() {
    let found = with_damage(|folder| fs::write(folder.join("snap.FFFFFFFFFFFFFFFF"), b"").expect("write"));
    println!("empty snapshot: {found}");
    assert!(found.starts_with("damaged: "), "{found}");
}

#[test]
fn flipped_bits_are_noticed_or_harmless() {
    let (root, folder) = killed();
    let whole = fs::read(folder.join("db")).expect("read");
    let mut random = Random(1);
    for round in 0..8 {
        let copy = root.path().join(format!("round-{round}"));
        copy_folder(&folder, &copy);
        let mut bytes = whole.clone();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        fs::write(copy.join("db"), bytes).expect("write");
        println!("bit at {at}: {}", recover(&copy));
    }
}

/// With some damage sled never comes back; the child is killed at its deadline.
#[test]
fn child_that_hangs_dies_or_chatters_means_damage() {
    let (_root, folder) = killed();
    let shell = |script: &str, deadline| ProbeCommand {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        deadline,
    };
    let (short, long) = (Duration::from_millis(300), Duration::from_secs(60));
    for (command, expected) in [
        (shell("exec cat </dev/null", long), "ended the process"),
        (shell("exec cat /dev/zero >/dev/null", long), "signal: 9"),
        (shell("exec tail -f /dev/null", short), "gave no answer within 0.3 s"),
        (shell("echo something went wrong >&2; exit 3", long), "exit status: 3, something went wrong"),
        (shell("kill -9 $$", long), "signal: 9"),
        (shell("echo hello", long), "ended the process: exit status: 0"),
        (shell("echo assay-index-probe damaged by a test", long), "by a test"),
        (shell("echo assay-index-probe ok 1 2 3", long), "after its check found"),
    ] {
        let IndexOpen::Damaged { reason } = Index::open(&folder, &command).expect("open") else {
            panic!("opened")
        };
        assert!(reason.contains(expected), "{reason}");
    }
    let nothing = ProbeCommand { program: "/nonexistent".into(), arguments: Vec::new(), deadline: long };
    assert!(Index::open(&folder, &nothing).is_err());
}
