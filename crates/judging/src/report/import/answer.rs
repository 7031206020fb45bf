//! What a judge's own words say: the last `Winner: ...`, and scores as `Response A - Creativity: 4, ...`.
//!
//! More is accepted than of a judge of our own (`verdict::lines`): whoever made the file had other rules, and its names are any.

use std::collections::BTreeMap;

use crate::verdict::lines::prefix;

/// The word after the last line that begins with `Winner:`, without Markdown and brackets.
pub(super) fn winner(answer: &str) -> Option<&str> {
    answer.lines().rev().find_map(|line| {
        let said = after(strip(line), "winner")?;
        Some(said.trim_matches(|c: char| "*[]()_.\"'` ".contains(c)))
    })
}

/// Scores by the name that the response carries.
pub(super) fn scores(answer: &str) -> BTreeMap<String, BTreeMap<String, u8>> {
    let mut found = BTreeMap::new();
    for line in answer.lines() {
        let Some(rest) = prefix(strip(line), "response ") else { continue };
        let Some((name, list)) = rest.split_once([' ', ':']) else { continue };
        let list = list.trim_start_matches(|c: char| c.is_whitespace() || "-:*".contains(c));
        let scores: BTreeMap<String, u8> = list.split(',').filter_map(score).collect();
        if !scores.is_empty() {
            found.insert(name.to_owned(), scores);
        }
    }
    found
}

/// `Creativity: 4` or `Creativity: 4/5`.
fn score(part: &str) -> Option<(String, u8)> {
    let (name, value) = part.split_once(':')?;
    let value = value.trim().trim_matches('*').split('/').next()?.trim();
    Some((name.trim().trim_matches('*').to_lowercase(), value.parse().ok()?))
}

fn strip(line: &str) -> &str {
    line.trim_start_matches(|c: char| c.is_whitespace() || "*#>-_".contains(c))
}

fn after<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let rest = prefix(line, word)?.trim_start_matches(['*', '_', ' ']);
    Some(rest.strip_prefix(':')?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_winner_counts_and_prose_does_not() {
        assert_eq!(winner("Winner: A\nReasoning: fine"), Some("A"));
        assert_eq!(winner("**Winner:** B"), Some("B"));
        assert_eq!(winner("**Winner**: [Tie]\n"), Some("Tie"));
        assert_eq!(winner("Winner: A\nOn second thought\nWinner: B."), Some("B"));
        assert_eq!(winner("Winner: Neither (Tie)"), Some("Neither (Tie"));
        assert_eq!(winner("both have fine qualities; the winner is unclear"), None);
        assert_eq!(winner("ERROR: 429"), None);
        assert_eq!(winner("\u{e9}"), None);
    }

    #[test]
    fn scores_follow_the_name_of_the_response() {
        let found =
            scores("Response A - Creativity: 4, Coherence: 5, Depth: 3\n**Response B** - Creativity: 2/5");
        assert_eq!(found["A"]["creativity"], 4);
        assert_eq!(found["A"].len(), 3);
        assert!(scores("Response times: 3").is_empty() || !scores("Response times: 3").contains_key("A"));
    }
}
