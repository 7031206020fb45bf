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
    /// YaRN (`_compute_yarn_parameters` of Transformers): the first pairs keep their frequency, the last are divided.
    Yarn {
        /// The divisor of low frequencies.
        factor: f64,
        /// The pairs, in fractions, where the change from kept to divided begins and ends.
        ramp: [f64; 2],
        /// What cosines and sines are multiplied with.
        attention_factor: f64,
    },
    /// LongRoPE (`_compute_longrope_parameters` of Transformers): every frequency has its own divisor, and *all* tokens of a
    /// text that is longer than the original length have others.
    LongRope {
        /// The divisor of each frequency.
        short_factors: Vec<f64>,
        /// The divisors in texts of more than `original_max_positions` tokens.
        long_factors: Vec<f64>,
        /// The length before stretching, in tokens.
        original_max_positions: usize,
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
    let scaling = reader.scaling(theta, dim, max_positions)?;
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

    fn scaling(&self, theta: f64, dim: usize, max_positions: usize) -> Result<RopeScaling, ConfigError> {
        // `type` is the spelling before Transformers 4.43.
        let kind = self.inner.get("rope_type").or_else(|| self.inner.get("type"));
        let is_phi3 = self.family.rope_types == RopeTypes::Phi3;
        let Some(kind) = kind else { return Ok(RopeScaling::None) };
        match kind.as_str() {
            Some("default") => Ok(RopeScaling::None),
            // It stretches texts beyond `max_position_embeddings` alone, and those are refused.
            Some("dynamic") if !is_phi3 => self.inner.positive("factor").map(|_| RopeScaling::None),
            Some("linear") if !is_phi3 => Ok(RopeScaling::Linear { factor: self.inner.positive("factor")? }),
            Some("llama3") if !is_phi3 => self.llama3(max_positions),
            Some("yarn") if !is_phi3 => self.yarn(theta, dim, max_positions),
            Some("longrope") => self.longrope(dim, max_positions),
            Some("su" | "yarn") if is_phi3 => self.longrope(dim, max_positions),
            Some(_) | None => Err(ConfigError::Feature {
                feature: format!("{}.rope_type", self.name),
                value: kind.to_string(),
                rule: match self.family.rope_types {
                    RopeTypes::General => {
                        "only `default`, `linear`, `dynamic`, `llama3`, `yarn` and `longrope`".to_owned()
                    }
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
        let long_factors = inner.positives("long_factor", dim.div_ceil(2))?;
        let original_max_positions = self.original_length(max_positions)?;
        if original_max_positions < 2 {
            let value = Value::from(original_max_positions);
            return Err(invalid("original_max_position_embeddings", &value, "2 or more"));
        }
        let original = original_max_positions as f64;
        let factor = inner.positive_or("factor", max_positions as f64 / original)?;
        let by_length = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
        Ok(RopeScaling::LongRope {
            short_factors,
            long_factors,
            original_max_positions,
            attention_factor: inner.positive_or("attention_factor", by_length)?,
        })
    }

    fn yarn(&self, theta: f64, dim: usize, max_positions: usize) -> Result<RopeScaling, ConfigError> {
        let inner = &self.inner;
        if theta <= 1.0 {
            return Err(invalid("rope_theta", &Value::from(theta), "above 1 with `yarn`"));
        }
        let original = self.original_length(max_positions)? as f64;
        let factor = inner.positive_or("factor", max_positions as f64 / original)?;
        let (fast, slow) = (inner.positive_or("beta_fast", 32.0)?, inner.positive_or("beta_slow", 1.0)?);
        // The pair that turns this often within the original length.
        let pair = |turns: f64| {
            dim as f64 * (original / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln())
        };
        let (first, last) = match inner.flag("truncate", true)? {
            true => (pair(fast).floor(), pair(slow).ceil()),
            false => (pair(fast), pair(slow)),
        };
        let set = |field| inner.get(field).and_then(Value::as_f64).filter(|scale| *scale != 0.0);
        let grown = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let by_factor = match (set("mscale"), set("mscale_all_dim")) {
            (Some(scale), Some(all)) => grown(scale) / grown(all),
            _ => grown(1.0),
        };
        Ok(RopeScaling::Yarn {
            factor,
            ramp: [first.max(0.0), last.min(dim as f64 - 1.0)],
            attention_factor: inner.positive_or("attention_factor", by_factor)?,
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
        self.frequencies(&self.rope_scaling)
    }

    /// The length in tokens beyond which a text is turned by other frequencies, all of it, and these.
    pub fn long_rotary_frequencies(&self) -> Option<(usize, Vec<f64>)> {
        let RopeScaling::LongRope { long_factors, original_max_positions, .. } = &self.rope_scaling else {
            return None;
        };
        let plain = self.frequencies(&RopeScaling::None);
        let divided = plain.iter().zip(long_factors).map(|(frequency, factor)| frequency / factor);
        Some((*original_max_positions, divided.collect()))
    }

    /// What cosines and sines are multiplied with.
    pub fn rotary_factor(&self) -> f64 {
        match &self.rope_scaling {
            RopeScaling::LongRope { attention_factor, .. } | RopeScaling::Yarn { attention_factor, .. } => {
                *attention_factor
            }
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => 1.0,
        }
    }

    fn frequencies(&self, scaling: &RopeScaling) -> Vec<f64> {
        let plain = |pair: usize| self.rope_theta.powf(-(2.0 * pair as f64) / self.rotary_dim as f64);
        (0..self.rotary_dim.div_ceil(2)).map(|pair| scaling.of_pair(pair, plain(pair))).collect()
    }
}

impl RopeScaling {
    /// The frequency of a pair whose frequency without stretching is given.
    fn of_pair(&self, pair: usize, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::LongRope { short_factors, .. } => frequency / short_factors[pair],
            Self::Yarn { factor, ramp: [first, last], .. } => {
                let last = if first == last { last + 0.001 } else { *last };
                let divided = ((pair as f64 - first) / (last - first)).clamp(0.0, 1.0);
                frequency / factor * divided + frequency * (1.0 - divided)
            }
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
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
