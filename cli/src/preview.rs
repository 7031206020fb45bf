//! `assay data preview`: rows as they are trained on, rendered and cut, with the trained text marked, and counts of all.

mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use assay_domain::job::{LossOn, Recipe};
use assay_domain::matrix::{self, Matrix};
use assay_text::chat::RenderOptions;
use assay_text::rows::{self, Conversation, ReadLimits, RowSettings, Run};
use assay_text::tokenizer::Tokenizer;
use serde::Serialize;

use crate::exit::Failed;
use crate::source::{ModelSource, Sources};
use crate::{args, counter, print};

/// What `max_length` is without a matrix: a recipe's default.
const MAX_LENGTH: u32 = 2048;

/// Runs the command.
pub(crate) fn run(args: &args::Preview) -> anyhow::Result<()> {
    let preview = Preview::of(&chosen(args)?, args.rows)?;
    if args.json {
        return print::json(&preview);
    }
    let marks =
        if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()) {
            show::COLOUR
        } else {
            show::PLAIN
        };
    print::line(show::text(&preview, &marks));
    Ok(())
}

/// What is looked at, and how it is trained on.
struct Chosen {
    model: ModelSource,
    data: PathBuf,
    /// Rows used, from the file's start.
    take: Option<u32>,
    settings: RowSettings,
    /// Keeps what came from the Hub in its cache.
    _sources: Sources,
}

fn chosen(args: &args::Preview) -> anyhow::Result<Chosen> {
    let is_matrix = args.file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let mut chosen = if is_matrix { of_matrix(args)? } else { of_file(args)? };
    if let Some(loss_on) = args.loss_on {
        chosen.settings.loss_on = in_text(loss_on);
    }
    if let Some(max_length) = args.max_length {
        chosen.settings.max_length = max_length as usize;
    }
    Ok(chosen)
}

fn of_file(args: &args::Preview) -> anyhow::Result<Chosen> {
    let Some(model) = &args.model else {
        let file = args.file.display();
        let why = format!("{file} is no matrix (.yaml): say whose template to use with --model DIR");
        return Err(Failed::Input(why).into());
    };
    let settings = settings(LossOn::default(), MAX_LENGTH, false);
    let (model, data) = (PathBuf::from(model).into(), args.file.clone());
    Ok(Chosen { model, data, take: None, settings, _sources: Sources::default() })
}

fn of_matrix(args: &args::Preview) -> anyhow::Result<Chosen> {
    let name = args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failed::Input(format!("matrix file {name}: {error}")))?;
    let matrix = matrix::parse(&name, &text, args.variant.as_deref()).map_err(|errors| {
        Failed::Input(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let base = args.file.parent().unwrap_or(Path::new("."));
    let mut sources = Sources::default();
    let model = named(&matrix.models, args.model.as_deref(), "model", |model| &model.name)?;
    let data = named(&matrix.data, args.data.as_deref(), "data set", |data| &data.name)?;
    let recipe = named(&matrix.recipes, args.recipe.as_deref(), "recipe", |recipe| &recipe.name)?;
    let recipe = recipe_of(&matrix, &model.name, &recipe.name)?;
    let mut settings = settings(recipe.loss_on, recipe.max_length, recipe.reference_quirks);
    settings.render = counter::render_options(model)?;
    let model = sources.model(base, &mut model.clone())?;
    let train = sources.data(base, &mut data.clone())?.join(&data.train);
    Ok(Chosen { model, data: train, take: data.train_rows, settings, _sources: sources })
}

fn recipe_of(matrix: &Matrix, model: &str, recipe: &str) -> anyhow::Result<Recipe> {
    let found = matrix.recipe_for(model, recipe).map(|(recipe, _)| recipe);
    Ok(found.ok_or_else(|| Failed::Input(format!("the matrix has no recipe `{recipe}`")))?)
}

/// The one with a name, or the first.
fn named<'a, T>(
    all: &'a [T],
    wanted: Option<&str>,
    kind: &str,
    name: impl Fn(&T) -> &String,
) -> anyhow::Result<&'a T> {
    let found = all.iter().find(|one| wanted.is_none_or(|wanted| name(one) == wanted));
    let names = || all.iter().map(|one| name(one).as_str()).collect::<Vec<_>>().join(", ");
    let why = || format!("the matrix has no {kind} `{}`: it has {}", wanted.unwrap_or_default(), names());
    Ok(found.ok_or_else(|| Failed::Input(why()))?)
}

fn settings(loss_on: LossOn, max_length: u32, reference_quirks: bool) -> RowSettings {
    RowSettings {
        max_length: max_length as usize,
        loss_on: in_text(loss_on),
        reference_quirks,
        render: RenderOptions::default(),
    }
}

fn in_text(loss_on: LossOn) -> rows::LossOn {
    match loss_on {
        LossOn::All => rows::LossOn::All,
        LossOn::Assistant => rows::LossOn::Assistant,
    }
}

/// Rows to look at, and what all of them come to.
#[derive(Debug, Serialize)]
struct Preview {
    model: PathBuf,
    data: PathBuf,
    settings: RowSettings,
    counts: Counts,
    rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    /// Tokens that are kept.
    tokens: usize,
    /// Tokens before the row was cut.
    full_tokens: usize,
    /// Tokens whose prediction gives loss.
    trained_tokens: usize,
    runs: Vec<Run>,
}

/// Of all rows that are used.
#[derive(Debug, Default, Serialize)]
struct Counts {
    rows: usize,
    tokens: usize,
    trained_tokens: usize,
    /// The most tokens of a row, before it was cut.
    longest_row: usize,
    rows_cut: usize,
    tokens_cut: usize,
    /// Rows that teach nothing: all that they would train on was cut away.
    rows_without_training: usize,
    /// Control tokens that messages write out, which become real ones, and in how many rows.
    control_text: BTreeMap<String, usize>,
}

impl Preview {
    fn of(chosen: &Chosen, shown: usize) -> anyhow::Result<Self> {
        let folder = chosen.model.open()?;
        let tokenizer = folder.tokenizer()?;
        let template = folder.template(&tokenizer)?;
        let conversations = rows::read_conversations(&chosen.data, ReadLimits::default())?;
        let take = chosen.take.map_or(usize::MAX, |take| take as usize);
        let mut counts = Counts::default();
        let mut kept = Vec::new();
        for conversation in conversations.iter().take(take) {
            let row = rows::training_row(conversation, &template, &tokenizer, &chosen.settings)?;
            counts.add(&row, conversation, &tokenizer);
            if kept.len() < shown {
                kept.push(Row {
                    tokens: row.ids.len(),
                    full_tokens: row.full_length,
                    trained_tokens: row.predicted(),
                    runs: row.runs(&tokenizer)?,
                    id: row.id,
                });
            }
        }
        let (model, data) = (chosen.model.folder.clone(), chosen.data.clone());
        Ok(Self { model, data, settings: chosen.settings.clone(), counts, rows: kept })
    }
}

impl Counts {
    fn add(&mut self, row: &rows::TrainRow, conversation: &Conversation, tokenizer: &Tokenizer) {
        let trained = row.predicted();
        self.rows += 1;
        self.tokens += row.ids.len();
        self.trained_tokens += trained;
        self.longest_row = self.longest_row.max(row.full_length);
        self.rows_cut += usize::from(row.is_cut());
        self.tokens_cut += row.full_length - row.ids.len();
        self.rows_without_training += usize::from(trained == 0);
        let written: std::collections::BTreeSet<&str> = conversation
            .messages
            .iter()
            .flat_map(|message| tokenizer.control_text(&message.content))
            .collect();
        for control in written {
            *self.control_text.entry(control.to_owned()).or_default() += 1;
        }
    }
}
