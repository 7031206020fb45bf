//! Object keys: relative paths that cannot leave the store's folder.

use std::fmt;

use super::ObjectError;

/// The longest key.
pub const KEY_MAX_BYTES: usize = 512;
/// The longest part between slashes.
pub const KEY_PART_MAX_BYTES: usize = 128;

/// A checked key: parts of `A-Z a-z 0-9 . _ - @ + =` joined by `/`, none of them empty or with a dot first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Checks a key.
    pub fn parse(key: &str) -> Result<ObjectKey, ObjectError> {
        match broken_rule(key) {
            None => Ok(ObjectKey(key.to_owned())),
            Some(rule) => {
                let shown = key.chars().take(KEY_MAX_BYTES).collect();
                Err(ObjectError::Key { key: shown, rule })
            }
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn broken_rule(key: &str) -> Option<&'static str> {
    if key.is_empty() || key.len() > KEY_MAX_BYTES {
        return Some("it has 1 to 512 bytes");
    }
    for part in key.split('/') {
        if part.is_empty() {
            return Some("it is relative, and its parts are not empty");
        }
        if part.starts_with('.') {
            return Some("no part of it begins with a dot");
        }
        if part.len() > KEY_PART_MAX_BYTES {
            return Some("each part has at most 128 bytes");
        }
        if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@+=".contains(&byte)) {
            return Some("its parts are made of A-Z a-z 0-9 . _ - @ + =");
        }
    }
    None
}
