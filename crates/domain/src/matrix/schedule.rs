//! Who a matrix is for and how urgent it is: claims of whoever submits it, which nobody verifies yet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::NAME_PATTERN;

/// Who a matrix is for and how urgent it is. Nobody verifies it, and it changes no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Schedule {
    /// The team whose share of the fleet it takes; matrices without one are one team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub team: Option<String>,
    /// Who submits it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub user: Option<String>,
    /// Matrices of a team with a higher one go first.
    #[serde(default)]
    #[schemars(range(min = -100, max = 100))]
    pub priority: i32,
    /// Among matrices of a team with the same priority, one of weight 2 gets twice as many turns as one of weight 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { team: None, user: None, priority: 0, weight: one() }
    }
}

impl Schedule {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

const fn one() -> u32 {
    1
}
