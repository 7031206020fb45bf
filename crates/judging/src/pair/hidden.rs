//! The secret that blinds a matrix, and what is derived from it: opaque ids, fences, ranks.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::PairInput;

/// 256 bits drawn at submit. `Debug` never prints them.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the bytes drawn at submit.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// The opaque id of a pair: "p" and 32 hexadecimal digits.
    pub(super) fn pair_id(&self, pair: &PairInput) -> String {
        format!("p{}", hex::encode(&self.tag_of_pair("pair", pair)[..16]))
    }

    /// Where a pair stands among the pairs of its stratum.
    pub(super) fn rank(&self, pair: &PairInput) -> [u8; 32] {
        self.tag_of_pair("rank", pair)
    }

    /// Where the round of assignments starts, 0 to 3.
    pub(super) fn start(&self) -> usize {
        usize::from(self.tag(&[b"start"])[0] % 4)
    }

    /// What marks the ends of a response in a judge's prompt: 16 hexadecimal digits.
    pub(super) fn fence(&self, pair_id: &str, pass: u8) -> String {
        hex::encode(&self.tag(&[b"fence", pair_id.as_bytes(), &[pass]])[..8])
    }

    fn tag_of_pair(&self, purpose: &str, pair: &PairInput) -> [u8; 32] {
        self.tag(&[
            purpose.as_bytes(),
            pair.comparison.as_bytes(),
            pair.prompt_id.as_bytes(),
            &pair.sample.to_le_bytes(),
        ])
    }

    /// HMAC-SHA256 over length-prefixed parts, so that no two lists of parts are the same message.
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        // HMAC takes a key of any length, so `new_from_slice` cannot fail; a fixed array avoids it altogether.
        let mut block = [0u8; 64];
        block[..32].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(b"assay-judging-v1");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}
