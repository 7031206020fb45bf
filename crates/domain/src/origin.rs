//! Files that lie on the Hugging Face Hub: named by repository, commit and path, so that whoever needs one fetches it there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the Hub is, unless `HF_ENDPOINT` says otherwise.
pub const HUB_ENDPOINT: &str = "https://huggingface.co";

/// The longest path in a repository that is taken, in bytes.
const PATH_BYTES_MAX: usize = 512;

/// A file of a model's repository at a commit, which is the same bytes for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Origin {
    repository: String,
    commit: String,
    path: String,
    needs_token: bool,
}

/// What names no file of the Hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is `{given}`, which names no file of the Hub: {rule}")]
pub struct BadOrigin {
    /// The part.
    pub what: &'static str,
    /// What was given.
    pub given: String,
    /// What it has to be.
    pub rule: &'static str,
}

impl Origin {
    /// Checks the parts. `needs_token`: the Hub gives the file to those alone whom the repository's owner lets read it.
    ///
    /// # Errors
    /// Names a part that would make another address than that of a file at a commit.
    pub fn new(repository: &str, commit: &str, path: &str, needs_token: bool) -> Result<Self, BadOrigin> {
        let bad =
            |what, given: &str, rule| BadOrigin { what, given: given.chars().take(200).collect(), rule };
        if !is_repository(repository) {
            return Err(bad("the repository", repository, "write `organisation/name`"));
        }
        if !is_commit(commit) {
            return Err(bad("the commit", commit, "40 hexadecimal digits are needed"));
        }
        if path.len() > PATH_BYTES_MAX || !stays_inside(path) {
            return Err(bad("the path", path, "relative segments are needed, none of them `.` or `..`"));
        }
        let (repository, commit, path) = (repository.to_owned(), commit.to_owned(), path.to_owned());
        Ok(Self { repository, commit, path, needs_token })
    }

    /// Whether the Hub asks for a token.
    pub const fn needs_token(&self) -> bool {
        self.needs_token
    }

    /// Its address on the Hub at `endpoint`.
    pub fn address(&self, endpoint: &str) -> String {
        file_address(endpoint, &self.repository, &self.commit, &self.path)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.repository, self.commit, self.path)
    }
}

#[derive(Deserialize)]
struct Unchecked {
    repository: String,
    commit: String,
    path: String,
    needs_token: bool,
}

impl TryFrom<Unchecked> for Origin {
    type Error = BadOrigin;

    fn try_from(given: Unchecked) -> Result<Self, BadOrigin> {
        Self::new(&given.repository, &given.commit, &given.path, given.needs_token)
    }
}

/// The address of a file on the Hub at `endpoint`; a data set's repository is `datasets/` and its name.
pub fn file_address(endpoint: &str, repository: &str, commit: &str, path: &str) -> String {
    format!("{}/{repository}/resolve/{commit}/{}", endpoint.trim_end_matches('/'), escaped(path))
}

/// Whether a text is a repository's name, `organisation/name`.
pub fn is_repository(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    name.len() <= 200 && name.split_once('/').is_some_and(|(owner, rest)| part(owner) && part(rest))
}

/// Whether a revision is a commit, which names the same files for ever.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a path in a repository may lie below a folder of ours.
pub fn stays_inside(path: &str) -> bool {
    !path.contains('\\') && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// A path as part of an address.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            letter if letter.is_ascii_alphanumeric() => out.push(letter.into()),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn what_would_lead_to_another_address_is_refused_also_from_json() {
        let good = Origin::new("org/tiny", COMMIT, "a b/model-1.safetensors", true).unwrap();
        assert_eq!(
            good.address("http://hub/"),
            format!("http://hub/org/tiny/resolve/{COMMIT}/a%20b/model-1.safetensors")
        );
        let text = serde_json::to_string(&good).unwrap();
        assert_eq!(serde_json::from_str::<Origin>(&text).unwrap(), good);
        for (repository, commit, path) in [
            ("../api", COMMIT, "f"),
            ("a/b/c", COMMIT, "f"),
            ("tiny", COMMIT, "f"),
            ("a@evil.example/b", COMMIT, "f"),
            ("a/b", "main", "f"),
            ("a/b", &COMMIT.to_uppercase(), "f"),
            ("a/b", COMMIT, ""),
            ("a/b", COMMIT, "/f"),
            ("a/b", COMMIT, "x/../../f"),
            ("a/b", COMMIT, "x\\f"),
        ] {
            assert!(Origin::new(repository, commit, path, false).is_err(), "{repository} {commit} {path}");
            let json = serde_json::json!({"repository": repository, "commit": commit, "path": path, "needs_token": false});
            assert!(serde_json::from_value::<Origin>(json).is_err(), "{repository} {commit} {path}");
        }
    }
}
