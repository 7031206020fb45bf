//! One canned call before the panel: a wrong key, model or parameter is found with it, and not with the first hundred pairs.

use assay_judging::pair::BlindPair;
use assay_judging::records::{Label, VerdictStatus};

use super::{PanelError, Panelist};
use crate::ledger::{EntryKey, StopClass};

/// The pair's id in the canned call.
pub(super) const PROBE_ID: &str = "probe";

/// What the canned call showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The model that answered, as the provider names it.
    pub(crate) model: String,
    /// Whether its answer was a verdict.
    pub(crate) status: VerdictStatus,
    /// Why not.
    pub(crate) detail: Option<String>,
    /// Calls that it took; 0 when it stood in the ledger.
    pub(crate) calls: usize,
}

impl Panelist<'_> {
    /// Asks about a pair that any judge can tell apart. Without an answer the judge is not asked anything else; an answer that
    /// is no verdict is only worth a word, since the next may be one.
    pub(crate) async fn probe(&self) -> Result<Probe, PanelError> {
        let shown = BlindPair {
            pair_id: String::from(PROBE_ID),
            pass: 0,
            prompt: String::from("Name one thing that a bridge is for."),
            first: String::from("A bridge lets people cross a river without getting wet."),
            second: String::from("Bridge bridge bridge."),
            first_label: Label::A,
            fence: String::from("00f00ff0f0ff00f0"),
        };
        let key = EntryKey::of(&self.identity, self.template, &shown, 0)?;
        let known = self.ledger().get(&key).map(|known| self.recorded(&shown, known));
        let (record, calls) = match known {
            Some(record) => (record, 0),
            None => self.ask(&shown, key).await?,
        };
        if record.status == VerdictStatus::Error {
            let why = record.detail.clone().unwrap_or_default();
            // What stopped it already is the better reason.
            self.stop(StopClass::Probe, format!("the first call had no answer: {why}"))?;
        }
        Ok(Probe { model: record.model, status: record.status, detail: record.detail, calls })
    }
}
