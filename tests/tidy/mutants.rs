//! The deliberate faults of `tests/mutants.toml` still fit the code: each finds its one place.

use std::fs;

use serde_json::Value;

use crate::tree::root;

/// So many are promised.
const MUTANTS_MIN: usize = 12;

#[test]
fn every_mutant_finds_its_one_place() {
    let text = fs::read_to_string(root().join("tests/mutants.toml")).unwrap();
    let list: Value = toml::from_str(&text).unwrap();
    let mutants = list["mutant"].as_array().unwrap();
    assert!(mutants.len() >= MUTANTS_MIN, "{} mutants", mutants.len());
    let mut wrong = Vec::new();
    for mutant in mutants {
        let field = |name: &str| mutant[name].as_str().unwrap_or_else(|| panic!("{mutant} has no `{name}`"));
        let source = fs::read_to_string(root().join(field("file"))).unwrap();
        let places = source.matches(field("find")).count();
        if places != 1 || field("find") == field("replace") || mutant["test"].as_array().unwrap().len() != 3 {
            wrong.push(format!(
                "{}: `{}` is {places} times in {}",
                field("name"),
                field("find"),
                field("file")
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "change `find` in tests/mutants.toml to what the code says now:\n{}",
        wrong.join("\n")
    );
}
