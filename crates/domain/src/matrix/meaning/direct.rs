//! What can be wrong with `comparisons:` before the files are read: names, words for checkpoints, a side that matches nothing.

use super::{Meaning, named, places_of};
use crate::matrix::direct::CheckpointName;
use crate::matrix::structure::list;
use crate::matrix::{DirectComparison, MatrixError, OneOrMany, Side, nearest};

impl Meaning<'_> {
    /// All of `comparisons`.
    pub(super) fn direct(&mut self) {
        let matrix = self.matrix;
        for (index, entry) in matrix.comparisons.iter().enumerate() {
            let path = format!("comparisons/{index}");
            let before = self.errors.len();
            self.side(&format!("{path}/compare"), &entry.compare);
            self.side(&format!("{path}/with"), &entry.with);
            self.answers(&path, entry);
            if self.errors.len() == before {
                self.sides_together(&path, entry);
            }
        }
    }

    fn side(&mut self, path: &str, side: &Side) {
        let matrix = self.matrix;
        let axes = [
            ("model", "model", &side.model, named(&matrix.models, |known| &known.name)),
            ("data", "data set", &side.data, named(&matrix.data, |known| &known.name)),
            ("recipe", "recipe", &side.recipe, named(&matrix.recipes, |known| &known.name)),
        ];
        for (field, noun, given, known) in axes {
            self.axis(&format!("{path}/{field}"), noun, given.as_ref(), &known);
        }
        let seeds: Vec<String> = matrix.seeds.iter().map(u64::to_string).collect();
        let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
        for (place, seed) in places_of(&format!("{path}/seed"), side.seed.as_ref()) {
            self.refer(&place, "seed", &seed.to_string(), &seeds);
        }
        for (place, name) in places_of(&format!("{path}/checkpoint"), side.checkpoint.as_ref()) {
            self.checkpoint(&place, name, path.ends_with("/with"));
        }
    }

    fn answers(&mut self, path: &str, entry: &DirectComparison) {
        let prompts = named(&self.matrix.prompts, |known| &known.name);
        self.axis(&format!("{path}/prompts"), "prompt set", entry.prompts.as_ref(), &prompts);
        let sampling = named(&self.matrix.sampling, |known| &known.name);
        self.axis(&format!("{path}/sampling"), "sampling", entry.sampling.as_ref(), &sampling);
    }

    fn axis(&mut self, path: &str, noun: &str, given: Option<&OneOrMany<String>>, known: &[&str]) {
        for (place, name) in places_of(path, given) {
            self.refer(&place, noun, name, known);
        }
    }

    fn checkpoint(&mut self, place: &str, name: &str, with: bool) {
        let words: Vec<&str> =
            CheckpointName::WORDS.into_iter().filter(|word| with || *word != "base").collect();
        let what = format!("checkpoint is `{name}`");
        match CheckpointName::read(name) {
            Some(CheckpointName::Base) if !with => {
                let rule = "the side whose wins are counted is a checkpoint: name `base` in `with`";
                self.error(place, what, rule.to_owned());
            }
            Some(_) => {}
            None if self.is_broken(place) => {}
            None => {
                let near = nearest(name, words.iter().copied());
                let error = self.matrix.places.error(place, what, format!("use {}", list(&words)));
                self.errors.push(MatrixError { nearest: near, ..error });
            }
        }
    }

    fn sides_together(&mut self, path: &str, entry: &DirectComparison) {
        let empty =
            |names: &Option<OneOrMany<String>>| names.as_ref().is_some_and(|n| n.as_slice().is_empty());
        let sides = [&entry.compare, &entry.with];
        let nothing = |side: &&Side| {
            [&side.model, &side.data, &side.recipe, &side.checkpoint].into_iter().any(empty)
                || side.seed.as_ref().is_some_and(|seeds| seeds.as_slice().is_empty())
        };
        if sides.iter().any(nothing) || empty(&entry.prompts) || empty(&entry.sampling) {
            let what = String::from("an axis of the comparison is an empty list");
            self.error(path, what, String::from("name at least one, or leave the axis out"));
        } else if entry.with.is_default() {
            let what = String::from("`with` names no axis: each checkpoint would be compared with itself");
            let fields = list(&["model", "data", "recipe", "seed", "checkpoint"]);
            self.error(&format!("{path}/with"), what, format!("use at least one of {fields}"));
        } else if !self.matrix.cells().iter().any(|cell| entry.counts(cell)) {
            let what = String::from("the comparison matches no combination that is run");
            let rule = String::from("take it away, or name in `compare` what is run");
            self.error(path, what, rule);
        }
    }
}
