//! The verdict parser under damage: a committed corpus of what judges really answer, and what becomes of it when bytes are lost,
//! doubled or swapped. Guided: an input with an outcome that none had before is damaged further. Everything follows from the number of
//! a case; there is no clock.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use assay_judging::prompt::Channel;
use assay_judging::records::{Choice, VerdictStatus};
use assay_judging::verdict::{ANSWER_BYTES_MAX, Missing, Scores, Verdict, parse};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;

/// Cases for each channel; twenty times as many in the full tier.
const CASES: u64 = 60_000;
/// Inputs kept for their outcomes, at most; none is longer than this.
const KEPT_MAX: usize = 5_000;
const KEPT_BYTES_MAX: usize = 8_192;
/// What judges write, and what almost is it.
const WORDS: [&str; 28] = [
    "\"winner\":\"2\"",
    "\"winner\": \"1\",",
    "\"tie\"",
    "Winner: B\n",
    "\nWinner: Tie",
    "**Winner:** A\n",
    "winner",
    "Response A -",
    "Response B -",
    "Creativity: 4, Coherence: 5, Depth: 3, Engagement: 4, Quality: 4\n",
    "Reasoning:",
    "/5",
    "```json\n",
    "\n```",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\u0000",
    "\\ud800",
    "null",
    "1e999",
    "-0",
    "6",
    ",",
    "\u{feff}",
    "\r\n",
];

/// (name, text) of a folder of the corpus.
fn corpus(folder: &str) -> Vec<(String, String)> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/verdicts").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn what_judges_really_answer_is_read_or_missing_as_it_should_be() {
    for (folder, channel) in [("json", Channel::Json), ("lines", Channel::Lines)] {
        let (read, missing) = (corpus(&format!("{folder}/read")), corpus(&format!("{folder}/missing")));
        assert!(read.len() >= 9 && missing.len() >= 15, "the corpus is there");
        for (name, text) in read {
            let verdict = parse(&text, channel);
            assert!(verdict.is_ok(), "{name}: {verdict:?}");
        }
        for (name, text) in missing {
            let verdict = parse(&text, channel);
            assert_eq!(
                verdict.as_ref().map_err(|missing| missing.status),
                Err(VerdictStatus::Malformed),
                "{name}"
            );
        }
    }
}

#[test]
fn damaged_objects_are_malformed_or_say_what_they_say() {
    let (outcomes, read) = run("json", Channel::Json, &|text, verdict| {
        // An independent reading: the one object of the text, whose members are exactly those of the schema.
        let body = text.trim();
        let fenced = body.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
        let body = fenced.map_or(body, |inner| inner.strip_prefix("json").unwrap_or(inner).trim());
        let value: Value = serde_json::from_str(body).unwrap();
        let members = value.as_object().unwrap();
        assert_eq!(members.len(), 5, "{text}");
        let winner = match verdict.choice {
            Choice::A => "1",
            Choice::B => "2",
            Choice::Tie => "tie",
        };
        assert_eq!(
            (value["winner"].as_str(), value["confidence"].as_u64()),
            (Some(winner), verdict.confidence.map(u64::from))
        );
        for (label, scores) in [("response_1", verdict.scores_a), ("response_2", verdict.scores_b)] {
            let named: Vec<_> =
                scores.named().into_iter().map(|(name, score)| value[label][name] == score).collect();
            assert_eq!((named, value[label].as_object().unwrap().len()), (vec![true; 5], 5), "{text}");
        }
        assert_eq!(value["reasoning"].as_str(), Some(verdict.reasoning.as_str()));
        // With more around it, it is none: it might be quoted from a response.
        for around in [format!("So: {text}"), format!("{text}\n{text}"), format!("{text} That is all.")] {
            assert!(parse(&around, Channel::Json).is_err(), "{around}");
        }
        // Its words for the two responses changed over, the other one wins.
        assert_eq!(
            parse(&changed_over(body), Channel::Json).unwrap().choice,
            other(verdict.choice),
            "{text}"
        );
    });
    assert!(outcomes >= 12 && read > 100, "{outcomes} different outcomes, {read} verdicts");
}

#[test]
fn damaged_lines_are_malformed_or_name_one_winner() {
    let (outcomes, read) = run("lines", Channel::Lines, &|text, verdict| {
        // An independent reading: all lines that name a winner name the same one.
        let plain = text.to_ascii_lowercase().replace(['*', '`', '#', '_'], "");
        let lines = plain
            .lines()
            .filter_map(|line| line.trim().strip_prefix("winner")?.trim_start().strip_prefix(':'));
        let word = |rest: &str| {
            let word = rest.trim().trim_matches(['[', ']', '"', '.']).trim();
            word.strip_prefix("response").unwrap_or(word).trim().to_owned()
        };
        let named: BTreeSet<String> = lines.map(word).collect();
        let winner = match verdict.choice {
            Choice::A => "a",
            Choice::B => "b",
            Choice::Tie => "tie",
        };
        assert_eq!(named.into_iter().collect::<Vec<_>>(), [winner], "{text}");
        assert_eq!(verdict.confidence, None);
    });
    assert!(outcomes >= 8 && read > 500, "{outcomes} different outcomes, {read} verdicts");
}

/// Runs the cases of a channel; how many different outcomes there were, and how many verdicts.
fn run(folder: &str, channel: Channel, check: &dyn Fn(&str, &Verdict)) -> (usize, u64) {
    let mut kept: Vec<String> = ["read", "missing"]
        .iter()
        .flat_map(|part| corpus(&format!("{folder}/{part}")))
        .map(|(_, text)| text)
        .collect();
    let mut seen: BTreeSet<String> = kept.iter().map(|text| outcome(&parse(text, channel))).collect();
    let mut read = 0;
    for number in 0..assay_tests::repeats(CASES, 20 * CASES) {
        let mut random = ChaCha8Rng::seed_from_u64(number);
        let text = damaged(&kept, &mut random);
        let verdict = parse(&text, channel);
        match &verdict {
            Ok(verdict) => {
                read += 1;
                in_range(&verdict.scores_a);
                in_range(&verdict.scores_b);
                check(&text, verdict);
                assert_eq!(
                    parse(&format!("\n {text} \n"), channel).as_ref(),
                    Ok(verdict),
                    "case {number}: {text}"
                );
            }
            Err(missing) => {
                assert_eq!(missing.status, VerdictStatus::Malformed, "case {number}: {text}");
                assert!(missing.detail.len() < 2_000, "case {number}: {}", missing.detail);
            }
        }
        if text.len() <= KEPT_BYTES_MAX && kept.len() < KEPT_MAX && seen.insert(outcome(&verdict)) {
            kept.push(text);
        }
    }
    assert!(parse(&"{".repeat(ANSWER_BYTES_MAX + 1), channel).is_err());
    assert!(
        parse(&"[".repeat(ANSWER_BYTES_MAX), channel).is_err(),
        "deep nesting is no way to the stack's end"
    );
    (seen.len(), read)
}

/// What the parser made of it, without the text that it quotes: which rule was broken, or who won.
fn outcome(verdict: &Result<Verdict, Missing>) -> String {
    match verdict {
        Ok(verdict) => {
            format!("{:?} {} {}", verdict.choice, verdict.scores_a.depth, verdict.reasoning.is_empty())
        }
        Err(missing) => {
            // Up to what is quoted, and without numbers: a rule, not the text that broke it.
            let rule = |text: &str| {
                let said = text.split(['"', '`', '(']).next().unwrap_or_default();
                said.split(" at line").next().unwrap_or_default().replace(|c: char| c.is_ascii_digit(), "")
            };
            let why = missing.detail.strip_prefix("not one verdict object (").map(rule).unwrap_or_default();
            format!("{}: {why}", rule(&missing.detail))
        }
    }
}

fn in_range(scores: &Scores) {
    assert!(scores.named().iter().all(|(_, score)| (1..=5).contains(score)), "{scores:?}");
}

fn changed_over(body: &str) -> String {
    let mut value: Value = serde_json::from_str(body).unwrap();
    let first = value["response_1"].take();
    value["response_1"] = value["response_2"].take();
    value["response_2"] = first;
    value["winner"] = match value["winner"].as_str() {
        Some("1") => "2".into(),
        Some("2") => "1".into(),
        _ => "tie".into(),
    };
    value.to_string()
}

fn other(choice: Choice) -> Choice {
    match choice {
        Choice::A => Choice::B,
        Choice::B => Choice::A,
        Choice::Tie => Choice::Tie,
    }
}

/// One of the inputs with a few damages: bits, cuts, words that judges use, parts of another input.
fn damaged(kept: &[String], random: &mut ChaCha8Rng) -> String {
    let mut below = |most: usize| random.next_u32() as usize % most.max(1);
    let mut bytes = kept[below(kept.len())].clone().into_bytes();
    for _ in 0..=below(4) {
        let at = below(bytes.len() + 1);
        let word = WORDS[below(WORDS.len())].as_bytes();
        match below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at.max(bytes.len() / 2)),
            3 => drop(bytes.splice(at..at, word.iter().copied())),
            4 => drop(bytes.splice(at..(at + word.len()).min(bytes.len()), word.iter().copied())),
            5 => {
                let part = kept[below(kept.len())].as_bytes();
                let from = below(part.len() + 1);
                drop(bytes.splice(at..at, part[from..].iter().copied().take(1 + below(80))));
            }
            _ => {
                let to = (at + below(40)).min(bytes.len());
                bytes.extend_from_within(at.min(to)..to);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
