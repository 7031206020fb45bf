//! What a sound structure can still get wrong: names used twice or not defined, rules without effect, judges that cannot
//! be, steps outside training.

mod direct;
mod judge;
mod method;
mod source;
mod validated;

use std::collections::BTreeSet;

use super::structure::{list, one_of, title};
use super::{Evaluate, Judge, JudgeKind, Matrix, MatrixError, OneOrMany, Rule, nearest};
use crate::plan::{Schedule, schedule_errors};

/// The judge templates, each with the kind of judge that it is for. `judging` holds their texts.
pub const JUDGE_TEMPLATES: [(&str, JudgeKind); 4] = [
    ("smoke-plain-v1", JudgeKind::Logprob),
    ("smoke-rubric-v1", JudgeKind::Logprob),
    ("assay-v1", JudgeKind::Api),
    ("paper-v1", JudgeKind::Api),
];

/// The most combinations of a matrix.
pub const CELLS_MAX: usize = 20_000;

/// All that is wrong with the meaning. Parts under `broken` paths are not the person's words: nothing is said about them.
pub(super) fn check(matrix: &Matrix, broken: &[String]) -> Vec<MatrixError> {
    let mut meaning = Meaning { matrix, broken, errors: Vec::new() };
    meaning.names();
    meaning.sets();
    meaning.methods();
    meaning.judges();
    meaning.sampling();
    if meaning.size() {
        meaning.rules();
        meaning.steps();
        meaning.direct();
        meaning.validated();
    }
    meaning.errors
}

struct Meaning<'a> {
    matrix: &'a Matrix,
    broken: &'a [String],
    errors: Vec<MatrixError>,
}

impl Meaning<'_> {
    fn is_broken(&self, path: &str) -> bool {
        let within = |path: &str, outer: &str| {
            outer.is_empty()
                || path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.broken.iter().any(|broken| within(path, broken))
    }

    fn error(&mut self, path: &str, what: String, rule: String) {
        if !self.is_broken(path) {
            self.errors.push(self.matrix.places.error(path, what, rule));
        }
    }

    /// Reports `name` unless it is one of `known`.
    fn refer(&mut self, path: &str, noun: &str, name: &str, known: &[&str]) {
        if known.contains(&name) || self.is_broken(path) {
            return;
        }
        let what = format!("{noun} `{name}` is not defined");
        let error = self.matrix.places.error(path, what, format!("use {}", one_of(known)));
        self.errors.push(MatrixError { nearest: nearest(name, known.iter().copied()), ..error });
    }

    fn names(&mut self) {
        let matrix = self.matrix;
        self.each_once("models", matrix.models.iter().map(|model| model.name.as_str()));
        self.each_once("data", matrix.data.iter().map(|set| set.name.as_str()));
        self.each_once("recipes", matrix.recipes.iter().map(|recipe| recipe.name.as_str()));
        self.each_once("prompts", matrix.prompts.iter().map(|set| set.name.as_str()));
        self.each_once("sampling", matrix.sampling.iter().map(|entry| entry.name.as_str()));
        self.each_once("panel/judges", matrix.panel.judges.iter().map(Judge::name));
        let mut seen = BTreeSet::new();
        for (index, seed) in matrix.seeds.iter().enumerate().filter(|(_, seed)| !seen.insert(**seed)) {
            let what = format!("seed {seed} is given twice");
            self.error(&format!("seeds/{index}"), what, String::from("each seed is used once"));
        }
    }

    fn each_once<'n>(&mut self, list: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                let what = format!("the name `{name}` is used twice in {}", title(list));
                self.error(&format!("{list}/{index}/name"), what, String::from("each name is used once"));
            }
        }
    }

    fn sets(&mut self) {
        let matrix = self.matrix;
        let recipes = named(&matrix.recipes, |recipe| &recipe.name);
        for (index, model) in matrix.models.iter().enumerate() {
            for wrong in source::of_model(model) {
                self.error(&format!("models/{index}/{}", wrong.field), wrong.what, wrong.rule);
            }
            for (place, over) in model.overrides.iter().enumerate() {
                if let Some(recipe) = &over.recipe {
                    self.refer(
                        &format!("models/{index}/overrides/{place}/recipe"),
                        "recipe",
                        recipe,
                        &recipes,
                    );
                }
            }
        }
        for (index, set) in matrix.data.iter().enumerate() {
            for wrong in source::of_data(set) {
                self.error(&format!("data/{index}/{}", wrong.field), wrong.what, wrong.rule);
            }
            if let (Some(rows), None) = (set.valid_rows, &set.valid) {
                let what =
                    format!("valid_rows is {rows} in data set `{}`, which has no `valid` file", set.name);
                self.error(
                    &format!("data/{index}/valid_rows"),
                    what,
                    String::from("name the file or leave it out"),
                );
            }
        }
        for (index, set) in matrix.prompts.iter().enumerate() {
            if set.take.is_some() && set.ids.is_some() {
                let what = format!("prompt set `{}` has both `take` and `ids`", set.name);
                self.error(&format!("prompts/{index}/take"), what, String::from("use one of them"));
            }
        }
    }

    fn judges(&mut self) {
        let matrix = self.matrix;
        let models = named(&matrix.models, |model| &model.name);
        for (index, judge) in matrix.panel.judges.iter().enumerate() {
            let path = format!("panel/judges/{index}");
            self.template(&format!("{path}/template"), judge);
            match judge {
                Judge::Logprob { model, .. } => self.refer(&format!("{path}/model"), "model", model, &models),
                Judge::Api { .. } if self.is_broken(&format!("{path}/provider")) => {}
                Judge::Api { .. } => {
                    for wrong in judge::wrong_with(judge) {
                        self.error(&format!("{path}/{}", wrong.field), wrong.what, wrong.rule);
                    }
                }
            }
        }
    }

    fn template(&mut self, path: &str, judge: &Judge) {
        let of_kind = |kind: JudgeKind| JUDGE_TEMPLATES.iter().filter(move |(_, known)| *known == kind);
        let fitting: Vec<&str> = of_kind(judge.kind()).map(|(name, _)| *name).collect();
        let exists = JUDGE_TEMPLATES.iter().any(|(name, _)| *name == judge.template());
        if exists && !fitting.contains(&judge.template()) {
            let what = format!("template `{}` is not for a judge of this kind", judge.template());
            self.error(path, what, format!("use {}", one_of(&fitting)));
        } else if !exists {
            self.refer(path, "template", judge.template(), &fitting);
        }
    }

    fn sampling(&mut self) {
        for (index, entry) in self.matrix.sampling.iter().enumerate() {
            if entry.samples > 1 && entry.temperature == Some(0.0) {
                let what =
                    format!("samples is {} at temperature 0 in sampling `{}`", entry.samples, entry.name);
                let rule =
                    String::from("every sample would be the same: use 1 sample or a temperature above 0");
                self.error(&format!("sampling/{index}/samples"), what, rule);
            }
        }
    }

    /// Whether the product is small enough to look at.
    fn size(&mut self) -> bool {
        let cells = self.matrix.cells_before_rules();
        if cells > CELLS_MAX {
            let what = format!("the matrix has {cells} combinations");
            self.error("", what, format!("{CELLS_MAX} at most: split it"));
        }
        cells <= CELLS_MAX
    }

    fn rules(&mut self) {
        let matrix = self.matrix;
        let mut sound = true;
        for (field, rules) in [("include", &matrix.include), ("exclude", &matrix.exclude)] {
            for (index, rule) in rules.iter().enumerate() {
                sound &= self.rule(&format!("{field}/{index}"), rule);
            }
        }
        if !sound {
            return;
        }
        let mut cells = matrix.all_cells();
        cells
            .retain(|cell| matrix.include.is_empty() || matrix.include.iter().any(|rule| rule.matches(cell)));
        for (index, rule) in matrix.exclude.iter().enumerate() {
            if !cells.iter().any(|cell| rule.matches(cell)) {
                let rule = String::from("take it away, or name a combination that is run");
                self.error(
                    &format!("exclude/{index}"),
                    String::from("the exclude rule matches nothing"),
                    rule,
                );
            }
        }
        let ruled = !(matrix.include.is_empty() && matrix.exclude.is_empty());
        if ruled && matrix.cells_before_rules() > 0 && matrix.cells().is_empty() {
            let rule = String::from("at least one combination must be left to run");
            self.error("exclude", String::from("the rules leave nothing"), rule);
        }
    }

    /// Checks the names of a rule; whether all are right.
    fn rule(&mut self, path: &str, rule: &Rule) -> bool {
        let matrix = self.matrix;
        let before = self.errors.len();
        if *rule == Rule::default() {
            let what = String::from("the rule names no axis");
            let fields = list(&["model", "data", "recipe", "seed", "prompts", "sampling"]);
            self.error(path, what, format!("use at least one of {fields}"));
        }
        let axes = [
            ("model", &rule.model, named(&matrix.models, |known| &known.name)),
            ("data", &rule.data, named(&matrix.data, |known| &known.name)),
            ("recipe", &rule.recipe, named(&matrix.recipes, |known| &known.name)),
            ("prompts", &rule.prompts, named(&matrix.prompts, |known| &known.name)),
            ("sampling", &rule.sampling, named(&matrix.sampling, |known| &known.name)),
        ];
        for (field, given, known) in axes {
            let noun = if field == "data" {
                "data set"
            } else if field == "prompts" {
                "prompt set"
            } else {
                field
            };
            for (place, name) in places_of(&format!("{path}/{field}"), given.as_ref()) {
                self.refer(&place, noun, name, &known);
            }
        }
        let seeds: Vec<String> = matrix.seeds.iter().map(u64::to_string).collect();
        let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
        for (place, seed) in places_of(&format!("{path}/seed"), rule.seed.as_ref()) {
            self.refer(&place, "seed", &seed.to_string(), &seeds);
        }
        self.errors.len() == before
    }

    /// Steps as far as they are known before the data is read.
    fn steps(&mut self) {
        let matrix = self.matrix;
        let trainings: BTreeSet<_> =
            matrix.cells().iter().map(|cell| (cell.model, cell.data, cell.recipe)).collect();
        let mut errors = Vec::new();
        for (model, data, recipe) in trainings {
            let Some((recipe, checkpoints)) = matrix.recipe_for(model, recipe) else { continue };
            if self.any_broken(model, data, &recipe.name) {
                continue;
            }
            let rows = matrix.data.iter().find(|set| set.name == data).and_then(|set| set.train_rows);
            match rows {
                Some(rows) => {
                    let schedule = Schedule::of(&recipe, checkpoints, rows);
                    schedule_errors(
                        matrix,
                        &recipe,
                        &schedule,
                        &format!("{rows} rows of `{data}`"),
                        &mut errors,
                    );
                }
                None => errors.extend(self.epochs_outside(&recipe.name, recipe.epochs)),
            }
        }
        self.errors.extend(errors);
    }

    fn epochs_outside(&self, recipe: &str, epochs: u32) -> Vec<MatrixError> {
        let Evaluate::Epochs(asked) = &self.matrix.evaluate else { return Vec::new() };
        let outside = asked.iter().enumerate().filter(|(_, epoch)| **epoch > epochs);
        let error = |(place, epoch): (usize, &u32)| {
            let rule = format!("recipe `{recipe}` trains {epochs} epochs");
            let what = format!("epoch {epoch} is no checkpoint");
            self.matrix.places.error(&format!("evaluate/epochs/{place}"), what, rule)
        };
        outside.map(error).collect()
    }

    /// Whether a part that the steps depend on is not the person's.
    fn any_broken(&self, model: &str, data: &str, recipe: &str) -> bool {
        let matrix = self.matrix;
        let place = |list: &str, index: Option<usize>| index.map(|index| format!("{list}/{index}"));
        let parts = [
            place("models", matrix.models.iter().position(|known| known.name == model)),
            place("data", matrix.data.iter().position(|known| known.name == data)),
            place("recipes", matrix.recipes.iter().position(|known| known.name == recipe)),
            Some(String::from("evaluate")),
        ];
        let touches = |part: &String| {
            self.broken.iter().any(|broken| broken == part || broken.starts_with(&format!("{part}/")))
        };
        parts.iter().flatten().any(|part| touches(part) || self.is_broken(part))
    }
}

fn named<'n, T>(items: &'n [T], name: impl Fn(&'n T) -> &'n String) -> Vec<&'n str> {
    items.iter().map(|item| name(item).as_str()).collect()
}

fn places_of<'r, T: PartialEq>(path: &str, axis: Option<&'r OneOrMany<T>>) -> Vec<(String, &'r T)> {
    match axis {
        None => Vec::new(),
        Some(OneOrMany::One(only)) => vec![(path.to_owned(), only)],
        Some(OneOrMany::Many(all)) => {
            all.iter().enumerate().map(|(index, one)| (format!("{path}/{index}"), one)).collect()
        }
    }
}
