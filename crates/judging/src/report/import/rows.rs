//! From a line to a verdict: who was compared, who won, or why nobody knows.

use std::collections::BTreeMap;

use super::map::fold;
use super::table::{Line, clip};
use super::{ImportSettings, RowProblem, answer};
use crate::pair::resolve_label;
use crate::records::{Choice, FinishReason, Label, SideScores, Slot, VerdictStatus, Winner};
use crate::verdict::Scores;

/// What a word can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Tuned,
    Base,
    SystemA,
    SystemB,
    First,
    Second,
    LabelA,
    LabelB,
    Tie,
    Missing(VerdictStatus),
}

impl Meaning {
    /// All names, for messages.
    pub(super) const NAMES: [&str; 14] = [
        "tuned",
        "base",
        "system_a",
        "system_b",
        "first",
        "second",
        "label_a",
        "label_b",
        "tie",
        "refused",
        "blocked",
        "truncated",
        "malformed",
        "error",
    ];

    pub(super) fn named(name: &str) -> Option<Meaning> {
        Some(match name {
            "tuned" => Meaning::Tuned,
            "base" => Meaning::Base,
            "system_a" => Meaning::SystemA,
            "system_b" => Meaning::SystemB,
            "first" => Meaning::First,
            "second" => Meaning::Second,
            "label_a" => Meaning::LabelA,
            "label_b" => Meaning::LabelB,
            "tie" => Meaning::Tie,
            other => {
                let missing = VerdictStatus::ALL.into_iter().filter(|status| *status != VerdictStatus::Ok);
                Meaning::Missing(missing.into_iter().find(|status| status.name() == other)?)
            }
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Meaning::Tuned => "tuned",
            Meaning::Base => "base",
            Meaning::SystemA => "system_a",
            Meaning::SystemB => "system_b",
            Meaning::First => "first",
            Meaning::Second => "second",
            Meaning::LabelA => "label_a",
            Meaning::LabelB => "label_b",
            Meaning::Tie => "tie",
            Meaning::Missing(status) => status.name(),
        }
    }
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ComparisonKey {
    pub(super) model: String,
    pub(super) base: String,
    pub(super) tuned: String,
    pub(super) seed: u64,
    pub(super) checkpoint: String,
}

impl ComparisonKey {
    /// `TUNED over BASE`, with what else tells it apart.
    pub(super) fn id(&self) -> String {
        let seed = if self.seed == 0 { String::new() } else { format!("seed {}", self.seed) };
        let parts = [self.model.clone(), self.systems(), self.checkpoint.clone(), seed];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    pub(super) fn systems(&self) -> String {
        format!("{} over {}", self.tuned, self.base)
    }
}

/// A row that could be placed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) comparison: ComparisonKey,
    pub(super) item: String,
    pub(super) prompt: String,
    pub(super) domain: String,
    pub(super) split: String,
    pub(super) sample: String,
    pub(super) judge: String,
    pub(super) replicate: Option<u32>,
    pub(super) tuned_slot: Option<Slot>,
    pub(super) tuned_label: Option<Label>,
    pub(super) verdict: Result<Winner, VerdictStatus>,
    pub(super) note: Option<String>,
    pub(super) confidence: Option<u8>,
    pub(super) scores: Option<SideScores>,
    /// (tuned, base), where the file has them.
    pub(super) texts: Option<(String, String)>,
    pub(super) finish: (FinishReason, FinishReason),
}

/// All rows, and what is wrong with which.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) rows: Vec<Row>,
    pub(super) unplaced: Vec<RowProblem>,
    pub(super) unreadable: Vec<RowProblem>,
    pub(super) contradictions: Vec<RowProblem>,
    /// Rows with both a winner and the judge's words.
    pub(super) compared: u64,
}

pub(super) fn read(lines: &[Line], settings: &ImportSettings) -> Read {
    let mut read = Read::default();
    for line in lines {
        let reader = Reader { line, settings };
        match reader.row(&mut read) {
            Ok(row) => read.rows.push(row),
            Err(problem) => read.unplaced.push(problem),
        }
    }
    read
}

/// Who stands where in one row.
struct Places {
    /// Whether `system_a` is the tuned side, where the row names its systems so.
    a_is_tuned: Option<bool>,
    tuned_slot: Option<Slot>,
    tuned_label: Option<Label>,
}

struct Reader<'a> {
    line: &'a Line,
    settings: &'a ImportSettings,
}

impl Reader<'_> {
    fn row(&self, read: &mut Read) -> Result<Row, RowProblem> {
        let (comparison, a_is_tuned) = self.comparison()?;
        let mut places = Places { a_is_tuned, tuned_slot: None, tuned_label: None };
        places.tuned_slot = self.tuned_stands("order", &comparison, &places)?.map(|first| match first {
            true => Slot::First,
            false => Slot::Second,
        });
        places.tuned_label = self.tuned_stands("label_a", &comparison, &places)?.map(|first| match first {
            true => Label::A,
            false => Label::B,
        });
        let verdict = self.verdict(&comparison, &places, read);
        let item = self.needed("item")?;
        let text = |field: &str| self.text(field).map(str::to_owned);
        Ok(Row {
            line: self.line.number,
            prompt: text("prompt").unwrap_or_else(|| item.clone()),
            domain: text("domain").unwrap_or_else(|| "all".to_owned()),
            split: text("split").unwrap_or_else(|| "all".to_owned()),
            sample: text("sample").unwrap_or_default(),
            judge: self.needed("judge")?,
            replicate: self.number("replicate")?.map(|n| n as u32),
            note: text("reasoning").or_else(|| text("answer")),
            confidence: self.score("confidence")?,
            scores: self.scores(&comparison, &places)?,
            texts: match places.a_is_tuned {
                Some(true) => text("text_a").zip(text("text_b")),
                Some(false) => text("text_b").zip(text("text_a")),
                None => text("tuned_text").zip(text("base_text")),
            },
            finish: (self.finish("tuned_finish")?, self.finish("base_finish")?),
            tuned_slot: places.tuned_slot,
            tuned_label: places.tuned_label,
            verdict,
            comparison,
            item,
        })
    }

    fn text(&self, field: &str) -> Option<&str> {
        let map = &self.settings.map;
        let cell = map.column_of(field).and_then(|column| self.line.cells.get(column)).map(String::as_str);
        cell.or_else(|| map.fixed_value(field))
    }

    fn problem(&self, field: &str, rule: impl Into<String>) -> RowProblem {
        RowProblem {
            line: self.line.number,
            column: self.settings.map.column_of(field).unwrap_or(field).to_owned(),
            found: clip(self.text(field).unwrap_or_default()),
            rule: rule.into(),
        }
    }

    fn needed(&self, field: &str) -> Result<String, RowProblem> {
        let text = self.text(field).map(str::trim).filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or_else(|| self.problem(field, format!("a row needs its {field}")))
    }

    fn number(&self, field: &str) -> Result<Option<u64>, RowProblem> {
        let wrong = |_| self.problem(field, "a whole number is the rule");
        self.text(field).map(|text| text.trim().parse().map_err(wrong)).transpose()
    }

    fn score(&self, field: &str) -> Result<Option<u8>, RowProblem> {
        match self.number(field)? {
            None => Ok(None),
            Some(score @ 1..=5) => Ok(Some(score as u8)),
            Some(_) => Err(self.problem(field, "1 to 5 is the rule")),
        }
    }

    fn finish(&self, field: &str) -> Result<FinishReason, RowProblem> {
        match self.text(field).map(fold).as_deref() {
            None | Some("stop") => Ok(FinishReason::Stop),
            Some("length" | "max_tokens") => Ok(FinishReason::Length),
            Some(_) => Err(self.problem(field, "stop or length is the rule")),
        }
    }

    fn comparison(&self) -> Result<(ComparisonKey, Option<bool>), RowProblem> {
        let (tuned, base, a_is_tuned) = if self.settings.map.has("system_a") {
            let (a, b) = (self.needed("system_a")?, self.needed("system_b")?);
            let a_is_base = match &self.settings.base {
                Some(base) if *base == a => true,
                Some(base) if *base == b => false,
                Some(_) | None => a < b,
            };
            if a_is_base { (b, a, Some(false)) } else { (a, b, Some(true)) }
        } else {
            (self.needed("tuned")?, self.needed("base")?, None)
        };
        if tuned == base {
            return Err(self.problem("base", "two different systems are compared"));
        }
        let text = |field: &str| self.text(field).map(str::to_owned).unwrap_or_default();
        let seed = self.number("seed")?.unwrap_or_default();
        let key = ComparisonKey { model: text("model"), base, tuned, seed, checkpoint: text("checkpoint") };
        Ok((key, a_is_tuned))
    }

    /// Whether the tuned system is the one that `order` or `label_a` names; `None` where the file does not say.
    fn tuned_stands(
        &self,
        field: &str,
        comparison: &ComparisonKey,
        places: &Places,
    ) -> Result<Option<bool>, RowProblem> {
        let Some(word) = self.text(field) else { return Ok(None) };
        let side = match self.meaning(field, word, comparison) {
            Some(meaning) => side(meaning, places),
            None => None,
        };
        match side {
            Some(Winner::Tuned) => Ok(Some(true)),
            Some(Winner::Base) => Ok(Some(false)),
            Some(Winner::Tie) | None => Err(self.problem(
                field,
                format!("it names a system of the row; say what this word means with `--value {field}:WORD=MEANING`"),
            )),
        }
    }

    /// What a word means: as the map says, else a system's own name.
    fn meaning(&self, field: &str, word: &str, comparison: &ComparisonKey) -> Option<Meaning> {
        self.settings.map.meaning(field, word).or_else(|| {
            let word = fold(word);
            let named = |name: &str| fold(name) == word;
            match (named(&comparison.tuned), named(&comparison.base)) {
                (true, _) => Some(Meaning::Tuned),
                (_, true) => Some(Meaning::Base),
                (false, false) => None,
            }
        })
    }

    fn verdict(
        &self,
        comparison: &ComparisonKey,
        places: &Places,
        read: &mut Read,
    ) -> Result<Winner, VerdictStatus> {
        // A request that failed says nothing, whatever another column made of it.
        if self.text("answer").is_some_and(|answer| fold(answer).starts_with("error")) {
            return Err(VerdictStatus::Error);
        }
        if self.text("tie").map(fold).is_some_and(|tie| ["true", "1", "yes"].contains(&tie.as_str())) {
            return Ok(Winner::Tie);
        }
        let words = self.text("answer").and_then(answer::winner);
        let own = words.map(|word| self.outcome("answer", word, comparison, places));
        let given = self.text("winner").map(|word| self.outcome("winner", word, comparison, places));
        if let (Some(Ok(Ok(own))), Some(Ok(Ok(given)))) = (&own, &given) {
            read.compared += 1;
            if own != given {
                read.contradictions
                    .push(self.problem("winner", format!("the judge's own words say {own:?}")));
            }
        }
        match given.or(own) {
            Some(Ok(outcome)) => outcome,
            Some(Err(problem)) => {
                read.unreadable.push(problem);
                Err(VerdictStatus::Malformed)
            }
            None if self.text("answer").is_some() => {
                read.unreadable.push(self.problem("answer", "a line that begins with `Winner:` is the rule"));
                Err(VerdictStatus::Malformed)
            }
            None => Err(VerdictStatus::Error),
        }
    }

    /// A word's winner, a word that says that there is none, or a problem.
    fn outcome(
        &self,
        field: &str,
        word: &str,
        comparison: &ComparisonKey,
        places: &Places,
    ) -> Result<Result<Winner, VerdictStatus>, RowProblem> {
        let meaning = self.meaning(field, word, comparison).or_else(|| common_word(&fold(word)));
        let unknown = || {
            self.problem(
                field,
                format!(
                    "{} or {} or tie; say what `{}` means with `--value {field}:WORD=MEANING`",
                    comparison.tuned,
                    comparison.base,
                    clip(word)
                ),
            )
        };
        let meaning = meaning.ok_or_else(unknown)?;
        if let Meaning::Missing(status) = meaning {
            return Ok(Err(status));
        }
        side(meaning, places).map(Ok).ok_or_else(|| {
            self.problem(field, format!("`{}` needs the order, label or system it refers to", meaning.name()))
        })
    }

    fn scores(&self, comparison: &ComparisonKey, places: &Places) -> Result<Option<SideScores>, RowProblem> {
        if let (Some(tuned), Some(base)) = (self.side_scores("tuned")?, self.side_scores("base")?) {
            return Ok(Some(SideScores { tuned, base }));
        }
        let said = self.text("answer").map(answer::scores).unwrap_or_default();
        let mut sides: BTreeMap<bool, Scores> = BTreeMap::new();
        for (word, scores) in &said {
            let side = self.meaning("answer", word, comparison).and_then(|meaning| side(meaning, places));
            let scores = all_five(|name| scores.get(name).copied().filter(|score| (1..=5).contains(score)));
            if let (Some(side @ (Winner::Tuned | Winner::Base)), Some(scores)) = (side, scores) {
                sides.insert(side == Winner::Tuned, scores);
            }
        }
        Ok(sides.remove(&true).zip(sides.remove(&false)).map(|(tuned, base)| SideScores { tuned, base }))
    }

    fn side_scores(&self, prefix: &str) -> Result<Option<Scores>, RowProblem> {
        let mut found = BTreeMap::new();
        for name in ["creativity", "coherence", "depth", "engagement", "quality"] {
            if let Some(score) = self.score(&format!("{prefix}.{name}"))? {
                found.insert(name, score);
            }
        }
        Ok(all_five(|name| found.get(name).copied()))
    }
}

fn all_five(score: impl Fn(&str) -> Option<u8>) -> Option<Scores> {
    Some(Scores {
        creativity: score("creativity")?,
        coherence: score("coherence")?,
        depth: score("depth")?,
        engagement: score("engagement")?,
        quality: score("quality")?,
    })
}

/// Words whose meaning no map can turn round.
fn common_word(word: &str) -> Option<Meaning> {
    match word {
        "tie" | "draw" => Some(Meaning::Tie),
        "unknown" | "none" | "null" | "nan" | "n/a" => Some(Meaning::Missing(VerdictStatus::Error)),
        word if word.starts_with("error") => Some(Meaning::Missing(VerdictStatus::Error)),
        word => match Meaning::named(word) {
            Some(Meaning::Missing(status)) => Some(Meaning::Missing(status)),
            Some(_) | None => None,
        },
    }
}

/// The side that a meaning stands for, through [`resolve_label`] wherever a place or a label is named. `None` where the
/// row does not say who stood there.
fn side(meaning: Meaning, places: &Places) -> Option<Winner> {
    let by_label = |choice, tuned_label: Option<Label>| Some(resolve_label(choice, tuned_label?));
    let slot_as_label = places.tuned_slot.map(|slot| match slot {
        Slot::First => Label::A,
        Slot::Second => Label::B,
    });
    let system_as_label = places.a_is_tuned.map(|a_is_tuned| if a_is_tuned { Label::A } else { Label::B });
    match meaning {
        Meaning::Tuned => Some(Winner::Tuned),
        Meaning::Base => Some(Winner::Base),
        Meaning::Tie => Some(Winner::Tie),
        Meaning::SystemA => by_label(Choice::A, system_as_label),
        Meaning::SystemB => by_label(Choice::B, system_as_label),
        Meaning::First => by_label(Choice::A, slot_as_label),
        Meaning::Second => by_label(Choice::B, slot_as_label),
        Meaning::LabelA => by_label(Choice::A, places.tuned_label),
        Meaning::LabelB => by_label(Choice::B, places.tuned_label),
        Meaning::Missing(_) => None,
    }
}
