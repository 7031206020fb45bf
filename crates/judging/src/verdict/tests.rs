//! The odd answers that real judges gave, none of which may become a tie or a loss.

use super::*;

const SCORES: &str = r#"{"creativity":4,"coherence":5,"depth":3,"engagement":4,"quality":4}"#;

fn answer(winner: &str) -> String {
    format!(
        r#"{{"reasoning":"Both are fine.","response_1":{SCORES},"response_2":{SCORES},"winner":"{winner}","confidence":3}}"#
    )
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
        from_reply(&Reply { text: Some(&good), refusal, finish }).map(|v| v.choice).map_err(|m| m.status)
    };
    assert_eq!(read(None, Finish::Stop), Ok(Choice::A));
    assert_eq!(read(None, Finish::Length), Err(VerdictStatus::Truncated));
    assert_eq!(read(None, Finish::Filtered), Err(VerdictStatus::Blocked));
    assert_eq!(read(None, Finish::Refused), Err(VerdictStatus::Refused));
    assert_eq!(read(Some("I can't help with that."), Finish::Stop), Err(VerdictStatus::Refused));
    assert_eq!(read(Some(""), Finish::Stop), Ok(Choice::A));
    let empty = Reply { text: None, refusal: None, finish: Finish::Stop };
    assert_eq!(from_reply(&empty).unwrap_err().status, VerdictStatus::Malformed);
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
