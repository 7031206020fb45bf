//! Blind pairing: which response is shown first and under which label, from a secret.
//!
//! [`resolve`] is the one place where a judge's choice becomes a winner. A presentation never holds a
//! system's name; the key never reaches a judge.

mod assign;
mod hidden;
mod lay_out;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::job::Orders;
use serde::{Deserialize, Serialize};

pub use self::hidden::Secret;
use crate::records::{Choice, GenerationRecord, KeyRecord, Label, Slot, Winner};

/// Presentations of each pair.
///
/// `both`: the slots are swapped between two passes while a slot keeps its label, so that each response has had both
/// slots and both labels; which label the first slot carries is balanced over pairs. `single`: one pass, slot and label
/// balanced over pairs within each stratum and over all. `full`: each slot with each label, which separates position
/// bias from label bias within a pair.
#[must_use]
pub fn passes(orders: Orders) -> u8 {
    match orders {
        Orders::Single => 1,
        Orders::Both => 2,
        Orders::Full => 4,
    }
}

/// One system's response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Name of the system that wrote it; never shown to a judge.
    pub system: String,
    /// What it wrote.
    pub text: String,
}

/// A tuned and a base response to one prompt, before blinding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairInput {
    /// The comparison that the pair belongs to.
    pub comparison: String,
    /// The prompt's id.
    pub prompt_id: String,
    /// Ordinal of the sample.
    pub sample: u32,
    /// Assignments are balanced within a stratum: the prompt's domain.
    pub stratum: String,
    /// The prompt's text.
    pub prompt: String,
    /// The tuned system's response.
    pub tuned: Response,
    /// The base system's response.
    pub base: Response,
}

/// One presentation of a pair: all that a judge's prompt is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlindPair {
    /// Opaque id of the pair, the same for all its passes.
    pub pair_id: String,
    /// Which presentation, from 0.
    pub pass: u8,
    /// The prompt that both responses answer.
    pub prompt: String,
    /// The response shown first.
    pub first: String,
    /// The response shown second.
    pub second: String,
    /// The label of the response shown first; the second carries the other.
    pub first_label: Label,
    /// Marks where a response begins and ends in the judge's prompt; nobody who wrote a response could know it.
    pub fence: String,
}

/// Systems by presentation. Stored apart from verdicts and never shown to a judge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Key {
    records: BTreeMap<(String, u8), KeyRecord>,
}

impl Key {
    /// Builds a key from its records.
    ///
    /// # Errors
    /// Two different records for one presentation.
    pub fn new(records: impl IntoIterator<Item = KeyRecord>) -> Result<Key, PairError> {
        let mut key = Key::default();
        for record in records {
            let id = (record.pair_id.clone(), record.pass);
            match key.records.get(&id) {
                Some(known) if *known != record => {
                    return Err(PairError::KeyConflict { pair_id: id.0, pass: id.1 });
                }
                Some(_) => {}
                None => {
                    key.records.insert(id, record);
                }
            }
        }
        Ok(key)
    }

    /// The record of one presentation.
    #[must_use]
    pub fn get(&self, pair_id: &str, pass: u8) -> Option<&KeyRecord> {
        self.records.get(&(pair_id.to_owned(), pass))
    }

    /// All records, ordered by pair and pass.
    pub fn records(&self) -> impl Iterator<Item = &KeyRecord> {
        self.records.values()
    }
}

/// What [`blind`] makes: presentations for judges, and the key that must not go with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blinded {
    /// All passes of all pairs, ordered by pair id and pass: an order that says nothing of the systems.
    pub presentations: Vec<BlindPair>,
    /// Which system stands where.
    pub key: Key,
}

/// Why responses cannot be paired.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PairError {
    /// The same pair was given twice.
    #[error("comparison {comparison:?} has prompt {prompt_id:?} sample {sample} twice: give each pair once")]
    Duplicate {
        /// The comparison.
        comparison: String,
        /// The prompt.
        prompt_id: String,
        /// The sample.
        sample: u32,
    },
    /// One system answered a prompt that the other did not.
    #[error(
        "comparison {comparison:?}: {missing_from} has no response to prompt {prompt_id:?} sample {sample}: generate both systems on the same prompts and samples"
    )]
    Unmatched {
        /// The comparison.
        comparison: String,
        /// The prompt.
        prompt_id: String,
        /// The sample.
        sample: u32,
        /// "tuned" or "base".
        missing_from: &'static str,
    },
    /// One prompt id stands for two texts.
    #[error("prompt {prompt_id:?} differs between base and tuned generations: use one prompt set for both")]
    PromptDiffers {
        /// The prompt.
        prompt_id: String,
    },
    /// Two key records disagree about one presentation.
    #[error(
        "two keys disagree about pair {pair_id} pass {pass}: the secret or the systems changed between jobs"
    )]
    KeyConflict {
        /// The pair.
        pair_id: String,
        /// The pass.
        pass: u8,
    },
}

/// Turns a judge's choice of a label into the side that won. The only function that does.
///
/// A choice names a label, so only the label decides; the slot is where the response was read, nothing more.
#[must_use]
pub fn resolve(choice: Choice, key: &KeyRecord) -> Winner {
    resolve_label(choice, key.tuned_label())
}

/// [`resolve`] for what has no key: an imported verdict, whose file says which label, slot or name the tuned system had.
pub(crate) fn resolve_label(choice: Choice, tuned_label: Label) -> Winner {
    let chosen = match choice {
        Choice::A => Label::A,
        Choice::B => Label::B,
        Choice::Tie => return Winner::Tie,
    };
    if chosen == tuned_label { Winner::Tuned } else { Winner::Base }
}

/// Pairs a tuned system's generations with its base's, by prompt and sample.
///
/// # Errors
/// A response without its counterpart, a pair given twice, or a prompt id with two texts.
pub fn match_generations(
    comparison: &str,
    base: &[GenerationRecord],
    tuned: &[GenerationRecord],
) -> Result<Vec<PairInput>, PairError> {
    let base = by_prompt(comparison, base)?;
    let tuned = by_prompt(comparison, tuned)?;
    let unmatched = |(prompt_id, sample): &(&str, u32), missing_from| PairError::Unmatched {
        comparison: comparison.to_owned(),
        prompt_id: (*prompt_id).to_owned(),
        sample: *sample,
        missing_from,
    };
    if let Some(id) = base.keys().find(|id| !tuned.contains_key(*id)) {
        return Err(unmatched(id, "tuned"));
    }
    let mut pairs = Vec::with_capacity(tuned.len());
    for (id, tuned) in &tuned {
        let base = base.get(id).ok_or_else(|| unmatched(id, "base"))?;
        if base.prompt != tuned.prompt {
            return Err(PairError::PromptDiffers { prompt_id: tuned.prompt_id.clone() });
        }
        pairs.push(PairInput {
            comparison: comparison.to_owned(),
            prompt_id: tuned.prompt_id.clone(),
            sample: tuned.sample,
            stratum: tuned.domain.clone(),
            prompt: tuned.prompt.clone(),
            tuned: Response { system: tuned.system.clone(), text: tuned.text.clone() },
            base: Response { system: base.system.clone(), text: base.text.clone() },
        });
    }
    Ok(pairs)
}

type ByPrompt<'a> = BTreeMap<(&'a str, u32), &'a GenerationRecord>;

fn by_prompt<'a>(comparison: &str, records: &'a [GenerationRecord]) -> Result<ByPrompt<'a>, PairError> {
    let mut found = BTreeMap::new();
    for record in records {
        if found.insert((record.prompt_id.as_str(), record.sample), record).is_some() {
            return Err(PairError::Duplicate {
                comparison: comparison.to_owned(),
                prompt_id: record.prompt_id.clone(),
                sample: record.sample,
            });
        }
    }
    Ok(found)
}

/// Decides for every pair which response is shown where, and under which label.
///
/// The same secret and the same pairs give the same presentations, in whatever order the pairs come.
///
/// # Errors
/// A pair given twice.
pub fn blind(secret: &Secret, orders: Orders, pairs: &[PairInput]) -> Result<Blinded, PairError> {
    let mut seen = BTreeSet::new();
    for pair in pairs {
        if !seen.insert((&pair.comparison, &pair.prompt_id, pair.sample)) {
            return Err(PairError::Duplicate {
                comparison: pair.comparison.clone(),
                prompt_id: pair.prompt_id.clone(),
                sample: pair.sample,
            });
        }
    }
    let mut presentations = Vec::new();
    let mut records = Vec::new();
    for (pair, cell) in assign::cells(secret, pairs) {
        let pair_id = secret.pair_id(pair);
        for (pass, place) in cell.passes(orders).into_iter().enumerate() {
            let pass = pass as u8;
            presentations.push(present(secret, pair, &pair_id, pass, place));
            records.push(key_record(pair, &pair_id, pass, place));
        }
    }
    presentations.sort_by(|a, b| (&a.pair_id, a.pass).cmp(&(&b.pair_id, b.pass)));
    Ok(Blinded { presentations, key: Key::new(records)? })
}

fn present(secret: &Secret, pair: &PairInput, pair_id: &str, pass: u8, place: assign::Place) -> BlindPair {
    let (first, second) = match place.tuned_slot {
        Slot::First => (&pair.tuned.text, &pair.base.text),
        Slot::Second => (&pair.base.text, &pair.tuned.text),
    };
    BlindPair {
        pair_id: pair_id.to_owned(),
        pass,
        prompt: pair.prompt.clone(),
        first: first.clone(),
        second: second.clone(),
        first_label: place.first_slot_label,
        fence: secret.fence(pair_id, pass),
    }
}

fn key_record(pair: &PairInput, pair_id: &str, pass: u8, place: assign::Place) -> KeyRecord {
    KeyRecord {
        pair_id: pair_id.to_owned(),
        pass,
        comparison: pair.comparison.clone(),
        prompt_id: pair.prompt_id.clone(),
        sample: pair.sample,
        tuned: pair.tuned.system.clone(),
        base: pair.base.system.clone(),
        tuned_slot: place.tuned_slot,
        first_slot_label: place.first_slot_label,
    }
}
