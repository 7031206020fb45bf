//! SHA-256 digests of bytes, of folders, and of values in canonical JSON.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of some bytes; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Digest([u8; 32]);

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a digest: 64 hexadecimal digits are needed")]
pub struct BadDigest {
    /// What was given.
    pub given: String,
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest computed elsewhere (for streams).
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of a folder: of its (path, digest) list sorted by path, one `path NUL digest LF` for each file.
    pub fn of_folder<'a>(files: impl IntoIterator<Item = (&'a str, Digest)>) -> Self {
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort();
        let mut hasher = Sha256::new();
        for (path, digest) in files {
            hasher.update(path.as_bytes());
            hasher.update([0]);
            hasher.update(digest.to_string().as_bytes());
            hasher.update(b"\n");
        }
        Self(hasher.finalize().into())
    }

    /// The digest of a value's canonical JSON (keys sorted, no white space).
    pub fn of_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let mut text = String::new();
        write_canonical(&serde_json::to_value(value)?, &mut text);
        Ok(Self::of(text.as_bytes()))
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

// serde_json's own map order depends on a feature that any dependency may switch on, so keys are sorted here.
fn write_canonical(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        serde_json::Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(item, out);
            }
            out.push('}');
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => out.push_str(&value.to_string()),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BadDigest { given: text.to_owned() })?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_does_not_depend_on_listing_order() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(Digest::of_folder([("x", a), ("y", b)]), Digest::of_folder([("y", b), ("x", a)]));
        assert_ne!(Digest::of_folder([("x", a), ("y", b)]), Digest::of_folder([("x", b), ("y", a)]));
    }

    #[test]
    fn canonical_json_sorts_keys() {
        let one: serde_json::Value = serde_json::from_str(r#"{"b":1,"a":[true,{"d":0,"c":"é"}]}"#).unwrap();
        let mut text = String::new();
        write_canonical(&one, &mut text);
        assert_eq!(text, r#"{"a":[true,{"c":"é","d":0}],"b":1}"#);
    }

    #[test]
    fn text_round_trip_and_refusal() {
        let digest = Digest::of(b"assay");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("abc".parse::<Digest>().unwrap_err().to_string().contains("64 hexadecimal"));
    }
}
