//! The report in a real browser: light, dark, narrow and on paper; by keyboard alone; asking nobody for anything.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod chromium;

use std::path::{Path, PathBuf};

use assay_cli::report::html;
use assay_domain::job::Opponent;
use assay_judging::report::Report;
use assay_tests::{Need, need};
use serde_json::Value;

use crate::chromium::Browser;

const SAMPLE: &str = include_str!("../../../crates/judging/tests/fixtures/report.json");
const ASK: &str = include_str!("page.js");
/// What A4 leaves between margins of 14 mm, in CSS pixels of 1/96 inch.
const PAPER_PX: u32 = 688;

/// The sample with names as long as real ones are.
fn report() -> Report {
    let long = SAMPLE
        .replace("smoke-plain\"", "claude-opus-4-8-2026-high-effort\"")
        .replace("smollm2-135m", "qwen2.5-3b-instruct-8bit")
        .replace("philosophy\"", "philosophy-and-brainstorming\"");
    let mut report: Report = serde_json::from_str(&long).unwrap();
    let mut direct = report.comparisons[1].clone();
    let earlier = &report.comparisons[0].comparison;
    direct.comparison.id.push_str("/against/epoch-1");
    direct.comparison.against = Some(Opponent {
        model: "smollm2-1.7b-instruct-4bit".into(),
        system: earlier.tuned(),
        checkpoint: earlier.checkpoint.clone(),
        quantization: None,
    });
    report.direct.push(direct);
    report
}

fn page(folder: &Path, report: &Report) -> PathBuf {
    let path = folder.join("report.html");
    std::fs::write(&path, html(report)).unwrap();
    path
}

fn nothing(found: &Value, what: &str) {
    assert_eq!(found, &Value::Array(Vec::new()), "{what}");
}

/// The page, opened in a browser of its own.
fn opened(program: &Path, page: &Path) -> Browser {
    let mut browser = Browser::start(program);
    browser.open(page);
    browser.eval(ASK);
    browser
}

/// What the page asked for, and what the browser has to complain about.
fn complaints(browser: &Browser) -> Vec<&Value> {
    let bad = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
        "Network.requestWillBeSent" => {
            !event["params"]["request"]["url"].as_str().unwrap().starts_with("file://")
        }
        "Runtime.exceptionThrown" | "Log.entryAdded" => true,
        _ => false,
    };
    browser.events.iter().filter(bad).collect()
}

#[test]
fn the_page_is_readable_everywhere_and_on_a4() {
    let Some(program) = need(Need::Browser) else { return };
    let folder = tempfile::tempdir().unwrap();
    let report = report();
    let page = page(folder.path(), &report);
    let mut browser = opened(&program, &page);
    for scheme in ["light", "dark"] {
        for width in [1280, 390] {
            browser.look("screen", scheme, width);
            nothing(&browser.eval("assay.wide()"), &format!("{scheme}, {width} pixels: wider than the page"));
            nothing(&browser.eval("assay.pale()"), &format!("{scheme}, {width} pixels: hard to read"));
        }
    }
    // On paper everything is open, in dark ink, and between the margins, also for who reads in the dark.
    browser.look("print", "dark", PAPER_PX);
    browser.eval("document.getElementById('print-all').click()");
    nothing(&browser.eval("assay.wide()"), "wider than the paper");
    nothing(&browser.eval("assay.pale()"), "hard to read on paper");
    nothing(&browser.eval("assay.closed()"), "folded on paper");
    let pairs = browser.eval("document.querySelectorAll('.pair').length");
    assert_eq!(pairs, report.pairs.len());
    let printed = browser.eval(
        "Array.from(document.querySelectorAll('.pair')).filter(function (one) { return one.offsetHeight > 0; }).length",
    );
    assert_eq!(printed, pairs, "all pairs are printed when that is wished");
    assert_eq!(complaints(&browser), Vec::<&Value>::new());

    let pdf = browser.print(&page);
    let text = String::from_utf8_lossy(&pdf);
    let sheets: Vec<&str> =
        text.split("/MediaBox [0 0 ").skip(1).filter_map(|rest| rest.split(']').next()).collect();
    assert!((4..=16).contains(&sheets.len()), "{} pages", sheets.len());
    for sheet in sheets {
        let size: Vec<f64> = sheet.split(' ').map(|number| number.parse().unwrap()).collect();
        let a4 = [595.28, 841.89];
        assert!(size.iter().zip(a4).all(|(is, should)| (is - should).abs() < 1.0), "{size:?}");
    }
}

#[test]
fn the_page_is_used_by_keyboard_alone() {
    let Some(program) = need(Need::Browser) else { return };
    let folder = tempfile::tempdir().unwrap();
    let report = report();
    let page = page(folder.path(), &report);
    let mut browser = opened(&program, &page);
    browser.look("screen", "light", 1280);

    let wanted = browser.eval("assay.reachable()").as_array().unwrap().clone();
    assert!(wanted.len() > 20, "{wanted:?}");
    for name in &wanted {
        browser.press("Tab");
        let focused = browser.eval("assay.focused()");
        assert_eq!(&focused["name"], name, "in the order of the page");
        assert_eq!(focused["seen"], true, "{name} does not show that it has the focus");
    }
    // A summary opens with the keyboard as well.
    browser.eval("document.querySelector('details:not([open]) summary').focus()");
    let open = browser.eval("document.querySelectorAll('details[open]').length").as_u64().unwrap();
    browser.press(" ");
    assert_eq!(browser.eval("document.querySelectorAll('details[open]').length"), open + 1);

    let all = report.pairs.len();
    browser.eval("document.getElementById('next').focus()");
    let at = |number: usize, hash: &str| {
        let place = format!("{number} of {all}");
        serde_json::json!([place, 1, format!("pair-{}", number - 1), hash])
    };
    assert_eq!(browser.eval("assay.place()"), at(1, ""));
    for (key, number) in [
        ("ArrowRight", 2),
        ("j", 3),
        ("ArrowLeft", 2),
        ("k", 1),
        ("k", 1),
        ("End", all),
        ("j", all),
        ("Home", 1),
    ] {
        browser.press(key);
        assert_eq!(browser.eval("assay.place()"), at(number, &format!("#pair-{}", number - 1)), "{key}");
    }
    // A button does the same, and letters in the search field are letters.
    browser.press(" ");
    assert_eq!(browser.eval("assay.place()[0]"), format!("2 of {all}"));
    browser.eval("document.getElementById('by-text').focus()");
    let word =
        report.pairs[3].prompt.split(' ').next_back().unwrap().trim_matches(|c: char| !c.is_alphanumeric());
    for letter in word.chars() {
        browser.press(&letter.to_string());
    }
    assert_eq!(browser.eval("document.getElementById('by-text').value"), word);
    let found = browser.eval("assay.place()[0]");
    assert!(found.as_str().unwrap().contains(&format!("({all} in all)")), "{found}");
    // What the search left out is not shown.
    assert_eq!(complaints(&browser), Vec::<&Value>::new());
}
