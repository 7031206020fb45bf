//! What was acknowledged survives every crash, and every single sync call is needed for that.

use std::path::Path;

use assay_coordinator::disk::SyncSite;

use crate::world::{self, Tally};

const SEEDS: u64 = 4000;
const SEEDS_LONG: u64 = 100_000;
/// A left-out sync must be found within this many histories.
const SEEDS_FOR_A_MUTANT: u64 = 4000;

#[test]
fn nothing_acknowledged_is_lost_in_thousands_of_histories() {
    let mut total = Tally::default();
    for seed in 0..assay_tests::repeats(SEEDS, SEEDS_LONG) {
        let tally = world::run(seed, None).unwrap_or_else(|violation| panic!("{violation}"));
        total.batches += tally.batches;
        total.snapshots += tally.snapshots;
        total.objects += tally.objects;
        total.segments_removed += tally.segments_removed;
        total.recovered_in_flight += tally.recovered_in_flight;
        total.lost_in_flight += tally.lost_in_flight;
    }
    println!("{total:?}");
    // The histories must reach what they are about.
    assert!(total.batches > 10_000 && total.snapshots > 5_000 && total.objects > 3_000, "{total:?}");
    assert!(total.segments_removed > 1_000, "{total:?}");
    assert!(total.recovered_in_flight > 100 && total.lost_in_flight > 100, "{total:?}");
}

#[test]
fn leaving_out_any_one_sync_call_loses_something() {
    for site in SyncSite::ALL {
        let found = (0..SEEDS_FOR_A_MUTANT).find_map(|seed| world::run(seed, Some(site)).err());
        match found {
            Some(violation) => println!("without {site:?}: {violation}"),
            None => panic!("no history of {SEEDS_FOR_A_MUTANT} shows that {site:?} is needed"),
        }
    }
}

#[test]
fn every_sync_call_has_its_own_site() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut source = String::new();
    read_sources(&root, &mut source);
    for site in SyncSite::ALL {
        let name = format!("SyncSite::{site:?}");
        let calls = source.matches(&format!("{name})")).count();
        assert_eq!(calls, 1, "{name} must name exactly one sync call");
    }
    let calls = source.matches("SyncSite::").count() - source.matches("        SyncSite::").count();
    assert_eq!(calls, SyncSite::ALL.len(), "a sync call names a site that is not in SyncSite::ALL");
}

fn read_sources(folder: &Path, source: &mut String) {
    for entry in std::fs::read_dir(folder).expect("list") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            // The disks themselves make no calls.
            if path.file_name().is_some_and(|name| name != "disk") {
                read_sources(&path, source);
            }
        } else {
            source.push_str(&std::fs::read_to_string(&path).expect("read"));
        }
    }
}
