//! What a person sees is blind, balanced and the same again; a name or a verdict that breaks a rule hears which.

use super::*;
use crate::pair::Response;

fn pairs(count: usize) -> Vec<PairInput> {
    let response = |system: &str, prompt: usize| Response {
        system: system.to_owned(),
        text: format!("{} {prompt}", if system == "base" { "One" } else { "Another" }),
    };
    let pair = |number: usize| PairInput {
        comparison: String::from("c"),
        prompt_id: format!("p{number}"),
        sample: 0,
        stratum: String::from("a"),
        prompt: format!("Question {number}?"),
        tuned: response("talks/r16/seed-1/step-2", number),
        base: response("base", number),
    };
    (0..count).map(pair).collect()
}

fn session(orders: Orders) -> Session {
    Session::begin("m-1", "ann", orders, [3; 32]).unwrap()
}

#[test]
fn every_first_look_comes_before_any_second_in_a_balanced_order_that_stays() {
    let shown = session(Orders::Both).show(&pairs(8)).unwrap();
    let passes: Vec<u8> = shown.presentations.iter().map(|one| one.pass).collect();
    assert_eq!(passes, [[0; 8], [1; 8]].concat());
    let firsts = shown.presentations[..8].iter().filter(|one| one.first.starts_with("Another")).count();
    assert_eq!(firsts, 4, "half of them show the tuned response first");
    // Kept and read again it is the same session, whatever order the pairs come in.
    let kept: Session =
        serde_json::from_str(&serde_json::to_string(&session(Orders::Both)).unwrap()).unwrap();
    let mut turned = pairs(8);
    turned.reverse();
    assert_eq!(kept.show(&turned).unwrap().presentations, shown.presentations);
    let other = Session::begin("m-1", "bob", Orders::Both, [4; 32]).unwrap();
    assert_ne!(
        other.show(&pairs(8)).unwrap().presentations,
        shown.presentations,
        "each has a secret of their own"
    );
    assert!(!format!("{:?}", session(Orders::Both)).contains("0303"), "it is not printed");
}

#[test]
fn a_verdict_is_kept_as_it_came_and_one_that_breaks_a_rule_is_refused() {
    let session = session(Orders::Single);
    let shown = session.show(&pairs(1)).unwrap();
    let scores = r#"{"creativity":4,"coherence":3,"depth":5,"engagement":4,"quality":4}"#;
    let text = |depth: &str, winner: &str| {
        let other = scores.replace("\"depth\":5", &format!("\"depth\":{depth}"));
        format!(
            r#"{{"reasoning":"Clearer.","response_1":{scores},"response_2":{other},"winner":"{winner}","confidence":2}}"#
        )
    };
    let kept = session.verdict(&shown.presentations[0], text("2", "1")).unwrap();
    assert_eq!((kept.judge.as_str(), kept.status), ("ann", VerdictStatus::Ok));
    assert_eq!(kept.evidence, Evidence::Text { text: text("2", "1") });
    for (wrong, rule) in [
        (text("9", "1"), "response_2.depth is 9: 1 to 5 is the rule"),
        (text("2", "first"), "winner is \"first\": \"1\", \"2\" or \"tie\" is the rule"),
        (text("2", "1").replace("\"confidence\":2", "\"sure\":2"), "unknown field `sure`"),
        (text("2", "1").repeat(2), "not one verdict object"),
        (String::new(), "an empty answer"),
        ("x".repeat(verdict::ANSWER_BYTES_MAX + 1), "more than 65536"),
    ] {
        let said = session.verdict(&shown.presentations[0], wrong).unwrap_err().to_string();
        assert!(said.contains(rule), "{said}");
    }
}

#[test]
fn a_name_is_a_plain_word() {
    for name in ["ann", "a.b-c_9", &"n".repeat(NAME_CHARS_MAX)] {
        check_name(name).unwrap();
    }
    for name in ["", ".", "..", ".ann", "a/b", "a b", "ä", &"n".repeat(NAME_CHARS_MAX + 1)] {
        assert!(check_name(name).unwrap_err().to_string().contains("letters, digits"), "{name}");
    }
}
