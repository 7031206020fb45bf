//! Panels against real HTTP servers of all labs: every presentation ends with the status that it must have.

mod batches;
mod budget;
mod cancelled;
mod purse;

use std::collections::BTreeMap;

use assay_domain::JobKey;
use assay_domain::job::{Orders, Provider as Name};
use assay_judging::pair::{Blinded, PairInput, Response, Secret, blind};
use assay_judging::prompt::template;

use super::*;
use crate::keys::KeyRing;
use crate::labs::{Api, Asked, Lab, Says};
use crate::ledger::{Answered, Entry, read_entries};
use crate::limits::Cost;
use crate::limits::gate::Clock;
use crate::provider::{self, Replay};

/// How much faster than real time waits go here.
const SPEED: u32 = 2_000;
const KEY: &str = "sk-planted-5e4d3c2b1a";

const LABS: [(Api, Name, &str); 5] = [
    (Api::Anthropic, Name::Anthropic, "claude-opus-4-8"),
    (Api::Chat, Name::Openai, "gpt-4o-2024-08-06"),
    (Api::Responses, Name::OpenaiResponses, "gpt-5.4-mini"),
    (Api::Gemini, Name::Google, "gemini-2.5-flash-lite"),
    (Api::Compatible, Name::OpenaiCompatible, "llama-3.2-3b"),
];

struct World {
    dir: tempfile::TempDir,
    api: ApiJudge,
    gate: Gate,
    usd_max: Option<f64>,
}

impl World {
    fn new(lab: &Lab, provider: Name, model: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys.env");
        std::fs::write(&keys, format!("ASSAY_TEST_KEY={KEY}\n")).unwrap();
        std::fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let api = ApiJudge {
            provider,
            model: model.to_owned(),
            base_url: lab.base_url.clone(),
            key_env: Some(String::from("ASSAY_TEST_KEY")),
            temperature: None,
            thinking: None,
            max_tokens: 2048,
            batch: false,
        };
        Self { dir, api, gate: Gate::new(CALLS_MAX, Clock::new(SPEED)), usd_max: None }
    }

    fn ledger(&self, name: &str) -> Mutex<Ledger> {
        Mutex::new(Ledger::open(self.dir.path(), job(name)).unwrap())
    }

    fn entries(&self, name: &str) -> Vec<Entry> {
        read_entries(&std::fs::read(self.dir.path().join(format!("{}.jsonl", job(name)))).unwrap()).unwrap()
    }

    async fn judge(&self, name: &str, blinded: &Blinded) -> (Judged, Option<String>) {
        let keys = KeyRing::new(Some(self.dir.path().join("keys.env")));
        let server = provider::server(&self.api, &keys).unwrap();
        self.judge_with(name, blinded, &server).await
    }

    async fn judge_with(
        &self,
        name: &str,
        blinded: &Blinded,
        from: &dyn Provider,
    ) -> (Judged, Option<String>) {
        let ledger = self.ledger(name);
        let template = template("assay-v1").unwrap();
        let mut panelist = Panelist::new(name, &self.api, template, from, &self.gate, &ledger).unwrap();
        (panelist.job, panelist.usd_max) = (Some(job(name)), self.usd_max);
        let judged = panelist.judge(&blinded.presentations, |_| {}).await.unwrap();
        (judged, panelist.stopped.get().map(|stop| stop.why.clone()))
    }
}

fn job(name: &str) -> JobKey {
    JobKey(assay_domain::Digest::of(name.as_bytes()))
}

/// Pairs of one tuned system and its base on so many prompts.
fn pairs(system: &str, prompts: usize) -> Vec<PairInput> {
    let response =
        |name: &str, prompt| Response { system: name.to_owned(), text: format!("{name} on {prompt}") };
    let pair = |prompt| PairInput {
        comparison: system.to_owned(),
        prompt_id: format!("q{prompt:02}"),
        sample: 0,
        stratum: format!("domain-{}", prompt % 7),
        prompt: format!("Question {prompt:02}?"),
        tuned: response(system, prompt),
        base: response("plain", prompt),
    };
    (0..prompts).map(pair).collect()
}

fn presentations(system: &str, prompts: usize) -> Blinded {
    blind(&Secret::new([7; 32]), Orders::Both, &pairs(system, prompts)).unwrap()
}

/// What a lab does with a presentation: its number in the prompt, and which comparison and order it is.
fn fate(asked: &Asked<'_>) -> Says {
    let at = asked.prompt.find("Question ").unwrap() + "Question ".len();
    let number: usize = asked.prompt[at..at + 2].parse().unwrap();
    match (number % 19, asked.times) {
        (1, 0..2) => Says::RateLimited { after_s: 20 },
        (2, 0..3) => Says::Overloaded,
        (3, 0) => Says::Cut,
        (4, 0) => Says::NotJson,
        (5, 0..2) => Says::Prose("Winner: Neither"),
        (6, _) => Says::Prose("Both have fine qualities, properties and identities."),
        (7, _) => Says::Refusal,
        (8, _) => Says::Blocked { prompt: false },
        (9, _) => Says::Blocked { prompt: true },
        (10, _) => Says::Truncated { empty: true },
        (11, _) => Says::Truncated { empty: false },
        (12, _) => Says::TooLong,
        (15, _) => Says::TemperatureRefused,
        (13, 0) => Says::Broken,
        (16, 0) => Says::QuotesKey,
        (14, _) => Says::Verdict("tie"),
        _ => Says::Verdict("1"),
    }
}

/// The status that a presentation must end with, and the calls that it takes.
fn expected(api: Api, number: usize) -> (VerdictStatus, usize) {
    match number % 19 {
        1 | 5 => (VerdictStatus::Ok, 3),
        2 => (VerdictStatus::Ok, 4),
        3 | 4 | 13 | 16 => (VerdictStatus::Ok, 2),
        6 => (VerdictStatus::Malformed, 3),
        7 if api == Api::Gemini => (VerdictStatus::Blocked, 1),
        7 => (VerdictStatus::Refused, 1),
        8 | 9 if api == Api::Anthropic => (VerdictStatus::Refused, 1),
        8 | 9 => (VerdictStatus::Blocked, 1),
        10 | 11 => (VerdictStatus::Truncated, 1),
        12 | 15 => (VerdictStatus::Error, 1),
        _ => (VerdictStatus::Ok, 1),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panel_ends_with_every_call_accounted_for() {
    const PROMPTS: usize = 57;
    let mut panel = 0;
    for (api, provider, model) in LABS {
        let lab = Lab::start(api, KEY, fate).await;
        let world = World::new(&lab, provider, model);
        let (mut before, mut given) = (0, 0);
        for system in ["epoch-1", "epoch-2"] {
            let blinded = presentations(system, PROMPTS);
            let (judged, stopped) = world.judge(system, &blinded).await;
            assert_eq!(
                (judged.verdicts.len(), judged.from_ledger, stopped),
                (PROMPTS * 2, 0, None),
                "{api:?}"
            );
            let (mut statuses, mut calls) = (BTreeMap::new(), 0);
            for number in (0..PROMPTS).flat_map(|number| [number, number]) {
                let (status, took) = expected(api, number);
                *statuses.entry(status).or_insert(0) += 1;
                calls += took;
            }
            for status in VerdictStatus::ALL {
                assert_eq!(
                    judged.count(status),
                    statuses.get(&status).copied().unwrap_or(0),
                    "{api:?} {status:?}"
                );
            }
            check_records(&judged);
            // What we say we called is what the lab was asked, and what the ledger says.
            assert_eq!((judged.calls, lab.requests() - before), (calls, calls), "{api:?}");
            before = lab.requests();
            given += judged.count(VerdictStatus::Ok);
            assert_eq!(lab.verdicts.lock().unwrap().values().sum::<usize>(), given, "{api:?}");
            check_ledger(&world.entries(system), &judged, calls);
            panel += judged.verdicts.len();
            // Again: verdicts come from the ledger, the rest is asked once more.
            let (again, _) = world.judge(system, &blinded).await;
            assert_eq!(again.from_ledger, judged.count(VerdictStatus::Ok));
            before += again.calls;
            assert_eq!(again.count(VerdictStatus::Ok), judged.count(VerdictStatus::Ok));
        }
        assert_eq!(lab.asked.lock().unwrap().len(), PROMPTS * 2 * 2, "{api:?}");
        let dir = std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        for path in dir.filter(|path| path.extension().is_some_and(|name| name == "jsonl")) {
            assert!(!std::fs::read_to_string(&path).unwrap().contains(KEY), "{}", path.display());
        }
    }
    assert_eq!(panel, LABS.len() * PROMPTS * 2 * 2);
}

fn check_records(judged: &Judged) {
    for one in &judged.verdicts {
        assert_eq!(one.status == VerdictStatus::Ok, one.detail.is_none(), "{one:?}");
        if one.status == VerdictStatus::Ok {
            assert_eq!((one.prompt_tokens, one.new_tokens), (1320, 210), "{one:?}");
        }
    }
}

fn check_ledger(entries: &[Entry], judged: &Judged, calls: usize) {
    let asked = entries.iter().filter(|entry| matches!(entry, Entry::Asked(_))).count();
    let verdicts =
        entries.iter().filter(|entry| matches!(entry, Entry::Answered(one) if one.counts())).count();
    assert_eq!((asked, verdicts), (calls, judged.count(VerdictStatus::Ok)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judge_without_quota_model_or_key_stops_at_once_with_its_reason() {
    for (api, provider, model) in LABS {
        for (says, words) in
            [(Says::QuotaGone, ["quota", "credit balance"].as_slice()), (Says::Retired, ["model"].as_slice())]
        {
            let lab =
                Lab::start(api, KEY, move |asked| if asked.ordinal < 8 { Says::Verdict("2") } else { says })
                    .await;
            let world = World::new(&lab, provider, model);
            let (judged, stopped) = world.judge("epoch-1", &presentations("epoch-1", 57)).await;
            let why = stopped.unwrap_or_else(|| panic!("{api:?} {says:?} went on"));
            assert!(words.iter().any(|word| why.contains(word)), "{api:?}: {why}");
            assert_eq!((judged.count(VerdictStatus::Ok), judged.count(VerdictStatus::Error)), (8, 106));
            // Those under way may meet the same end; nothing is asked after it.
            assert!(lab.requests() <= 8 + CALLS_MAX, "{api:?}: {} requests", lab.requests());
        }
        let lab = Lab::start(api, "another key", |_| Says::Verdict("1")).await;
        let world = World::new(&lab, provider, model);
        let (judged, stopped) = world.judge("epoch-1", &presentations("epoch-1", 20)).await;
        assert_eq!(judged.count(VerdictStatus::Error), 40, "{api:?}");
        let said = format!("{stopped:?} {:?} {:?}", judged.verdicts, world.entries("epoch-1"));
        assert!(stopped.is_some() && !said.contains(KEY), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_costs_its_questions_and_nothing_else() {
    let lab = Lab::start(Api::Chat, KEY, |_| Says::Broken).await;
    let world = World::new(&lab, Name::Openai, "gpt-4o-2024-08-06");
    let (judged, stopped) = world.judge("epoch-1", &presentations("epoch-1", 3)).await;
    assert_eq!((judged.count(VerdictStatus::Error), judged.calls, stopped), (6, 36, None));
    let told = judged.verdicts[0].detail.as_deref().unwrap();
    assert!(told.starts_with("given up after 6 calls; the last: status 500"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_ledger_gives_the_same_verdicts_without_a_call() {
    for (api, provider, model) in LABS {
        let lab =
            Lab::start(api, KEY, |asked| Says::Verdict(["1", "2", "tie"][asked.prompt.len() % 3])).await;
        let world = World::new(&lab, provider, model);
        let blinded = presentations("epoch-1", 12);
        let (recorded, _) = world.judge("epoch-1", &blinded).await;
        let asked = lab.requests();
        let answered: Vec<Answered> = world
            .entries("epoch-1")
            .into_iter()
            .filter_map(|entry| if let Entry::Answered(one) = entry { Some(*one) } else { None })
            .collect();
        let replay = Replay::new(model, answered.clone()).unwrap();
        // Another matrix's secret drew other slots and labels.
        let mut other = blind(&Secret::new([9; 32]), Orders::Both, &pairs("epoch-1", 12)).unwrap();
        replay.lay_out(template("assay-v1").unwrap(), &mut other);
        let mut world = world;
        world.api.provider = Name::Replay;
        let (replayed, _) = world.judge_with("replayed", &other, &replay).await;
        assert_eq!(lab.requests(), asked, "{api:?}");
        assert_eq!(replayed.count(VerdictStatus::Ok), 24, "{api:?}: {}", replayed.summary());
        assert_eq!(winners(&replayed, &other), winners(&recorded, &blinded), "{api:?}");
        assert!(Replay::new("gpt-2", answered).is_err());
        // What nobody asked is missing, with its reason.
        let (missing, _) = world.judge_with("missing", &presentations("epoch-9", 2), &replay).await;
        assert_eq!(missing.count(VerdictStatus::Error), 4);
    }
}

/// Winners by prompt and slot of the tuned response.
fn winners(judged: &Judged, blinded: &Blinded) -> BTreeMap<String, String> {
    let resolved = assay_judging::report::resolve_all(&judged.verdicts, &blinded.key).unwrap();
    let named = resolved
        .iter()
        .map(|one| (format!("{} {:?}", one.prompt_id, one.tuned_slot), format!("{:?}", one.winner)));
    named.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_call_finds_what_would_fail_every_other() {
    for (api, provider, model) in LABS {
        let lab = Lab::start(api, KEY, |_| Says::TemperatureRefused).await;
        let world = World::new(&lab, provider, model);
        let server =
            provider::server(&world.api, &KeyRing::new(Some(world.dir.path().join("keys.env")))).unwrap();
        let ledger = world.ledger("probe");
        let template = template("assay-v1").unwrap();
        let panelist = Panelist::new("judge", &world.api, template, &server, &world.gate, &ledger).unwrap();
        let probe = panelist.probe().await.unwrap();
        assert_eq!((probe.status, probe.calls), (VerdictStatus::Error, 1), "{api:?}");
        let judged = panelist.judge(&presentations("epoch-1", 5).presentations, |_| {}).await.unwrap();
        assert_eq!((judged.count(VerdictStatus::Error), judged.calls, lab.requests()), (10, 0, 1));
        let told = judged.verdicts[0].detail.as_deref().unwrap();
        assert!(
            told.starts_with("not asked: the first call had no answer") && told.contains("emperature"),
            "{told}"
        );
    }
    let lab = Lab::start(Api::Compatible, KEY, |asked| {
        if asked.ordinal == 0 { Says::Prose("A bridge!") } else { Says::Verdict("1") }
    })
    .await;
    let world = World::new(&lab, Name::OpenaiCompatible, "llama");
    let server =
        provider::server(&world.api, &KeyRing::new(Some(world.dir.path().join("keys.env")))).unwrap();
    let ledger = world.ledger("probe");
    let panelist =
        Panelist::new("judge", &world.api, template("assay-v1").unwrap(), &server, &world.gate, &ledger)
            .unwrap();
    let probe = panelist.probe().await.unwrap();
    assert_eq!((probe.status, probe.calls, panelist.stopped.get()), (VerdictStatus::Ok, 2, None));
    // It stands in the ledger: an attempt that goes on does not pay it again.
    assert_eq!(panelist.probe().await.unwrap().calls, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_were_cut_off_are_known_as_such_and_give_their_place_back() {
    let lab = Lab::start(Api::Chat, KEY, |_| Says::Nothing).await;
    let world = World::new(&lab, Name::Openai, "gpt-4o-2024-08-06");
    let mut arrived = lab.arrived.clone();
    let blinded = presentations("epoch-1", 12);
    tokio::select! {
        _ = world.judge("epoch-1", &blinded) => panic!("nothing was answered"),
        under_way = arrived.wait_for(|count| *count == 4) => drop(under_way.unwrap()),
    }
    assert_eq!(world.ledger("epoch-1").lock().unwrap().in_flight(), 4);
    drop(world.gate.pass(Cost::default()).await);
}
