//! SHA-256 digests of bytes, of folders, and of values in canonical JSON.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of some bytes; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct Digest([u8; 32]);

type Hex = hex::Buffer<32>;

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
        let mut text = Vec::new();
        write_canonical(&serde_json::to_value(value)?, &mut text)?;
        Ok(Self::of(&text))
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

// serde_json's own map order depends on a feature that any dependency may switch on, so keys are sorted here.
fn write_canonical(value: &serde_json::Value, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        serde_json::Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_canonical(item, out)?;
            }
            out.push(b']');
        }
        serde_json::Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            out.push(b'{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write_canonical(item, out)?;
            }
            out.push(b'}');
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => serde_json::to_writer(&mut *out, value)?,
    }
    Ok(())
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Hex::new().format(&self.0))
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
        let bad = || BadDigest { given: text.to_owned() };
        let mut bytes = [0; 32];
        // The library allows `0x` before the digits.
        let digits = (text.len() == 2 * bytes.len()).then_some(text).ok_or_else(bad)?;
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
        Ok(Self(bytes))
    }
}

// By hand, since most of what is stored and sent is digests: no text is allocated for one.
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Hex::new().format(&self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest of 64 hexadecimal digits")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
        text.parse().map_err(E::custom)
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
        let mut text = Vec::new();
        write_canonical(&one, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), r#"{"a":[true,{"c":"é","d":0}],"b":1}"#);
    }

    #[test]
    fn text_round_trip_and_refusal() {
        let digest = Digest::of(b"assay");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!(format!("0x{digest}").parse::<Digest>().is_err());
        assert!("abc".parse::<Digest>().unwrap_err().to_string().contains("64 hexadecimal"));
    }
}
