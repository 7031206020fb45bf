//! A small matrix that a lab's fake judges, and what the lab was asked.

use std::collections::BTreeMap;
use std::path::Path;

use crate::labs::Lab;
use crate::world::World;

/// Less than the calls to the judge cost that such a matrix has: eight, and the canned one before them.
pub(crate) const BUDGET_USD: &str = "0.048";

/// Each pair is asked in both orders; `change` says where the budget stands: a text of the matrix, and what takes its place.
pub(crate) fn world(model: &Path, lab: &Lab, change: (&str, &str)) -> World {
    let world = World::new(model).with_key();
    world.change_matrix("orders: full", "orders: both");
    world.change_matrix(change.0, change.1);
    let api = format!(
        "- {{ name: gpt, kind: api, provider: openai, model: gpt-4o-2024-08-06, base_url: \"{}\", key_env: ASSAY_TEST_KEY, \
         template: assay-v1, max_tokens: 256 }}",
        lab.base_url
    );
    let smoke = "- { name: smoke-rubric, kind: logprob, model: smollm2, template: smoke-rubric-v1 }";
    world.change_matrix(smoke, &api);
    world
}

/// Questions about pairs, with how often each was answered.
pub(crate) fn answered(lab: &Lab) -> BTreeMap<String, usize> {
    let given = lab.verdicts.lock().unwrap().clone();
    given.into_iter().filter(|(prompt, _)| !prompt.contains("Bridge bridge bridge")).collect()
}
