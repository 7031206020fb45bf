//! What `comparisons:` says: checkpoints, recipes and models that judges compare with each other, beside each with its own base.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cell, OneOrMany};

/// Evaluated checkpoints that are also compared with something else than their own base, on the prompts and with the sampling
/// that both have.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct DirectComparison {
    /// The checkpoints whose wins are counted: all that match.
    #[serde(default, skip_serializing_if = "Side::is_default")]
    pub compare: Side,
    /// What each of them is compared with; an axis that is left out is as in `compare`.
    pub with: Side,
    /// Names of prompt sets; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<OneOrMany<String>>,
    /// Names of samplings; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<OneOrMany<String>>,
}

/// One side of a direct comparison.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Side {
    /// Names of models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<OneOrMany<String>>,
    /// Names of data sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<OneOrMany<String>>,
    /// Names of recipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<OneOrMany<String>>,
    /// Training seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<OneOrMany<u64>>,
    /// `first`, `last`, `all` (of those that are evaluated), `best`, `epoch N`, `step N`, in `with` also `base`; in `compare`
    /// `last` when left out, in `with` as in `compare`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<OneOrMany<String>>,
}

/// A checkpoint as a person names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckpointName {
    First,
    Last,
    All,
    Best,
    Base,
    Epoch(u64),
    Step(u64),
}

impl CheckpointName {
    /// The words that there are.
    pub(crate) const WORDS: [&'static str; 7] = ["first", "last", "all", "best", "base", "epoch N", "step N"];

    /// What a text names.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let numbered = |word: &str| text.strip_prefix(word)?.trim().parse().ok().filter(|number| *number > 0);
        match text {
            "first" => Some(Self::First),
            "last" => Some(Self::Last),
            "all" => Some(Self::All),
            "best" => Some(Self::Best),
            "base" => Some(Self::Base),
            _ => numbered("epoch ").map(Self::Epoch).or_else(|| numbered("step ").map(Self::Step)),
        }
    }
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Last => f.write_str("last"),
            Self::All => f.write_str("all"),
            Self::Best => f.write_str("best"),
            Self::Base => f.write_str("base"),
            Self::Epoch(number) => write!(f, "epoch {number}"),
            Self::Step(number) => write!(f, "step {number}"),
        }
    }
}

impl Side {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The checkpoints that are named; words that are none were reported before.
    pub(crate) fn checkpoints(&self) -> Option<Vec<CheckpointName>> {
        let names = self.checkpoint.as_ref()?.as_slice();
        Some(names.iter().filter_map(|name| CheckpointName::read(name)).collect())
    }
}

impl DirectComparison {
    /// Whether the training and the answers of a combination are on the side whose wins are counted.
    pub(crate) fn counts(&self, cell: &Cell<'_>) -> bool {
        let Side { model, data, recipe, seed, checkpoint: _ } = &self.compare;
        has(model, cell.model)
            && has(data, cell.data)
            && has(recipe, cell.recipe)
            && seed.as_ref().is_none_or(|seeds| seeds.as_slice().contains(&cell.seed))
            && has(&self.prompts, cell.prompts)
            && has(&self.sampling, cell.sampling)
    }

    /// The combinations that one of those is compared with, whether they are run or not.
    pub(crate) fn others<'a>(&'a self, cell: &Cell<'a>) -> Vec<Cell<'a>> {
        let mut others = Vec::new();
        for model in or(&self.with.model, cell.model) {
            for data in or(&self.with.data, cell.data) {
                for recipe in or(&self.with.recipe, cell.recipe) {
                    let seeds = self.with.seed.as_ref().map_or(vec![cell.seed], |s| s.as_slice().to_vec());
                    others.extend(seeds.into_iter().map(|seed| Cell { model, data, recipe, seed, ..*cell }));
                }
            }
        }
        others
    }
}

fn has(names: &Option<OneOrMany<String>>, name: &str) -> bool {
    names.as_ref().is_none_or(|names| names.as_slice().iter().any(|known| known == name))
}

fn or<'a>(names: &'a Option<OneOrMany<String>>, own: &'a str) -> Vec<&'a str> {
    names.as_ref().map_or(vec![own], |names| names.as_slice().iter().map(String::as_str).collect())
}
