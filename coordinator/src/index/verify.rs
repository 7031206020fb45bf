//! Reading an index whole, on all processors: every stored pair is looked at, and all of them compared with what the index knows of
//! itself.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::layout::{self, META_KEY, Meta};
use super::read_meta;

/// At least so many ranges, if there are so many keys: a thread that is done takes the next.
const RANGES: usize = 64;
/// What keys have in common is looked through so far.
const DEPTH_MAX: usize = 48;

/// What the index holds, or how that differs from what it should hold.
pub(super) fn verify(store: &sled::Db) -> Result<Meta, String> {
    let known = read_meta(store)?.unwrap_or_default();
    let (starts, next) = (starts(store)?, AtomicUsize::new(0));
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let read = || read_ranges(store, &starts, &next);
    let parts = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
        let ended = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("reading it panicked".to_owned())));
        ended.collect::<Result<Vec<Meta>, String>>()
    })?;
    let mut found = Meta { applied_sequence: known.applied_sequence, ..Meta::default() };
    for part in parts {
        found.pairs += part.pairs;
        found.hash_sum = found.hash_sum.wrapping_add(part.hash_sum);
    }
    if found != known {
        return Err(format!(
            "it holds {} stored pairs with sum {:x}, but should hold {} with sum {:x}",
            found.pairs, found.hash_sum, known.pairs, known.hash_sum
        ));
    }
    Ok(found)
}

/// The pairs of the ranges that no other thread has taken.
fn read_ranges(store: &sled::Db, starts: &[Vec<u8>], next: &AtomicUsize) -> Result<Meta, String> {
    let mut found = Meta::default();
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some(from) = starts.get(place) else { return Ok(found) };
        let pairs = match starts.get(place + 1) {
            Some(to) => store.range(from.as_slice()..to.as_slice()),
            None => store.range(from.as_slice()..),
        };
        for pair in pairs {
            let (key, stored) = pair.map_err(|error| error.to_string())?;
            if key == META_KEY {
                continue;
            }
            layout::check_pair(&key, &stored)
                .map_err(|reason| format!("entry {}: {reason}", key.escape_ascii()))?;
            found.pairs += 1;
            found.hash_sum = found.hash_sum.wrapping_add(layout::pair_hash(&key, &stored));
        }
    }
}

/// Where the ranges begin, in order; the first with the first key. Any would do: these are beginnings that keys have.
fn starts(store: &sled::Db) -> Result<Vec<Vec<u8>>, String> {
    let mut starts = vec![Vec::new()];
    for _ in 0..DEPTH_MAX {
        if starts.len() >= RANGES {
            break;
        }
        let longer = starts.iter().map(|start| one_longer(store, start)).collect::<Result<Vec<_>, _>>()?;
        starts = longer.concat();
    }
    // No key is before the first range.
    if let Some(first) = starts.first_mut() {
        first.clear();
    }
    Ok(starts)
}

/// The beginnings, one byte longer, that keys with this beginning have; itself if none is longer.
fn one_longer(store: &sled::Db, start: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let (mut found, mut from) = (Vec::new(), start.to_vec());
    while let Some(pair) = store.range(from.as_slice()..).next() {
        let (key, _) = pair.map_err(|error| error.to_string())?;
        if !key.starts_with(start) {
            break;
        }
        from.truncate(start.len());
        match key.get(start.len()) {
            None => from.push(0),
            Some(byte) => {
                found.push([start, &[*byte]].concat());
                let Some(after) = byte.checked_add(1) else { break };
                from.push(after);
            }
        }
    }
    if found.is_empty() {
        found.push(start.to_vec());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_in_one_range_whatever_keys_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let store = sled::open(folder.path()).unwrap();
        assert_eq!(starts(&store).unwrap(), [b""]);
        let mut keys: Vec<Vec<u8>> =
            vec![vec![0], vec![255], vec![255, 255], b"jobs".to_vec(), b"jobs\0".to_vec()];
        keys.extend((0..3_000_u32).map(|number| {
            [b"jobs\0m-", number.wrapping_mul(2_654_435_761).to_be_bytes().as_slice()].concat()
        }));
        for key in &keys {
            store.insert(key, b"value").unwrap();
        }
        let starts = starts(&store).unwrap();
        assert!(starts.len() >= RANGES && starts.is_sorted(), "{starts:?}");
        let mut found = Vec::new();
        for (place, from) in starts.iter().enumerate() {
            let to = starts.get(place + 1).map_or(&[255; 9][..], Vec::as_slice);
            found.extend(store.range(from.as_slice()..to).keys().map(|key| key.unwrap().to_vec()));
        }
        keys.sort();
        assert_eq!(found, keys);
    }
}
