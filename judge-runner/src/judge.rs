//! Judge jobs: every presentation of a comparison is shown to one judge, and every answer is kept as it came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use assay_agent::{AttemptContext, Failure, Finished, StoredLines as Stored};
use assay_domain::chain;
use assay_domain::job::{ApiJudge, FailureClass, JudgeSpec, Progress, Provider as Name, Usage};
use assay_judging::leaks::{Leak, scan};
use assay_judging::pair::{self, Blinded, Secret};
use assay_judging::prompt::{Template, template};
use assay_judging::records::{RawVerdictRecord, VerdictStatus};
use assay_judging::report::resolve_all;

use crate::executor::bad_input;
use crate::files;
use crate::keys::KeyRing;
use crate::ledger::{Entry, Identity, Ledger, Stop, read_entries};
use crate::limits::gate::{Clock, Gate};
use crate::panel::purse::OfAttempt;
use crate::panel::{CALLS_MAX, Judged, Panelist};
use crate::provider::{self, Provider, Replay};

/// What judge jobs of this process share: where their ledgers lie, keys, and the limits of each account.
pub(crate) struct Judging {
    ledger_dir: std::path::PathBuf,
    keys: KeyRing,
    clock: Clock,
    gates: Mutex<BTreeMap<Account, Arc<Gate>>>,
    /// Judges whose first call was answered in this process.
    probed: Mutex<BTreeSet<Identity>>,
}

/// Time after which the ledger is stored, when there is anything new.
const STORED_AFTER: Duration = Duration::from_secs(10);

/// How long a cancelled batch is waited for: labs finish what is under way, within minutes.
pub(crate) const BATCHES_END_MAX: Duration = Duration::from_secs(600);

/// Whose limits: labs count by key and model.
type Account = (String, Option<String>, String);

impl Judging {
    /// Keeps ledgers in `ledger_dir`.
    pub(crate) fn new(ledger_dir: std::path::PathBuf, keys: KeyRing) -> std::io::Result<Self> {
        std::fs::create_dir_all(&ledger_dir)?;
        Ok(Self { ledger_dir, keys, clock: Clock::new(1), gates: Mutex::default(), probed: Mutex::default() })
    }

    fn gate(&self, api: &ApiJudge) -> Arc<Gate> {
        let account = (api.base_url.clone(), api.key_env.clone(), api.model.clone());
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(account).or_insert_with(|| Arc::new(Gate::new(CALLS_MAX, self.clock))).clone()
    }

    /// Judges one comparison.
    pub(crate) async fn run(&self, spec: &JudgeSpec, cx: &AttemptContext) -> Result<Finished, Failure> {
        let template = template(&spec.template).map_err(|error| bad_input(error.to_string()))?;
        let mut blinded = presentations(spec, cx)?;
        let (ledger, stored) = self.ledger(cx)?;
        tell_leaks(cx, &blinded);
        let started = now();
        let provider = self.provider(spec, cx, template, &mut blinded)?;
        let purse = OfAttempt { cx, before: ledger.usd() };
        let ledger = Mutex::new(ledger);
        let gate = self.gate(&spec.api);
        let panelist = Panelist::new(&spec.judge, &spec.api, template, provider.as_ref(), &gate, &ledger);
        let mut panelist = panelist.map_err(|error| bad_input(error.to_string()))?;
        panelist.stored = Some(stored.clone());
        panelist.job = Some(cx.assignment().job.key);
        panelist.usd_max = cx.assignment().job.estimate.api_usd_max;
        panelist.purse = Some(&purse);
        self.probe(&panelist, cx).await?;
        let total = blinded.presentations.len() as u64;
        let done = |done: usize| cx.progress(progress(done, total));
        let judged = tokio::select! {
            judged = panelist.judge(&blinded.presentations, done) => judged,
            () = keep_stored(&stored) => return Err(bad_input("the ledger's uploads ended by themselves")),
            // What was asked is safe before anybody else goes on.
            () = cx.cancelled().cancelled() => return Err(stopped(cx, &panelist, &blinded, &stored).await),
        };
        stored.finish().await;
        panelist.tell_paid();
        if let Some(refused) = panelist.refused.get() {
            return Err(refused.clone());
        }
        let judged = judged.map_err(|error| Failure::from_error(FailureClass::Transient, &error))?;
        tell(cx, &judged, panelist.stopped.get());
        outputs(cx, &judged.verdicts, &blinded, started.elapsed().as_secs_f64())
    }

    /// One canned call to each judge in each process.
    async fn probe(&self, panelist: &Panelist<'_>, cx: &AttemptContext) -> Result<(), Failure> {
        let identity = panelist.identity().clone();
        let known = |probed: &BTreeSet<Identity>| probed.contains(&identity);
        if panelist.api.provider == Name::Replay
            || known(&self.probed.lock().unwrap_or_else(PoisonError::into_inner))
        {
            return Ok(());
        }
        let probe = panelist.probe().await;
        let probe = probe.map_err(|error| Failure::from_error(FailureClass::Transient, &error))?;
        let detail = probe.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        cx.log(format!(
            "probe: `{}` answered {}{detail}, {} calls",
            probe.model,
            probe.status.name(),
            probe.calls
        ));
        if probe.status != VerdictStatus::Error {
            self.probed.lock().unwrap_or_else(PoisonError::into_inner).insert(identity);
        }
        Ok(())
    }

    /// The job's ledger: what this host has, and what earlier attempts stored.
    fn ledger(&self, cx: &AttemptContext) -> Result<(Ledger, Stored), Failure> {
        let mut ledger = Ledger::open(&self.ledger_dir, cx.assignment().job.key)
            .map_err(|error| files::disk(&self.ledger_dir, &error))?;
        // Roles are numbered in the order of writing.
        let entries = |role: &str| {
            let mut all = Vec::new();
            for (_, path) in cx.inputs().filter(|(known, _)| known.starts_with(role)) {
                let entries = std::fs::read(path).and_then(|bytes| read_entries(&bytes));
                all.extend(entries.map_err(|error| files::disk(path, &error))?);
            }
            Ok(all)
        };
        let (earlier, own) = (entries("earlier-ledger/")?, entries("ledger/")?);
        let stored = cx.ledger();
        ledger.share(earlier, own, stored.clone()).map_err(|error| files::disk(&self.ledger_dir, &error))?;
        if ledger.in_flight() > 0 {
            cx.log(format!(
                "{} calls were under way when the last attempt ended: they may have been paid and are made again",
                ledger.in_flight()
            ));
        }
        Ok((ledger, stored))
    }

    fn provider(
        &self,
        spec: &JudgeSpec,
        cx: &AttemptContext,
        template: &Template,
        blinded: &mut Blinded,
    ) -> Result<Box<dyn Provider>, Failure> {
        if spec.api.provider != Name::Replay {
            let server = provider::server(&spec.api, &self.keys);
            let server =
                server.map_err(|error| bad_input(format!("judge `{}`: {}", spec.judge, chain(&error))))?;
            return Ok(Box::new(server));
        }
        let path = cx.input("ledger")?;
        let bytes = std::fs::read(path).map_err(|error| files::disk(path, &error))?;
        let entries =
            read_entries(&bytes).map_err(|error| bad_input(format!("the recorded ledger: {error}")))?;
        let answered = entries.into_iter().filter_map(|entry| match entry {
            Entry::Answered(answered) if answered.counts() => Some(*answered),
            Entry::Answered(_)
            | Entry::Asked(_)
            | Entry::Cut(_)
            | Entry::BatchIntended(_)
            | Entry::BatchMade(_)
            | Entry::BatchCancelled(_)
            | Entry::BatchEnded(_)
            | Entry::Stopped(_) => None,
        });
        let replay = Replay::new(&spec.api.model, answered.collect());
        let replay = replay.map_err(|error| bad_input(format!("judge `{}`: {error}", spec.judge)))?;
        replay.lay_out(template, blinded);
        Ok(Box::new(replay))
    }
}

/// The run is told to stop: what it has paid for is stored, for whoever asks the rest. Batches of a job that a person cancelled
/// are cancelled as well; another attempt goes on with all others.
async fn stopped(
    cx: &AttemptContext,
    panelist: &Panelist<'_>,
    blinded: &Blinded,
    stored: &Stored,
) -> Failure {
    if cx.cancelled_by_a_person() {
        let end = panelist.cancel_batches(&blinded.presentations);
        match tokio::time::timeout(BATCHES_END_MAX, end).await {
            Ok(Ok(notes)) => notes.into_iter().for_each(|note| cx.log(note)),
            Ok(Err(error)) => cx.log(format!("batches were not cancelled to the end: {}", chain(&error))),
            Err(_) => {
                cx.log("the lab still ends its batches: a later attempt takes in what they have answered")
            }
        }
    }
    stored.finish().await;
    Failure::new(FailureClass::Released, "told to stop")
}

/// Stores what is new every so often, however slowly verdicts come.
async fn keep_stored(stored: &Stored) {
    loop {
        tokio::time::sleep(STORED_AFTER).await;
        stored.upload().await;
    }
}

fn presentations(spec: &JudgeSpec, cx: &AttemptContext) -> Result<Blinded, Failure> {
    let secret = cx.assignment().secret.ok_or_else(|| bad_input("no blinding secret came along"))?;
    let (base, tuned) = (files::generations(cx, "base")?, files::generations(cx, "tuned")?);
    let pairs = pair::match_generations(&spec.comparison.id, &base, &tuned);
    let pairs = pairs.map_err(|error| bad_input(error.to_string()))?;
    pair::blind(&Secret::new(*secret.as_bytes()), spec.orders, &pairs)
        .map_err(|error| bad_input(error.to_string()))
}

fn progress(done: usize, total: u64) -> Progress {
    Progress { phase: String::from("judge"), done: done as u64, total, ..Progress::default() }
}

/// What in the responses could tell the judge who wrote them, or tells it what to say: by kind, with the number of responses.
fn tell_leaks(cx: &AttemptContext, blinded: &Blinded) {
    let first_passes = blinded.presentations.iter().filter(|shown| shown.pass == 0);
    let mut found: BTreeMap<Leak, u32> = BTreeMap::new();
    for leak in first_passes.flat_map(|shown| [&shown.first, &shown.second]).flat_map(|text| scan(text)) {
        *found.entry(leak).or_default() += 1;
    }
    for (leak, responses) in found {
        cx.log(format!("{responses} responses hold a trace of kind {:?}: `{}`", leak.kind, leak.found));
    }
}

/// What the job's log says in the end.
fn tell(cx: &AttemptContext, judged: &Judged, stopped: Option<&Stop>) {
    for note in &judged.notes {
        cx.log(note.clone());
    }
    cx.log(format!(
        "{} presentations: {}; {} verdicts from the ledger, {} calls",
        judged.verdicts.len(),
        judged.summary(),
        judged.from_ledger,
        judged.calls
    ));
    if let Some(why) = stopped {
        cx.log(format!("the judge was not asked to the end: {}", why.why));
    }
    let mut models: Vec<&str> = judged
        .verdicts
        .iter()
        .filter(|verdict| verdict.status == VerdictStatus::Ok)
        .map(|verdict| verdict.model.as_str())
        .collect();
    models.sort_unstable();
    models.dedup();
    if models.len() > 1 {
        cx.log(format!("several models answered: {}", models.join(", ")));
    }
}

fn outputs(
    cx: &AttemptContext,
    verdicts: &[RawVerdictRecord],
    blinded: &Blinded,
    seconds: f64,
) -> Result<Finished, Failure> {
    let resolved = resolve_all(verdicts, &blinded.key).map_err(|error| bad_input(error.to_string()))?;
    let keys: Vec<_> = blinded.key.records().collect();
    let outputs = vec![
        (String::from("verdicts"), files::write(cx, "verdicts.jsonl", verdicts)?),
        (String::from("keys"), files::write(cx, "keys.jsonl", &keys)?),
        (String::from("resolved"), files::write(cx, "resolved.jsonl", &resolved)?),
    ];
    Ok(Finished { outputs, usage: usage(verdicts, seconds) })
}

fn usage(verdicts: &[RawVerdictRecord], seconds: f64) -> Usage {
    let tokens = verdicts.iter().map(|one| u64::from(one.prompt_tokens + one.new_tokens)).sum();
    Usage {
        phases: vec![(String::from("judge"), seconds)],
        tokens,
        tokens_per_s: if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 },
        missing: verdicts.iter().filter(|one| one.status != VerdictStatus::Ok).count() as u64,
        ..Usage::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell that measures how long a job took")]
fn now() -> Instant {
    Instant::now()
}
