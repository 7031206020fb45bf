//! Which column holds what, and what its words mean.

use std::collections::BTreeMap;

use super::rows::Meaning;

/// What a row can say. `item` and one of the two ways to name systems are needed, and `winner` or `answer`.
pub const FIELDS: [(&str, &str); 37] = [
    ("item", "the prompt's id, or its text"),
    ("prompt", "the prompt's text: rows of one text are one prompt"),
    ("domain", "the prompt's domain"),
    ("split", "in-domain, out-of-domain"),
    ("sample", "tells several pairs of one item apart"),
    ("model", "the model that both systems are made of"),
    ("checkpoint", "the tuned system's checkpoint"),
    ("seed", "the training seed, a number"),
    ("tuned", "the tuned system's name"),
    ("base", "the base system's name"),
    ("system_a", "one system's name, where neither is the base"),
    ("system_b", "the other system's name"),
    ("judge", "the judge's name"),
    ("order", "the system that was shown first"),
    ("label_a", "the system that carried the first label"),
    ("winner", "who won"),
    ("tie", "true where it is a tie"),
    ("answer", "the judge's words, with `Winner: ...`"),
    ("replicate", "repetition of the same presentation, from 0"),
    ("confidence", "1 to 5"),
    ("reasoning", "the judge's reasoning"),
    ("tuned_text", "the tuned response"),
    ("base_text", "the base response"),
    ("text_a", "the response of system_a"),
    ("text_b", "the response of system_b"),
    ("tuned_finish", "`length` where it was cut off"),
    ("base_finish", "`length` where it was cut off"),
    ("tuned.creativity", "score, 1 to 5"),
    ("tuned.coherence", "score, 1 to 5"),
    ("tuned.depth", "score, 1 to 5"),
    ("tuned.engagement", "score, 1 to 5"),
    ("tuned.quality", "score, 1 to 5"),
    ("base.creativity", "score, 1 to 5"),
    ("base.coherence", "score, 1 to 5"),
    ("base.depth", "score, 1 to 5"),
    ("base.engagement", "score, 1 to 5"),
    ("base.quality", "score, 1 to 5"),
];

/// Columns, fixed values, and the meaning of words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnMap {
    columns: BTreeMap<String, String>,
    fixed: BTreeMap<String, String>,
    words: BTreeMap<(String, String), Meaning>,
}

/// A map that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// An entry without its sign.
    #[error("`{entry}`: write {form}")]
    Form {
        /// What was given.
        entry: String,
        /// The form.
        form: &'static str,
    },
    /// A field that does not exist.
    #[error("no field `{field}`; the fields are {known}")]
    Field {
        /// What was given.
        field: String,
        /// All fields.
        known: String,
    },
    /// A field given twice.
    #[error("field `{0}` is given twice")]
    Twice(String),
    /// A word with a meaning that does not exist.
    #[error("`{given}` is no meaning; meanings are {}", Meaning::NAMES.join(", "))]
    Meaning {
        /// What was given.
        given: String,
    },
    /// A field that is needed.
    #[error("field `{field}` is needed: {why}")]
    Needed {
        /// The field.
        field: &'static str,
        /// Why.
        why: &'static str,
    },
    /// A column that no row has.
    #[error("no row has column `{column}` (for `{field}`); the columns are {known}")]
    Column {
        /// The column.
        column: String,
        /// The field it was to fill.
        field: String,
        /// The columns of the file.
        known: String,
    },
}

impl ColumnMap {
    /// Adds `FIELD=COLUMN`.
    ///
    /// # Errors
    /// Another form, an unknown field, or a field given twice.
    pub fn column(&mut self, entry: &str) -> Result<(), MapError> {
        let (field, column) = self.new_field(entry, "FIELD=COLUMN")?;
        self.columns.insert(field, column);
        Ok(())
    }

    /// Adds `FIELD=VALUE`: every row says the same.
    ///
    /// # Errors
    /// Like [`ColumnMap::column`].
    pub fn fixed(&mut self, entry: &str) -> Result<(), MapError> {
        let (field, value) = self.new_field(entry, "FIELD=VALUE")?;
        self.fixed.insert(field, value);
        Ok(())
    }

    /// Adds `FIELD:WORD=MEANING` for the fields winner, answer, order and label_a.
    ///
    /// # Errors
    /// Another form, an unknown field or meaning.
    pub fn word(&mut self, entry: &str) -> Result<(), MapError> {
        const FORM: &str = "FIELD:WORD=MEANING, such as winner:A=base";
        let form = || MapError::Form { entry: entry.to_owned(), form: FORM };
        let (field, rest) = entry.split_once(':').ok_or_else(form)?;
        let (word, meaning) = rest.rsplit_once('=').ok_or_else(form)?;
        if !["winner", "answer", "order", "label_a"].contains(&field) {
            return Err(form());
        }
        let meaning =
            Meaning::named(meaning).ok_or_else(|| MapError::Meaning { given: meaning.to_owned() })?;
        self.words.insert((field.to_owned(), fold(word)), meaning);
        Ok(())
    }

    fn new_field(&self, entry: &str, form: &'static str) -> Result<(String, String), MapError> {
        let (field, value) =
            entry.split_once('=').ok_or_else(|| MapError::Form { entry: entry.to_owned(), form })?;
        if !FIELDS.iter().any(|(known, _)| *known == field) {
            let known = FIELDS.map(|(name, _)| name).join(", ");
            return Err(MapError::Field { field: field.to_owned(), known });
        }
        if self.has(field) {
            return Err(MapError::Twice(field.to_owned()));
        }
        Ok((field.to_owned(), value.to_owned()))
    }

    /// Whether a field is filled.
    pub(super) fn has(&self, field: &str) -> bool {
        self.columns.contains_key(field) || self.fixed.contains_key(field)
    }

    /// The column of a field.
    pub(super) fn column_of(&self, field: &str) -> Option<&str> {
        self.columns.get(field).map(String::as_str)
    }

    /// The value that every row has.
    pub(super) fn fixed_value(&self, field: &str) -> Option<&str> {
        self.fixed.get(field).map(String::as_str)
    }

    /// (field, column) of all columns.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().map(|(field, column)| (field.as_str(), column.as_str()))
    }

    /// What a word of a field means, if the map says so.
    pub(super) fn meaning(&self, field: &str, word: &str) -> Option<Meaning> {
        self.words.get(&(field.to_owned(), fold(word))).copied()
    }

    /// Whether what is needed is there.
    pub(super) fn check(&self) -> Result<(), MapError> {
        let needed = |field: &'static str, why| {
            if self.has(field) { Ok(()) } else { Err(MapError::Needed { field, why }) }
        };
        needed("item", "it says which prompt a row is about")?;
        needed("judge", "map its column, or set it for all rows with --set judge=NAME")?;
        if self.has("system_a") || self.has("system_b") {
            needed("system_a", "system_b is given")?;
            needed("system_b", "system_a is given")?;
        } else {
            needed("tuned", "map or set tuned and base, or system_a and system_b")?;
            needed("base", "map or set tuned and base, or system_a and system_b")?;
        }
        if !self.has("answer") {
            needed("winner", "or map the judge's words as `answer`")?;
        }
        Ok(())
    }

    /// All entries, for the report.
    pub(super) fn entries(&self) -> Vec<String> {
        let columns = self.columns.iter().map(|(field, column)| format!("{field}={column}"));
        let fixed = self.fixed.iter().map(|(field, value)| format!("{field} is {value:?} in every row"));
        let words =
            self.words.iter().map(|((field, word), meaning)| format!("{field}:{word}={}", meaning.name()));
        columns.chain(fixed).chain(words).collect()
    }
}

/// Words are compared without case and outer white space.
pub(super) fn fold(word: &str) -> String {
    word.trim().to_lowercase()
}
