//! Where the parts of a matrix stand in its file, by path.

use std::collections::BTreeMap;

use super::{MatrixError, Place};

/// Places by path, such as `recipes/0/rank`. Two matrices are equal wherever their parts stood.
#[derive(Debug, Clone, Default)]
pub struct Places {
    file: String,
    by_path: BTreeMap<String, Place>,
}

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Places {
    /// Places of a file.
    pub(super) fn new(file: &str, by_path: BTreeMap<String, Place>) -> Self {
        Self { file: file.to_owned(), by_path }
    }

    /// The place of `path`, or of the nearest part around it.
    pub fn place(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.by_path.get(path) {
                return Some(*place);
            }
            path = match path.rsplit_once('/') {
                Some((around, _)) => around,
                None => return self.by_path.get("").copied(),
            };
        }
    }

    /// An error at `path`: what is wrong with the value, and the rule.
    pub fn error(&self, path: &str, what: impl Into<String>, rule: impl Into<String>) -> MatrixError {
        let file = if self.file.is_empty() { String::from("matrix") } else { self.file.clone() };
        MatrixError { file, place: self.place(path), what: what.into(), rule: rule.into(), nearest: None }
    }
}
