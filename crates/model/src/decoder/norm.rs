//! RMSNorm over the last dimension, in float32 as Transformers does; its output is of the type that products are computed in.

use assay_text::config::DecoderConfig;
use tch::{Kind, Tensor};

use crate::Result;
use crate::packed::{self, few};
use crate::weights::WeightLoader;

/// One norm of a model.
#[derive(Debug)]
pub(super) struct RmsNorm {
    /// Float32 with `unit_offset`.
    weight: Tensor,
    /// Where it is trained with `unit_offset`: the weight as stored, from which the other is computed anew.
    leaf: Option<Tensor>,
    epsilon: f64,
    /// Of the output.
    kind: Kind,
    /// Multiplied in float32, rounded after; otherwise rounded before.
    unit_offset: bool,
}

impl RmsNorm {
    pub(super) fn load(
        loader: &WeightLoader<'_>,
        config: &DecoderConfig,
        name: &str,
        width: usize,
    ) -> Result<Self> {
        let unit_offset = config.unit_offset_norms;
        let stored = loader.load(&format!("{name}.weight"), &[width])?;
        let leaf = (unit_offset && loader.trains()).then(|| stored.shallow_clone());
        let weight = if unit_offset { stored.f_to_kind(Kind::Float)?.f_add_scalar(1.0)? } else { stored };
        Ok(Self { weight, leaf, epsilon: config.norm_epsilon, kind: loader.kind, unit_offset })
    }

    /// `input` over its root mean square, times the weight.
    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let wide = input.f_to_kind(Kind::Float)?;
        let mean_square = wide.f_square()?.f_mean_dim(&[-1i64][..], true, Kind::Float)?;
        let scaled = wide.f_mul(&mean_square.f_add_scalar(self.epsilon)?.f_rsqrt()?)?;
        if self.unit_offset {
            return Ok(match &self.leaf {
                Some(leaf) => scaled.f_mul(&leaf.f_add_scalar(1.0)?)?,
                None => scaled.f_mul(&self.weight)?,
            }
            .f_to_kind(self.kind)?);
        }
        // An input in float32 stays so until it has met the weight.
        Ok(scaled.f_to_kind(input.f_kind()?)?.f_mul(&self.weight)?.f_to_kind(self.kind)?)
    }

    /// Whether [`RmsNorm::forward_few`] is for these rows.
    pub(super) fn is_for_few(&self, input: &Tensor) -> bool {
        self.kind == Kind::Float && packed::is_for(input)
    }

    /// The same for rows that [`crate::packed::is_for`], without gradients.
    pub(super) fn forward_few(&self, input: &Tensor) -> Result<Tensor> {
        few::rms_norm(input, &self.weight, self.epsilon)
    }
}
