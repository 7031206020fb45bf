//! The combinations that a matrix stands for, and the settings that hold in one of them.

use std::collections::BTreeSet;

use super::{Checkpoints, Matrix, OneOrMany, RecipeSettings, Rule, SamplingEntry, Target};
use crate::job::{HubCommit, Method, ModelSettings, Recipe, Sampling, SamplingDefaults};

/// The peak learning rate of recipes that train all weights and do not say theirs: TRL's (`SFTConfig`).
const FULL_LEARNING_RATE: f64 = 2e-5;

/// One combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The data set's name.
    pub data: &'a str,
    /// The recipe's name.
    pub recipe: &'a str,
    /// The training seed.
    pub seed: u64,
    /// The prompt set's name.
    pub prompts: &'a str,
    /// The sampling's name.
    pub sampling: &'a str,
}

impl Matrix {
    /// The combinations that are run, in the order of the file: include and exclude rules applied.
    pub fn cells(&self) -> Vec<Cell<'_>> {
        let mut cells = self.all_cells();
        cells.retain(|cell| self.include.is_empty() || self.include.iter().any(|rule| rule.matches(cell)));
        cells.retain(|cell| !self.exclude.iter().any(|rule| rule.matches(cell)));
        cells
    }

    /// How many combinations there are before any rule.
    pub fn cells_before_rules(&self) -> usize {
        let axes = [
            self.models.len(),
            self.data.len(),
            self.recipes.len(),
            self.seeds.len(),
            self.prompts.len(),
            self.sampling.len(),
        ];
        axes.into_iter().fold(1, usize::saturating_mul)
    }

    /// The whole product, before any rule.
    pub(super) fn all_cells(&self) -> Vec<Cell<'_>> {
        let mut cells = Vec::new();
        for model in &self.models {
            for data in &self.data {
                for recipe in &self.recipes {
                    for &seed in &self.seeds {
                        for prompts in &self.prompts {
                            cells.extend(self.sampling.iter().map(|sampling| Cell {
                                model: &model.name,
                                data: &data.name,
                                recipe: &recipe.name,
                                seed,
                                prompts: &prompts.name,
                                sampling: &sampling.name,
                            }));
                        }
                    }
                }
            }
        }
        cells
    }

    /// A recipe with its defaults and the model's overrides; none when it has no such recipe. Targets that are left out
    /// stay empty: [`super::ResolvedMatrix::recipe_for`] knows those of the model.
    pub fn recipe_for(&self, model: &str, recipe: &str) -> Option<(Recipe, Checkpoints)> {
        let entry = self.recipes.iter().find(|entry| entry.name == recipe)?;
        let mut settings = entry.settings.whole();
        let overrides =
            self.models.iter().filter(|known| known.name == model).flat_map(|known| &known.overrides);
        for over in overrides {
            if over.recipe.as_deref().is_none_or(|name| name == recipe) {
                settings = settings.overlaid(&over.settings.whole());
            }
        }
        let checkpoints = settings.checkpoints.unwrap_or_default();
        Some((settings.resolved(recipe), checkpoints))
    }

    /// What jobs need to know of a model beside its files.
    pub fn model_settings(&self, model: &str) -> ModelSettings {
        let Some(model) = self.models.iter().find(|known| known.name == model) else {
            return ModelSettings::default();
        };
        let commit =
            |(repo, commit): (&String, &String)| HubCommit { repo: repo.clone(), commit: commit.clone() };
        ModelSettings {
            hub: model.hub.as_ref().zip(model.revision.as_ref()).map(commit),
            date: model.date.clone(),
            thinking: model.thinking,
        }
    }

    /// Which (model, data set, `max_length`) token counts planning needs, each once.
    pub fn token_counts_needed(&self) -> BTreeSet<(String, String, u32)> {
        let needed = self.cells().into_iter().filter_map(|cell| {
            let (recipe, _) = self.recipe_for(cell.model, cell.recipe)?;
            Some((cell.model.to_owned(), cell.data.to_owned(), recipe.max_length))
        });
        needed.collect()
    }
}

impl Rule {
    /// Whether it matches: an axis that it leaves out matches everything.
    pub fn matches(&self, cell: &Cell<'_>) -> bool {
        let name = |axis: &Option<OneOrMany<String>>, name: &str| {
            axis.as_ref().is_none_or(|names| names.as_slice().iter().any(|known| known == name))
        };
        name(&self.model, cell.model)
            && name(&self.data, cell.data)
            && name(&self.recipe, cell.recipe)
            && self.seed.as_ref().is_none_or(|seeds| seeds.as_slice().contains(&cell.seed))
            && name(&self.prompts, cell.prompts)
            && name(&self.sampling, cell.sampling)
    }
}

impl RecipeSettings {
    /// These, with what they leave out from their preset.
    pub(crate) fn whole(&self) -> Self {
        self.preset.map_or_else(|| self.clone(), |preset| preset.settings().overlaid(self))
    }

    /// These, with those of `over` that are given in their place.
    fn overlaid(&self, over: &Self) -> Self {
        Self {
            preset: None,
            method: over.method.or(self.method),
            rank: over.rank.or(self.rank),
            alpha: over.alpha.or(self.alpha),
            dropout: over.dropout.or(self.dropout),
            targets: over.targets.clone().or_else(|| self.targets.clone()),
            rslora: over.rslora.or(self.rslora),
            epochs: over.epochs.or(self.epochs),
            micro_batch: over.micro_batch.or(self.micro_batch),
            accumulate: over.accumulate.or(self.accumulate),
            learning_rate: over.learning_rate.or(self.learning_rate),
            warmup_steps: over.warmup_steps.or(self.warmup_steps),
            weight_decay: over.weight_decay.or(self.weight_decay),
            max_grad_norm: over.max_grad_norm.or(self.max_grad_norm),
            max_length: over.max_length.or(self.max_length),
            loss_on: over.loss_on.or(self.loss_on),
            reference_quirks: over.reference_quirks.or(self.reference_quirks),
            lora_plus_ratio: over.lora_plus_ratio.or(self.lora_plus_ratio),
            neftune_alpha: over.neftune_alpha.or(self.neftune_alpha),
            dora: over.dora.or(self.dora),
            keep_best: over.keep_best.or(self.keep_best),
            early_stopping: over.early_stopping.or(self.early_stopping),
            quantization: over.quantization.or(self.quantization),
            residual: over.residual.or(self.residual),
            checkpoints: over.checkpoints.or(self.checkpoints),
        }
    }

    /// What is left out is as in the method. Targets are put in the order of the model, so that the order in which a
    /// person lists them is no part of the job key.
    pub(crate) fn resolved(self, name: &str) -> Recipe {
        let method = self.method.unwrap_or_default();
        // Of a recipe that trains all weights nothing of an adapter is left, so that two of the same have one job key.
        let adapter = if method == Method::Full { self.without_adapter() } else { self };
        adapter.with_defaults(name, method)
    }

    /// Those of adapters at 0, empty or off.
    fn without_adapter(self) -> Self {
        Self {
            rank: Some(0),
            alpha: Some(0.0),
            dropout: Some(0.0),
            targets: None,
            rslora: None,
            lora_plus_ratio: None,
            dora: None,
            quantization: None,
            residual: None,
            learning_rate: self.learning_rate.or(Some(FULL_LEARNING_RATE)),
            ..self
        }
    }

    fn with_defaults(self, name: &str, method: Method) -> Recipe {
        let named = |target: &Target| self.targets.as_ref().is_some_and(|targets| targets.contains(target));
        Recipe {
            name: name.to_owned(),
            method,
            rank: self.rank.unwrap_or(16),
            alpha: self.alpha.unwrap_or(32.0),
            dropout: self.dropout.unwrap_or(0.05),
            targets: Target::ALL.into_iter().filter(named).map(|target| target.as_str().to_owned()).collect(),
            rslora: self.rslora.unwrap_or(false),
            epochs: self.epochs.unwrap_or(2),
            micro_batch: self.micro_batch.unwrap_or(2),
            accumulate: self.accumulate.unwrap_or(4),
            learning_rate: self.learning_rate.unwrap_or(2e-4),
            warmup_steps: self.warmup_steps.unwrap_or(20),
            weight_decay: self.weight_decay.unwrap_or(0.0),
            max_grad_norm: self.max_grad_norm.unwrap_or(1.0),
            max_length: self.max_length.unwrap_or(2048),
            loss_on: self.loss_on.unwrap_or_default(),
            reference_quirks: self.reference_quirks.unwrap_or(false),
            lora_plus_ratio: self.lora_plus_ratio.unwrap_or(1.0),
            neftune_alpha: self.neftune_alpha.unwrap_or(0.0),
            dora: self.dora.unwrap_or(false),
            keep_best: self.keep_best.unwrap_or(false),
            early_stopping: self.early_stopping,
            quantization: self.quantization,
            residual: self.residual,
        }
    }
}

impl SamplingEntry {
    /// With `defaults: matrix` every setting has a value; with `model` those left out stay open.
    pub fn resolved(&self) -> Sampling {
        let exact = self.defaults == SamplingDefaults::Matrix;
        let or = |given: Option<f64>, neutral: f64| given.or(exact.then_some(neutral));
        Sampling {
            name: self.name.clone(),
            defaults: self.defaults,
            temperature: or(self.temperature, 1.0),
            top_p: or(self.top_p, 1.0),
            top_k: self.top_k.or(exact.then_some(0)),
            min_p: or(self.min_p, 0.0),
            repetition_penalty: or(self.repetition_penalty, 1.0),
            max_new_tokens: self.max_new_tokens,
            samples: self.samples,
            seed: self.seed,
        }
    }
}
