//! Recipes that go by the validation loss need one.

use std::collections::BTreeSet;

use super::Meaning;
use crate::matrix::Evaluate;

impl Meaning<'_> {
    /// Recipes that keep the best checkpoint or stop early: their data needs validation rows, and what is evaluated
    /// must be there however early training ends.
    pub(super) fn validated(&mut self) {
        let matrix = self.matrix;
        let trainings: BTreeSet<_> =
            matrix.cells().iter().map(|cell| (cell.model, cell.data, cell.recipe)).collect();
        let mut told = BTreeSet::new();
        for (model, data, name) in trainings {
            let Some((recipe, _)) = matrix.recipe_for(model, name) else { continue };
            let field = match (recipe.early_stopping, recipe.keep_best) {
                (Some(_), _) => "early_stopping",
                (None, true) => "keep_best",
                (None, false) => continue,
            };
            let Some(index) = matrix.recipes.iter().position(|known| known.name == name) else { continue };
            let path = format!("recipes/{index}/{field}");
            let set = matrix.data.iter().find(|set| set.name == data);
            if set.is_some_and(|set| set.valid.is_none()) && told.insert((index, data)) {
                let what = format!("{field} of recipe `{name}` goes by the validation loss");
                self.error(&path, what, format!("give data set `{data}` a `valid` file"));
            }
            let ends_early = recipe.early_stopping.is_some() && matrix.evaluate != Evaluate::Last;
            if ends_early && told.insert((index, "")) {
                let what = format!(
                    "early_stopping of recipe `{name}` may end training before a checkpoint that is evaluated"
                );
                self.error(&path, what, String::from("use `evaluate: last`"));
            }
        }
    }
}
