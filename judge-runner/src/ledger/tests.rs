//! Answers survive, cut lines do not, and only verdicts count.

use assay_domain::Digest;
use assay_domain::job::{ApiJudge, Provider};
use assay_judging::pair::BlindPair;
use assay_judging::prompt::template;
use assay_judging::records::{Label, VerdictStatus};

use super::*;
use crate::wire::RawResponse;

fn shown() -> BlindPair {
    BlindPair {
        pair_id: String::from("p1"),
        pass: 0,
        prompt: String::from("Why?"),
        first: String::from("Because."),
        second: String::from("Why not?"),
        first_label: Label::A,
        fence: String::from("00ff"),
    }
}

fn judge() -> ApiJudge {
    ApiJudge {
        provider: Provider::Anthropic,
        model: String::from("claude-opus-4-8"),
        base_url: String::from("https://api.anthropic.com/v1"),
        key_env: Some(String::from("K")),
        temperature: None,
        thinking: None,
        max_tokens: 1024,
        batch: false,
    }
}

fn key(judge: &ApiJudge, shown: &BlindPair, replicate: u32) -> EntryKey {
    EntryKey::of(&Identity::of(judge).unwrap(), template("assay-v1").unwrap(), shown, replicate).unwrap()
}

fn answered(key: &EntryKey, status: VerdictStatus) -> Answered {
    Answered {
        key: key.key.clone(),
        question: key.question.clone(),
        provider: Provider::Anthropic,
        model: String::from("claude-opus-4-8"),
        status,
        at_unix_ms: 1,
        seconds: 0.5,
        request: String::from("{}"),
        response: RawResponse { status: 200, headers: BTreeMap::new(), body: String::from("{}") },
        prompt_tokens: 0,
        new_tokens: 0,
        usd: None,
        batch: None,
        probe: false,
    }
}

fn answer(key: &EntryKey, status: VerdictStatus) -> Entry {
    Entry::Answered(Box::new(answered(key, status)))
}

#[test]
fn answers_survive_reopening_and_a_cut_line_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let job = JobKey(Digest::of(b"job"));
    let one = key(&judge(), &shown(), 0);
    let two = key(&judge(), &shown(), 1);
    let ask = |key: &EntryKey| Asked { key: key.key.clone(), at_unix_ms: 1, usd_max: 0.0 };
    let mut ledger = Ledger::open(dir.path(), job).unwrap();
    ledger.asked(ask(&one)).unwrap();
    ledger.asked(ask(&two)).unwrap();
    ledger.add(answer(&one, VerdictStatus::Ok)).unwrap();
    let path = dir.path().join(format!("{job}.jsonl"));
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"entry\":\"answered\",\"key").unwrap();
    let mut ledger = Ledger::open(dir.path(), job).unwrap();
    assert_eq!((ledger.get(&one).is_some(), ledger.get(&two), ledger.in_flight()), (true, None, 1));
    ledger.add(answer(&two, VerdictStatus::Ok)).unwrap();
    let ledger = Ledger::open(dir.path(), job).unwrap();
    assert_eq!((ledger.get(&two), ledger.in_flight()), (Some(&answered(&two, VerdictStatus::Ok)), 0));
}

#[test]
fn what_is_no_verdict_is_kept_and_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let job = JobKey(Digest::of(b"job"));
    let one = key(&judge(), &shown(), 0);
    for status in VerdictStatus::ALL.into_iter().filter(|status| *status != VerdictStatus::Ok) {
        let mut ledger = Ledger::open(dir.path(), job).unwrap();
        ledger
            .add(Entry::Answered(Box::new(Answered { at_unix_ms: status as u64, ..answered(&one, status) })))
            .unwrap();
        assert_eq!(Ledger::open(dir.path(), job).unwrap().get(&one), None, "{status:?}");
    }
    let text = std::fs::read(dir.path().join(format!("{job}.jsonl"))).unwrap();
    assert_eq!(read_entries(&text).unwrap().len(), 5);
}

#[test]
fn a_key_is_of_all_that_matters_and_of_nothing_else() {
    let known = key(&judge(), &shown(), 0);
    for same in [
        BlindPair { fence: String::from("ff00"), ..shown() },
        BlindPair { pair_id: String::from("p2"), pass: 3, ..shown() },
    ] {
        assert_eq!(key(&judge(), &same, 0), known, "{same:?}");
    }
    assert_eq!(key(&ApiJudge { key_env: None, batch: true, ..judge() }, &shown(), 0), known);
    let others = [
        key(&judge(), &BlindPair { prompt: String::from("How?"), ..shown() }, 0),
        key(&judge(), &BlindPair { first: shown().second, second: shown().first, ..shown() }, 0),
        key(&judge(), &BlindPair { first_label: Label::B, ..shown() }, 0),
        key(&judge(), &shown(), 1),
        key(&ApiJudge { model: String::from("claude-opus-4-7"), ..judge() }, &shown(), 0),
        key(&ApiJudge { temperature: Some(0.3), ..judge() }, &shown(), 0),
        key(&ApiJudge { max_tokens: 2048, ..judge() }, &shown(), 0),
        key(&ApiJudge { base_url: String::from("http://localhost/v1"), ..judge() }, &shown(), 0),
    ];
    let mut keys: BTreeSet<&str> = others.iter().map(|other| other.key.as_str()).collect();
    keys.insert(&known.key);
    assert_eq!(keys.len(), others.len() + 1);
    // Who is asked is no part of the question: a replay finds the answer of another day's settings.
    assert_eq!(others[4].question, known.question);
    assert_ne!(others[0].question, known.question);
}
