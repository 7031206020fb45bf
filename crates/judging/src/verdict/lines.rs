//! Reads the answer that the published study asked for: two lines of scores, `Winner: A`, `Reasoning: ...`.
//!
//! Only a line that begins so counts. The study itself searched the whole text for "tie", which is in "qualities".

use super::{Missing, Scores, Verdict, clip, one_to_five};
use crate::records::{Choice, VerdictStatus};

/// Reads a complete answer.
pub(super) fn parse(text: &str) -> Result<Verdict, Missing> {
    read(text).map_err(|detail| Missing::new(VerdictStatus::Malformed, detail))
}

fn read(text: &str) -> Result<Verdict, String> {
    let plain: Vec<String> = text.lines().map(unmarked).collect();
    let choice = winner(&plain, text)?;
    let scores = |label: &str| {
        let given = plain.iter().filter_map(|line| after(line, &format!("response {label}")));
        only(given.filter_map(scores), &format!("lines of scores of response {}", label.to_uppercase()))
    };
    let (scores_a, scores_b) = (scores("a")??, scores("b")??);
    let reasoning = plain.iter().position(|line| after(line, "reasoning").is_some());
    let reasoning = reasoning.map(|at| {
        let first = after(&plain[at], "reasoning").unwrap_or_default();
        [&[first], plain[at + 1..].iter().map(String::as_str).collect::<Vec<_>>().as_slice()]
            .concat()
            .join("\n")
    });
    let reasoning = reasoning.map(|text| text.trim_start_matches([':', ' ']).trim().to_owned());
    Ok(Verdict { reasoning: reasoning.unwrap_or_default(), scores_a, scores_b, choice, confidence: None })
}

/// The line without Markdown's marks, which some judges put around the words.
fn unmarked(line: &str) -> String {
    line.chars().filter(|c| !matches!(c, '*' | '`' | '#' | '_')).collect::<String>().trim().to_owned()
}

/// What follows a word at the start of a line, in upper or lower case.
fn after<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    prefix(line, word).map(str::trim_start)
}

/// The same with the space after the word.
pub(crate) fn prefix<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let head = line.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &line[word.len()..])
}

fn winner(lines: &[String], text: &str) -> Result<Choice, String> {
    let named = lines.iter().filter_map(|line| after(line, "winner")?.strip_prefix(':'));
    let rule = "\"Winner: A\", \"Winner: B\" or \"Winner: Tie\" is the rule";
    let read = named.map(|given| choice(given).ok_or_else(|| format!("winner is {:?}: {rule}", clip(given))));
    only(read, "lines that name a winner").map_err(|why| format!("{why}, {rule}: {}", clip(text.trim())))?
}

fn choice(given: &str) -> Option<Choice> {
    let word = given.trim().trim_matches(['[', ']', '"', '.']).trim();
    match after(word, "response").unwrap_or(word).to_ascii_lowercase().as_str() {
        "a" => Some(Choice::A),
        "b" => Some(Choice::B),
        "tie" => Some(Choice::Tie),
        _ => None,
    }
}

/// `- Creativity: 4, Coherence: 5, ...`; none for a line about something else.
fn scores(line: &str) -> Option<Result<Scores, String>> {
    const NAMES: [&str; 5] = ["creativity", "coherence", "depth", "engagement", "quality"];
    let line = line.trim_start_matches(['-', ':', ' ', '\u{2013}', '\u{2014}']);
    after(line, NAMES[0])?;
    let mut values = [0; 5];
    let parts: Vec<&str> = line.split(',').map(str::trim).collect();
    if parts.len() != NAMES.len() {
        return Some(Err(format!("{} scores in {:?}: five are the rule", parts.len(), clip(line))));
    }
    for ((name, part), value) in NAMES.iter().zip(parts).zip(&mut values) {
        let digits = after(part, name).and_then(|rest| rest.strip_prefix(':')).map(str::trim);
        let digits = digits.map(|digits| digits.strip_suffix("/5").unwrap_or(digits));
        let Some(number) = digits.and_then(|digits| digits.parse().ok()) else {
            return Some(Err(format!("{part:?} where \"{name}: 1\" to \"{name}: 5\" is the rule")));
        };
        if let Err(why) = one_to_five(name, number) {
            return Some(Err(why));
        }
        *value = number;
    }
    let [creativity, coherence, depth, engagement, quality] = values;
    Some(Ok(Scores { creativity, coherence, depth, engagement, quality }))
}

/// The one thing that all agree on. The same said twice is one; two different are none.
fn only<T: PartialEq>(mut found: impl Iterator<Item = T>, what: &str) -> Result<T, String> {
    let first = found.next().ok_or_else(|| format!("no {what}"))?;
    if found.any(|other| other != first) { Err(format!("different {what}")) } else { Ok(first) }
}
