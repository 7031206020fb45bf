//! Recipes that train all weights have no adapter whose settings could mean something.

use super::Meaning;
use crate::job::Method;
use crate::matrix::RecipeSettings;

impl Meaning<'_> {
    /// Looks at recipes, and at what models set in their place.
    pub(super) fn methods(&mut self) {
        let matrix = self.matrix;
        for (index, entry) in matrix.recipes.iter().enumerate() {
            if entry.settings.whole().method == Some(Method::Full) {
                self.no_adapter(&format!("recipes/{index}"), &entry.settings);
            }
        }
        for (index, model) in matrix.models.iter().enumerate() {
            for (place, over) in model.overrides.iter().enumerate() {
                let of = |name: &str| over.recipe.as_deref().is_none_or(|recipe| recipe == name);
                let recipes = matrix.recipes.iter().filter(|entry| of(&entry.name));
                let method = |own: Option<Method>| over.settings.whole().method.or(own);
                if recipes
                    .into_iter()
                    .any(|entry| method(entry.settings.whole().method) == Some(Method::Full))
                {
                    self.no_adapter(&format!("models/{index}/overrides/{place}"), &over.settings);
                }
            }
        }
    }

    fn no_adapter(&mut self, path: &str, settings: &RecipeSettings) {
        let given = [
            ("preset", settings.preset.is_some()),
            ("rank", settings.rank.is_some()),
            ("alpha", settings.alpha.is_some()),
            ("dropout", settings.dropout.is_some()),
            ("targets", settings.targets.is_some()),
            ("rslora", settings.rslora.is_some()),
            ("lora_plus_ratio", settings.lora_plus_ratio.is_some()),
            ("dora", settings.dora.is_some()),
            ("quantization", settings.quantization.is_some()),
            ("residual", settings.residual.is_some()),
        ];
        for (field, _) in given.into_iter().filter(|(_, given)| *given) {
            let what = format!("{field} is a setting of adapters, and `method: full` trains all weights");
            self.error(&format!("{path}/{field}"), what, String::from("take it away, or use `method: lora`"));
        }
    }
}
