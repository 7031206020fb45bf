//! Traces in responses of who wrote them, or words to the judge: how many there are, and the win rate without such pairs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::PROMPTS_FOR_PERCENT;
use super::pairs::JoinedPair;
use crate::leaks::{LeakKind, scan};
use crate::stats::panel::mean_present;

/// What a scan of a comparison's responses found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeakReport {
    /// Pairs whose two texts were scanned.
    pub pairs: u64,
    /// Those with a trace in either response.
    pub pairs_with_traces: u64,
    /// What was found, by kind and words.
    pub found: Vec<LeakCount>,
    /// Prompts of the pairs without a trace that have a verdict of the panel.
    pub prompts_without: u64,
    /// The panel's win rate over those alone; absent where nothing was found, and below ten prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_without: Option<f64>,
}

/// One trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakCount {
    /// What kind of trace it is.
    pub kind: LeakKind,
    /// The words.
    pub found: String,
    /// Tuned responses that hold it.
    pub tuned: u64,
    /// Base responses that hold it.
    pub base: u64,
}

/// The traces of one comparison's pairs; `None` without texts.
pub(super) fn leaks(pairs: &[&JoinedPair], panel: &[String]) -> Option<LeakReport> {
    let known: Vec<&JoinedPair> = pairs.iter().copied().filter(|pair| pair.has_texts).collect();
    if known.is_empty() {
        return None;
    }
    let mut counts: BTreeMap<(LeakKind, String), (u64, u64)> = BTreeMap::new();
    let mut with_traces = 0;
    let mut without: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
    for pair in &known {
        let (tuned, base) = (scan(&pair.report.tuned.text), scan(&pair.report.base.text));
        let clean = tuned.is_empty() && base.is_empty();
        for leak in tuned {
            counts.entry((leak.kind, leak.found)).or_default().0 += 1;
        }
        for leak in base {
            counts.entry((leak.kind, leak.found)).or_default().1 += 1;
        }
        if clean {
            without.entry(&pair.report.prompt).or_default().push(pair.score(panel));
        } else {
            with_traces += 1;
        }
    }
    let means: Vec<Option<f64>> = without.into_values().map(mean_present).collect();
    let prompts = means.iter().flatten().count();
    let rate = mean_present(means).filter(|_| with_traces > 0 && prompts >= PROMPTS_FOR_PERCENT);
    let found =
        counts.into_iter().map(|((kind, found), (tuned, base))| LeakCount { kind, found, tuned, base });
    Some(LeakReport {
        pairs: known.len() as u64,
        pairs_with_traces: with_traces,
        found: found.collect(),
        prompts_without: prompts as u64,
        rate_without: rate,
    })
}

impl LeakReport {
    /// The kinds that were found.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<LeakKind> {
        self.found.iter().map(|one| one.kind).collect()
    }
}
