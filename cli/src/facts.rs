//! What the files of a matrix say: digests, counts, shapes. Only reads.

use std::collections::BTreeMap;
use std::path::Path;

use assay_artifacts::LocalFile;
use assay_domain::matrix::{ModelFacts, PromptRecord};
use assay_domain::{Artifact, FileRef, ObjectKey};
use assay_text::chat::{ChatTemplate, Message, RenderOptions};
use assay_text::config::{DecoderConfig, Projection};
use assay_text::folder::ModelFolder;
use assay_text::rows::{self, LossOn, Prompt, ReadLimits, RowSettings};
use assay_text::tokenizer::Tokenizer;

/// The files of a model folder that a worker needs; a checkpoint's other clutter stays at home.
const MODEL_FILES: [&str; 3] = ["json", "jinja", "safetensors"];

/// A model with all that counting tokens needs.
pub(crate) struct OpenModel {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
}

/// Opens tokenizer and template of a model folder.
pub(crate) fn open(dir: &Path) -> anyhow::Result<OpenModel> {
    let folder = ModelFolder::open(dir)?;
    let tokenizer = folder.tokenizer()?;
    let template = folder.template(&tokenizer)?;
    Ok(OpenModel { tokenizer, template })
}

/// The files of a model folder, with their digests.
pub(crate) fn model_files(dir: &Path) -> anyhow::Result<Vec<LocalFile>> {
    let wanted = |file: &LocalFile| {
        let extension = Path::new(&file.path).extension().and_then(|extension| extension.to_str());
        !file.path.contains('/') && extension.is_some_and(|extension| MODEL_FILES.contains(&extension))
    };
    Ok(assay_artifacts::describe(dir)?.into_iter().filter(wanted).collect())
}

/// What planning needs to know of a model.
pub(crate) fn model(dir: &Path) -> anyhow::Result<ModelFacts> {
    ModelFolder::open(dir)?;
    let config = DecoderConfig::read(dir)?;
    let projections = projections(&config);
    let per_layer: u64 = projections.values().map(|(out, inside)| u64::from(*out) * u64::from(*inside)).sum();
    let table = (config.vocab_size * config.hidden_size) as u64;
    Ok(ModelFacts {
        artifact: artifact("model", &model_files(dir)?),
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
    model: &OpenModel,
) -> anyhow::Result<(Vec<u32>, u32)> {
    let conversations = rows::read_conversations(path, ReadLimits::default())?;
    let settings = RowSettings {
        max_length: usize::MAX,
        loss_on: LossOn::All,
        reference_quirks: false,
        render: RenderOptions::default(),
    };
    let used = take.map_or(conversations.len(), |take| conversations.len().min(take as usize));
    let lengths = conversations[..used]
        .iter()
        .map(|row| {
            Ok(rows::training_row(row, &model.template, &model.tokenizer, &settings)?.full_length as u32)
        })
        .collect::<anyhow::Result<_>>()?;
    Ok((lengths, conversations.len() as u32))
}

/// The prompts of a file, with their length for each model.
pub(crate) fn prompts(
    path: &Path,
    system: Option<&str>,
    models: &BTreeMap<String, OpenModel>,
) -> anyhow::Result<Vec<PromptRecord>> {
    let prompts = rows::read_prompts(path, ReadLimits::default())?;
    prompts.iter().map(|prompt| prompt_record(prompt, system, models)).collect()
}

fn prompt_record(
    prompt: &Prompt,
    system: Option<&str>,
    models: &BTreeMap<String, OpenModel>,
) -> anyhow::Result<PromptRecord> {
    let mut messages: Vec<Message> = system.map(|text| Message::new("system", text)).into_iter().collect();
    messages.push(Message::new("user", prompt.prompt.clone()));
    let count = |model: &OpenModel| -> anyhow::Result<u32> {
        let ids = rows::prompt_ids(&messages, &model.template, &model.tokenizer, &RenderOptions::default())?;
        Ok(ids.len() as u32)
    };
    let tokens = models.iter().map(|(name, model)| Ok((name.clone(), count(model)?)));
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
    };
    Artifact { name: name.to_owned(), files: files.iter().map(file_ref).collect() }
}
