//! A win rate and everything that qualifies it.

use serde::{Deserialize, Serialize};

/// Which prompts a row is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Scope {
    /// All prompts.
    All,
    /// The prompts of a split.
    Split(String),
    /// The prompts of a domain.
    Domain(String),
}

impl Scope {
    /// The name in tables.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Scope::All => "all",
            Scope::Split(name) | Scope::Domain(name) => name,
        }
    }
}

/// How an interval was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// Student's t over the means of prompts (clusters).
    ClusterT,
    /// Percentiles of a bootstrap that resamples prompts.
    ClusterBootstrap,
    /// Wilson's score interval over independent prompts.
    Wilson,
    /// Student's t over prompts crossed with training seeds.
    CrossedT,
}

impl IntervalMethod {
    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            IntervalMethod::ClusterT => "t, clustered by prompt",
            IntervalMethod::ClusterBootstrap => "bootstrap over prompts",
            IntervalMethod::Wilson => "Wilson",
            IntervalMethod::CrossedT => "t, prompts and seeds crossed",
        }
    }
}

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How it was made.
    pub method: IntervalMethod,
}

/// Pairs by outcome, after the passes over each were put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// The tuned response is better.
    pub wins: u64,
    /// Neither, or the judge flipped with the order.
    pub ties: u64,
    /// The base response is better.
    pub losses: u64,
}

impl Counts {
    /// Pairs with a verdict.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.wins + self.ties + self.losses
    }
}

/// What has no verdict, by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MissingCounts {
    /// The judge declined.
    pub refused: u64,
    /// A filter withheld it.
    pub blocked: u64,
    /// Cut off by a token limit.
    pub truncated: u64,
    /// Not one verdict as the schema says.
    pub malformed: u64,
    /// Transport, quota, or a model that is gone.
    pub error: u64,
    /// Planned, but no record of it.
    pub absent: u64,
}

impl MissingCounts {
    /// All that is missing.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.refused + self.blocked + self.truncated + self.malformed + self.error + self.absent
    }

    /// (name, count) of each status that occurs.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("refused", self.refused),
            ("blocked", self.blocked),
            ("truncated", self.truncated),
            ("malformed", self.malformed),
            ("error", self.error),
            ("absent", self.absent),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

/// The win rate if every missing verdict were a loss, and if every one were a win.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// All missing lost.
    pub low: f64,
    /// All missing won.
    pub high: f64,
}

/// The same pairs with ties counted in three ways (shares of pairs, not of prompts).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TieSensitivity {
    /// A tie is half a win.
    pub half: f64,
    /// Ties are left out; absent when there is nothing else.
    pub dropped: Option<f64>,
    /// A tie is a loss.
    pub as_loss: f64,
}

/// A judge's (or the panel's) win rate of a tuned system over its base, on some prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WinRate {
    /// The judge; none for the panel.
    pub judge: Option<String>,
    /// Which prompts.
    pub scope: Scope,
    /// Independent prompts with at least one verdict: the n of everything below.
    pub prompts: u64,
    /// Pairs planned.
    pub pairs: u64,
    /// Pairs by outcome; for the panel by plurality of its judges.
    pub counts: Counts,
    /// Pairs without a verdict.
    pub missing: MissingCounts,
    /// The mean over prompts of the mean over pairs of the score; absent without verdicts. Not to be printed as a
    /// percentage when `few` is set.
    pub rate: Option<f64>,
    /// Fewer than ten prompts: counts say more than a percentage.
    pub few: bool,
    /// The headline interval, clustered by prompt; absent for fewer than two prompts.
    pub interval: Option<Interval>,
    /// The same by bootstrap over prompts, as a check.
    pub bootstrap: Option<Interval>,
    /// Wilson's interval of wins among decided pairs; only where each prompt has one pair, so that pairs are independent.
    pub wilson: Option<Interval>,
    /// Sign-flip permutation test of the prompts' means against one half.
    #[serde(default)]
    pub p: Option<f64>,
    /// Holm's correction over this row's family: the panel on all prompts, or all other rows.
    #[serde(default)]
    pub p_holm: Option<f64>,
    /// Exact two-sided sign test of wins against losses; only where pairs are independent.
    pub sign_test_p: Option<f64>,
    /// Ties counted in three ways.
    pub ties: Option<TieSensitivity>,
    /// What missing verdicts could do to the rate; absent when none is missing.
    pub bounds: Option<Bounds>,
    /// The least true win rate that this many prompts would detect in four of five studies (sign test, alpha 0.05).
    pub detectable: Option<f64>,
    /// Why this row must not be a headline, if it must not.
    pub withheld: Option<String>,
}

/// The panel without one of its judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaveOneOut {
    /// The judge left out.
    pub without: String,
    /// The panel's rate without it.
    pub rate: Option<f64>,
}

/// Two checkpoints of one training run on the same prompts, in the panel's eyes: both against the same base responses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointDifference {
    /// The earlier comparison's id.
    pub from: String,
    /// The later comparison's id.
    pub to: String,
    /// The earlier checkpoint's name.
    pub from_checkpoint: String,
    /// The later checkpoint's name.
    pub to_checkpoint: String,
    /// Prompts that both have.
    pub prompts: u64,
    /// Mean over prompts of the later score less the earlier.
    pub difference: f64,
    /// Its interval, clustered by prompt.
    pub interval: Option<Interval>,
    /// Sign-flip permutation test over prompts.
    pub p: f64,
    /// Holm's correction over all rows of this table.
    pub p_holm: f64,
}
