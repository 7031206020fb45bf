//! From a matrix file to a resolved matrix: everything is checked and counted here, before anything is sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assay_artifacts::LocalFile;
use assay_domain::Artifact;
use assay_domain::job::key_in_file;
use assay_domain::matrix::{
    self, DataFacts, DataSet, Judge, JudgeFacts, Matrix, Model, PromptFacts, ResolvedMatrix, TokenCount,
};

use crate::args::MatrixFile;
use crate::counter::Counter;
use crate::exit::Failed;
use crate::facts;
use crate::source::{ModelSource, Sources};

/// A resolved matrix and the files to upload.
pub(crate) struct Resolved {
    pub(crate) matrix: ResolvedMatrix,
    pub(crate) files: Vec<LocalFile>,
    /// Models whose tokens are estimated, since their folders hold no more than a shape.
    pub(crate) estimated: Vec<String>,
    /// Keeps what came from the Hub in its cache until it was uploaded.
    _sources: Sources,
}

/// What a matrix is resolved for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be looked at: a model's shape is enough.
    Plan,
    /// To be run: all files must be there.
    Run,
}

/// Reads a matrix file and everything that it names. Nothing is sent and nothing is written.
pub(crate) fn resolve(file: &MatrixFile, purpose: Purpose) -> anyhow::Result<Resolved> {
    let name = file.file.display().to_string();
    let text = std::fs::read_to_string(&file.file)
        .map_err(|error| Failed::Input(format!("matrix file {name}: {error}")))?;
    let mut matrix = matrix::parse(&name, &text, file.variant()).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failed::Input(lines.join("\n"))
    })?;
    if file.batch {
        matrix.panel.judges.iter_mut().for_each(Judge::use_batches);
    }
    let base = file.file.parent().unwrap_or(Path::new(".")).to_owned();
    let sources = Sources::default();
    Resolver { base, purpose, files: Vec::new(), estimated: Vec::new(), sources }.resolve(matrix)
}

struct Resolver {
    base: PathBuf,
    purpose: Purpose,
    files: Vec<LocalFile>,
    estimated: Vec<String>,
    sources: Sources,
}

impl Resolver {
    fn resolve(mut self, mut matrix: Matrix) -> anyhow::Result<Resolved> {
        let mut models = BTreeMap::new();
        let mut open = BTreeMap::new();
        for model in &mut matrix.models {
            let name = model.name.clone();
            let wrong = |error: anyhow::Error| Failed::Input(format!("model `{name}`: {error:#}"));
            let source = self.sources.model(&self.base, model).map_err(wrong)?;
            open.insert(model.name.clone(), self.counter(model, &source).map_err(wrong)?);
            models.insert(model.name.clone(), facts::model(&source).map_err(wrong)?);
            self.files.extend(facts::model_files(&source).map_err(wrong)?);
        }
        let mut data = BTreeMap::new();
        for index in 0..matrix.data.len() {
            let name = matrix.data[index].name.clone();
            let wrong = |error: anyhow::Error| Failed::Input(format!("data set `{name}`: {error:#}"));
            let base = self.sources.data(&self.base, &mut matrix.data[index]).map_err(wrong)?;
            let facts = self.data(&matrix.data[index], &base, &matrix, &open).map_err(wrong)?;
            data.insert(name.clone(), facts);
        }
        let mut prompts = BTreeMap::new();
        for set in &matrix.prompts {
            let wrong = |error: anyhow::Error| Failed::Input(format!("prompt set `{}`: {error:#}", set.name));
            let path = self.base.join(&set.file);
            let records = facts::prompts(&path, set.system.as_deref(), &open).map_err(wrong)?;
            let artifact = self.upload("prompts", &path).map_err(wrong)?;
            prompts.insert(set.name.clone(), PromptFacts { artifact, records });
        }
        let mut judges = BTreeMap::new();
        for judge in &matrix.panel.judges {
            let wrong = |error: anyhow::Error| Failed::Input(format!("judge `{}`: {error:#}", judge.name()));
            judges.insert(judge.name().to_owned(), self.judge(judge).map_err(wrong)?);
        }
        let matrix = ResolvedMatrix { matrix, models, data, prompts, judges };
        Ok(Resolved { matrix, files: self.files, estimated: self.estimated, _sources: self.sources })
    }

    fn counter(&mut self, model: &Model, source: &ModelSource) -> anyhow::Result<Counter> {
        if !facts::shape_alone(source) {
            return Counter::open(source, model);
        }
        match self.purpose {
            Purpose::Plan => {
                self.estimated.push(model.name.clone());
                Ok(Counter::Estimated)
            }
            Purpose::Run => anyhow::bail!(
                "{} holds config.json alone, which is enough to plan and not to run: put the model's other files there",
                source.folder.display()
            ),
        }
    }

    fn data(
        &mut self,
        set: &DataSet,
        base: &Path,
        matrix: &Matrix,
        models: &BTreeMap<String, Counter>,
    ) -> anyhow::Result<DataFacts> {
        let train_path = base.join(&set.train);
        let valid_path = set.valid.as_ref().map(|valid| base.join(valid));
        let (mut train_rows, mut valid_rows) = (0, 0);
        let mut tokens = Vec::new();
        for (model, data, max_length) in matrix.token_counts_needed() {
            let Some(open) = models.get(&model).filter(|_| data == set.name) else { continue };
            let (train, rows) = facts::row_lengths(&train_path, set.train_rows, open)?;
            train_rows = rows;
            let mut valid = Vec::new();
            if let Some(path) = &valid_path {
                (valid, valid_rows) = facts::row_lengths(path, set.valid_rows, open)?;
            }
            tokens.push(TokenCount::of(&model, max_length, &train, &valid));
        }
        Ok(DataFacts {
            train: self.upload("train", &train_path)?,
            valid: valid_path.as_deref().map(|path| self.upload("valid", path)).transpose()?,
            train_rows,
            valid_rows,
            tokens,
        })
    }

    fn judge(&mut self, judge: &Judge) -> anyhow::Result<JudgeFacts> {
        let key = judge.api().and_then(|api| api.key_env).filter(|name| !has_key(name));
        let ledger = judge.ledger().map(|ledger| self.upload("ledger", &self.base.join(ledger)));
        Ok(JudgeFacts {
            unavailable: key
                .map(|name| format!("neither the environment nor the keys file has a key `{name}`")),
            ledger: ledger.transpose()?,
        })
    }

    fn upload(&mut self, role: &str, path: &Path) -> anyhow::Result<Artifact> {
        let files = assay_artifacts::describe(path)?;
        let artifact = facts::artifact(role, &files);
        self.files.extend(files);
        Ok(artifact)
    }
}

/// Whether this machine has a key: in its environment, or in the file that a judge-runner here would read.
fn has_key(name: &str) -> bool {
    let in_file = || {
        let file =
            std::env::var_os("ASSAY_KEYS_FILE").map_or(PathBuf::from(".assay/keys.env"), PathBuf::from);
        std::fs::read_to_string(file).is_ok_and(|text| key_in_file(&text, name).is_some())
    };
    std::env::var_os(name).is_some_and(|key| !key.is_empty()) || in_file()
}
