//! What a schema says about one value, in words.

use serde_json::Value as Json;

use super::file::NAME_PATTERN;
use super::yaml::Value;

/// A kind of value, as JSON Schema names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nothing,
    Boolean,
    Integer,
    Number,
    Text,
    List,
    Map,
}

impl Kind {
    pub(super) const fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(_) => Self::Boolean,
            Value::Int(_) => Self::Integer,
            Value::Float(_) => Self::Number,
            Value::Text(_) => Self::Text,
            Value::List(_) => Self::List,
            Value::Map(_) => Self::Map,
        }
    }

    fn parse(name: &str) -> Self {
        match name {
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::Text,
            "array" => Self::List,
            "object" => Self::Map,
            _ => Self::Nothing,
        }
    }

    fn all_of(schema: &Json) -> Vec<Self> {
        match &schema["type"] {
            Json::String(name) => vec![Self::parse(name)],
            Json::Array(names) => names.iter().filter_map(Json::as_str).map(Self::parse).collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => Vec::new(),
        }
    }

    /// The kind that a schema is about, `null` aside.
    pub(super) fn first_of(schema: &Json) -> Self {
        Self::all_of(schema).into_iter().find(|kind| *kind != Self::Nothing).unwrap_or(Self::Nothing)
    }

    /// Whether a value of this kind can be what the schema is about. A whole number is a number.
    pub(super) fn fits(self, schema: &Json) -> bool {
        let kinds = Self::all_of(schema);
        kinds.is_empty() || kinds.contains(&self) || (self == Self::Integer && kinds.contains(&Self::Number))
    }

    pub(super) const fn named(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Boolean => "`true` or `false`",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }
}

/// The words that a schema allows; empty when it is not about certain words.
pub(super) fn allowed_words(schema: &Json) -> Vec<&str> {
    if let Some(word) = schema["const"].as_str() {
        return vec![word];
    }
    schema["enum"].as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// What a text must be, when `text` is not.
pub(super) fn name_rule(schema: &Json, text: &str) -> Option<String> {
    if schema["pattern"] == NAME_PATTERN {
        let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        let good = first && text.len() <= 64 && text.chars().all(fine);
        let rule = "a name has 1 to 64 letters, digits, `.`, `_` or `-`, and starts with a letter or digit";
        return (!good).then(|| rule.to_owned());
    }
    let least = schema["minLength"].as_u64().unwrap_or(0);
    ((text.chars().count() as u64) < least).then(|| String::from("it must not be empty"))
}

/// What a number must be, when `value` is not (and for anything else: what is needed at all).
pub(super) fn range_rule(schema: &Json, value: &Value) -> Option<String> {
    let kind = Kind::first_of(schema);
    if !matches!(kind, Kind::Integer | Kind::Number) {
        return None;
    }
    let bound = |name: &str| schema[name].as_f64();
    let (least, most) = (bound("minimum"), bound("maximum").or(natural_most(schema)));
    let (above, below) = (bound("exclusiveMinimum"), bound("exclusiveMaximum"));
    let number = match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    };
    let within = number.is_some_and(|number| {
        number.is_finite()
            && least.is_none_or(|bound| number >= bound)
            && most.is_none_or(|bound| number <= bound)
            && above.is_none_or(|bound| number > bound)
            && below.is_none_or(|bound| number < bound)
    });
    if within {
        return None;
    }
    // The type's own limit is only worth a word to someone who passed it.
    let natural = natural_most(schema).filter(|most| number.is_some_and(|number| number > *most));
    let shown = bound("maximum").or(natural);
    let range = match (least, above, shown, below) {
        (Some(least), _, Some(most), _) => format!(" from {least} to {most}"),
        (Some(least), _, None, Some(below)) => format!(" from {least} to below {below}"),
        (Some(least), _, None, None) => format!(", {least} or more"),
        (None, Some(above), Some(most), _) => format!(" above {above} and at most {most}"),
        (None, Some(above), None, _) => format!(" above {above}"),
        (None, None, Some(most), _) => format!(", at most {most}"),
        (None, None, None, Some(below)) => format!(" below {below}"),
        (None, None, None, None) => String::new(),
    };
    Some(format!("{}{range}", kind.named()))
}

/// The most that the type holds, where the schema gives no maximum of its own.
fn natural_most(schema: &Json) -> Option<f64> {
    match schema["format"].as_str() {
        Some("uint32") => Some(f64::from(u32::MAX)),
        Some("uint64") => Some(18_446_744_073_709_549_568.0),
        _ => None,
    }
}
