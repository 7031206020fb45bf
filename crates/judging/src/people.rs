//! A person as a judge: who they are, what they are shown and in which order, and what a verdict of theirs must hold.

use assay_domain::job::{JudgeInfo, Orders};
use serde::{Deserialize, Serialize};

use crate::pair::{BlindPair, Key, PairError, PairInput, Secret, blind};
use crate::prompt::template;
use crate::records::{Evidence, RawVerdictRecord, VerdictStatus};
use crate::report::HUMAN;
use crate::verdict;

/// A person is asked what this template asks a model.
pub const TEMPLATE: &str = "assay-v1";
/// The longest name of a person, in characters.
pub const NAME_CHARS_MAX: usize = 64;

/// One person's judging of a matrix: what was fixed when it began.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The matrix.
    pub matrix: String,
    /// The person, as the report names them.
    pub name: String,
    /// The passes over each pair.
    pub orders: Orders,
    /// 64 hexadecimal digits. Whoever reads them can undo the blinding.
    secret: String,
}

/// Why a person cannot judge, or not so.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// A name that is no part of a path, or too long.
    #[error(
        "the annotator's name is `{name}`: letters, digits, `-`, `_` and `.` are needed, not in front a `.`, {NAME_CHARS_MAX} at most"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// A session whose secret is none.
    #[error(
        "the secret of `{name}` on {matrix} is broken: restore it from a backup, or begin under another name"
    )]
    Secret {
        /// The person.
        name: String,
        /// The matrix.
        matrix: String,
    },
    /// Responses that are no pairs.
    #[error("the answers cannot be paired")]
    Pairs(#[from] PairError),
    /// A verdict that breaks a rule of its schema.
    #[error("the verdict is {0}")]
    Verdict(#[from] verdict::Missing),
    /// The template is not in this build.
    #[error(transparent)]
    Template(#[from] crate::prompt::UnknownTemplate),
}

/// All that a person is shown, and the key that must not go with it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// In the order in which they are shown.
    pub presentations: Vec<BlindPair>,
    /// Which system stands where.
    pub key: Key,
}

/// Whether a name can be a person's.
///
/// # Errors
/// The rule.
pub fn check_name(name: &str) -> Result<(), PeopleError> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let right =
        !name.is_empty() && !name.starts_with('.') && name.len() <= NAME_CHARS_MAX && name.chars().all(sound);
    if right { Ok(()) } else { Err(PeopleError::Name { name: name.to_owned() }) }
}

impl Session {
    /// Begins one, with 256 bits of which nobody knows.
    ///
    /// # Errors
    /// A name that cannot be.
    pub fn begin(matrix: &str, name: &str, orders: Orders, random: [u8; 32]) -> Result<Self, PeopleError> {
        check_name(name)?;
        let secret = hex::encode(random);
        Ok(Self { matrix: matrix.to_owned(), name: name.to_owned(), orders, secret })
    }

    /// All pairs as this person sees them.
    ///
    /// # Errors
    /// A broken secret; a pair that is there twice.
    pub fn show(&self, pairs: &[PairInput]) -> Result<Shown, PeopleError> {
        let broken = || PeopleError::Secret { name: self.name.clone(), matrix: self.matrix.clone() };
        let secret =
            hex::decode(&self.secret).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(broken)?;
        let blinded = blind(&Secret::new(secret), self.orders, pairs)?;
        let mut presentations = blinded.presentations;
        // All first looks before any second: nobody remembers, of so many, what stood where. Pair ids are drawn from the
        // secret: their order says nothing.
        presentations.sort_by(|a, b| (a.pass, &a.pair_id).cmp(&(b.pass, &b.pair_id)));
        Ok(Shown { presentations, key: blinded.key })
    }

    /// A verdict on one of them, as `assay-v1` asks for it.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn verdict(&self, shown: &BlindPair, text: String) -> Result<RawVerdictRecord, PeopleError> {
        let template = template(TEMPLATE)?;
        verdict::parse(&text, template.channel)?;
        Ok(RawVerdictRecord {
            pair_id: shown.pair_id.clone(),
            pass: shown.pass,
            judge: self.name.clone(),
            template: TEMPLATE.to_owned(),
            template_digest: template.digest(),
            replicate: 0,
            model: HUMAN.to_owned(),
            status: VerdictStatus::Ok,
            detail: None,
            evidence: Evidence::Text { text },
            prompt_tokens: 0,
            new_tokens: 0,
            seconds: 0.0,
        })
    }

    /// The person as the report names judges: beside the panel, never in it.
    #[must_use]
    pub fn info(&self) -> JudgeInfo {
        JudgeInfo {
            name: self.name.clone(),
            kind: HUMAN.to_owned(),
            model: HUMAN.to_owned(),
            template: TEMPLATE.to_owned(),
            smoke: false,
            unavailable: None,
            orders: Some(self.orders),
            batch: false,
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { matrix, name, orders, secret: _ } = self;
        f.debug_struct("Session").field("matrix", matrix).field("name", name).field("orders", orders).finish()
    }
}

#[cfg(test)]
mod tests;
