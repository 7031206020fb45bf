//! The expansion itself, in the order of a matrix's life. Everything was checked before: a missing part is passed over.

use std::collections::{BTreeMap, BTreeSet};

use super::demand;
use super::direct::{Direct, direct};
use super::estimate::{self, Judged};
use super::{PriceTable, label, steps::Schedule};
use crate::analysis::AnalysisPlan;
use crate::job::{
    Comparison, Demand, Estimate, GenerateSpec, Input, JudgeInfo, JudgeSpec, PlannedJob, Quantization,
    ReportSpec, ScoreSpec, Source, System, TrainSpec, Training, Work,
};
use crate::matrix::{Cell, Judge, ResolvedMatrix};
use crate::{Artifact, Digest, JobKey};

/// The (model, data set, recipe, seed) of a training.
type TrainCell<'a> = (&'a str, &'a str, &'a str, u64);
/// The (model, prompt set, sampling) of answers, and how the model's matrices are held for them.
type BaseCell<'a> = (&'a str, &'a str, &'a str, Option<Quantization>);

/// The jobs so far.
pub(super) struct Plan<'a> {
    resolved: &'a ResolvedMatrix,
    prices: &'a PriceTable,
    jobs: Vec<PlannedJob>,
    by_key: BTreeMap<JobKey, u32>,
    trained: BTreeMap<TrainCell<'a>, (u32, Schedule)>,
    bases: BTreeMap<BaseCell<'a>, u32>,
    /// Who answered: a checkpoint of a training.
    answered: BTreeMap<(TrainCell<'a>, u64, &'a str, &'a str), u32>,
    comparisons: Vec<(Comparison, u32, u32)>,
    direct: Vec<(Comparison, u32, u32)>,
    trainings: Vec<Training>,
}

impl<'a> Plan<'a> {
    /// Expands all of it.
    pub(super) fn of(
        resolved: &'a ResolvedMatrix,
        prices: &'a PriceTable,
    ) -> Result<Vec<PlannedJob>, serde_json::Error> {
        let mut plan = Self {
            resolved,
            prices,
            jobs: Vec::new(),
            by_key: BTreeMap::new(),
            trained: BTreeMap::new(),
            bases: BTreeMap::new(),
            answered: BTreeMap::new(),
            comparisons: Vec::new(),
            direct: Vec::new(),
            trainings: Vec::new(),
        };
        let cells = resolved.matrix.cells();
        for cell in in_order(cells.iter().map(|cell| (cell.model, cell.data, cell.recipe, cell.seed))) {
            plan.train(cell)?;
        }
        let answers = |cell: &Cell<'a>| {
            let recipe = resolved.recipe_for(cell.model, cell.recipe);
            let quantization = recipe.and_then(|(recipe, _)| recipe.quantization);
            (cell.model, cell.prompts, cell.sampling, quantization)
        };
        for cell in in_order(cells.iter().map(answers)) {
            plan.base(cell)?;
        }
        for cell in &cells {
            plan.tuned((cell.model, cell.data, cell.recipe, cell.seed), answers(cell))?;
        }
        // What is wrong with them was said before.
        for direct in direct(resolved).unwrap_or_default() {
            plan.compared_directly(direct);
        }
        for (comparison, base, tuned) in [plan.comparisons.clone(), plan.direct.clone()].concat() {
            for judge in &resolved.matrix.panel.judges {
                plan.judged(judge, &comparison, base, tuned)?;
            }
        }
        plan.report()?;
        Ok(plan.jobs)
    }

    /// Adds a job, or finds the one with the same key.
    fn add(
        &mut self,
        label: String,
        work: Work,
        inputs: Vec<Input>,
        (estimate, demand): (Estimate, Demand),
    ) -> Result<u32, serde_json::Error> {
        let earlier = |ordinal: u32| self.jobs.get(ordinal as usize).map(|job| job.key);
        let key = PlannedJob::key_of(&work, &inputs, earlier)?;
        if let Some(ordinal) = self.by_key.get(&key) {
            return Ok(*ordinal);
        }
        let ordinal = self.jobs.len() as u32;
        self.by_key.insert(key, ordinal);
        let demand = match work.kind().needs_device() {
            true => self.resolved.matrix.needs.over(demand::with_disk(demand, &inputs)),
            false => demand,
        };
        self.jobs.push(PlannedJob { ordinal, label, work, inputs, key, estimate, demand });
        Ok(ordinal)
    }

    fn train(&mut self, cell: TrainCell<'a>) -> Result<(), serde_json::Error> {
        let (model, data, recipe, seed) = cell;
        let resolved = self.resolved;
        let found = (
            resolved.models.get(model),
            resolved.data.get(data),
            resolved.recipe_for(model, recipe),
            resolved.rows_of(data),
        );
        let (Some(facts), Some(set), Some((recipe, checkpoints)), Some((train_rows, valid_rows))) = found
        else {
            return Ok(());
        };
        let schedule = Schedule::of(&recipe, checkpoints, train_rows);
        let mut inputs = vec![upload("model", &facts.artifact), upload("train", &set.train)];
        inputs.extend(set.valid.as_ref().filter(|_| valid_rows > 0).map(|valid| upload("valid", valid)));
        let evaluations = schedule.kept.len() as u64 + 1;
        let count = set.count(model, recipe.max_length);
        let estimate = count.map(|count| estimate::train(facts, count, train_rows, evaluations, &recipe));
        let demand = demand::train(facts, &recipe, count, schedule.kept.len());
        let work = Work::Train(TrainSpec {
            model: model.to_owned(),
            model_settings: resolved.matrix.model_settings(model),
            data: data.to_owned(),
            recipe: recipe.clone(),
            seed,
            train_rows,
            valid_rows,
            total_steps: schedule.total,
            checkpoints: schedule.kept.clone(),
        });
        let label = label::training(&resolved.matrix, cell);
        let job = self.add(label, work, inputs, (estimate.unwrap_or_default(), demand))?;
        self.trainings.push(Training {
            job,
            model: model.to_owned(),
            data: data.to_owned(),
            recipe,
            seed,
            steps_per_epoch: schedule.per_epoch,
            total_steps: schedule.total,
        });
        self.trained.insert(cell, (job, schedule));
        Ok(())
    }

    fn base(&mut self, cell: BaseCell<'a>) -> Result<(), serde_json::Error> {
        let (model, prompts, sampling, quantization) = cell;
        let system = quantization
            .map_or_else(|| String::from("base"), |quantization| format!("base {}", quantization.as_str()));
        let label = label::answers(&self.resolved.matrix, (model, prompts, sampling), &system);
        if let Some(job) = self.generate(cell, System::Base, label, None)? {
            self.bases.insert(cell, job);
        }
        Ok(())
    }

    fn tuned(&mut self, train: TrainCell<'a>, answers: BaseCell<'a>) -> Result<(), serde_json::Error> {
        let Some((job, schedule)) = self.trained.get(&train).cloned() else { return Ok(()) };
        let Some(base) = self.bases.get(&answers).copied() else { return Ok(()) };
        let ((model, data, recipe, seed), (_, prompts, sampling, _)) = (train, answers);
        for step in schedule.evaluated(&self.resolved.matrix.evaluate) {
            let comparison = Comparison {
                id: format!("{model}/{data}/{recipe}/seed-{seed}/step-{step}/{prompts}/{sampling}"),
                model: model.to_owned(),
                data: data.to_owned(),
                recipe: recipe.to_owned(),
                seed,
                step,
                checkpoint: schedule.label(step),
                prompts: prompts.to_owned(),
                sampling: sampling.to_owned(),
                against: None,
            };
            let adapter = output("adapter", job, &Artifact::adapter_name(step));
            let label = label::compared(&self.resolved.matrix, &comparison, "generate");
            if let Some(tuned) = self.generate(answers, comparison.tuned(), label, Some(adapter))? {
                self.comparisons.push((comparison, base, tuned));
                self.answered.insert((train, step, prompts, sampling), tuned);
            }
        }
        Ok(())
    }

    /// Both sides have answered already: nothing is generated for it.
    fn compared_directly(&mut self, Direct { comparison, one, other }: Direct<'a>) {
        let Some(against) = &comparison.against else { return };
        let train = |cell: &Cell<'a>| (cell.model, cell.data, cell.recipe, cell.seed);
        let answers =
            |cell: &Cell<'a>, step: u64| self.answered.get(&(train(cell), step, cell.prompts, cell.sampling));
        let of_other = match &against.system {
            System::Base => {
                self.bases.get(&(other.model, other.prompts, other.sampling, against.quantization))
            }
            System::Tuned { step, .. } => answers(&other, *step),
        };
        if let (Some(other), Some(one)) = (of_other.copied(), answers(&one, comparison.step).copied()) {
            self.direct.push((comparison, other, one));
        }
    }

    fn generate(
        &mut self,
        cell: BaseCell<'a>,
        system: System,
        label: String,
        adapter: Option<Input>,
    ) -> Result<Option<u32>, serde_json::Error> {
        let (model, prompts, sampling, quantization) = cell;
        let matrix = &self.resolved.matrix;
        let found = (
            self.resolved.models.get(model),
            self.resolved.prompts.get(prompts),
            self.resolved.selected(prompts),
            matrix.prompts.iter().find(|set| set.name == prompts),
            matrix.sampling.iter().find(|entry| entry.name == sampling),
        );
        let (Some(facts), Some(file), Some(records), Some(set), Some(entry)) = found else { return Ok(None) };
        let sampling = entry.resolved();
        let prompt_tokens =
            records.iter().filter_map(|record| record.tokens.get(model)).copied().map(u64::from).sum();
        let answers = records.len() as u64 * u64::from(sampling.samples);
        let estimate =
            estimate::generate(facts, prompt_tokens, answers, sampling.samples, sampling.max_new_tokens);
        let longest = records.iter().filter_map(|record| record.tokens.get(model)).max().copied();
        let demand = demand::generate(facts, answers, longest.unwrap_or(0), sampling.max_new_tokens);
        let mut inputs = vec![upload("model", &facts.artifact), upload("prompts", &file.artifact)];
        inputs.extend(adapter);
        let work = Work::Generate(GenerateSpec {
            model: model.to_owned(),
            model_settings: matrix.model_settings(model),
            system,
            prompts: prompts.to_owned(),
            prompt_ids: records.iter().map(|record| record.id.clone()).collect(),
            system_prompt: set.system.clone(),
            sampling,
            quantization,
        });
        self.add(label, work, inputs, (estimate, demand)).map(Some)
    }

    fn judged(
        &mut self,
        judge: &Judge,
        comparison: &Comparison,
        base: u32,
        tuned: u32,
    ) -> Result<(), serde_json::Error> {
        if self.resolved.unavailable(judge.name()).is_some() {
            return Ok(());
        }
        let judged = self.what_is_judged(judge, comparison);
        let mut inputs = vec![output("base", base, "generations"), output("tuned", tuned, "generations")];
        let (comparison, template) = (comparison.clone(), judge.template().to_owned());
        let orders = judged.orders;
        let (work, estimate, demand) = match judge {
            Judge::Logprob { name, model, .. } => {
                let Some(facts) = self.resolved.models.get(model) else { return Ok(()) };
                inputs.insert(0, upload("model", &facts.artifact));
                let model_settings = self.resolved.matrix.model_settings(model);
                let (judge, model) = (name.clone(), model.clone());
                let spec = ScoreSpec { judge, model, model_settings, template, comparison, orders };
                (Work::Score(spec), estimate::score(facts, &judged), demand::score(facts, &judged))
            }
            Judge::Api { name, .. } => {
                let Some(api) = judge.api() else { return Ok(()) };
                let facts = self.resolved.judges.get(name);
                let ledger = facts.and_then(|facts| facts.ledger.as_ref());
                inputs.extend(ledger.map(|ledger| upload("ledger", ledger)));
                let estimate = estimate::judge(&judged, &api, self.prices);
                let spec = JudgeSpec { judge: name.clone(), api, template, comparison, orders };
                (Work::Judge(spec), estimate, Demand::default())
            }
        };
        let label = label::judged(&self.resolved.matrix, &work, judge.name());
        self.add(label, work, inputs, (estimate, demand)).map(drop)
    }

    fn what_is_judged(&self, judge: &Judge, comparison: &Comparison) -> Judged {
        let matrix = &self.resolved.matrix;
        let records = self.resolved.selected(&comparison.prompts).unwrap_or_default();
        let sampling = matrix.sampling.iter().find(|entry| entry.name == comparison.sampling);
        let (samples, new) = sampling.map_or((1, 0), |entry| (entry.samples, entry.max_new_tokens));
        let tokens =
            records.iter().filter_map(|record| record.tokens.get(&comparison.model)).copied().map(u64::from);
        Judged {
            pairs: records.len() as u64 * u64::from(samples),
            prompt_tokens: tokens.sum::<u64>() * u64::from(samples),
            new,
            orders: judge.orders(matrix.panel.orders),
        }
    }

    fn report(&mut self) -> Result<(), serde_json::Error> {
        let mut inputs = Vec::new();
        for job in &self.jobs {
            let names = job.work.completion_outputs();
            inputs.extend(
                names.iter().map(|name| output(&format!("{name}/{}", job.ordinal), job.ordinal, name)),
            );
        }
        let matrix = &self.resolved.matrix;
        let judges = matrix.panel.judges.iter().map(|judge| info_of(judge, self.resolved));
        let mut spec = ReportSpec {
            matrix: matrix.name.clone(),
            matrix_digest: Digest::of_value(&self.resolved.essence())?,
            trainings: std::mem::take(&mut self.trainings),
            comparisons: self.comparisons.iter().map(|(comparison, ..)| comparison.clone()).collect(),
            direct: self.direct.iter().map(|(comparison, ..)| comparison.clone()).collect(),
            judges: judges.collect(),
            uploads: uploads(self.resolved),
            bootstrap_seed: matrix.seeds.first().copied().unwrap_or_default(),
            analysis: None,
        };
        spec.analysis = Some(AnalysisPlan::of(&spec));
        let label = format!("report {}", matrix.name);
        self.add(label, Work::Report(spec), inputs, (Estimate::default(), Demand::default())).map(drop)
    }
}

/// Each once, in the order of first appearance.
fn in_order<T: Ord + Copy>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| seen.insert(*item)).collect()
}

fn upload(name: &str, artifact: &Artifact) -> Input {
    Input { name: name.to_owned(), source: Source::Upload { artifact: artifact.clone() } }
}

fn output(role: &str, job: u32, name: &str) -> Input {
    Input { name: role.to_owned(), source: Source::Output { job, name: name.to_owned() } }
}

fn info_of(judge: &Judge, resolved: &ResolvedMatrix) -> JudgeInfo {
    let (kind, model, smoke) = match judge {
        Judge::Logprob { model, .. } => ("logprob", model, true),
        Judge::Api { provider, model, .. } => (provider.as_str(), model, false),
    };
    JudgeInfo {
        name: judge.name().to_owned(),
        kind: kind.to_owned(),
        model: model.clone(),
        template: judge.template().to_owned(),
        smoke,
        unavailable: resolved.unavailable(judge.name()).map(str::to_owned),
        orders: Some(judge.orders(resolved.matrix.panel.orders)),
        batch: judge.api().is_some_and(|api| api.batch),
    }
}

fn uploads(resolved: &ResolvedMatrix) -> Vec<(String, Digest)> {
    let mut uploads = Vec::new();
    for (name, facts) in &resolved.models {
        uploads.push((format!("model {name}"), facts.artifact.digest()));
    }
    for (name, facts) in &resolved.data {
        uploads.push((format!("train {name}"), facts.train.digest()));
        uploads.extend(facts.valid.as_ref().map(|valid| (format!("valid {name}"), valid.digest())));
    }
    for (name, facts) in &resolved.prompts {
        uploads.push((format!("prompts {name}"), facts.artifact.digest()));
    }
    for (name, facts) in &resolved.judges {
        uploads.extend(facts.ledger.as_ref().map(|ledger| (format!("ledger {name}"), ledger.digest())));
    }
    uploads
}
