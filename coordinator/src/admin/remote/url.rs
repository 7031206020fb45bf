//! The name of a bucket's prefix.

use std::fmt;
use std::str::FromStr;

/// Which kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    S3,
    Google,
    Azure,
}

const SCHEMES: [(&str, Store); 3] = [("s3", Store::S3), ("gs", Store::Google), ("az", Store::Azure)];

/// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    pub(super) store: Store,
    pub(super) bucket: String,
    /// Without slashes at its ends; never empty.
    pub(super) prefix: String,
}

/// A text that names no prefix of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no bucket: write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX, of letters, digits, `.`, `_`, `-` and \
     `/`; credentials, region and endpoint come from the environment (docs/operations.md), never from here"
)]
// What was given is not repeated: it may hold a secret.
pub struct BadBucketUrl;

impl BucketUrl {
    /// What is below it.
    pub(super) fn within(&self, name: &str) -> Self {
        Self { prefix: self.key(name), ..self.clone() }
    }

    /// The key of a file below it.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }
}

impl FromStr for BucketUrl {
    type Err = BadBucketUrl;

    fn from_str(text: &str) -> Result<Self, BadBucketUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(BadBucketUrl)?;
        let (_, store) = SCHEMES.into_iter().find(|(name, _)| *name == scheme).ok_or(BadBucketUrl)?;
        let mut segments = rest.strip_suffix('/').unwrap_or(rest).split('/');
        let bucket = segments.next().filter(|bucket| is_segment(bucket)).ok_or(BadBucketUrl)?;
        let segments: Vec<&str> = segments.collect();
        if segments.is_empty() || !segments.iter().all(|segment| is_segment(segment)) {
            return Err(BadBucketUrl);
        }
        Ok(Self { store, bucket: bucket.to_owned(), prefix: segments.join("/") })
    }
}

fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(plain)
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = SCHEMES.iter().find(|(_, store)| *store == self.store).map_or("", |(name, _)| name);
        write!(f, "{scheme}://{}/{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_read_and_told_as_it_was_given() {
        for text in ["s3://my.bucket/team-a", "gs://b/a/b_c/1.2", "az://container/assay"] {
            assert_eq!(text.parse::<BucketUrl>().unwrap().to_string(), text);
        }
        let url: BucketUrl = "s3://b/p/".parse().unwrap();
        assert_eq!((url.to_string().as_str(), url.within("x").key("y")), ("s3://b/p", String::from("p/x/y")));
    }

    #[test]
    fn what_names_none_is_refused_without_being_repeated() {
        let bad = [
            "s3://bucket",
            "s3://bucket/",
            "s3:///p",
            "s3://b//p",
            "s3://b/../p",
            "http://b/p",
            "S3://b/p",
            "s3://b/p?x=1",
            "s3://b/p#x",
            "s3://b/a b",
            "s3://b/ü",
            "folder",
        ];
        for text in bad {
            assert_eq!(text.parse::<BucketUrl>(), Err(BadBucketUrl), "{text}");
        }
        let refused = "s3://KEY:SECRET@bucket/p".parse::<BucketUrl>().unwrap_err().to_string();
        assert!(!refused.contains("SECRET") && refused.contains("environment"), "{refused}");
    }
}
