//! Labels of jobs for people: axes with only one value are left out, models and recipes are always named.

use crate::job::{Comparison, Opponent, System, Work};
use crate::matrix::Matrix;

/// `train smollm2-135m lora-r16 seed 42`.
pub(super) fn training(matrix: &Matrix, (model, data, recipe, seed): (&str, &str, &str, u64)) -> String {
    let data = some_if(matrix.data.len() > 1, data);
    join(&["train", model, data, recipe, &format!("seed {seed}")])
}

/// `generate smollm2-135m base`.
pub(super) fn answers(
    matrix: &Matrix,
    (model, prompts, sampling): (&str, &str, &str),
    system: &str,
) -> String {
    let (prompts, sampling) = drawn(matrix, prompts, sampling);
    join(&["generate", model, system, prompts, sampling])
}

/// `generate smollm2-135m lora-r16 seed 42 epoch 1`.
pub(super) fn compared(matrix: &Matrix, of: &Comparison, verb: &str) -> String {
    let data = some_if(matrix.data.len() > 1, &of.data);
    let (prompts, sampling) = drawn(matrix, &of.prompts, &of.sampling);
    let seed = format!("seed {}", of.seed);
    let against = of.against.as_ref().map(|against| format!("against {}", opponent(matrix, against)));
    let against = against.unwrap_or_default();
    join(&[verb, &of.model, data, &of.recipe, &seed, &of.checkpoint, &against, prompts, sampling])
}

fn opponent(matrix: &Matrix, against: &Opponent) -> String {
    match &against.system {
        System::Base => against.words(),
        System::Tuned { data, recipe, seed, .. } => {
            let data = some_if(matrix.data.len() > 1, data);
            join(&[&against.model, data, recipe, &format!("seed {seed}"), &against.checkpoint])
        }
    }
}

/// `score smoke-plain: smollm2-135m lora-r16 seed 42 epoch 1`.
pub(super) fn judged(matrix: &Matrix, work: &Work, judge: &str) -> String {
    let verb = format!("{} {judge}:", work.kind().as_str());
    match work {
        Work::Score(spec) => compared(matrix, &spec.comparison, &verb),
        Work::Judge(spec) => compared(matrix, &spec.comparison, &verb),
        Work::Train(_) | Work::Generate(_) | Work::Report(_) => verb,
    }
}

fn drawn<'a>(matrix: &Matrix, prompts: &'a str, sampling: &'a str) -> (&'a str, &'a str) {
    (some_if(matrix.prompts.len() > 1, prompts), some_if(matrix.sampling.len() > 1, sampling))
}

fn some_if(shown: bool, text: &str) -> &str {
    if shown { text } else { "" }
}

fn join(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ")
}
