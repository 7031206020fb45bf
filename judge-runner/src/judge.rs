//! Judge jobs: every presentation of a comparison is shown to one API judge, and every answer is kept as it came.

use std::path::Path;
use std::time::Instant;

use assay_agent::{AttemptContext, Failure, Finished};
use assay_domain::job::{FailureClass, JudgeSpec, Progress, Usage};
use assay_judging::pair::{self, BlindPair, Blinded, Secret};
use assay_judging::prompt::{Template, template};
use assay_judging::records::{Evidence, RawVerdictRecord, VerdictStatus};
use assay_judging::report::resolve_all;
use assay_judging::verdict::{self, Reply};
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use serde_json::value::RawValue;

use crate::executor::bad_input;
use crate::files;
use crate::ledger::Ledger;
use crate::openai::{Answer, AskError, OpenAi};

/// Calls under way at once.
const CALLS_MAX: usize = 4;
/// Times a malformed answer is asked for again.
const MALFORMED_AGAIN_MAX: u32 = 2;

/// Judges one comparison.
pub(crate) async fn run(
    spec: &JudgeSpec,
    cx: &AttemptContext,
    ledger_dir: &Path,
) -> Result<Finished, Failure> {
    let blinded = presentations(spec, cx)?;
    let key = std::env::var(&spec.api.key_env).map_err(|_| {
        bad_input(format!(
            "judge `{}`: the environment variable `{}` holds no key",
            spec.judge, spec.api.key_env
        ))
    })?;
    let client = OpenAi::new(&spec.api, key).map_err(|error| bad_input(error.to_string()))?;
    let mut ledger =
        Ledger::open(ledger_dir, cx.assignment().job.key).map_err(|error| files::disk(ledger_dir, &error))?;
    let started = now();
    let verdicts = ask_all(spec, cx, &client, &blinded, &mut ledger).await?;
    let resolved = resolve_all(&verdicts, &blinded.key).map_err(|error| bad_input(error.to_string()))?;
    let keys: Vec<_> = blinded.key.records().collect();
    let outputs = vec![
        (String::from("verdicts"), files::write(cx, "verdicts.jsonl", &verdicts)?),
        (String::from("keys"), files::write(cx, "keys.jsonl", &keys)?),
        (String::from("resolved"), files::write(cx, "resolved.jsonl", &resolved)?),
    ];
    Ok(Finished { outputs, usage: usage(&verdicts, started.elapsed().as_secs_f64()) })
}

fn presentations(spec: &JudgeSpec, cx: &AttemptContext) -> Result<Blinded, Failure> {
    let secret = cx.assignment().secret.ok_or_else(|| bad_input("no blinding secret came along"))?;
    let (base, tuned) = (files::generations(cx, "base")?, files::generations(cx, "tuned")?);
    let pairs = pair::match_generations(&spec.comparison.id, &base, &tuned);
    let pairs = pairs.map_err(|error| bad_input(error.to_string()))?;
    pair::blind(&Secret::new(*secret.as_bytes()), spec.orders, &pairs)
        .map_err(|error| bad_input(error.to_string()))
}

async fn ask_all(
    spec: &JudgeSpec,
    cx: &AttemptContext,
    client: &OpenAi<'_>,
    blinded: &Blinded,
    ledger: &mut Ledger,
) -> Result<Vec<RawVerdictRecord>, Failure> {
    let template = template(&spec.template).map_err(|error| bad_input(error.to_string()))?;
    let schema =
        template.schema.ok_or_else(|| bad_input(format!("template `{}` asks for no JSON", spec.template)))?;
    let schema = RawValue::from_string(schema.to_owned()).map_err(|error| bad_input(error.to_string()))?;
    let schema = schema.as_ref();
    let total = blinded.presentations.len() as u64;
    let (mut verdicts, open): (Vec<_>, Vec<_>) = {
        let (known, open): (Vec<_>, Vec<_>) =
            blinded.presentations.iter().partition(|shown| ledger.get(&shown.pair_id, shown.pass).is_some());
        (known.iter().filter_map(|shown| ledger.get(&shown.pair_id, shown.pass).cloned()).collect(), open)
    };
    // Boxed: a stream of borrowed futures is otherwise too general for `Send` to be proven.
    let asked: Vec<BoxFuture<'_, _>> =
        open.into_iter().map(|shown| Box::pin(ask_one(spec, client, template, schema, shown)) as _).collect();
    let mut asked = stream::iter(asked).buffer_unordered(CALLS_MAX);
    while let Some(record) = asked.next().await {
        let record = record?;
        ledger.add(&record).map_err(|error| files::disk(Path::new("ledger"), &error))?;
        verdicts.push(record);
        cx.progress(Progress {
            phase: String::from("judge"),
            done: verdicts.len() as u64,
            total,
            ..Progress::default()
        });
    }
    verdicts.sort_by(|a, b| (&a.pair_id, a.pass).cmp(&(&b.pair_id, b.pass)));
    Ok(verdicts)
}

async fn ask_one(
    spec: &JudgeSpec,
    client: &OpenAi<'_>,
    template: &Template,
    schema: &RawValue,
    shown: &BlindPair,
) -> Result<RawVerdictRecord, Failure> {
    let prompt = template.render(shown);
    let started = now();
    let mut asked = 0;
    loop {
        let answer = client.ask(&prompt, schema).await.map_err(failure)?;
        let record = record(spec, template, shown, answer, started.elapsed().as_secs_f64());
        if record.status != VerdictStatus::Malformed || asked == MALFORMED_AGAIN_MAX {
            return Ok(record);
        }
        asked += 1;
    }
}

fn record(
    spec: &JudgeSpec,
    template: &Template,
    shown: &BlindPair,
    answer: Answer,
    seconds: f64,
) -> RawVerdictRecord {
    let reply =
        Reply { text: answer.text.as_deref(), refusal: answer.refusal.as_deref(), finish: answer.finish };
    let (status, detail) = match verdict::from_reply(&reply) {
        Ok(_) => (VerdictStatus::Ok, None),
        Err(missing) => (missing.status, Some(missing.detail)),
    };
    RawVerdictRecord {
        pair_id: shown.pair_id.clone(),
        pass: shown.pass,
        judge: spec.judge.clone(),
        template: template.name.to_owned(),
        template_digest: template.digest(),
        replicate: 0,
        model: answer.model,
        status,
        detail,
        evidence: answer.text.map_or(Evidence::None, |text| Evidence::Text { text }),
        prompt_tokens: answer.prompt_tokens,
        new_tokens: answer.new_tokens,
        seconds,
    }
}

fn failure(error: AskError) -> Failure {
    let class = match &error {
        AskError::Refused { .. } => FailureClass::BadInput,
        AskError::Exhausted { .. } => FailureClass::Transient,
    };
    Failure::new(class, error.to_string())
}

fn usage(verdicts: &[RawVerdictRecord], seconds: f64) -> Usage {
    let tokens = verdicts.iter().map(|one| u64::from(one.prompt_tokens + one.new_tokens)).sum();
    Usage {
        phases: vec![(String::from("judge"), seconds)],
        tokens,
        tokens_per_s: if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 },
        ..Usage::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell that measures how long a call took")]
fn now() -> Instant {
    Instant::now()
}
