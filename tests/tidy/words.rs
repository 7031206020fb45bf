//! What must not be written anywhere: paths of one machine, hosts of package registries, notes to self, silenced tests.

use crate::tree::{Text, texts};

/// Put together here so that this file does not hold them.
fn machine_paths() -> Vec<String> {
    ["work", "root", "home", "tmp", "Users"].map(|folder| format!("/{folder}/")).to_vec()
}

fn registry_hosts() -> Vec<String> {
    let hosts = [
        ("pypi.", "org"),
        ("pythonhosted.", "org"),
        ("crates.", "io"),
        ("npmjs.", "org"),
        ("proxy.", "golang.org"),
        ("deb.", "debian.org"),
        ("archive.", "ubuntu.com"),
    ];
    hosts.map(|(name, top)| format!("{name}{top}")).to_vec()
}

fn notes_to_self() -> Vec<String> {
    [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK"), ("W", "IP"), ("TB", "D")]
        .map(|(head, tail)| format!("{head}{tail}"))
        .to_vec()
}

#[test]
fn no_paths_of_one_machine() {
    // An image is a machine of its own: its recipe names folders in it.
    let texts: Vec<_> = texts().into_iter().filter(|text| !text.path.starts_with("deploy/")).collect();
    refuse(&texts, &machine_paths(), starts_a_path, "paths of one machine");
}

#[test]
fn no_registry_hosts() {
    refuse(&texts(), &registry_hosts(), |_, _, _| true, "hosts of package registries");
}

#[test]
fn no_notes_to_self() {
    let mut words = notes_to_self();
    words.extend(["todo", "unimplemented"].map(|name| format!("{name}!(")));
    refuse(&texts(), &words, is_a_word, "notes to self (file an issue instead)");
}

#[test]
fn no_silenced_tests() {
    let rust: Vec<_> = texts().into_iter().filter(|text| text.extension() == "rs").collect();
    let attributes = ["ignore", "should_panic"].map(|name| format!("#[{name}"));
    refuse(&rust, &attributes, |_, _, _| true, "silenced or loose tests (see `assay_tests::skip`)");
}

#[test]
fn no_allow_without_expect() {
    let rust: Vec<_> = texts().into_iter().filter(|text| text.extension() == "rs").collect();
    let attributes = ["#[", "#!["].map(|open| format!("{open}allow("));
    refuse(&rust, &attributes, |_, _, _| true, "attributes that outlive their reason: use `expect`");
}

/// Fails with each place where one of `patterns` stands and `counts` agrees.
fn refuse(texts: &[Text], patterns: &[String], counts: fn(&str, usize, usize) -> bool, what: &str) {
    let mut found = Vec::new();
    for text in texts {
        for (number, line) in text.content.lines().enumerate() {
            let mut places = patterns.iter().flat_map(|pattern| line.match_indices(pattern.as_str()));
            if places.any(|(start, matched)| counts(line, start, start + matched.len())) {
                found.push(format!("{}:{}: {}", text.path, number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// `/x/` begins a path unless something of a path or an address stands before it.
fn starts_a_path(line: &str, start: usize, _end: usize) -> bool {
    let before = line[..start].chars().next_back();
    !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}$)>".contains(c))
}

fn is_a_word(line: &str, start: usize, end: usize) -> bool {
    let touches = |c: char| c.is_alphanumeric() || c == '_';
    let open = line[..end].ends_with('(');
    !line[..start].chars().next_back().is_some_and(touches)
        && (open || !line[end..].chars().next().is_some_and(touches))
}

#[test]
fn the_checks_see_what_they_should() {
    let path = &machine_paths()[0];
    let line = format!("\"{path}x\" https://host{path}x");
    let counted: Vec<_> =
        line.match_indices(path.as_str()).map(|(at, _)| starts_a_path(&line, at, at)).collect();
    assert_eq!(counted, [true, false]);
    assert!(is_a_word("// HAT: x", 3, 6));
    assert!(!is_a_word("// HATS", 3, 6));
    assert!(!is_a_word("mktemp aHAT", 8, 11));
}
