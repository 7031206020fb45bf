//! One person's judging of a matrix: a folder with the secret that blinds it, and a file of verdicts that only grows.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use assay_domain::job::{JudgeInfo, Orders};
use assay_judging::pair::{Blinded, PairInput, Secret, blind, match_generations};
use assay_judging::records::{RawVerdictRecord, from_jsonl};
use assay_judging::report::ReportInputs;
use serde::{Deserialize, Serialize};

use crate::exit::Failed;

/// A person is asked what `assay-v1` asks a model.
pub(crate) const TEMPLATE: &str = "assay-v1";
/// The kind of such a judge in a report: it stands beside the panel, never in it.
const KIND: &str = assay_judging::report::HUMAN;

/// What was fixed when the session began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The matrix.
    pub(crate) matrix: String,
    /// The person, as the report names them.
    pub(crate) name: String,
    /// The passes over each pair.
    pub(crate) orders: Orders,
    /// 64 hexadecimal digits. Whoever reads them can undo the blinding.
    secret: String,
}

/// A session with its verdicts so far.
pub(crate) struct Annotations {
    folder: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) verdicts: Vec<RawVerdictRecord>,
}

impl Annotations {
    /// Goes on with the session of a folder, or begins one.
    pub(crate) fn open_or_begin(
        folder: &Path,
        matrix: &str,
        name: &str,
        orders: Orders,
    ) -> anyhow::Result<Self> {
        if !folder.join("session.json").exists() {
            begin(folder, matrix, name, orders)?;
        }
        let found = Self::open(folder)?;
        if found.settings.matrix != matrix || found.settings.name != name {
            let Settings { matrix, name, .. } = &found.settings;
            let what = format!(
                "{} holds the verdicts of `{name}` on {matrix}: name another folder",
                folder.display()
            );
            return Err(Failed::Input(what).into());
        }
        Ok(found)
    }

    /// Reads a session. A last line that was cut off is dropped.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("session.json");
        let text = fs::read_to_string(&path).map_err(|error| {
            Failed::Input(format!("{} is no folder of annotations: {error}", folder.display()))
        })?;
        let settings = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let path = folder.join("verdicts.jsonl");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let whole = text.rfind('\n').map_or(0, |last| last + 1);
        if whole < text.len() {
            OpenOptions::new().write(true).open(&path)?.set_len(whole as u64)?;
        }
        let verdicts = from_jsonl(&path.display().to_string(), &text[..whole])?;
        Ok(Self { folder: folder.to_owned(), settings, verdicts })
    }

    /// Adds a verdict; it is on disk when this returns.
    pub(crate) fn add(&mut self, verdict: RawVerdictRecord) -> anyhow::Result<()> {
        let path = self.folder.join("verdicts.jsonl");
        let line = serde_json::to_string(&verdict)? + "\n";
        let written = OpenOptions::new().create(true).append(true).open(&path).and_then(|mut file| {
            file.write_all(line.as_bytes())?;
            file.sync_data()
        });
        written.with_context(|| path.display().to_string())?;
        self.verdicts.push(verdict);
        Ok(())
    }

    /// All pairs of a matrix as this person sees them.
    pub(crate) fn blinded(&self, inputs: &ReportInputs) -> anyhow::Result<Blinded> {
        let secret = secret_of(&self.settings.secret).ok_or_else(|| {
            Failed::Input(format!("{} has a broken secret", self.folder.join("session.json").display()))
        })?;
        Ok(blind(&Secret::new(secret), self.settings.orders, &pairs(inputs)?)?)
    }

    /// Adds this person to what a report is computed from.
    pub(crate) fn join(&self, inputs: &mut ReportInputs) -> anyhow::Result<()> {
        let name = &self.settings.name;
        if inputs.spec.judges.iter().any(|judge| judge.name == *name) {
            return Err(Failed::Input(format!("two judges are called `{name}`")).into());
        }
        inputs.keys.extend(self.blinded(inputs)?.key.records().cloned());
        inputs.verdicts.extend(self.verdicts.iter().cloned());
        inputs.spec.judges.push(JudgeInfo {
            name: name.clone(),
            kind: String::from(KIND),
            model: String::from(KIND),
            template: String::from(TEMPLATE),
            smoke: false,
            unavailable: None,
            orders: Some(self.settings.orders),
            batch: false,
        });
        Ok(())
    }
}

/// Draws the secret and writes the settings: whole or not at all, and for their owner alone.
fn begin(folder: &Path, matrix: &str, name: &str, orders: Orders) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    let secret = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let settings = Settings { matrix: matrix.to_owned(), name: name.to_owned(), orders, secret };
    let (made, path) = (folder.join("session.json.new"), folder.join("session.json"));
    let written =
        OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&made).and_then(
            |mut file: File| {
                file.write_all(serde_json::to_string_pretty(&settings)?.as_bytes())?;
                file.sync_all()?;
                fs::rename(&made, &path)
            },
        );
    written.with_context(|| path.display().to_string())
}

fn secret_of(hex: &str) -> Option<[u8; 32]> {
    let byte = |at: usize| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..32).map(byte).collect::<Option<_>>()?;
    bytes.try_into().ok()
}

/// Every pair that the judges of the matrix see.
fn pairs(inputs: &ReportInputs) -> anyhow::Result<Vec<PairInput>> {
    let mut pairs = Vec::new();
    for comparison in inputs.spec.all_comparisons() {
        let known = inputs.keys.iter().find(|key| key.comparison == comparison.id);
        let Some(key) = known else { continue };
        let of = |model: &str, system: &str| -> Vec<_> {
            let same = inputs.generations.iter().filter(|one| {
                one.model == model
                    && one.prompts == comparison.prompts
                    && one.sampling == comparison.sampling
                    && one.system == system
            });
            same.cloned().collect()
        };
        pairs.extend(match_generations(
            &comparison.id,
            &of(comparison.other_model(), &key.base),
            &of(&comparison.model, &key.tuned),
        )?);
    }
    Ok(pairs)
}
