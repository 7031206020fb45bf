//! Typed access to the fields of a `config.json`, with errors that name the field, the value and the rule.

use serde_json::{Map, Value};

use super::ConfigError;

/// Wider than any model: products of a few sizes still fit in 64 bits.
pub(super) const SIZE_MAX: usize = 1 << 24;

/// The object of a `config.json` and its model type.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    pub(super) model_type: String,
}

impl<'a> Fields<'a> {
    pub(super) fn new(value: &'a Value) -> Result<Self, ConfigError> {
        let object = value.as_object().ok_or_else(|| invalid("config.json", value, "a JSON object"))?;
        let model_type = match object.get("model_type") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => return Err(invalid("model_type", other, "a string")),
            None => {
                return Err(ConfigError::Missing {
                    field: "model_type".to_owned(),
                    model_type: "unknown".to_owned(),
                });
            }
        };
        Ok(Self { object, model_type })
    }

    /// The same accessors over an object inside the file.
    pub(super) fn inner(&self, object: &'a Map<String, Value>) -> Fields<'a> {
        Fields { object, model_type: self.model_type.clone() }
    }

    /// A field that is present and not null.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn size(&self, field: &str) -> Result<usize, ConfigError> {
        match self.get(field) {
            Some(value) => positive_size(field, value),
            None => Err(self.missing(field)),
        }
    }

    pub(super) fn size_or(&self, field: &str, default: usize) -> Result<usize, ConfigError> {
        self.get(field).map_or(Ok(default), |value| positive_size(field, value))
    }

    /// Null is none; `absent` stands for a field that is not there.
    pub(super) fn size_unless_null(
        &self,
        field: &str,
        absent: Option<usize>,
    ) -> Result<Option<usize>, ConfigError> {
        match self.object.get(field) {
            None => Ok(absent),
            Some(Value::Null) => Ok(None),
            Some(value) => positive_size(field, value).map(Some),
        }
    }

    pub(super) fn at_most(&self, field: &str, most: usize) -> Result<usize, ConfigError> {
        match self.size(field)? {
            size if size <= most => Ok(size),
            size => Err(invalid(field, &Value::from(size), &format!("at most {most}"))),
        }
    }

    /// A whole number that may be 0.
    pub(super) fn count_or(&self, field: &str, default: usize) -> Result<usize, ConfigError> {
        self.get(field).map_or(Ok(default), |value| {
            let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
            count.ok_or_else(|| invalid(field, value, "a whole number"))
        })
    }

    pub(super) fn positive(&self, field: &str) -> Result<f64, ConfigError> {
        match self.get(field) {
            Some(value) => positive_number(field, value),
            None => Err(self.missing(field)),
        }
    }

    pub(super) fn positive_or(&self, field: &str, default: f64) -> Result<f64, ConfigError> {
        self.get(field).map_or(Ok(default), |value| positive_number(field, value))
    }

    /// Null is none; `absent` stands for a field that is not there.
    pub(super) fn positive_unless_null(&self, field: &str, absent: f64) -> Result<Option<f64>, ConfigError> {
        match self.object.get(field) {
            None => Ok(Some(absent)),
            Some(Value::Null) => Ok(None),
            Some(value) => positive_number(field, value).map(Some),
        }
    }

    /// A list of this many numbers above 0.
    pub(super) fn positives(&self, field: &str, count: usize) -> Result<Vec<f64>, ConfigError> {
        let value = self.get(field).ok_or_else(|| self.missing(field))?;
        let list = value.as_array().filter(|list| list.len() == count);
        let rule = format!("a list of {count} numbers, one for each turned pair");
        let list = list.ok_or_else(|| invalid(field, value, &rule))?;
        list.iter().map(|number| positive_number(field, number)).collect()
    }

    pub(super) fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| invalid(field, value, "true or false")),
        }
    }

    /// One token id, a list of them, or none.
    pub(super) fn token_ids(&self, field: &str) -> Result<Vec<u32>, ConfigError> {
        let ids = match self.get(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(ids)) => ids.iter().collect(),
            Some(id) => vec![id],
        };
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        ids.into_iter().map(|value| id(value).ok_or_else(|| invalid(field, value, "a token id"))).collect()
    }

    /// Refuses a field that is present with a value that `accept` does not take.
    pub(super) fn only(
        &self,
        field: &str,
        rule: &str,
        accept: impl Fn(&Value) -> bool,
    ) -> Result<(), ConfigError> {
        match self.get(field) {
            Some(value) if !accept(value) => Err(ConfigError::Feature {
                feature: field.to_owned(),
                value: value.to_string(),
                rule: rule.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn missing(&self, field: &str) -> ConfigError {
        ConfigError::Missing { field: field.to_owned(), model_type: self.model_type.clone() }
    }
}

pub(super) fn invalid(field: &str, value: &Value, rule: &str) -> ConfigError {
    ConfigError::Invalid { field: field.to_owned(), value: value.to_string(), rule: rule.to_owned() }
}

fn positive_size(field: &str, value: &Value) -> Result<usize, ConfigError> {
    value
        .as_u64()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| (1..=SIZE_MAX).contains(size))
        .ok_or_else(|| invalid(field, value, &format!("a whole number from 1 to {SIZE_MAX}")))
}

fn positive_number(field: &str, value: &Value) -> Result<f64, ConfigError> {
    value
        .as_f64()
        .filter(|number| *number > 0.0 && number.is_finite())
        .ok_or_else(|| invalid(field, value, "a number above 0"))
}
