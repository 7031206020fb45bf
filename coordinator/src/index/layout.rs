//! How entries lie in the store: one sled tree holds all of ours, so that one batch of sled's covers them all.
//!
//! Stored keys: `TREE 0 KEY` for an entry, `1 TREE 0 length-of-KEY-u16 KEY number-u32` (big-endian) for a part of a large
//! value, `2 meta` for what the index knows of itself. Stored values: tag byte, CRC32C u32 (little-endian) over stored
//! key, tag and the rest, then the rest. Values over `PART_BYTES` are split: sled leaks space with values over about
//! 128 KiB, and stays well-behaved only below 8 KiB.

use super::IndexError;

/// Of one stored value, without tag and CRC; so that all is under 8 KiB.
pub(super) const PART_BYTES: usize = 8000;
/// The longest key of an entry.
pub const KEY_MAX_BYTES: usize = 512;
/// The largest value of an entry; it is split into parts of under 8 KiB.
pub const VALUE_MAX_BYTES: usize = 4 << 20;
pub(super) const META_KEY: &[u8] = b"\x02meta";

const TAG_WHOLE: u8 = 1;
const TAG_SPLIT: u8 = 2;
const TAG_PART: u8 = 3;
/// Of builds that know no groups of jobs: they must not read an index of ours.
const TAG_META_1: u8 = 4;
const TAG_META: u8 = 5;
const HEAD_BYTES: usize = 5;

/// What an entry's stored value says.
pub(super) enum Entry<'a> {
    Whole(&'a [u8]),
    Split { value_bytes: usize, value_crc: u32 },
}

/// What the index knows of itself, updated in the same batch as the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) applied_sequence: u64,
    /// Stored pairs besides this one.
    pub(super) pairs: u64,
    /// The sum of the stored pairs' hashes: a pair that silently vanished changes it.
    pub(super) hash_sum: u64,
}

pub(super) fn entry_key(tree: &str, key: &[u8]) -> Vec<u8> {
    [tree.as_bytes(), b"\0", key].concat()
}

pub(super) fn part_key(tree: &str, key: &[u8], number: usize) -> Vec<u8> {
    let length = (key.len() as u16).to_be_bytes();
    [b"\x01", tree.as_bytes(), b"\0", &length[..], key, &(number as u32).to_be_bytes()].concat()
}

pub(super) fn part_count(value_bytes: usize) -> usize {
    value_bytes.div_ceil(PART_BYTES)
}

/// The stored pairs of an entry.
pub(super) fn encode_entry(tree: &str, key: &[u8], value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let stored_key = entry_key(tree, key);
    if value.len() <= PART_BYTES {
        let stored = seal(&stored_key, TAG_WHOLE, value);
        return vec![(stored_key, stored)];
    }
    let mut head = (value.len() as u32).to_le_bytes().to_vec();
    head.extend_from_slice(&crc32c::crc32c(value).to_le_bytes());
    let stored = seal(&stored_key, TAG_SPLIT, &head);
    let mut pairs = vec![(stored_key, stored)];
    for (number, part) in value.chunks(PART_BYTES).enumerate() {
        let stored_key = part_key(tree, key, number);
        let stored = seal(&stored_key, TAG_PART, part);
        pairs.push((stored_key, stored));
    }
    pairs
}

pub(super) fn decode_entry<'a>(stored_key: &[u8], stored: &'a [u8]) -> Result<Entry<'a>, &'static str> {
    match unseal(stored_key, stored)? {
        (TAG_WHOLE, value) => Ok(Entry::Whole(value)),
        (TAG_SPLIT, head) => match (number(head, 0, 4), number(head, 4, 4)) {
            (Some(bytes), Some(crc)) => {
                Ok(Entry::Split { value_bytes: bytes as usize, value_crc: crc as u32 })
            }
            _ => Err("its head is too short"),
        },
        _ => Err("its tag is unknown"),
    }
}

pub(super) fn decode_part<'a>(stored_key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], &'static str> {
    match unseal(stored_key, stored)? {
        (TAG_PART, part) => Ok(part),
        _ => Err("its tag is not that of a part"),
    }
}

pub(super) fn encode_meta(meta: Meta) -> Vec<u8> {
    let numbers = [meta.applied_sequence, meta.pairs, meta.hash_sum];
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    seal(META_KEY, TAG_META, &bytes)
}

pub(super) fn decode_meta(stored: &[u8]) -> Result<Meta, &'static str> {
    match unseal(META_KEY, stored)? {
        (TAG_META | TAG_META_1, rest) => {
            match (number(rest, 0, 8), number(rest, 8, 8), number(rest, 16, 8)) {
                (Some(applied_sequence), Some(pairs), Some(hash_sum)) => {
                    Ok(Meta { applied_sequence, pairs, hash_sum })
                }
                _ => Err("the index's own record is too short"),
            }
        }
        _ => Err("the index's own record has another tag"),
    }
}

/// Checks a stored pair of any kind.
pub(super) fn check_pair(stored_key: &[u8], stored: &[u8]) -> Result<(), &'static str> {
    unseal(stored_key, stored).map(|_| ())
}

/// A stored pair's hash, spread over 64 bits so that sums of many do not cancel out.
pub(super) fn pair_hash(stored_key: &[u8], stored: &[u8]) -> u64 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(stored_key), stored);
    let mut mixed = u64::from(crc).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

pub(super) fn check_sizes(tree: &str, key: &[u8], value_bytes: usize) -> Result<(), IndexError> {
    if key.is_empty() || key.len() > KEY_MAX_BYTES {
        return Err(IndexError::KeyLength {
            tree: tree.to_owned(),
            bytes: key.len(),
            limit_bytes: KEY_MAX_BYTES,
        });
    }
    if value_bytes > VALUE_MAX_BYTES {
        let limit_bytes = VALUE_MAX_BYTES;
        return Err(IndexError::ValueTooLarge { tree: tree.to_owned(), bytes: value_bytes, limit_bytes });
    }
    Ok(())
}

fn seal(stored_key: &[u8], tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEAD_BYTES + rest.len());
    stored.push(tag);
    stored.extend_from_slice(&crc(stored_key, tag, rest).to_le_bytes());
    stored.extend_from_slice(rest);
    stored
}

fn unseal<'a>(stored_key: &[u8], stored: &'a [u8]) -> Result<(u8, &'a [u8]), &'static str> {
    let Some((head, rest)) = stored.split_at_checked(HEAD_BYTES) else { return Err("it is too short") };
    if number(head, 1, 4) != Some(u64::from(crc(stored_key, head[0], rest))) {
        return Err("its checksum is wrong");
    }
    Ok((head[0], rest))
}

fn crc(stored_key: &[u8], tag: u8, rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(stored_key), &[tag]), rest)
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + width)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_an_earlier_build_is_read_and_its_build_does_not_read_ours() {
        let meta = Meta { applied_sequence: 1, pairs: 2, hash_sum: 3 };
        let numbers = [1_u64, 2, 3].map(u64::to_le_bytes).concat();
        assert_eq!(decode_meta(&seal(META_KEY, TAG_META_1, &numbers)), Ok(meta));
        assert_eq!(decode_meta(&encode_meta(meta)), Ok(meta));
        assert_ne!(encode_meta(meta)[0], TAG_META_1);
        assert!(decode_meta(&seal(META_KEY, TAG_META + 1, &numbers)).is_err());
    }
}
