//! What the files of a matrix say: digests, counts, shapes. Only reads.

use std::collections::BTreeMap;
use std::path::Path;

use assay_artifacts::LocalFile;
use assay_domain::matrix::{ModelFacts, PromptRecord};
use assay_domain::{Artifact, FileRef, ObjectKey};
use assay_text::chat::Message;
use assay_text::config::{DecoderConfig, Projection};
use assay_text::rows::{self, Prompt, ReadLimits};

use crate::counter::Counter;
use crate::source::ModelSource;

/// The files of a model folder that a worker needs; a checkpoint's other clutter stays at home.
const MODEL_FILES: [&str; 3] = ["json", "jinja", "safetensors"];

/// Whether a folder says what shape a model has, and nothing else: enough to plan, not to run.
pub(crate) fn shape_alone(source: &ModelSource) -> bool {
    let others = |file: &LocalFile| file.path != "config.json";
    let files = model_files(source).unwrap_or_default();
    source.elsewhere.is_empty() && !files.is_empty() && !files.iter().any(others)
}

/// The files of a model that are here, with their digests.
pub(crate) fn model_files(source: &ModelSource) -> anyhow::Result<Vec<LocalFile>> {
    let wanted = |file: &LocalFile| {
        let extension = Path::new(&file.path).extension().and_then(|extension| extension.to_str());
        !file.path.contains('/')
            && extension.is_some_and(|extension| MODEL_FILES.contains(&extension))
            && !source.elsewhere.iter().any(|other| other.path == file.path)
    };
    Ok(assay_artifacts::describe(&source.folder)?.into_iter().filter(wanted).collect())
}

/// What planning needs to know of a model.
pub(crate) fn model(source: &ModelSource) -> anyhow::Result<ModelFacts> {
    let config = DecoderConfig::read(&source.folder)?;
    let projections = projections(&config);
    let per_layer: u64 = projections.values().map(|(out, inside)| u64::from(*out) * u64::from(*inside)).sum();
    let table = (config.vocab_size * config.hidden_size) as u64;
    let mut artifact = artifact("model", &model_files(source)?);
    artifact.files.extend(source.elsewhere.iter().cloned());
    artifact.files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(ModelFacts {
        artifact,
        model_type: config.model_type.clone(),
        layers: config.layer_count as u32,
        hidden: config.hidden_size as u32,
        attention_width: config.query_size() as u32,
        kv_width: config.key_value_size() as u32,
        max_positions: config.max_positions as u32,
        linear_parameters: per_layer * config.layer_count as u64,
        embedding_parameters: table,
        head_parameters: table,
        tied: config.tied_embeddings,
        projections,
    })
}

fn projections(config: &DecoderConfig) -> BTreeMap<String, (u32, u32)> {
    let widths = |projection: Projection| {
        (projection.name.to_owned(), (projection.output as u32, projection.input as u32))
    };
    config.projections().into_iter().map(widths).collect()
}

/// The uncut length of each of the first rows of a file, in tokens, and how many rows the file has.
pub(crate) fn row_lengths(
    path: &Path,
    take: Option<u32>,
    counter: &Counter,
) -> anyhow::Result<(Vec<u32>, u32)> {
    let conversations = rows::read_conversations(path, ReadLimits::default())?;
    let used = take.map_or(conversations.len(), |take| conversations.len().min(take as usize));
    let lengths = conversations[..used].iter().map(|row| counter.row(row)).collect::<anyhow::Result<_>>()?;
    Ok((lengths, conversations.len() as u32))
}

/// The prompts of a file, with their length for each model.
pub(crate) fn prompts(
    path: &Path,
    system: Option<&str>,
    counters: &BTreeMap<String, Counter>,
) -> anyhow::Result<Vec<PromptRecord>> {
    let prompts = rows::read_prompts(path, ReadLimits::default())?;
    prompts.iter().map(|prompt| prompt_record(prompt, system, counters)).collect()
}

fn prompt_record(
    prompt: &Prompt,
    system: Option<&str>,
    counters: &BTreeMap<String, Counter>,
) -> anyhow::Result<PromptRecord> {
    let mut messages: Vec<Message> = system.map(|text| Message::new("system", text)).into_iter().collect();
    messages.push(Message::new("user", prompt.prompt.clone()));
    let tokens = counters.iter().map(|(name, counter)| Ok((name.clone(), counter.prompt(&messages)?)));
    Ok(PromptRecord {
        id: prompt.id.clone(),
        domain: prompt.domain.clone().unwrap_or_else(|| String::from("all")),
        split: prompt.split.clone().unwrap_or_else(|| String::from("all")),
        tokens: tokens.collect::<anyhow::Result<_>>()?,
    })
}

/// An artifact of uploads: each file lies under its digest.
pub(crate) fn artifact(name: &str, files: &[LocalFile]) -> Artifact {
    let file_ref = |file: &LocalFile| FileRef {
        path: file.path.clone(),
        key: ObjectKey::upload(file.digest),
        digest: file.digest,
        bytes: file.bytes,
        origin: None,
    };
    Artifact { name: name.to_owned(), files: files.iter().map(file_ref).collect() }
}
