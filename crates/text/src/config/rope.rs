//! Rotary frequencies: base and stretching, in both spellings of `config.json`, and their computation.

use serde::Serialize;
use serde_json::Value;

use super::fields::{Fields, invalid};
use super::{ConfigError, DecoderConfig};

/// Base that Transformers uses when the file names none.
const DEFAULT_THETA: f64 = 10_000.0;

/// How rotary frequencies are stretched beyond the trained length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Every frequency divided by the factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3: low frequencies divided, high ones kept, a smooth change between
    /// (`_compute_llama3_parameters` of Transformers).
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_positions / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_positions / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The length before stretching, in tokens.
        original_max_positions: f64,
    },
}

pub(super) fn read(fields: &Fields<'_>) -> Result<(f64, RopeScaling), ConfigError> {
    let theta = fields.positive_or("rope_theta", DEFAULT_THETA)?;
    let (name, value) = match (fields.get("rope_parameters"), fields.get("rope_scaling")) {
        (Some(value), _) => ("rope_parameters", value),
        (None, Some(value)) => ("rope_scaling", value),
        (None, None) => return Ok((theta, RopeScaling::None)),
    };
    let Value::Object(object) = value else { return Err(invalid(name, value, "an object")) };
    let inner = fields.inner(object);
    let theta = inner.positive_or("rope_theta", theta)?;
    inner.only("partial_rotary_factor", "only 1", |value| value.as_f64() == Some(1.0))?;
    Ok((theta, scaling(&inner, name)?))
}

fn scaling(inner: &Fields<'_>, name: &str) -> Result<RopeScaling, ConfigError> {
    // `type` is the spelling before Transformers 4.43.
    let kind = inner.get("rope_type").or_else(|| inner.get("type"));
    match kind.map(|kind| (kind, kind.as_str())) {
        None | Some((_, Some("default"))) => Ok(RopeScaling::None),
        Some((_, Some("linear"))) => Ok(RopeScaling::Linear { factor: inner.positive("factor")? }),
        Some((_, Some("llama3"))) => llama3(inner),
        Some((kind, _)) => Err(ConfigError::Feature {
            feature: format!("{name}.rope_type"),
            value: kind.to_string(),
            rule: "only `default`, `linear` and `llama3`".to_owned(),
        }),
    }
}

fn llama3(inner: &Fields<'_>) -> Result<RopeScaling, ConfigError> {
    let low_freq_factor = inner.positive("low_freq_factor")?;
    let high_freq_factor = inner.positive("high_freq_factor")?;
    if high_freq_factor <= low_freq_factor {
        return Err(ConfigError::Invalid {
            field: "high_freq_factor".to_owned(),
            value: high_freq_factor.to_string(),
            rule: format!("above `low_freq_factor` ({low_freq_factor})"),
        });
    }
    Ok(RopeScaling::Llama3 {
        factor: inner.positive("factor")?,
        low_freq_factor,
        high_freq_factor,
        original_max_positions: inner.positive("original_max_position_embeddings")?,
    })
}

impl DecoderConfig {
    /// The rotary frequencies, one per pair of a head (`head_dim / 2`), in radians per position.
    pub fn rotary_frequencies(&self) -> Vec<f64> {
        let pairs = self.head_dim / 2;
        (0..pairs).map(|pair| self.rotary_frequency(pair)).collect()
    }

    fn rotary_frequency(&self, pair: usize) -> f64 {
        let frequency = self.rope_theta.powf(-(2.0 * pair as f64) / self.head_dim as f64);
        match self.rope_scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                let wavelength = 2.0 * std::f64::consts::PI / frequency;
                if wavelength > original_max_positions / low_freq_factor {
                    return frequency / factor;
                }
                if wavelength < original_max_positions / high_freq_factor {
                    return frequency;
                }
                let smooth = (original_max_positions / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}
