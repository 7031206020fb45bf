//! `target_modules` of PEFT to the projections that a model has.

use std::collections::BTreeSet;

use assay_text::config::DecoderConfig;
use serde_json::Value;

use crate::Module;

/// The targets that the model has. As in PEFT a name is the end of a module's path or all of it (`q_proj`, `self_attn.q_proj`,
/// `model.layers.0.self_attn.q_proj`), and a list may name modules of other families too, as long as one is left.
pub(super) fn targets(config: &Value, model: &DecoderConfig) -> Result<BTreeSet<Module>, String> {
    let present: Vec<Module> = Module::of(model).iter().map(|sized| sized.module).collect();
    let names = match config.get("target_modules") {
        Some(Value::String(all)) if all == "all-linear" => return Ok(present.into_iter().collect()),
        Some(Value::Array(names)) => names,
        other => return Err(format!("`target_modules` is {other:?}, but must be a list of module names")),
    };
    let names: BTreeSet<&str> =
        names.iter().map(|name| name.as_str().ok_or_else(|| unknown(name))).collect::<Result<_, _>>()?;
    let (mut targets, mut used) = (BTreeSet::new(), BTreeSet::new());
    for module in &present {
        let in_layer = |layer| ends(&format!("model.layers.{layer}.{}", module.path()), &names);
        let named: Vec<BTreeSet<&str>> =
            (0..model.layer_count).map(in_layer).filter(|names| !names.is_empty()).collect();
        match named.len() {
            0 => continue,
            layers if layers == model.layer_count => targets.insert(*module),
            layers => {
                let (module, all) = (module.name(), model.layer_count);
                return Err(format!(
                    "`target_modules` names {module} in {layers} of {all} layers, but it must be all of them"
                ));
            }
        };
        used.extend(named.into_iter().flatten());
    }
    if let Some(name) = names.iter().find(|name| !used.contains(*name) && Module::from_name(name).is_none()) {
        return Err(unknown(&Value::from(*name)));
    }
    if targets.is_empty() {
        let present: Vec<_> = present.into_iter().map(Module::name).collect();
        let (present, model_type) = (present.join(", "), &model.model_type);
        return Err(format!(
            "`target_modules` has none of {present}, the modules of model type `{model_type}`"
        ));
    }
    Ok(targets)
}

/// Those of the names that a path ends with.
fn ends<'n>(path: &str, names: &BTreeSet<&'n str>) -> BTreeSet<&'n str> {
    let starts = std::iter::once(0).chain(path.match_indices('.').map(|(dot, _)| dot + 1));
    starts.filter_map(|start| names.get(&path[start..]).copied()).collect()
}

fn unknown(name: &Value) -> String {
    let known = Module::ALL.map(Module::name).join(", ");
    format!("`target_modules` has {name}, but the known modules are {known}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(names: Value) -> Result<Vec<&'static str>, String> {
        let model = DecoderConfig::from_json(&json!({
            "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2
        }))
        .unwrap();
        let found = targets(&json!({ "target_modules": names }), &model)?;
        Ok(found.into_iter().map(Module::name).collect())
    }

    #[test]
    fn a_name_is_the_end_of_a_path() {
        assert_eq!(read(json!(["v_proj", "self_attn.q_proj"])).unwrap(), ["q_proj", "v_proj"]);
        let whole = json!(["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"]);
        assert_eq!(read(whole).unwrap(), ["up_proj"]);
        assert_eq!(read(json!("all-linear")).unwrap().len(), 7);
        assert_eq!(
            read(json!(["q_proj", "qkv_proj"])).unwrap(),
            ["q_proj"],
            "the other is of another family"
        );
    }

    #[test]
    fn what_is_not_a_projection_of_all_layers_is_refused_by_name() {
        let refusal = |names| read(names).unwrap_err();
        assert!(refusal(json!(["q_proj", "lm_head"])).contains("has \"lm_head\", but the known modules"));
        assert!(refusal(json!(["proj"])).contains("has \"proj\""));
        assert!(refusal(json!([7])).contains("has 7"));
        assert!(refusal(json!(["qkv_proj"])).contains("has none of q_proj"));
        assert!(refusal(json!(".*q_proj")).contains("must be a list"));
        assert_eq!(
            refusal(json!(["model.layers.1.mlp.up_proj"])),
            "`target_modules` names up_proj in 1 of 2 layers, but it must be all of them"
        );
    }
}
