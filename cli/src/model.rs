//! `assay model`: import and look at models.

use std::path::Path;

use assay_text::config::DecoderConfig;
use assay_text::folder::ModelFolder;
use assay_text::gguf;
use serde::Serialize;

use crate::args::Model;
use crate::facts;
use crate::print;

/// Runs one of the model commands.
pub(crate) fn run(command: &Model) -> anyhow::Result<()> {
    match command {
        Model::Import { file, dir, json } => import(file, dir, *json),
        Model::Info { dir, json } => info(dir, *json),
    }
}

fn import(file: &Path, dir: &Path, json: bool) -> anyhow::Result<()> {
    let imported = gguf::import(file, dir)?;
    if json {
        return print::json(&imported);
    }
    let parameters = print::count(imported.parameters);
    if imported.written {
        print::line(format!("{}: {} tensors, {parameters} parameters", dir.display(), imported.tensors));
    } else {
        print::line(format!("{}: holds this model already ({parameters} parameters)", dir.display()));
    }
    Ok(())
}

#[derive(Serialize)]
struct Info {
    config: DecoderConfig,
    parameters: u64,
    vocabulary: usize,
    chat_template: bool,
    eos_token_ids: Vec<u32>,
    digest: String,
}

fn info(dir: &Path, json: bool) -> anyhow::Result<()> {
    let folder = ModelFolder::open(dir)?;
    let config = DecoderConfig::read(dir)?;
    let tokenizer = folder.tokenizer()?;
    let model = facts::model(&dir.to_owned().into())?;
    let info = Info {
        parameters: model.linear_parameters
            + model.embedding_parameters
            + if model.tied { 0 } else { model.head_parameters },
        vocabulary: tokenizer.vocabulary_size(),
        chat_template: folder.template(&tokenizer).is_ok(),
        eos_token_ids: tokenizer.eos_ids().to_vec(),
        digest: model.artifact.digest().to_string(),
        config,
    };
    if json {
        return print::json(&info);
    }
    let config = &info.config;
    print::line(format!(
        "{} ({}), {} parameters",
        dir.display(),
        config.model_type,
        print::count(info.parameters)
    ));
    print::line(format!(
        "{} layers, hidden {}, {} heads of {} ({} for keys and values), feed-forward {}",
        config.layer_count,
        config.hidden_size,
        config.head_count,
        config.head_dim,
        config.kv_head_count,
        config.intermediate_size
    ));
    print::line(format!(
        "vocabulary {} (embedding {}), up to {} positions",
        info.vocabulary, config.vocab_size, config.max_positions
    ));
    print::line(format!(
        "chat template: {}; ends with {:?}",
        if info.chat_template { "yes" } else { "no" },
        info.eos_token_ids
    ));
    print::line(format!("sha256 of the folder {}", info.digest));
    Ok(())
}
