//! The direct comparisons of a matrix: each entry of `comparisons:` becomes pairs of systems that answered the same prompts.

use std::collections::BTreeSet;

use super::PLAN_JOBS_MAX;
use super::steps::{BEST, Schedule};
use crate::job::{Comparison, Opponent, Quantization, System};
use crate::matrix::{Cell, CheckpointName, DirectComparison, MatrixError, ResolvedMatrix};

/// One of them. The other side's training is of no account where that is a base.
#[derive(Debug, Clone)]
pub(super) struct Direct<'a> {
    pub(super) comparison: Comparison,
    pub(super) one: Cell<'a>,
    pub(super) other: Cell<'a>,
}

/// What is wrong with an entry, and in which of its parts.
struct Wrong {
    part: &'static str,
    what: String,
    rule: String,
}

/// All of them, in the order of the file, each once.
///
/// # Errors
/// Every entry that names a checkpoint that is not evaluated, a combination that is not run, or nothing new.
pub(super) fn direct(resolved: &ResolvedMatrix) -> Result<Vec<Direct<'_>>, Vec<MatrixError>> {
    let matrix = &resolved.matrix;
    let mut expansion = Expansion::of(resolved);
    let mut errors = Vec::new();
    for (index, entry) in matrix.comparisons.iter().enumerate() {
        if let Err(Wrong { part, what, rule }) = expansion.add(entry) {
            errors.push(matrix.places.error(&format!("comparisons/{index}{part}"), what, rule));
        }
    }
    if errors.is_empty() { Ok(expansion.found) } else { Err(errors) }
}

struct Expansion<'a> {
    resolved: &'a ResolvedMatrix,
    cells: Vec<Cell<'a>>,
    run: BTreeSet<Cell<'a>>,
    /// Both sides' ids in order, so that a comparison is not made again with its sides changed, with prompt set and sampling.
    known: BTreeSet<([String; 2], &'a str, &'a str)>,
    found: Vec<Direct<'a>>,
}

impl<'a> Expansion<'a> {
    fn of(resolved: &'a ResolvedMatrix) -> Self {
        let cells = resolved.matrix.cells();
        let run = cells.iter().copied().collect();
        Self { resolved, cells, run, known: BTreeSet::new(), found: Vec::new() }
    }

    fn add(&mut self, entry: &'a DirectComparison) -> Result<(), Wrong> {
        let before = self.found.len();
        let counted = entry.compare.checkpoints().unwrap_or_else(|| vec![CheckpointName::Last]);
        for one in self.cells.clone().into_iter().filter(|cell| entry.counts(cell)) {
            for name in &counted {
                for step in self.steps(&one, *name, "/compare/checkpoint")? {
                    for other in entry.others(&one) {
                        self.each_other(entry, (one, step, *name), other)?;
                    }
                }
            }
        }
        if self.found.len() > before {
            return Ok(());
        }
        Err(Wrong {
            part: "",
            what: String::from("the comparison adds nothing"),
            rule: String::from(
                "each checkpoint is compared with its own base anyway, and every two systems once: take it away, or name another side",
            ),
        })
    }

    fn each_other(
        &mut self,
        entry: &DirectComparison,
        (one, step, name): (Cell<'a>, u64, CheckpointName),
        other: Cell<'a>,
    ) -> Result<(), Wrong> {
        if !self.run.contains(&other) {
            return Err(Wrong {
                part: "/with",
                what: format!("{} is compared with {}, which is not run", training(&one), training(&other)),
                rule: String::from("let the matrix run it, or narrow `compare`"),
            });
        }
        let names = match entry.with.checkpoints() {
            Some(names) => names,
            // Left out after `all`: the checkpoint of the same name.
            None if name == CheckpointName::All => vec![self.named_alike(&one, step)],
            None => vec![name],
        };
        for name in names {
            if name == CheckpointName::Base {
                let held = self.held(&other);
                if other.model != one.model || held != self.held(&one) {
                    let opponent = Opponent {
                        model: other.model.to_owned(),
                        system: System::Base,
                        checkpoint: name.to_string(),
                        quantization: held,
                    };
                    self.push((one, step), other, opponent)?;
                }
                continue;
            }
            for other_step in self.steps(&other, name, "/with/checkpoint")? {
                let opponent = Opponent {
                    model: other.model.to_owned(),
                    system: System::Tuned {
                        data: other.data.to_owned(),
                        recipe: other.recipe.to_owned(),
                        seed: other.seed,
                        step: other_step,
                    },
                    checkpoint: self.schedule(&other).map_or_else(String::new, |s| s.label(other_step)),
                    quantization: None,
                };
                self.push((one, step), other, opponent)?;
            }
        }
        Ok(())
    }

    /// Takes a comparison unless it is known, or of a system with itself.
    fn push(
        &mut self,
        (one, step): (Cell<'a>, u64),
        other: Cell<'a>,
        against: Opponent,
    ) -> Result<(), Wrong> {
        let Cell { model, data, recipe, seed, prompts, sampling } = one;
        let this = format!("{model}/{data}/{recipe}/seed-{seed}/step-{step}");
        let that = against.id();
        let mut sides = [this.clone(), that.clone()];
        sides.sort();
        if this == that || !self.known.insert((sides, prompts, sampling)) {
            return Ok(());
        }
        if self.found.len() >= PLAN_JOBS_MAX {
            let what = format!("`comparisons` stands for more than {PLAN_JOBS_MAX} comparisons");
            return Err(Wrong { part: "", what, rule: String::from("narrow `compare` and `with`") });
        }
        let comparison = Comparison {
            id: format!("{this}/against/{that}/{prompts}/{sampling}"),
            model: model.to_owned(),
            data: data.to_owned(),
            recipe: recipe.to_owned(),
            seed,
            step,
            checkpoint: self.schedule(&one).map_or_else(String::new, |schedule| schedule.label(step)),
            prompts: prompts.to_owned(),
            sampling: sampling.to_owned(),
            against: Some(against),
        };
        self.found.push(Direct { comparison, one, other });
        Ok(())
    }

    /// The evaluated steps that a name stands for.
    fn steps(&self, cell: &Cell<'a>, name: CheckpointName, part: &'static str) -> Result<Vec<u64>, Wrong> {
        let Some(schedule) = self.schedule(cell) else { return Ok(Vec::new()) };
        let evaluated = schedule.evaluated(&self.resolved.matrix.evaluate);
        let only = |step: u64| evaluated.iter().copied().filter(|known| *known == step).collect();
        let steps: Vec<u64> = match name {
            CheckpointName::All => evaluated.clone(),
            CheckpointName::First => evaluated.first().copied().into_iter().collect(),
            CheckpointName::Last => evaluated.last().copied().into_iter().collect(),
            CheckpointName::Best if schedule.keeps_best => only(schedule.total),
            CheckpointName::Epoch(epoch) => only(epoch.saturating_mul(schedule.per_epoch)),
            CheckpointName::Step(step) => only(step),
            CheckpointName::Best | CheckpointName::Base => Vec::new(),
        };
        if !steps.is_empty() {
            return Ok(steps);
        }
        let labels: Vec<String> =
            evaluated.iter().map(|step| format!("`{}`", schedule.label(*step))).collect();
        Err(Wrong {
            part,
            what: format!("checkpoint `{name}` of {} is not evaluated", training(cell)),
            rule: format!("those that are: {}; name one of them, or change `evaluate`", labels.join(", ")),
        })
    }

    fn schedule(&self, cell: &Cell<'a>) -> Option<Schedule> {
        let (recipe, checkpoints) = self.resolved.recipe_for(cell.model, cell.recipe)?;
        let (rows, _) = self.resolved.rows_of(cell.data)?;
        Some(Schedule::of(&recipe, checkpoints, rows))
    }

    /// How the matrices of a combination's base are held.
    fn held(&self, cell: &Cell<'a>) -> Option<Quantization> {
        self.resolved.recipe_for(cell.model, cell.recipe).and_then(|(recipe, _)| recipe.quantization)
    }

    fn named_alike(&self, cell: &Cell<'a>, step: u64) -> CheckpointName {
        let label = self.schedule(cell).map_or_else(String::new, |schedule| schedule.label(step));
        if label == BEST {
            CheckpointName::Best
        } else {
            CheckpointName::read(&label).unwrap_or(CheckpointName::Step(step))
        }
    }
}

fn training(cell: &Cell<'_>) -> String {
    format!("`{} {} {} seed {}`", cell.model, cell.data, cell.recipe, cell.seed)
}
