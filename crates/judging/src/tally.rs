//! What a judge's ledger says so far: answers by status, what was paid, what is under way, and why it stopped.
//!
//! Reads what it knows of each line and passes over the rest, so that a ledger of another version still counts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::records::VerdictStatus;

/// A ledger's lines, counted. Lines that several attempts stored count once.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Questions by what became of them last; the canned first call is none.
    pub statuses: BTreeMap<VerdictStatus, u64>,
    /// Answers that were paid for, those that were no verdict and the canned call included.
    pub answers: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens that were written.
    pub new_tokens: u64,
    /// What they cost at the list price, USD; none when one has no known price.
    pub usd: Option<f64>,
    /// What may have been paid without an answer, USD: calls that were cut off or are under way, and batches that are.
    pub usd_open: f64,
    /// Batches that have not ended.
    pub batches_open: u64,
    /// Why it is not asked any more: what kind of reason, and the reason.
    pub stopped: Option<(String, String)>,
}

#[derive(Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
enum Line {
    Asked {
        key: String,
        at_unix_ms: u64,
        #[serde(default)]
        usd_max: f64,
    },
    Cut {
        key: String,
        reached: bool,
    },
    Answered(Answer),
    BatchIntended {
        tag: String,
        at_unix_ms: u64,
        #[serde(default)]
        usd_max: f64,
    },
    BatchEnded {
        tag: String,
    },
    Stopped {
        class: String,
        why: String,
        at_unix_ms: u64,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Answer {
    key: String,
    at_unix_ms: u64,
    status: VerdictStatus,
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    new_tokens: u64,
    #[serde(default)]
    usd: Option<f64>,
    #[serde(default)]
    batch: Option<String>,
    #[serde(default)]
    probe: bool,
}

/// Counts the lines of a ledger's parts, oldest first. A line that is no entry is passed over: parts are whole lines.
#[must_use]
pub fn tally<'a>(parts: impl IntoIterator<Item = &'a str>) -> Tally {
    let mut count = Count::default();
    for line in parts.into_iter().flat_map(str::lines) {
        if count.seen.insert(line.to_owned())
            && let Ok(line) = serde_json::from_str(line)
        {
            count.add(line);
        }
    }
    count.finish()
}

#[derive(Default)]
struct Count {
    seen: BTreeSet<String>,
    answered: BTreeSet<(String, String)>,
    last: BTreeMap<String, (u64, VerdictStatus)>,
    open: BTreeMap<String, f64>,
    batches: BTreeMap<String, f64>,
    lost: f64,
    unpriced: bool,
    latest_ask: u64,
    stop: Option<(u64, String, String)>,
    tally: Tally,
}

impl Count {
    fn add(&mut self, line: Line) {
        match line {
            Line::Asked { key, at_unix_ms, usd_max } => {
                self.latest_ask = self.latest_ask.max(at_unix_ms);
                self.lost += self.open.insert(key, usd_max).unwrap_or_default();
            }
            Line::Cut { key, reached } => {
                let usd_max = self.open.remove(&key).unwrap_or_default();
                self.lost += if reached { usd_max } else { 0.0 };
            }
            Line::Answered(answer) => self.answer(answer),
            Line::BatchIntended { tag, at_unix_ms, usd_max } => {
                self.latest_ask = self.latest_ask.max(at_unix_ms);
                self.batches.insert(tag, usd_max);
            }
            Line::BatchEnded { tag } => {
                self.batches.remove(&tag);
            }
            Line::Stopped { class, why, at_unix_ms } => self.stop = Some((at_unix_ms, class, why)),
            Line::Other => {}
        }
    }

    fn answer(&mut self, answer: Answer) {
        self.open.remove(&answer.key);
        // The results of a batch may have been read twice.
        let which = answer.batch.unwrap_or_else(|| answer.at_unix_ms.to_string());
        if !self.answered.insert((answer.key.clone(), which)) {
            return;
        }
        self.tally.answers += 1;
        self.tally.prompt_tokens += answer.prompt_tokens;
        self.tally.new_tokens += answer.new_tokens;
        match answer.usd {
            Some(usd) => *self.tally.usd.get_or_insert_default() += usd,
            None => self.unpriced = true,
        }
        if !answer.probe {
            let last = self.last.entry(answer.key).or_insert((0, answer.status));
            // A verdict stands, whatever came after it elsewhere.
            if answer.at_unix_ms >= last.0 && last.1 != VerdictStatus::Ok
                || answer.status == VerdictStatus::Ok
            {
                *last = (answer.at_unix_ms, answer.status);
            }
        }
    }

    fn finish(mut self) -> Tally {
        for (_, status) in self.last.values() {
            *self.tally.statuses.entry(*status).or_default() += 1;
        }
        if self.unpriced {
            self.tally.usd = None;
        } else {
            self.tally.usd.get_or_insert(0.0);
        }
        self.tally.usd_open =
            self.lost + self.open.values().sum::<f64>() + self.batches.values().sum::<f64>();
        self.tally.batches_open = self.batches.len() as u64;
        // It went on after it had stopped.
        let stopped = self.stop.filter(|(at, ..)| *at >= self.latest_ask);
        self.tally.stopped = stopped.map(|(_, class, why)| (class, why));
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(key: &str, at: u64, status: &str, usd: &str) -> String {
        format!(
            r#"{{"entry":"answered","key":"{key}","question":"q","provider":"openai","model":"m","status":"{status}","at_unix_ms":{at},"seconds":1.0,"request":"","response":{{}},"prompt_tokens":10,"new_tokens":5{usd}}}"#
        )
    }

    #[test]
    fn each_question_counts_once_and_each_answer_is_paid() {
        let asked = r#"{"entry":"asked","key":"c","at_unix_ms":5,"usd_max":0.5}"#;
        let first = [
            answered("a", 1, "malformed", r#","usd":0.25"#),
            answered("a", 2, "ok", r#","usd":0.25"#),
            answered("b", 3, "refused", r#","usd":0.25"#),
        ]
        .join("\n");
        let probe = answered("p", 0, "ok", r#","usd":0.25,"probe":true"#);
        let later = format!("{first}\n{asked}\n{{\"entry\":\"of a later version\"}}\nno json\n{probe}");
        let found = tally([first.as_str(), later.as_str()]);
        assert_eq!(found.statuses, BTreeMap::from([(VerdictStatus::Ok, 1), (VerdictStatus::Refused, 1)]));
        assert_eq!((found.answers, found.prompt_tokens, found.usd, found.usd_open), (4, 40, Some(1.0), 0.5));
        assert_eq!(tally([answered("a", 1, "ok", "").as_str()]).usd, None);
        assert_eq!(tally([]).usd, Some(0.0));
    }

    #[test]
    fn a_judge_that_went_on_has_not_stopped() {
        let stop = r#"{"entry":"stopped","class":"budget","why":"spent","at_unix_ms":7}"#;
        let batch = r#"{"entry":"batch_intended","tag":"t","keys":["a"],"at_unix_ms":9,"usd_max":2.0}"#;
        assert_eq!(tally([stop]).stopped, Some((String::from("budget"), String::from("spent"))));
        let on = tally([stop, batch]);
        assert_eq!((on.stopped, on.batches_open, on.usd_open), (None, 1, 2.0));
        assert_eq!(tally([batch, r#"{"entry":"batch_ended","tag":"t","how":""}"#]).batches_open, 0);
    }
}
