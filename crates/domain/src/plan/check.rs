//! What can only be checked once the files are known: rows, steps, prompts and the model's limits.

use std::collections::BTreeSet;

use super::direct::direct;
use super::steps::Schedule;
use crate::job::Recipe;
use crate::matrix::{
    DataFacts, Evaluate, Matrix, MatrixError, ModelFacts, PromptFacts, PromptSet, ResolvedMatrix, nearest,
    select_prompts,
};

/// The most jobs of a plan: it is one value in memory and one record in the journal.
pub const PLAN_JOBS_MAX: usize = 20_000;

/// All that is wrong, in the order of the file.
pub(super) fn check(resolved: &ResolvedMatrix) -> Vec<MatrixError> {
    let matrix = &resolved.matrix;
    let mut errors = facts_missing(resolved);
    errors.extend(revisions(matrix));
    errors.extend(gang(matrix));
    for (index, set) in matrix.data.iter().enumerate() {
        if let Some(facts) = resolved.data.get(&set.name) {
            let path = format!("data/{index}");
            rows(matrix, &path, "train", set.train_rows, facts.train_rows, &mut errors);
            if set.valid.is_some() {
                rows(matrix, &path, "valid", set.valid_rows, facts.valid_rows, &mut errors);
            }
        }
    }
    for (index, set) in matrix.prompts.iter().enumerate() {
        if let Some(facts) = resolved.prompts.get(&set.name) {
            prompts(matrix, index, set, facts, &mut errors);
        }
    }
    let cells = matrix.cells();
    let trainings: BTreeSet<_> = cells.iter().map(|cell| (cell.model, cell.data, cell.recipe)).collect();
    for (model, data, recipe) in trainings {
        training(resolved, (model, data, recipe), &mut errors);
    }
    let answers: BTreeSet<_> = cells.iter().map(|cell| (cell.model, cell.prompts, cell.sampling)).collect();
    for answer in answers {
        answer_length(resolved, answer, &mut errors);
    }
    if errors.is_empty()
        && let Err(wrong) = direct(resolved)
    {
        errors.extend(wrong);
    }
    errors.sort_by_key(|error| error.place);
    errors.dedup();
    errors
}

/// Facts that the shell should have filled in.
fn facts_missing(resolved: &ResolvedMatrix) -> Vec<MatrixError> {
    let matrix = &resolved.matrix;
    let models =
        matrix.models.iter().map(|model| ("models", &model.name, resolved.models.contains_key(&model.name)));
    let data = matrix.data.iter().map(|set| ("data", &set.name, resolved.data.contains_key(&set.name)));
    let prompts =
        matrix.prompts.iter().map(|set| ("prompts", &set.name, resolved.prompts.contains_key(&set.name)));
    let missing = models.chain(data).chain(prompts).filter(|(_, _, known)| !known);
    let error = |(field, name, _): (&str, &String, bool)| {
        let what = format!("nothing is known about the files of `{name}`");
        matrix.places.error(field, what, "resolve the matrix again with this version")
    };
    missing.map(error).collect()
}

fn gang(matrix: &Matrix) -> Option<MatrixError> {
    let size = matrix.needs.gang.size;
    let rule = "one for now: trainings on several workers at once come with a later version";
    let error = || matrix.places.error("needs/gang/size", format!("needs.gang.size is {size}"), rule);
    (size != 1).then(error)
}

/// A branch may move between submit and run: what is planned names commits.
fn revisions(matrix: &Matrix) -> Vec<MatrixError> {
    let models =
        matrix.models.iter().enumerate().map(|(index, model)| {
            (format!("models/{index}/revision"), &model.name, &model.hub, &model.revision)
        });
    let data = matrix
        .data
        .iter()
        .enumerate()
        .map(|(index, set)| (format!("data/{index}/revision"), &set.name, &set.hub, &set.revision));
    let commit = |text: &str| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut errors = Vec::new();
    for (path, name, hub, revision) in models.chain(data).filter(|(_, _, hub, _)| hub.is_some()) {
        let (hub, revision) = (hub.as_deref().unwrap_or_default(), revision.as_deref().unwrap_or("main"));
        if !commit(revision) {
            let what = format!("revision `{revision}` of `{name}` ({hub}) is not pinned to a commit");
            errors.push(matrix.places.error(&path, what, "resolve the matrix again with this version"));
        }
    }
    errors
}

fn rows(
    matrix: &Matrix,
    path: &str,
    part: &str,
    asked: Option<u32>,
    known: u32,
    errors: &mut Vec<MatrixError>,
) {
    if known == 0 {
        let what = format!("the {part} file has no rows");
        errors.push(matrix.places.error(
            &format!("{path}/{part}"),
            what,
            "one conversation for each line is needed",
        ));
    } else if let Some(asked) = asked.filter(|asked| *asked > known) {
        let rule = format!("the file has {known}");
        let path = format!("{path}/{part}_rows");
        errors.push(matrix.places.error(&path, format!("{part}_rows is {asked}"), rule));
    }
}

fn prompts(
    matrix: &Matrix,
    index: usize,
    set: &PromptSet,
    facts: &PromptFacts,
    errors: &mut Vec<MatrixError>,
) {
    let mut seen = BTreeSet::new();
    for twice in facts.records.iter().filter(|record| !seen.insert(&record.id)) {
        let what = format!("prompt id `{}` stands twice in the file", twice.id);
        errors.push(matrix.places.error(&format!("prompts/{index}/file"), what, "each id is used once"));
    }
    match select_prompts(set, &facts.records) {
        Ok(taken) if taken.is_empty() => {
            let rule = "at least one is needed";
            let what = format!("prompt set `{}` has no prompts", set.name);
            errors.push(matrix.places.error(&format!("prompts/{index}"), what, rule));
        }
        Ok(_) => {}
        Err(missing) => errors.extend(missing.into_iter().map(|missing| {
            let path = format!("prompts/{index}/{}", missing.field);
            let given = missing.what.split('`').nth(1).unwrap_or_default();
            let nearest = nearest(given, missing.known.iter().map(String::as_str));
            let error = matrix.places.error(&path, missing.what.clone(), missing.rule);
            MatrixError { nearest, ..error }
        })),
    }
}

fn training(resolved: &ResolvedMatrix, of: (&str, &str, &str), errors: &mut Vec<MatrixError>) {
    let (model, data, recipe) = of;
    let matrix = &resolved.matrix;
    let Some((recipe, checkpoints)) = resolved.recipe_for(model, recipe) else { return };
    let Some(rows) = resolved.rows_of(data).map(|(train, _)| train).filter(|rows| *rows > 0) else { return };
    let schedule = Schedule::of(&recipe, checkpoints, rows);
    schedule_errors(matrix, &recipe, &schedule, &format!("{rows} rows of `{data}`"), errors);
    if let Some(facts) = resolved.models.get(model) {
        model_limits(matrix, model, facts, &recipe, errors);
    }
    let counted = |facts: &DataFacts| facts.count(model, recipe.max_length).is_some();
    if !resolved.data.get(data).is_some_and(counted) {
        let what = format!("the tokens of `{data}` for `{model}` at {} were not counted", recipe.max_length);
        errors.push(matrix.places.error("data", what, "resolve the matrix again with this version"));
    }
}

/// What a number of rows makes impossible; also used before the files are read, when the matrix names the rows.
pub(crate) fn schedule_errors(
    matrix: &Matrix,
    recipe: &Recipe,
    schedule: &Schedule,
    rows: &str,
    errors: &mut Vec<MatrixError>,
) {
    let index = matrix.recipes.iter().position(|entry| entry.name == recipe.name).unwrap_or_default();
    let (name, total) = (&recipe.name, schedule.total);
    if u64::from(recipe.warmup_steps) >= total {
        let what = format!("warmup_steps is {} in recipe `{name}`", recipe.warmup_steps);
        let rule = format!("fewer than its {total} steps on {rows} are needed");
        errors.push(matrix.places.error(&format!("recipes/{index}/warmup_steps"), what, rule));
    }
    let kept = || schedule.kept.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let mut not_kept = |path: String, what: String| {
        let rule = format!("recipe `{name}` keeps the steps {} on {rows}", kept());
        errors.push(matrix.places.error(&path, what, rule));
    };
    match &matrix.evaluate {
        Evaluate::All | Evaluate::Last => {}
        Evaluate::Epochs(epochs) => {
            for (place, epoch) in epochs.iter().enumerate() {
                let step = u64::from(*epoch) * schedule.per_epoch;
                if !schedule.kept.contains(&step) {
                    let what = format!("epoch {epoch} (step {step}) is no checkpoint");
                    not_kept(format!("evaluate/epochs/{place}"), what);
                }
            }
        }
        Evaluate::Steps(steps) => {
            for (place, step) in steps.iter().enumerate().filter(|(_, step)| !schedule.kept.contains(step)) {
                not_kept(format!("evaluate/steps/{place}"), format!("step {step} is no checkpoint"));
            }
        }
    }
}

fn model_limits(
    matrix: &Matrix,
    model: &str,
    facts: &ModelFacts,
    recipe: &Recipe,
    errors: &mut Vec<MatrixError>,
) {
    let index = matrix.recipes.iter().position(|entry| entry.name == recipe.name).unwrap_or_default();
    if recipe.max_length > facts.max_positions {
        let what = format!("max_length is {} in recipe `{}`", recipe.max_length, recipe.name);
        let rule = format!("model `{model}` has {} positions", facts.max_positions);
        errors.push(matrix.places.error(&format!("recipes/{index}/max_length"), what, rule));
    }
    for target in recipe.targets.iter().filter(|target| !facts.projections.contains_key(*target)) {
        let known: Vec<String> = facts.projections.keys().map(|name| format!("`{name}`")).collect();
        let what = format!("model `{model}` has no `{target}`");
        let rule = format!("recipe `{}` may use {}", recipe.name, known.join(", "));
        errors.push(matrix.places.error(&format!("recipes/{index}/targets"), what, rule));
    }
}

fn answer_length(resolved: &ResolvedMatrix, of: (&str, &str, &str), errors: &mut Vec<MatrixError>) {
    let (model, prompts, sampling) = of;
    let matrix = &resolved.matrix;
    let found = (
        resolved.models.get(model),
        resolved.selected(prompts),
        matrix.sampling.iter().position(|entry| entry.name == sampling),
    );
    let (Some(facts), Some(records), Some(place)) = found else { return };
    let Some(entry) = matrix.sampling.get(place) else { return };
    if records.iter().any(|record| !record.tokens.contains_key(model)) {
        let what = format!("the tokens of prompt set `{prompts}` for `{model}` were not counted");
        errors.push(matrix.places.error("prompts", what, "resolve the matrix again with this version"));
    }
    let longest = records.iter().filter_map(|record| record.tokens.get(model)).max().copied().unwrap_or(0);
    let room = facts.max_positions.saturating_sub(longest);
    if entry.max_new_tokens > room {
        let what = format!("max_new_tokens is {} in sampling `{sampling}`", entry.max_new_tokens);
        let rule = format!(
            "model `{model}` has {} positions and the longest prompt of `{prompts}` takes {longest}: at most {room}",
            facts.max_positions
        );
        errors.push(matrix.places.error(&format!("sampling/{place}/max_new_tokens"), what, rule));
    }
}
