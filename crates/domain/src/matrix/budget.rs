//! What a matrix may cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::budget::Cap;

/// What a matrix may cost in all: time of workers at their price, and calls to judges. Its jobs wait where less is left than they are
/// expected to cost. `panel.budget_usd` is about the judges alone, and says which plan is refused.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Budget {
    /// USD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub usd: Option<f64>,
    /// Hours of workers, all of them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub hours: Option<f64>,
}

impl Budget {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// As the scheduler keeps it.
    pub fn cap(&self) -> Cap {
        Cap::of(self.usd, self.hours)
    }
}
