//! Checkpoints: what others load, and the state from which a run goes on bit for bit on the same machine.

use std::collections::BTreeMap;
use std::path::Path;

use assay_text::safetensors::{TensorFiles, write_bytes, write_file};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::Kind;

use super::best::Watched;
use super::{Evaluation, Fit, TrainRow, Trained, Trainer};
use crate::lora::tensor_bytes;
use crate::weights::WeightLoader;
use crate::{ModelError, Result, device};

const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const BEST_FILE: &str = "best.safetensors";
const BEST_TENSOR: &str = "factors";
const STATE_FILE: &str = "state.json";
const FORMAT: u32 = 1;
/// Of the environment: how attention was computed, and how it was before states told.
const ATTENTION: [&str; 2] = ["attention", "row by row"];

/// What a resume found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeReport {
    /// Optimizer steps already done.
    pub steps_done: u64,
    /// Differences of device, instructions, type, LibTorch or threads, in words; without any, the run goes on bit for bit.
    pub environment_changes: Vec<String>,
}

/// `state.json`.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    format: u32,
    /// Digest of model shape, adapter shape, settings and rows.
    run: String,
    steps_done: u64,
    optimizer_updates: u64,
    evaluations: Vec<Evaluation>,
    /// None in states of older versions: as the settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fit: Option<Fit>,
    #[serde(default, skip_serializing_if = "is_unwatched")]
    watched: Watched,
    environment: BTreeMap<String, String>,
}

fn is_unwatched(watched: &Watched) -> bool {
    *watched == Watched::default()
}

impl Trainer<'_> {
    /// Writes what was trained for others: an adapter as a PEFT folder, which names its base model, or all weights as a model
    /// folder in the element types of the base.
    pub fn save_trained(&self, dir: &Path, base_model: Option<&str>) -> Result<()> {
        self.trained.write(dir, base_model)
    }

    /// Reads a saved adapter back: it must be the one in memory and compute what are numbers. The largest change of a logit; none
    /// where all weights are trained, as the model they came from is not here any more.
    pub fn check_saved(&self, adapter: &Path) -> Result<Option<f64>> {
        match self.trained {
            Trained::Adapter(ref lora) => crate::export::check_saved(self.model, lora, adapter).map(Some),
            Trained::Whole(_) => Ok(None),
        }
    }

    /// Writes trained values, moments and position to `dir`; the state file comes last, so a folder that has it is whole.
    pub fn save_resume(&self, dir: &Path) -> Result<()> {
        self.trained.save(dir)?;
        let moments = BTreeMap::from([
            ("exp_avg".to_owned(), tensor_bytes(&self.optimizer.first)?),
            ("exp_avg_sq".to_owned(), tensor_bytes(&self.optimizer.second)?),
        ]);
        write_file(&dir.join(OPTIMIZER_FILE), &moments)?;
        if let Some(factors) = &self.best {
            let factors = BTreeMap::from([(BEST_TENSOR.to_owned(), tensor_bytes(factors)?)]);
            write_file(&dir.join(BEST_FILE), &factors)?;
        }
        let state = State {
            format: FORMAT,
            run: self.run_digest()?,
            steps_done: self.steps_done,
            optimizer_updates: self.optimizer.updates,
            evaluations: self.evaluations.clone(),
            fit: Some(self.fit),
            watched: self.watched,
            environment: self.environment(),
        };
        let path = dir.join(STATE_FILE);
        let json = serde_json::to_vec_pretty(&state).map_err(|error| refused(&path, error))?;
        Ok(write_bytes(&path, &json)?)
    }

    /// Goes on where [`Trainer::save_resume`] of an equal run left off. Refuses the state of another run: other
    /// settings, rows, adapter shape or model shape. Nothing is changed when it is refused.
    pub fn load_resume(&mut self, dir: &Path) -> Result<ResumeReport> {
        let path = dir.join(STATE_FILE);
        let bytes =
            std::fs::read(&path).map_err(|error| refused(&path, format!("cannot be read: {error}")))?;
        let mut state: State = serde_json::from_slice(&bytes)
            .map_err(|error| refused(&path, format!("is not a resume state: {error}")))?;
        let [attention, before] = ATTENTION.map(str::to_owned);
        state.environment.entry(attention).or_insert(before);
        self.check_state(&path, &state)?;
        let trained = self.trained.read(dir, self.model.config(), self.model.device())?;
        let files = TensorFiles::open_file(&dir.join(OPTIMIZER_FILE))?;
        let loader = WeightLoader::files(&files, self.model.device(), Kind::Float);
        let shape = [self.trained.parameter_count()];
        let (first, second) = (loader.load("exp_avg", &shape)?, loader.load("exp_avg_sq", &shape)?);
        let best = match self.settings.keep_best && state.watched.best.is_some() {
            true => {
                let files = TensorFiles::open_file(&dir.join(BEST_FILE))?;
                let loader = WeightLoader::files(&files, self.model.device(), Kind::Float);
                Some(loader.load(BEST_TENSOR, &shape)?)
            }
            false => None,
        };
        let here = self.environment();
        let changed = here.iter().filter(|(name, value)| state.environment.get(*name) != Some(*value));
        let environment_changes = changed
            .map(|(name, value)| {
                let before = state.environment.get(name).map_or("unknown", String::as_str);
                format!("{name} was {before} and is {value}")
            })
            .collect();
        let _guard = tch::no_grad_guard();
        self.trained.flat().shallow_clone().f_copy_(&trained)?;
        (self.optimizer.first, self.optimizer.second) = (first, second);
        self.optimizer.updates = state.optimizer_updates;
        self.steps_done = state.steps_done;
        self.evaluations = state.evaluations;
        self.fit = state.fit.unwrap_or(self.fit);
        (self.watched, self.best) = (state.watched, best);
        Ok(ResumeReport { steps_done: self.steps_done, environment_changes })
    }

    fn check_state(&self, path: &Path, state: &State) -> Result<()> {
        if state.format != FORMAT {
            return Err(refused(
                path,
                format!("has format {}, but this version reads {FORMAT}", state.format),
            ));
        }
        if state.run != self.run_digest()? {
            let problem =
                "belongs to a run with other settings, rows, adapter or model: start from the beginning";
            return Err(refused(path, problem));
        }
        if state.steps_done > self.total_steps() {
            let (done, total) = (state.steps_done, self.total_steps());
            return Err(refused(path, format!("has {done} steps done, but the run has {total}")));
        }
        Ok(())
    }

    /// SHA-256 over everything that the numbers of a run follow from, but for the weights, whose digest the job knows.
    fn run_digest(&self) -> Result<String> {
        let mut digest = Sha256::new();
        let failed = |error| refused(Path::new(STATE_FILE), error);
        let parts = (&self.settings, self.trained.shape(), self.model.config());
        let json = serde_json::to_vec(&parts).map_err(failed)?;
        digest.update(&json);
        for row in &self.rows {
            update_with_row(&mut digest, row);
        }
        Ok(hex::encode(digest.finalize()))
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let (device, residual) = (self.model.device(), self.model.residual());
        let named = [
            ("device", format!("{device:?}")),
            ("device model", device::model(device)),
            ("CPU capability", device::cpu_capability()),
            ("kind", format!("{:?}", self.model.kind())),
            ("LibTorch", device::libtorch_version().to_owned()),
            ("LibTorch build", device::libtorch_build()),
            ("threads", device::threads().to_string()),
            (ATTENTION[0], self.model.packing().name().to_owned()),
        ];
        let mut named: BTreeMap<String, String> = named.map(|(name, value)| (name.to_owned(), value)).into();
        if let Some(order) = device::order_of_sums(device) {
            named.insert("order of sums".to_owned(), order.to_owned());
        }
        if residual != self.model.kind() {
            named.insert("residual".to_owned(), format!("{residual:?}"));
        }
        named
    }
}

fn update_with_row(digest: &mut Sha256, row: &TrainRow) {
    digest.update((row.ids.len() as u64).to_le_bytes());
    for (id, label) in row.ids.iter().zip(&row.labels) {
        digest.update(id.to_le_bytes());
        digest.update(label.to_le_bytes());
    }
}

fn refused(path: &Path, problem: impl ToString) -> ModelError {
    ModelError::Resume { path: path.to_owned(), problem: problem.to_string() }
}
