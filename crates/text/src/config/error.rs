//! Why a `config.json` is refused: always with the field, its value and the rule.

use std::path::PathBuf;

use super::SUPPORTED_MODEL_TYPES;

/// Why a `config.json` was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read `{}`: is this a Hugging Face model folder?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("`{}` is not valid JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A field that the decoder needs is missing.
    #[error("config.json has no `{field}`: the field is required for model type `{model_type}`")]
    Missing {
        /// The field.
        field: String,
        /// The model type of the file.
        model_type: String,
    },
    /// A field holds a value of the wrong type or out of range.
    #[error("config.json: `{field}` is {value}, but must be {rule}")]
    Invalid {
        /// The field.
        field: String,
        /// The value, as JSON.
        value: String,
        /// What it must be.
        rule: String,
    },
    /// The model type is not one that the decoder computes.
    #[error("model type `{model_type}` is not supported: use one of {}", SUPPORTED_MODEL_TYPES.join(", "))]
    ModelType {
        /// The model type of the file.
        model_type: String,
    },
    /// A feature of the file is not one that the decoder computes.
    #[error("config.json: `{feature}` is {value}, which is not supported ({rule})")]
    Feature {
        /// The field that asks for it.
        feature: String,
        /// The value, as JSON.
        value: String,
        /// What is supported.
        rule: String,
    },
}
