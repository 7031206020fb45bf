//! The journal on a real disk with damaged files, and on a failing one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_coordinator::disk::{CrashDisk, Disk, Fault, RealDisk};
use assay_coordinator::journal::{Journal, JournalConfig, JournalError, Look, Proof, Tail};
use tempfile::TempDir;

const LIMITS: JournalConfig =
    JournalConfig { segment_max_bytes: 400, batch_max_bytes: 4096, segments_kept: 1 };

/// A journal of 20 records in batches of 2, in several segments; answers the last segment too.
fn written() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let mut journal = open(folder.path(), 0, 0).expect("open");
    for batch in 0..10 {
        journal.append(&[record(2 * batch + 1), record(2 * batch + 2)]).expect("append");
    }
    let segments = segments(folder.path());
    assert!(segments.len() > 2, "{segments:?}");
    (folder, segments.last().expect("last").clone())
}

fn record(sequence: u64) -> Vec<u8> {
    format!("record {sequence} {}", "x".repeat(60)).into_bytes()
}

fn open(folder: &Path, snapshot: u64, known: u64) -> Result<Journal, JournalError> {
    Journal::open(Arc::new(RealDisk), folder, LIMITS, snapshot, known)
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let names = RealDisk.list(folder).expect("list");
    names.into_iter().filter(|name| name.ends_with(".journal")).map(|name| folder.join(name)).collect()
}

fn edit(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("read");
    edit(&mut bytes);
    fs::write(path, bytes).expect("write");
}

fn sequences(journal: &Journal, from: u64) -> Vec<u64> {
    let records = journal.read_from(from).map(|found| {
        let found = found.expect("record");
        assert_eq!(found.bytes, record(found.sequence));
        found.sequence
    });
    records.collect()
}

#[test]
fn reopens_and_reads_from_any_sequence() {
    let (folder, _) = written();
    let mut journal = open(folder.path(), 0, 20).expect("open");
    for from in 0..=22 {
        assert_eq!(sequences(&journal, from), (from.max(1)..=20).collect::<Vec<_>>(), "from {from}");
    }
    assert_eq!(journal.append(&[record(21)]).expect("append"), 21);
    assert_eq!(journal.append(&[]).expect("append nothing"), 21);
    assert_eq!(sequences(&journal, 19), [19, 20, 21]);
}

#[test]
fn second_process_is_refused() {
    let (folder, _) = written();
    let _first = open(folder.path(), 0, 0).expect("open");
    assert!(matches!(open(folder.path(), 0, 0), Err(JournalError::InUse { .. })));
}

#[test]
fn every_torn_length_of_the_last_batch_is_cut_and_the_journal_goes_on() {
    let (folder, last) = written();
    let whole = fs::read(&last).expect("read");
    let batch_bytes = 20 + 2 * (4 + record(19).len());
    for length in whole.len() - batch_bytes..whole.len() {
        fs::write(&last, &whole[..length]).expect("write");
        let mut journal = open(folder.path(), 0, 18).expect("open");
        assert_eq!(journal.last_sequence(), 18);
        assert_eq!(journal.cut_tail().is_some(), length > whole.len() - batch_bytes);
        assert_eq!(journal.append(&[record(19), record(20)]).expect("append"), 20);
        drop(journal);
        assert_eq!(fs::read(&last).expect("read"), whole);
    }
}

#[test]
fn zeros_after_the_last_batch_are_cut() {
    let (folder, last) = written();
    edit(&last, |bytes| bytes.extend([0; 5000]));
    let journal = open(folder.path(), 0, 20).expect("open");
    assert_eq!(journal.cut_tail().expect("cut").cut_bytes, 5000);
    assert_eq!(sequences(&journal, 1).len(), 20);
}

#[test]
fn tail_that_was_durable_is_refused_with_both_named() {
    let (folder, last) = written();
    edit(&last, |bytes| bytes.truncate(bytes.len() - 1));
    let error = open(folder.path(), 0, 20).expect_err("refused");
    let text = error.to_string();
    assert!(matches!(
        error,
        JournalError::Damaged { sequence: 19, proof: Proof::Known { sequence: 20 }, .. }
    ));
    for part in [last.to_str().expect("path"), "sequence 19", "sequence 20 was durable", "restore the file"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    // Refusing changes nothing.
    assert_eq!(open(folder.path(), 0, 18).expect("open").last_sequence(), 18);
}

#[test]
fn flipped_bit_anywhere_in_the_last_segment_is_noticed() {
    let (folder, last) = written();
    let whole = fs::read(&last).expect("read");
    for at in 0..whole.len() {
        edit(&last, |bytes| bytes[at] ^= 1 << (at % 8));
        let outcome = open(folder.path(), 0, 20);
        let noticed = matches!(
            outcome,
            Err(JournalError::Damaged { .. } | JournalError::EndsEarly { .. } | JournalError::Version { .. })
        );
        assert!(noticed, "byte {at}: {outcome:?}");
        fs::write(&last, &whole).expect("write");
    }
}

#[test]
fn flipped_bit_before_an_intact_batch_is_no_torn_tail_even_if_nothing_else_knows() {
    let folder = tempfile::tempdir().expect("folder");
    let mut journal = open(folder.path(), 0, 0).expect("open");
    journal.append(&[record(1)]).expect("append");
    journal.append(&[record(2)]).expect("append");
    drop(journal);
    let first = segments(folder.path()).remove(0);
    edit(&first, |bytes| bytes[60] ^= 4);
    let error = open(folder.path(), 0, 0).expect_err("refused");
    assert!(matches!(
        error,
        JournalError::Damaged { sequence: 1, proof: Proof::LaterBatch { sequence: 2 }, .. }
    ));
}

#[test]
fn damage_in_an_earlier_segment_is_refused_when_it_is_read() {
    let (folder, _) = written();
    let first = segments(folder.path()).remove(0);
    for damage in [|bytes: &mut Vec<u8>| bytes[50] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(100)] {
        let whole = fs::read(&first).expect("read");
        edit(&first, damage);
        let journal = open(folder.path(), 0, 0).expect("open");
        let error = journal.read_from(1).find_map(Result::err).expect("an error");
        assert!(matches!(error, JournalError::Damaged { proof: Proof::LaterSegment { .. }, .. }), "{error}");
        // What comes after it can still be read, from a snapshot on.
        let second = segments(folder.path())[1].clone();
        let from: u64 =
            second.file_stem().and_then(|stem| stem.to_str()).expect("stem").parse().expect("number");
        assert_eq!(sequences(&journal, from).last(), Some(&20));
        drop(journal);
        fs::write(&first, whole).expect("write");
    }
}

#[test]
fn missing_segment_or_journal_is_refused() {
    let (folder, last) = written();
    let all = segments(folder.path());
    fs::rename(&all[1], folder.path().join("away")).expect("move");
    let journal = open(folder.path(), 0, 20).expect("open");
    assert!(matches!(journal.read_from(1).find_map(Result::err), Some(JournalError::Missing { .. })));
    drop(journal);
    fs::rename(folder.path().join("away"), &all[1]).expect("move back");

    fs::remove_file(&all[0]).expect("remove");
    assert!(matches!(open(folder.path(), 0, 20), Err(JournalError::Missing { sequence: 1, .. })));
    fs::remove_file(&last).expect("remove");
    assert!(matches!(open(folder.path(), 6, 20), Err(JournalError::EndsEarly { .. })));
    for segment in segments(folder.path()) {
        fs::remove_file(segment).expect("remove");
    }
    assert!(matches!(open(folder.path(), 6, 6), Err(JournalError::EndsEarly { last_sequence: 0, .. })));
    let mut fresh = Journal::create_after(Arc::new(RealDisk), folder.path(), LIMITS, 6).expect("create");
    assert_eq!(fresh.append(&[record(7)]).expect("append"), 7);
    drop(fresh);
    assert_eq!(sequences(&open(folder.path(), 6, 7).expect("open"), 7), [7]);
    let again = Journal::create_after(Arc::new(RealDisk), folder.path(), LIMITS, 6);
    assert!(matches!(again, Err(JournalError::NotEmpty { .. })));
}

#[test]
fn empty_or_renamed_or_newer_segment() {
    let (folder, last) = written();
    let whole = fs::read(&last).expect("read");
    let name = last.file_stem().and_then(|stem| stem.to_str()).expect("stem");
    let first: u64 = name.parse().expect("number");
    // As a crash leaves it before anything was acknowledged from it.
    for bytes in [&[][..], &whole[..10], &[0; 28]] {
        fs::write(&last, bytes).expect("write");
        assert_eq!(open(folder.path(), 0, first - 1).expect("open").last_sequence(), first - 1);
        fs::write(&last, bytes).expect("write");
        assert!(matches!(open(folder.path(), 0, first), Err(JournalError::Damaged { .. })));
    }
    fs::write(&last, &whole).expect("write");
    let renamed = folder.path().join(format!("{:020}.journal", first + 90));
    fs::rename(&last, &renamed).expect("rename");
    let error = open(folder.path(), 0, 0).expect_err("refused");
    assert!(error.to_string().contains("its name and its header disagree"), "{error}");
    fs::rename(&renamed, &last).expect("rename");

    edit(&last, |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..24]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    });
    assert!(matches!(open(folder.path(), 0, 0), Err(JournalError::Version { version: 2, .. })));
}

#[test]
fn segments_before_a_sequence_are_removed_and_the_one_in_use_stays() {
    let (folder, last) = written();
    let mut journal = open(folder.path(), 0, 20).expect("open");
    let all = segments(folder.path()).len();
    assert_eq!(journal.remove_through(2).expect("remove"), 0);
    assert!(journal.remove_through(10).expect("remove") > 0);
    assert_eq!(sequences(&journal, 11), (11..=20).collect::<Vec<_>>());
    assert!(matches!(journal.read_from(1).next(), Some(Err(JournalError::Missing { sequence: 1, .. }))));
    journal.remove_through(1000).expect("remove");
    assert_eq!(segments(folder.path()), [last]);
    assert!(all > 2);
    drop(journal);
    assert!(matches!(open(folder.path(), 2, 20), Err(JournalError::Missing { sequence: 3, .. })));
    assert_eq!(open(folder.path(), 20, 20).expect("open").last_sequence(), 20);
}

#[test]
fn batch_over_the_limit_writes_nothing_and_harms_nothing() {
    let (folder, _) = written();
    let mut journal = open(folder.path(), 0, 20).expect("open");
    let error = journal.append(&[vec![0; 5000]]).expect_err("too large");
    assert_eq!(
        error.to_string(),
        "batch of 5004 bytes is over batch_max_bytes = 4096: split it or raise the limit"
    );
    assert_eq!(journal.append(&[record(21)]).expect("append"), 21);
}

/// A full disk and a failing sync close the journal; what was acknowledged before is there at the next start.
#[test]
fn failed_write_or_sync_closes_the_journal_for_ever() {
    let full = Fault::Write { after: 3, kind: io::ErrorKind::StorageFull };
    let failing = Fault::Sync { after: 3, kind: io::ErrorKind::Other };
    for (fault, action) in [(full, "write of a batch"), (failing, "sync of a batch")] {
        let disk = CrashDisk::new();
        let folder = Path::new("/journal");
        let config = JournalConfig::default();
        let mut journal = Journal::open(Arc::new(disk.clone()), folder, config, 0, 0).expect("open");
        disk.inject(fault);
        for sequence in 1..=3 {
            assert_eq!(journal.append(&[record(sequence)]).expect("append"), sequence);
        }
        for _ in 0..3 {
            let error = journal.append(&[record(4)]).expect_err("closed");
            assert!(error.to_string().contains(action), "{error}");
            assert!(matches!(error, JournalError::Poisoned { .. }));
        }
        assert_eq!(journal.last_sequence(), 3);
        // The cache may still show the batch whose sync failed. What the next process takes from it must then be
        // durable for good, which another sync of the same file would not make it.
        let killed = disk.kill();
        let seen =
            Journal::open(Arc::new(killed.clone()), folder, config, 0, 3).expect("open").last_sequence();
        for seed in 0..50 {
            let after = killed.power_cut(seed);
            let journal = Journal::open(Arc::new(after.clone()), folder, config, 0, seen).expect("open");
            assert_eq!(sequences(&journal, 1), (1..=seen).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_tail_reads_each_record_once_through_segments_and_past_removed_ones() {
    let (folder, _) = written();
    let mut journal = open(folder.path(), 0, 0).expect("open");
    let mut tail = Tail::new(folder.path());
    let mut read = || {
        let mut found = Vec::new();
        loop {
            let next = tail.next(&RealDisk).expect("tail");
            if next.is_empty() {
                return found;
            }
            found.extend(next.into_iter().map(|record| record.sequence));
        }
    };
    assert_eq!(read(), (1..=20).collect::<Vec<_>>());
    assert_eq!(read(), Vec::<u64>::new());
    for sequence in 21..=40 {
        journal.append(&[record(sequence)]).expect("append");
        if sequence % 7 == 0 {
            assert_eq!(read().last(), Some(&sequence));
        }
    }
    assert_eq!(read().last(), Some(&40));
    journal.remove_through(39).expect("remove");
    journal.append(&[record(41)]).expect("append");
    assert_eq!(read(), [41]);
    // A new reader begins with what is left, and a batch in writing is not there yet.
    let last = segments(folder.path()).pop().expect("last");
    edit(&last, |bytes| bytes.extend([9, 0, 0, 0, 1]));
    let first = Tail::new(folder.path()).next(&RealDisk).expect("tail");
    assert!(first[0].sequence > 20 && first.last().map(|record| record.sequence) <= Some(41), "{first:?}");
}

#[test]
fn looking_changes_nothing_and_takes_what_is_whole_before_damage() {
    let (folder, last) = written();
    let _owner = open(folder.path(), 0, 0).expect("open");
    let before = fs::read(&last).expect("read");
    edit(&last, |bytes| bytes.extend([7; 11]));
    let look = Look::open(&RealDisk, folder.path()).expect("look");
    let sequences: Vec<u64> = (0..look.len())
        .flat_map(|place| {
            look.segment(&RealDisk, place).expect("whole").expect("there").records().collect::<Vec<_>>()
        })
        .map(|found| found.sequence)
        .collect();
    assert_eq!(sequences, (1..=20).collect::<Vec<_>>());
    let seen = look.segment(&RealDisk, look.len() - 1).expect("whole").expect("there");
    assert_eq!((seen.torn.expect("torn").cut_bytes, &seen.bytes), (11, &before));
    assert_eq!(fs::read(&last).expect("read").len(), before.len() + 11);

    let first = segments(folder.path()).remove(0);
    let batch_bytes = 20 + 2 * (4 + record(1).len());
    edit(&first, |bytes| bytes[28 + batch_bytes + 30] ^= 1);
    assert!(matches!(look.segment(&RealDisk, 0), Err(JournalError::Damaged { .. })));
    let intact = look.before_damage(&RealDisk, 0).expect("intact").expect("some");
    assert_eq!(intact.records().map(|found| found.sequence).collect::<Vec<_>>(), [1, 2]);
}
