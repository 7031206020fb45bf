//! Signed requests: HMAC-SHA256 over all that the request may do, and until when. The query string is a secret.

use assay_domain::{Digest, UnixMillis};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Reading an object, whole or in part.
    Get,
    /// Writing an object of exactly this length and digest.
    Put {
        /// Its length.
        bytes: u64,
        /// Its digest.
        sha256: Digest,
    },
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// A part of the query is missing or unreadable.
    #[error(
        "the request is not signed: its query needs `{field}`; ask SignUpload or SignDownload for a signed request"
    )]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// The signature is not over this method, key, length, digest and time.
    #[error(
        "the signature does not fit this request: use method, URL and headers exactly as they were signed"
    )]
    Wrong,
    /// It was good once.
    #[error("the signed request has expired: ask for a new one")]
    Expired,
}

/// Signs and checks.
#[derive(Clone)]
pub struct Signer {
    key: [u8; 32],
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer with a secret key.
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The query string that permits a request for `key` until `expires`.
    pub fn query(&self, permit: Permit, key: &str, expires: UnixMillis) -> String {
        let signature = hex::encode(self.mac(permit, key, expires).finalize().into_bytes());
        match permit {
            Permit::Get => format!("expires={expires}&signature={signature}"),
            Permit::Put { bytes, sha256 } => {
                format!("expires={expires}&bytes={bytes}&sha256={sha256}&signature={signature}")
            }
        }
    }

    /// What a query string permits for `key`, now.
    pub fn check(&self, put: bool, key: &str, query: &str, now: UnixMillis) -> Result<Permit, BadSignature> {
        let expires = UnixMillis(number(query, "expires")?);
        let permit = if put {
            let sha256 =
                field(query, "sha256")?.parse().map_err(|_| BadSignature::Missing { field: "sha256" })?;
            Permit::Put { bytes: number(query, "bytes")?, sha256 }
        } else {
            Permit::Get
        };
        let signature = field(query, "signature")?;
        let given = hex::decode(signature).map_err(|_| BadSignature::Missing { field: "signature" })?;
        // In constant time. Before the expiry, so that only the holder of a good signature learns of that.
        self.mac(permit, key, expires).verify_slice(&given).map_err(|_| BadSignature::Wrong)?;
        if now >= expires {
            return Err(BadSignature::Expired);
        }
        Ok(permit)
    }

    fn mac(&self, permit: Permit, key: &str, expires: UnixMillis) -> Hmac<Sha256> {
        // HMAC pads keys with zeros to its block, so this is the key as it is.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.key);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        let what = match permit {
            Permit::Get => format!("assay-objects-v1\nGET\n{key}\n{expires}\n"),
            Permit::Put { bytes, sha256 } => {
                format!("assay-objects-v1\nPUT\n{key}\n{expires}\n{bytes}\n{sha256}\n")
            }
        };
        mac.update(what.as_bytes());
        mac
    }
}

fn field<'a>(query: &'a str, name: &'static str) -> Result<&'a str, BadSignature> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .into_iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .ok_or(BadSignature::Missing { field: name })
}

fn number(query: &str, name: &'static str) -> Result<u64, BadSignature> {
    field(query, name)?.parse().map_err(|_| BadSignature::Missing { field: name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::new([7; 32])
    }

    fn put() -> Permit {
        Permit::Put { bytes: 3, sha256: Digest::of(b"abc") }
    }

    #[test]
    fn a_signed_request_is_permitted_until_it_expires() {
        let query = signer().query(put(), "a/b", UnixMillis(100));
        assert_eq!(signer().check(true, "a/b", &query, UnixMillis(99)), Ok(put()));
        assert_eq!(signer().check(true, "a/b", &query, UnixMillis(100)), Err(BadSignature::Expired));
    }

    #[test]
    fn nothing_of_a_signed_request_can_be_changed() {
        let query = signer().query(put(), "a/b", UnixMillis(100));
        let check = |put, key: &str, query: &str| signer().check(put, key, query, UnixMillis(1));
        assert_eq!(check(true, "a/c", &query), Err(BadSignature::Wrong));
        assert_eq!(check(false, "a/b", &query), Err(BadSignature::Wrong));
        assert_eq!(check(true, "a/b", &query.replace("bytes=3", "bytes=4")), Err(BadSignature::Wrong));
        assert_eq!(
            check(true, "a/b", &query.replace("expires=100", "expires=900")),
            Err(BadSignature::Wrong)
        );
        let other = Digest::of(b"abd").to_string();
        assert_eq!(
            check(true, "a/b", &query.replace(&Digest::of(b"abc").to_string(), &other)),
            Err(BadSignature::Wrong)
        );
        assert_eq!(Signer::new([8; 32]).check(true, "a/b", &query, UnixMillis(1)), Err(BadSignature::Wrong));
        assert_eq!(check(true, "a/b", "expires=100"), Err(BadSignature::Missing { field: "sha256" }));
        assert_eq!(check(false, "a/b", "expires=100"), Err(BadSignature::Missing { field: "signature" }));
    }
}
