//! From tensors in files to tensors on a device, one at a time: never two copies of a model in memory.

use assay_text::safetensors::{Dtype, TensorFiles};
use tch::{Device, Kind, Tensor};

use crate::{ModelError, Result};

/// Reads tensors of one folder or file to a device, as one kind of float.
pub(crate) struct WeightLoader<'a> {
    pub(crate) files: &'a TensorFiles,
    pub(crate) device: Device,
    pub(crate) kind: Kind,
}

impl WeightLoader<'_> {
    /// The tensor of this name, which must have this shape.
    pub(crate) fn load(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let slice = self.files.tensor(name)?;
        if slice.shape != shape {
            return Err(ModelError::Shape {
                name: name.to_owned(),
                found: slice.shape.to_vec(),
                expected: shape.to_vec(),
            });
        }
        let kind = float_kind(name, slice.dtype)?;
        // Sizes come from a checked header of a mapped file, so they fit.
        let size: Vec<i64> = shape.iter().map(|length| *length as i64).collect();
        let tensor = Tensor::f_from_data_size(slice.bytes, &size, kind)?;
        Ok(tensor.f_to_device(self.device)?.f_to_kind(self.kind)?)
    }

    /// Several tensors with the same columns, one below the other.
    pub(crate) fn load_stacked(&self, parts: &[(String, Vec<usize>)]) -> Result<Tensor> {
        let parts: Vec<Tensor> =
            parts.iter().map(|(name, shape)| self.load(name, shape)).collect::<Result<_>>()?;
        Ok(Tensor::f_cat(&parts, 0)?)
    }
}

fn float_kind(name: &str, dtype: Dtype) -> Result<Kind> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the foreign enum is open, and all else is refused")]
    match dtype {
        Dtype::F32 => Ok(Kind::Float),
        Dtype::BF16 => Ok(Kind::BFloat16),
        Dtype::F16 => Ok(Kind::Half),
        other => Err(ModelError::ElementType { name: name.to_owned(), dtype: format!("{other:?}") }),
    }
}
