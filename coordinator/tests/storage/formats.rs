//! The stored formats, pinned by committed files. `golden/` was written by another program from the descriptions in
//! `journal/frame.rs` and `snapshot/format.rs`. Never change these files: a new format gets a new version and new files.

use std::path::Path;
use std::sync::Arc;

use assay_coordinator::disk::{CrashDisk, Disk, SyncSite};
use assay_coordinator::journal::{Journal, JournalConfig};
use assay_coordinator::snapshot::Snapshots;

const JOURNAL: &[u8] = include_bytes!("golden/journal-v1.bin");
const SNAPSHOT: &[u8] = include_bytes!("golden/snapshot-v1.bin");
const JOURNAL_NAME: &str = "/journal/00000000000000000001.journal";
const SNAPSHOT_NAME: &str = "/snapshots/00000000000000000006.snapshot";

fn batches() -> Vec<Vec<Vec<u8>>> {
    vec![
        vec![b"first".to_vec(), Vec::new()],
        vec![(0..=255).collect()],
        vec!["dritter — third".as_bytes().to_vec(), vec![b'x'; 1000], vec![0]],
    ]
}

fn disk_with(folder: &str, name: &str, bytes: &[u8]) -> Arc<dyn Disk> {
    let disk = CrashDisk::new();
    disk.create_folder(Path::new(folder)).expect("folder");
    let mut file = disk.create(Path::new(name)).expect("create");
    file.append(bytes).expect("append");
    file.sync(SyncSite::JournalBatch).expect("sync");
    Arc::new(disk)
}

#[test]
fn journal_of_version_1_is_read() {
    let disk = disk_with("/journal", JOURNAL_NAME, JOURNAL);
    let journal = Journal::open(disk, Path::new("/journal"), JournalConfig::default(), 0, 6).expect("open");
    let records: Vec<Vec<u8>> = journal.read_from(1).map(|record| record.expect("record").bytes).collect();
    assert_eq!(records, batches().concat());
    assert_eq!((journal.last_sequence(), journal.cut_tail()), (6, None));
}

#[test]
fn journal_is_written_as_version_1() {
    let disk: Arc<dyn Disk> = Arc::new(CrashDisk::new());
    let mut journal = Journal::open(Arc::clone(&disk), Path::new("/journal"), JournalConfig::default(), 0, 0)
        .expect("open");
    for batch in batches() {
        journal.append(&batch).expect("append");
    }
    assert_eq!(disk.read(Path::new(JOURNAL_NAME)).expect("read"), JOURNAL);
}

#[test]
fn snapshot_of_version_1_is_read_and_written() {
    let disk = disk_with("/snapshots", SNAPSHOT_NAME, SNAPSHOT);
    let (_, loaded) = Snapshots::open(disk, Path::new("/snapshots")).expect("open");
    let snapshot = loaded.snapshot.expect("a snapshot");
    assert_eq!((snapshot.sequence, &snapshot.state[..]), (6, &b"a small state"[..]));

    let disk: Arc<dyn Disk> = Arc::new(CrashDisk::new());
    let (mut snapshots, _) = Snapshots::open(Arc::clone(&disk), Path::new("/snapshots")).expect("open");
    snapshots.write(6, b"a small state").expect("write");
    assert_eq!(disk.read(Path::new(SNAPSHOT_NAME)).expect("read"), SNAPSHOT);
}
