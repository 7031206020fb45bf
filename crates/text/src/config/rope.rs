//! Rotary frequencies: base and stretching, in both spellings of `config.json`, and their computation.

use serde::Serialize;
use serde_json::Value;

use super::family::Family;
use super::fields::{Fields, invalid};
use super::{ConfigError, DecoderConfig};

/// Base that Transformers uses when the file names none.
const DEFAULT_THETA: f64 = 10_000.0;

/// How rotary frequencies are stretched beyond the trained length.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// LongRoPE up to the original length (`_compute_longrope_parameters` of Transformers): every frequency has its own
    /// divisor. Longer sequences would turn *all* their tokens with other divisors, so they are not computed.
    LongRope {
        /// The divisor of each frequency.
        short_factors: Vec<f64>,
        /// What cosines and sines are multiplied with.
        attention_factor: f64,
    },
}

/// Which values of `rope_type` a family takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RopeTypes {
    General,
    /// `su` and `yarn` are old names of `longrope`, and a part of a head may be turned.
    Phi3,
}

/// What positions are made of.
pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) scaling: RopeScaling,
    /// See [`DecoderConfig::rotary_dim`].
    pub(super) dim: usize,
    /// See [`DecoderConfig::max_positions`].
    pub(super) max_positions: usize,
}

pub(super) fn read(fields: &Fields<'_>, family: &Family, head_dim: usize) -> Result<Rope, ConfigError> {
    // In the order of Transformers: the old spelling wins where a file has both.
    let set =
        |name| fields.get(name).filter(|value| value.as_object().is_none_or(|object| !object.is_empty()));
    let given = ["rope_scaling", "rope_parameters"].into_iter().find_map(|name| Some((name, set(name)?)));
    let empty = serde_json::Map::new();
    let (name, object) = match given {
        None => ("rope_parameters", &empty),
        Some((name, Value::Object(object))) => (name, object),
        Some((name, value)) => return Err(invalid(name, value, "an object")),
    };
    if let Some((inner, value)) = object.iter().find(|(_, value)| value.is_object()) {
        let (feature, value) = (format!("{name}.{inner}"), value.to_string());
        let rule = "one set of rotary parameters for all layers".to_owned();
        return Err(ConfigError::Feature { feature, value, rule });
    }
    let reader = Reader { fields, inner: fields.inner(object), name, family };
    let max_positions = fields.size_or("max_position_embeddings", family.max_positions)?;
    let theta = fields.positive_or("rope_theta", DEFAULT_THETA)?;
    let theta = reader.inner.positive_or("rope_theta", theta)?;
    let dim = reader.dim(head_dim)?;
    let scaling = reader.scaling(dim, max_positions)?;
    let max_positions = match &scaling {
        RopeScaling::LongRope { .. } => max_positions.min(reader.original_length(max_positions)?),
        RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => max_positions,
    };
    Ok(Rope { theta, scaling, dim, max_positions })
}

/// The rotary parameters and the file around them.
struct Reader<'a> {
    fields: &'a Fields<'a>,
    inner: Fields<'a>,
    name: &'static str,
    family: &'a Family,
}

impl Reader<'_> {
    fn dim(&self, head_dim: usize) -> Result<usize, ConfigError> {
        if self.family.rope_types == RopeTypes::General {
            for fields in [self.fields, &self.inner] {
                fields.only("partial_rotary_factor", "only 1", |value| value.as_f64() == Some(1.0))?;
            }
            return Ok(head_dim);
        }
        let factor = self.fields.positive_or("partial_rotary_factor", 1.0)?;
        let factor = self.inner.positive_or("partial_rotary_factor", factor)?;
        // Cut as Transformers does.
        let dim = (head_dim as f64 * factor) as usize;
        if dim == 0 || dim > head_dim {
            let value = Value::from(factor);
            return Err(invalid(
                "partial_rotary_factor",
                &value,
                "at most 1, and one pair of a head or more",
            ));
        }
        Ok(dim)
    }

    fn scaling(&self, dim: usize, max_positions: usize) -> Result<RopeScaling, ConfigError> {
        // `type` is the spelling before Transformers 4.43.
        let kind = self.inner.get("rope_type").or_else(|| self.inner.get("type"));
        let is_phi3 = self.family.rope_types == RopeTypes::Phi3;
        let Some(kind) = kind else { return Ok(RopeScaling::None) };
        match kind.as_str() {
            Some("default") => Ok(RopeScaling::None),
            Some("linear") if !is_phi3 => Ok(RopeScaling::Linear { factor: self.inner.positive("factor")? }),
            Some("llama3") if !is_phi3 => self.llama3(max_positions),
            Some("longrope") => self.longrope(dim, max_positions),
            Some("su" | "yarn") if is_phi3 => self.longrope(dim, max_positions),
            Some(_) | None => Err(ConfigError::Feature {
                feature: format!("{}.rope_type", self.name),
                value: kind.to_string(),
                rule: match self.family.rope_types {
                    RopeTypes::General => "only `default`, `linear`, `llama3` and `longrope`".to_owned(),
                    RopeTypes::Phi3 => "only `default` and `longrope`".to_owned(),
                },
            }),
        }
    }

    fn llama3(&self, max_positions: usize) -> Result<RopeScaling, ConfigError> {
        let inner = &self.inner;
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
            original_max_positions: self.original_length(max_positions)? as f64,
        })
    }

    fn longrope(&self, dim: usize, max_positions: usize) -> Result<RopeScaling, ConfigError> {
        let inner = &self.inner;
        let short_factors = inner.positives("short_factor", dim.div_ceil(2))?;
        // Not used up to the original length, but a file without them is not what it says.
        inner.positives("long_factor", dim.div_ceil(2))?;
        let original = self.original_length(max_positions)? as f64;
        if original < 2.0 {
            return Err(invalid("original_max_position_embeddings", &Value::from(original), "2 or more"));
        }
        let factor = inner.positive_or("factor", max_positions as f64 / original)?;
        let by_length = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
        Ok(RopeScaling::LongRope {
            short_factors,
            attention_factor: inner.positive_or("attention_factor", by_length)?,
        })
    }

    /// The length before stretching: beside the rotary parameters, where Phi-3 has it always, else in them.
    fn original_length(&self, max_positions: usize) -> Result<usize, ConfigError> {
        const FIELD: &str = "original_max_position_embeddings";
        let outer = match self.family.rope_types {
            RopeTypes::Phi3 => Some(self.fields.size_or(FIELD, self.family.max_positions)?),
            RopeTypes::General => self.fields.size_unless_null(FIELD, None)?,
        };
        match outer {
            Some(length) => Ok(length),
            None => self.inner.size_or(FIELD, max_positions),
        }
    }
}

impl DecoderConfig {
    /// The rotary frequencies, one per turned pair of a head, in radians per position.
    pub fn rotary_frequencies(&self) -> Vec<f64> {
        (0..self.rotary_dim.div_ceil(2)).map(|pair| self.rotary_frequency(pair)).collect()
    }

    /// What cosines and sines are multiplied with.
    pub fn rotary_factor(&self) -> f64 {
        match &self.rope_scaling {
            RopeScaling::LongRope { attention_factor, .. } => *attention_factor,
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => 1.0,
        }
    }

    fn rotary_frequency(&self, pair: usize) -> f64 {
        let frequency = self.rope_theta.powf(-(2.0 * pair as f64) / self.rotary_dim as f64);
        match &self.rope_scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::LongRope { short_factors, .. } => frequency / short_factors[pair],
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
