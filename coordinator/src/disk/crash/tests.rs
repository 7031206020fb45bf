//! The simulation keeps what was synced and can lose what was not.

use super::*;

fn survives(
    prepare: impl Fn(&CrashDisk) -> io::Result<()>,
    kept: impl Fn(&CrashDisk) -> bool,
) -> (usize, usize) {
    let outcomes = (0..200).map(|seed| {
        let disk = CrashDisk::new();
        prepare(&disk).expect("prepare");
        kept(&disk.power_cut(seed))
    });
    outcomes.fold((0, 0), |(yes, no), kept| if kept { (yes + 1, no) } else { (yes, no + 1) })
}

#[test]
fn synced_file_with_synced_name_always_survives() {
    let prepare = |disk: &CrashDisk| {
        let mut file = disk.create(Path::new("/a"))?;
        file.append(b"hello")?;
        file.sync(SyncSite::JournalBatch)?;
        disk.sync_folder(Path::new("/"), SyncSite::JournalSegmentEntry)
    };
    let (_, lost) = survives(prepare, |disk| disk.read(Path::new("/a")).is_ok_and(|bytes| bytes == b"hello"));
    assert_eq!(lost, 0);
}

#[test]
fn unsynced_data_names_and_renames_are_sometimes_lost_and_sometimes_kept() {
    let data = survives(
        |disk| {
            disk.create(Path::new("/a"))?.append(&[7; 2000])?;
            disk.sync_folder(Path::new("/"), SyncSite::JournalSegmentEntry)
        },
        |disk| disk.read(Path::new("/a")).is_ok_and(|bytes| bytes == [7; 2000]),
    );
    let name = survives(
        |disk| disk.create(Path::new("/a"))?.sync(SyncSite::JournalBatch),
        |disk| disk.open(Path::new("/a")).is_ok(),
    );
    let rename = survives(
        |disk| {
            disk.create(Path::new("/a"))?;
            disk.sync_folder(Path::new("/"), SyncSite::JournalSegmentEntry)?;
            disk.rename(Path::new("/a"), Path::new("/b"))
        },
        |disk| disk.open(Path::new("/b")).is_ok() && disk.open(Path::new("/a")).is_err(),
    );
    for (kept, lost) in [data, name, rename] {
        assert!(kept > 10 && lost > 10, "kept {kept}, lost {lost}");
    }
}

#[test]
fn failed_sync_is_not_made_good_by_a_later_one() {
    let prepare = |disk: &CrashDisk| {
        let mut file = disk.create(Path::new("/a"))?;
        disk.sync_folder(Path::new("/"), SyncSite::JournalSegmentEntry)?;
        file.append(b"hello")?;
        disk.inject(Fault::Sync { after: 0, kind: io::ErrorKind::Other });
        assert!(file.sync(SyncSite::JournalBatch).is_err());
        file.sync(SyncSite::JournalBatch)
    };
    let (_, lost) = survives(prepare, |disk| disk.read(Path::new("/a")).is_ok_and(|bytes| bytes == b"hello"));
    assert!(lost > 10, "lost {lost}");
}

#[test]
fn handles_of_a_killed_process_are_dead_and_the_cache_stays() {
    let disk = CrashDisk::new();
    let mut file = disk.create(Path::new("/a")).expect("create");
    let lock = disk.try_lock(Path::new("/lock")).expect("lock");
    assert!(lock.is_some() && disk.try_lock(Path::new("/lock")).expect("second").is_none());
    file.append(b"x").expect("append");
    let next = disk.kill();
    assert!(file.append(b"y").is_err());
    assert_eq!(next.read(Path::new("/a")).expect("read"), b"x");
    assert!(next.try_lock(Path::new("/lock")).expect("lock").is_some());
}
