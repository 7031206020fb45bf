//! Score jobs: a local model judges blind pairs by the log-probabilities of their labels.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use assay_domain::Digest;
use assay_domain::job::{FailureClass, Progress, ScoreSpec};
use assay_judging::pair::{self, BlindPair, Blinded, Secret};
use assay_judging::prompt::{self, Template};
use assay_judging::records::{
    Evidence, GenerationRecord, Label, LabelLogprobs, RawVerdictRecord, VerdictStatus, from_jsonl, to_jsonl,
};
use assay_judging::report::resolve_all;
use assay_model::score::{LabelScores, LabelTokens, ScoreRow, ScoreSettings, score_labels};
use assay_text::chat::{Message, RenderOptions};
use assay_text::rows;
use serde::Serialize;

use crate::engine::context::{Context, Stop, now};
use crate::engine::model::{Loaded, Warm, environment, render_options, stop};
use crate::frames::Done;

/// Everything on local disk.
pub(super) struct Files {
    pub(super) model: PathBuf,
    pub(super) model_digest: Digest,
    pub(super) base: PathBuf,
    pub(super) tuned: PathBuf,
    pub(super) out: PathBuf,
}

/// Judges one comparison.
pub(super) fn run(
    spec: &ScoreSpec,
    files: &Files,
    secret: Digest,
    models: &mut Warm,
    context: &mut Context<'_>,
) -> Result<Done, Stop> {
    let device = models.device();
    let model = models.get(&files.model, None, context)?;
    let blinded = blinded(spec, files, secret)?;
    let template = prompt::template(&spec.template).map_err(|error| Stop::bad_input(&error))?;
    let options = render_options(&spec.model_settings)?;
    let rows = score_rows(template, &blinded, model, &options)?;
    let labels =
        [Label::A, Label::B].map(|label| LabelTokens::new(&model.tokenizer, template.label_text(label)));
    let [a, b] = labels.map(|label| label.map_err(|error| Stop::bad_input(&error)));
    let scores = score(model, &rows, &[a?, b?], context)?;
    let seconds = context.phase("score");
    let verdicts: Vec<RawVerdictRecord> = blinded
        .presentations
        .iter()
        .zip(&scores)
        .map(|(shown, score)| verdict(spec, files, template, shown, score, &rows, seconds))
        .collect();
    let resolved = resolve_all(&verdicts, &blinded.key).map_err(|error| Stop::bad_input(&error))?;
    let keys: Vec<_> = blinded.key.records().collect();
    fs::create_dir_all(&files.out).map_err(|error| Stop::io(files.out.display(), &error))?;
    let outputs = vec![
        (String::from("verdicts"), write(&files.out, "verdicts.jsonl", &verdicts)?),
        (String::from("keys"), write(&files.out, "keys.jsonl", &keys)?),
        (String::from("resolved"), write(&files.out, "resolved.jsonl", &resolved)?),
    ];
    let tokens = rows.iter().map(|row| row.ids.len() as u64).sum();
    Ok(Done { outputs, usage: context.usage(tokens, seconds, environment(device)) })
}

fn blinded(spec: &ScoreSpec, files: &Files, secret: Digest) -> Result<Blinded, Stop> {
    let (base, tuned) = (generations(&files.base)?, generations(&files.tuned)?);
    let pairs = pair::match_generations(&spec.comparison.id, &base, &tuned);
    let pairs = pairs.map_err(|error| Stop::bad_input(&error))?;
    pair::blind(&Secret::new(*secret.as_bytes()), spec.orders, &pairs)
        .map_err(|error| Stop::bad_input(&error))
}

fn generations(path: &Path) -> Result<Vec<GenerationRecord>, Stop> {
    let text = fs::read_to_string(path).map_err(|error| Stop::io(path.display(), &error))?;
    from_jsonl("generations.jsonl", &text).map_err(|error| Stop::bad_input(&error))
}

fn score_rows(
    template: &Template,
    blinded: &Blinded,
    model: &Loaded,
    options: &RenderOptions,
) -> Result<Vec<ScoreRow>, Stop> {
    let row = |(index, shown): (usize, &BlindPair)| {
        let prompt = template.render(shown);
        let prefill = prompt.prefill.as_deref().ok_or_else(|| Stop::Failed {
            class: FailureClass::BadInput,
            reason: format!("template `{}` asks for JSON: use it with an API judge", template.name),
        })?;
        let messages: Vec<Message> = prompt
            .messages
            .iter()
            .map(|message| Message::new(message.role.name(), message.content.clone()))
            .collect();
        let ids = rows::prefilled_ids(&messages, prefill, &model.template, &model.tokenizer, options)
            .map_err(|error| Stop::bad_input(&error))?;
        Ok(ScoreRow { index, ids })
    };
    blinded.presentations.iter().enumerate().map(row).collect()
}

fn score(
    model: &Loaded,
    rows: &[ScoreRow],
    labels: &[LabelTokens],
    context: &mut Context<'_>,
) -> Result<Vec<LabelScores>, Stop> {
    let started: Instant = now();
    let total = rows.len() as u64;
    let mut failed = None;
    let mut between = |done: usize| {
        let tokens: usize = rows[..done].iter().map(|row| row.ids.len()).sum();
        let seconds = started.elapsed().as_secs_f64();
        let told = context.progress(Progress {
            phase: String::from("score"),
            done: done as u64,
            total,
            tokens_per_s: Some(tokens as f64 / seconds.max(1e-9)),
            seconds_left: Some(seconds / done.max(1) as f64 * (rows.len() - done) as f64),
            ..Progress::default()
        });
        failed = told.err();
        failed.is_none() && !context.is_cancelled()
    };
    let scores = score_labels(&model.decoder, None, rows, labels, ScoreSettings::default(), &mut between);
    match failed {
        Some(failed) => Err(failed),
        None => scores.map_err(stop),
    }
}

fn verdict(
    spec: &ScoreSpec,
    files: &Files,
    template: &Template,
    shown: &BlindPair,
    score: &LabelScores,
    rows: &[ScoreRow],
    seconds: f64,
) -> RawVerdictRecord {
    RawVerdictRecord {
        pair_id: shown.pair_id.clone(),
        pass: shown.pass,
        judge: spec.judge.clone(),
        template: template.name.to_owned(),
        template_digest: template.digest(),
        replicate: 0,
        model: files.model_digest.to_string(),
        status: VerdictStatus::Ok,
        detail: None,
        evidence: Evidence::Logprobs(LabelLogprobs { a: score.logprobs[0], b: score.logprobs[1] }),
        prompt_tokens: rows[score.index].ids.len() as u32,
        new_tokens: 0,
        seconds: seconds / rows.len().max(1) as f64,
    }
}

fn write<T: Serialize>(out: &Path, name: &str, records: &[T]) -> Result<PathBuf, Stop> {
    let path = out.join(name);
    let text = to_jsonl(records).map_err(|error| Stop::bad_input(&error))?;
    fs::write(&path, text).map_err(|error| Stop::io(path.display(), &error))?;
    Ok(path)
}
