//! What happens to a file on its way: bits flip, parts are lost, come twice or from another file, numbers are absurd.

use fastrand::Rng;
use serde_json::{Value, json};

/// Numbers at which readers change their mind.
const NUMBERS: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 53,
    1 << 62,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Pieces of JSON and Jinja.
const WORDS: [&str; 24] = [
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "-0.0",
    "\"\"",
    "{}",
    "[]",
    "[[[[",
    "}}",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "{% for",
    "{% endif %}",
    "{{ ",
    "%}",
    "{#",
    "range(99999999)",
    "| tojson",
    "{% generation %}",
    "{% macro m() %}",
    "'a' * 999999999",
];

/// One file of the corpus with a few damages.
pub(super) fn file(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..rng.usize(1..6) {
        damage(rng, &mut bytes, corpus);
    }
    bytes
}

fn damage(rng: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = place(rng, bytes.len());
    let end = (at + rng.usize(..64)).min(bytes.len());
    match rng.u8(..9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
        1 if at < bytes.len() => bytes[at] = rng.u8(..),
        2 => overwrite_number(rng, bytes, at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let twice = bytes[at..end].to_vec();
            splice(bytes, at, &twice);
        }
        5 if rng.u8(..4) == 0 => bytes.truncate(at),
        6 => splice(bytes, at, WORDS[rng.usize(..WORDS.len())].as_bytes()),
        7 => rewrite_digits(rng, bytes, at),
        _ => {
            let other = &corpus[rng.usize(..corpus.len())];
            let from = place(rng, other.len());
            let part = other[from..(from + rng.usize(..64)).min(other.len())].to_vec();
            splice(bytes, at, &part);
        }
    }
}

/// Anywhere, and as often near the start, where headers are.
fn place(rng: &mut Rng, length: usize) -> usize {
    let most = if rng.bool() { length } else { length.min(512) };
    rng.usize(..=most)
}

fn splice(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    bytes.splice(at..at, part.iter().copied());
}

fn overwrite_number(rng: &mut Rng, bytes: &mut [u8], at: usize) {
    let number = NUMBERS[rng.usize(..NUMBERS.len())].to_le_bytes();
    let width = [1, 2, 4, 8][rng.usize(..4)].min(bytes.len() - at);
    bytes[at..at + width].copy_from_slice(&number[..width]);
}

/// The next run of decimal digits becomes another number.
fn rewrite_digits(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else {
        return;
    };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = NUMBERS[rng.usize(..NUMBERS.len())].to_string();
    bytes.splice(start..start + length, number.bytes());
}

/// One object of the corpus with a few fields that hold something else, are gone, or are another object's.
pub(super) fn json(rng: &mut Rng, corpus: &[Value]) -> Value {
    let mut value = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..rng.usize(1..4) {
        let other = &corpus[rng.usize(..corpus.len())];
        let (Some(fields), Some(others)) = (value.as_object_mut(), other.as_object()) else { continue };
        let Some((name, theirs)) = others.iter().nth(rng.usize(..others.len())) else { continue };
        match rng.u8(..5) {
            0 => drop(fields.remove(name)),
            1 => drop(fields.insert(name.clone(), theirs.clone())),
            2 => drop(fields.insert(name.clone(), json!([theirs, theirs]))),
            3 => drop(fields.insert(name.clone(), json!(NUMBERS[rng.usize(..NUMBERS.len())]))),
            _ => {
                let odd =
                    [json!(null), json!(true), json!(-1), json!(0.5), json!("silu"), json!({}), json!([])];
                fields.insert(name.clone(), odd[rng.usize(..odd.len())].clone());
            }
        }
    }
    value
}
