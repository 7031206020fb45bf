//! Snapshots that are bad, empty, missing or could not be written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_coordinator::disk::{CrashDisk, Disk, Fault, RealDisk};
use assay_coordinator::journal::{Journal, JournalConfig, JournalError};
use assay_coordinator::snapshot::{Loaded, SnapshotError, Snapshots};
use tempfile::TempDir;

fn open(folder: &Path) -> (Snapshots, Loaded) {
    Snapshots::open(Arc::new(RealDisk), folder).expect("open")
}

fn state(sequence: u64) -> Vec<u8> {
    // More than two blocks.
    format!("state at {sequence} ").into_bytes().repeat(200_000)
}

fn file(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{sequence:020}.snapshot"))
}

fn written() -> TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let (mut snapshots, loaded) = open(folder.path());
    assert!(loaded.snapshot.is_none() && loaded.proven_sequence == 0);
    for sequence in [10, 20, 30] {
        snapshots.write(sequence, &state(sequence)).expect("write");
    }
    assert_eq!(snapshots.removable_through(), Some(20));
    folder
}

#[test]
fn two_are_kept_and_the_newest_is_loaded() {
    let folder = written();
    let names = RealDisk.list(folder.path()).expect("list");
    assert_eq!(names, ["00000000000000000020.snapshot", "00000000000000000030.snapshot", "lock"]);
    let (snapshots, loaded) = open(folder.path());
    let snapshot = loaded.snapshot.expect("a snapshot");
    assert_eq!((snapshot.sequence, snapshot.state), (30, state(30)));
    // Until this process has synced the folder, its names may still be lost: nothing may be removed yet.
    assert_eq!(snapshots.removable_through(), None);
}

#[test]
fn bad_newest_falls_back_to_the_older_and_is_named() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(Damage, &str); 8] = [
        (|bytes| bytes.clear(), "too few for a header"),
        (|bytes| bytes.truncate(30), "too few for a header"),
        (|bytes| bytes.truncate(2_000_000), "it ends in block 1"),
        (|bytes| bytes[20] ^= 1, "the header's checksum is wrong"),
        (|bytes| bytes[1_500_000] ^= 1, "the checksum of block 1 is wrong"),
        (|bytes| bytes.fill(0), "the header's checksum is wrong"),
        (|bytes| bytes.push(0), "1 bytes follow its end"),
        (
            |bytes| {
                let block = 4 + (1 << 20);
                let (first, second) = (36..36 + block, 36 + block..36 + 2 * block);
                let copy = bytes[second].to_vec();
                bytes[first].copy_from_slice(&copy);
            },
            "the checksum of block 0 is wrong",
        ),
    ];
    for (damage, reason) in damages {
        let folder = written();
        let newest = file(folder.path(), 30);
        let mut bytes = fs::read(&newest).expect("read");
        damage(&mut bytes);
        fs::write(&newest, bytes).expect("write");
        let (mut snapshots, loaded) = open(folder.path());
        assert_eq!(loaded.snapshot.expect("a snapshot").sequence, 20);
        assert_eq!(loaded.proven_sequence, 30);
        assert_eq!(loaded.bad.len(), 1);
        assert_eq!(loaded.bad[0].path, newest);
        assert!(loaded.bad[0].reason.contains(reason), "{}", loaded.bad[0].reason);
        // The next one takes the bad one's place among the two kept.
        snapshots.write(40, &state(40)).expect("write");
        assert_eq!(snapshots.removable_through(), Some(20));
        assert!(!newest.exists() && file(folder.path(), 20).exists());
    }
}

#[test]
fn snapshot_under_another_name_is_bad() {
    let folder = written();
    fs::rename(file(folder.path(), 30), file(folder.path(), 50)).expect("rename");
    let (_, loaded) = open(folder.path());
    assert_eq!(loaded.bad[0].reason, "its header says sequence 30, its name says 50");
    assert_eq!(loaded.snapshot.expect("a snapshot").sequence, 20);
}

#[test]
fn without_any_good_snapshot_the_journal_says_what_is_missing() {
    let folder = written();
    for sequence in [20, 30] {
        fs::write(file(folder.path(), sequence), b"").expect("write");
    }
    let (_, loaded) = open(folder.path());
    assert!(loaded.snapshot.is_none());
    assert_eq!((loaded.bad.len(), loaded.proven_sequence), (2, 30));
    let journal_folder = folder.path().join("journal");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let config = JournalConfig::default();
    drop(Journal::create_after(Arc::clone(&disk), &journal_folder, config, 20).expect("create"));
    let error = Journal::open(disk, &journal_folder, config, 0, loaded.proven_sequence).expect_err("refused");
    assert!(matches!(error, JournalError::Missing { sequence: 1, next_sequence: 21, .. }));
    assert!(
        error
            .to_string()
            .contains("a snapshot at 20 or later from a copy, or a backup with `assay admin restore`"),
        "{error}"
    );
}

#[test]
fn only_newer_ones_are_taken_and_a_repeat_is_success() {
    let folder = written();
    let (mut snapshots, _) = open(folder.path());
    snapshots.write(30, &state(30)).expect("repeat");
    let error = snapshots.write(25, &state(25)).expect_err("older");
    assert!(matches!(error, SnapshotError::NotNewer { sequence: 25, newest: 30 }));
    assert!(matches!(Snapshots::open(Arc::new(RealDisk), folder.path()), Err(SnapshotError::InUse { .. })));
}

#[test]
fn full_disk_leaves_the_old_ones_and_a_later_try_succeeds() {
    let disk = CrashDisk::new();
    let folder = Path::new("/snapshots");
    let (mut snapshots, _) = Snapshots::open(Arc::new(disk.clone()), folder).expect("open");
    snapshots.write(1, b"one").expect("write");
    for fault in [
        Fault::Write { after: 1, kind: io::ErrorKind::StorageFull },
        Fault::Sync { after: 0, kind: io::ErrorKind::Other },
    ] {
        disk.inject(fault);
        assert!(matches!(snapshots.write(2, b"two"), Err(SnapshotError::Io { .. })));
        assert_eq!(disk.list(folder).expect("list"), ["00000000000000000001.snapshot"]);
    }
    snapshots.write(2, b"two").expect("write");
    disk.inject(Fault::Sync { after: 1, kind: io::ErrorKind::Other });
    assert!(matches!(snapshots.write(3, b"three"), Err(SnapshotError::Poisoned { .. })));
    assert!(matches!(snapshots.write(4, b"four"), Err(SnapshotError::Poisoned { .. })));
}
