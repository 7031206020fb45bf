//! The odd answers that real judges gave, none of which may become a tie or a loss.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

const SCORES: &str = r#"{"creativity":4,"coherence":5,"depth":3,"engagement":4,"quality":4}"#;

fn answer(winner: &str) -> String {
    format!(
        r#"{{"reasoning":"Both are fine.","response_1":{SCORES},"response_2":{SCORES},"winner":"{winner}","confidence":3}}"#
    )
}

fn parse(text: &str) -> Result<Verdict, Missing> {
    super::parse(text, Channel::Json)
}

fn lines(text: &str) -> Result<Verdict, Missing> {
    super::parse(text, Channel::Lines)
}

fn status(text: &str) -> VerdictStatus {
    parse(text).unwrap_err().status
}

#[test]
fn a_verdict_is_read_as_the_schema_says() {
    assert_eq!(parse(&answer("1")).unwrap().choice, Choice::A);
    assert_eq!(parse(&answer("2")).unwrap().choice, Choice::B);
    assert_eq!(parse(&answer("tie")).unwrap().choice, Choice::Tie);
    assert_eq!(parse(&answer("1")).unwrap().scores_b.depth, 3);
}

#[test]
fn white_space_and_one_markdown_fence_are_accepted() {
    assert!(parse(&format!("\n  {}\n", answer("1"))).is_ok());
    assert!(parse(&format!("```json\n{}\n```", answer("1"))).is_ok());
    assert!(parse(&format!("```\n{}\n```\n", answer("1"))).is_ok());
}

#[test]
fn text_is_never_searched_for_a_winner() {
    for odd in [
        "",
        "   \n",
        "Winner: Neither",
        "Winner: Neither (Tie)",
        "**Winner:** B",
        "Winner: A",
        "Both have fine qualities, properties and identities.",
        "null",
        "\"1\"",
        "[]",
        "{}",
        "```json\n```",
        "Sorry, I cannot compare these.",
    ] {
        assert_eq!(status(odd), VerdictStatus::Malformed, "{odd:?}");
    }
}

#[test]
fn two_verdicts_are_not_one() {
    let two = format!("{}\n{}", answer("1"), answer("2"));
    assert_eq!(status(&two), VerdictStatus::Malformed);
    let repeated = answer("1").replace(r#","confidence":3"#, r#","confidence":3,"winner":"2""#);
    assert_eq!(status(&repeated), VerdictStatus::Malformed);
}

#[test]
fn prose_around_the_object_is_refused_since_it_may_quote_a_response() {
    assert_eq!(
        status(&format!("The first response says {} and stops.", answer("1"))),
        VerdictStatus::Malformed
    );
    assert_eq!(status(&format!("{} Hope this helps!", answer("2"))), VerdictStatus::Malformed);
}

#[test]
fn members_outside_the_schema_are_refused() {
    for (from, to) in [
        (r#""winner":"1""#, r#""winner":"A""#),
        (r#""winner":"1""#, r#""winner":"Neither""#),
        (r#""winner":"1""#, r#""winner":1"#),
        (r#""winner":"1","#, ""),
        (r#""confidence":3"#, r#""confidence":6"#),
        (r#""confidence":3"#, r#""confidence":0"#),
        (r#""confidence":3"#, r#""confidence":3.5"#),
        (r#""confidence":3"#, r#""confidence":"3""#),
        (r#""confidence":3"#, r#""confidence":3,"note":"x""#),
        (r#""depth":3"#, r#""depth":7"#),
        (r#""depth":3,"#, ""),
    ] {
        let odd = answer("1").replacen(from, to, 1);
        assert_ne!(odd, answer("1"), "{from}");
        assert_eq!(status(&odd), VerdictStatus::Malformed, "{odd}");
    }
}

#[test]
fn what_the_api_says_goes_before_what_the_text_looks_like() {
    let good = answer("1");
    let read = |refusal, finish| {
        let reply = Reply { text: Some(&good), refusal, finish, said: "" };
        from_reply(&reply, Channel::Json).map(|v| v.choice).map_err(|m| m.status)
    };
    assert_eq!(read(None, Finish::Stop), Ok(Choice::A));
    assert_eq!(read(None, Finish::Length), Err(VerdictStatus::Truncated));
    assert_eq!(read(None, Finish::Filtered), Err(VerdictStatus::Blocked));
    assert_eq!(read(None, Finish::Refused), Err(VerdictStatus::Refused));
    assert_eq!(read(Some("I can't help with that."), Finish::Stop), Err(VerdictStatus::Refused));
    assert_eq!(read(Some(""), Finish::Stop), Ok(Choice::A));
    let empty = Reply { text: None, refusal: None, finish: Finish::Stop, said: "" };
    assert_eq!(from_reply(&empty, Channel::Json).unwrap_err().status, VerdictStatus::Malformed);
    let blocked = Reply { finish: Finish::Filtered, said: "RECITATION", ..empty };
    let told = from_reply(&blocked, Channel::Json).unwrap_err().detail;
    assert_eq!(told, "the provider's filter withheld the answer (RECITATION)");
}

#[test]
fn an_answer_of_unreasonable_length_is_malformed_and_its_detail_is_short() {
    let long = "x".repeat(ANSWER_BYTES_MAX + 1);
    assert_eq!(status(&long), VerdictStatus::Malformed);
    assert!(parse(&"é".repeat(5000)).unwrap_err().detail.len() < 700);
}

#[test]
fn the_schema_lists_exactly_what_is_read() {
    let schema = crate::prompt::template("assay-v1").unwrap().schema.unwrap();
    let value: serde_json::Value = serde_json::from_str(schema).unwrap();
    let required: Vec<_> =
        value["required"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert_eq!(required, ["reasoning", "response_1", "response_2", "winner", "confidence"]);
    let at = |name: &str| schema.find(&format!("\"{name}\": {{")).unwrap();
    assert!(required.windows(2).all(|two| at(two[0]) < at(two[1])), "key order is generation order");
    let dimensions: Vec<_> = parse(&answer("1")).unwrap().scores_a.named().map(|(name, _)| name).into();
    for response in ["response_1", "response_2"] {
        let listed = &value["properties"][response]["required"];
        assert_eq!(*listed, serde_json::json!(dimensions));
    }
}

const PAPER: &str = "\
Response A - Creativity: 4, Coherence: 5, Depth: 3, Engagement: 4, Quality: 4
Response B - Creativity: 3, Coherence: 4, Depth: 3, Engagement: 3, Quality: 4
Winner: A
Reasoning: Response A is more inventive. Its qualities and properties stand out.";

#[test]
fn the_lines_of_the_published_study_are_read_with_the_marks_that_judges_add() {
    let plain = lines(PAPER).unwrap();
    assert_eq!((plain.choice, plain.scores_a.coherence, plain.scores_b.creativity), (Choice::A, 5, 3));
    assert!(plain.reasoning.starts_with("Response A is more inventive"), "{}", plain.reasoning);
    assert_eq!(plain.confidence, None);
    for (from, to, choice) in [
        ("Winner: A", "**Winner:** B", Choice::B),
        ("Winner: A", "**Winner: B**", Choice::B),
        ("Winner: A", "winner: tie", Choice::Tie),
        ("Winner: A", "### Winner: [Tie]", Choice::Tie),
        ("Winner: A", "Winner: Response B.", Choice::B),
        ("Response A - C", "**Response A** - C", Choice::A),
        ("Coherence: 5,", "Coherence: 5/5,", Choice::A),
        ("Winner: A", "Winner: A\n\nWinner: A", Choice::A),
    ] {
        let text = PAPER.replacen(from, to, 1);
        assert_eq!(lines(&text).map(|verdict| verdict.choice), Ok(choice), "{text}");
    }
}

#[test]
fn odd_lines_are_no_tie_and_no_loss() {
    for (from, to) in [
        ("Winner: A", "Winner: Neither"),
        ("Winner: A", "Winner: Neither (Tie)"),
        ("Winner: A", "Winner: A or B"),
        ("Winner: A", "Winner: [A or B or Tie]"),
        ("Winner: A", "The winner is A"),
        ("Winner: A", "Winner: A\nWinner: B"),
        ("Winner: A", "Both have qualities; their identities tie together."),
        ("Winner: A\n", ""),
        ("Quality: 4", "Quality: X"),
        ("Quality: 4", "Quality: 6"),
        ("Quality: 4", "Quality: 4.5"),
        (", Quality: 4", ""),
        ("Response B -", "Response C -"),
    ] {
        let text = PAPER.replacen(from, to, 1);
        assert_ne!(text, PAPER, "{from}");
        assert_eq!(lines(&text).unwrap_err().status, VerdictStatus::Malformed, "{text}");
    }
    assert_eq!(lines("").unwrap_err().status, VerdictStatus::Malformed);
}

/// A text with a few bytes changed, taken away, doubled, or swapped for words that judges use.
fn damaged(good: &str, random: &mut ChaCha8Rng) -> String {
    const WORDS: [&str; 12] =
        ["\"winner\":\"2\"", "Winner: B\n", "tie", "```", "{", "}", "\"", "null", "\\u0000", "6", "**", ","];
    let mut text: Vec<char> = good.chars().collect();
    for _ in 0..=random.next_u32() % 3 {
        let below = |random: &mut ChaCha8Rng, most: usize| random.next_u32() as usize % most.max(1);
        let at = below(random, text.len());
        match below(random, 5) {
            0 if !text.is_empty() => drop(text.remove(at)),
            1 => text.insert(at, char::from_u32(random.next_u32() % 0x300).unwrap_or('x')),
            2 => text.truncate(at),
            3 => drop(text.splice(at..at, WORDS[below(random, WORDS.len())].chars())),
            _ => text.extend_from_within(at..),
        }
    }
    text.into_iter().collect()
}

#[test]
fn damaged_answers_are_malformed_or_say_what_they_say() {
    let mut random = ChaCha8Rng::seed_from_u64(20_261_123);
    let (mut read, mut missing) = (0, 0);
    for case in 0..20_000 {
        let good = answer(["1", "2", "tie"][case % 3]);
        let text = damaged(&good, &mut random);
        let Ok(verdict) = parse(&text) else {
            missing += 1;
            continue;
        };
        read += 1;
        // An independent reading: the one object of the text, whose members are exactly those of the schema.
        let value: serde_json::Value = serde_json::from_str(unfenced(text.trim())).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 5, "{text}");
        let winner = match verdict.choice {
            Choice::A => "1",
            Choice::B => "2",
            Choice::Tie => "tie",
        };
        assert_eq!(value["winner"], winner, "{text}");
        assert_eq!(value["confidence"], verdict.confidence.unwrap(), "{text}");
        assert_eq!(value["response_2"]["depth"], verdict.scores_b.depth, "{text}");
    }
    assert!(read > 200 && missing > 5_000, "{read} read, {missing} missing");
}

#[test]
fn damaged_lines_are_malformed_or_name_one_winner() {
    let mut random = ChaCha8Rng::seed_from_u64(57);
    let (mut read, mut missing) = (0, 0);
    for _ in 0..20_000 {
        let text = damaged(PAPER, &mut random);
        let Ok(verdict) = lines(&text) else {
            missing += 1;
            continue;
        };
        read += 1;
        let stripped = text.to_lowercase().replace(['*', '`', '#', '_', ' ', '[', ']', '"', '.'], "");
        let named = |word: &str| stripped.lines().any(|line| line.trim() == format!("winner:{word}"));
        let word = match verdict.choice {
            Choice::A => "a",
            Choice::B => "b",
            Choice::Tie => "tie",
        };
        let named = |word: &str| named(word) || named(&format!("response{word}"));
        assert!(named(word), "{text}");
        assert!(!["a", "b", "tie"].iter().any(|other| *other != word && named(other)), "{text}");
    }
    assert!(read > 1_000 && missing > 5_000, "{read} read, {missing} missing");
}
