//! Sliding windows: which layers see the last tokens only, from `sliding_window`, `layer_types` and the rule of the family.

use serde_json::Value;

use super::ConfigError;
use super::family::{Family, WindowRule};
use super::fields::{Fields, invalid};

/// Per layer, how many tokens are seen.
pub(super) fn read(
    fields: &Fields<'_>,
    family: &Family,
    layer_count: usize,
) -> Result<Vec<Option<usize>>, ConfigError> {
    let window = match family.windows {
        WindowRule::None => None,
        WindowRule::FromLayer if !fields.flag("use_sliding_window", false)? => None,
        WindowRule::All | WindowRule::FromLayer | WindowRule::Alternating => {
            fields.size_unless_null("sliding_window", family.window)?
        }
    };
    let by_rule = by_rule(fields, family.windows, window.is_some(), layer_count)?;
    let sliding = match fields.get("layer_types") {
        None => by_rule,
        Some(types) => {
            let listed = listed(types, layer_count)?;
            // These families do not read the list in Transformers, so one that says otherwise is not obeyed there.
            let fixed = matches!(family.windows, WindowRule::None | WindowRule::All);
            if fixed && listed != by_rule {
                let rule =
                    format!("that of `sliding_window` in all layers of model type `{}`", family.model_type);
                return Err(invalid("layer_types", types, &rule));
            }
            listed
        }
    };
    if window.is_none() && sliding.contains(&true) {
        let value = fields.get("sliding_window").unwrap_or(&Value::Null);
        return Err(invalid("sliding_window", value, "in use and a number of tokens, as some layers slide"));
    }
    Ok(sliding.into_iter().map(|slides| window.filter(|_| slides)).collect())
}

/// Which layers slide where no list says so.
fn by_rule(
    fields: &Fields<'_>,
    rule: WindowRule,
    windowed: bool,
    layer_count: usize,
) -> Result<Vec<bool>, ConfigError> {
    let full_layers = match rule {
        WindowRule::FromLayer => fields.count_or("max_window_layers", 28)?,
        WindowRule::None | WindowRule::All | WindowRule::Alternating => 0,
    };
    let slides = |layer: usize| match rule {
        WindowRule::None => false,
        WindowRule::All => windowed,
        WindowRule::FromLayer => windowed && layer >= full_layers,
        WindowRule::Alternating => layer.is_multiple_of(2),
    };
    Ok((0..layer_count).map(slides).collect())
}

fn listed(types: &Value, layer_count: usize) -> Result<Vec<bool>, ConfigError> {
    let rule = format!("a list of {layer_count} types, one for each layer");
    let list = types.as_array().filter(|list| list.len() == layer_count);
    let kind = |kind: &Value| match kind.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        Some(_) | None => Err(ConfigError::Feature {
            feature: "layer_types".to_owned(),
            value: kind.to_string(),
            rule: "only `full_attention` and `sliding_attention`".to_owned(),
        }),
    };
    list.ok_or_else(|| invalid("layer_types", types, &rule))?.iter().map(kind).collect()
}
