//! What is wrong with a matrix, and where: one value for each error, all of them reported together.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a matrix file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// One error of a matrix. Shown as `FILE:LINE:COLUMN: WHAT: RULE; did you mean ...?`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MatrixError {
    /// The file, as it was named.
    pub file: String,
    /// Where; none when the matrix came without its text.
    pub place: Option<Place>,
    /// What is wrong, with the value that was given.
    pub what: String,
    /// What is expected instead.
    pub rule: String,
    /// The nearest name that would be right.
    pub nearest: Option<String>,
}

impl fmt::Display for MatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(place) = self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": {}: {}", self.what, self.rule)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for MatrixError {}
