//! From tensors in files to tensors on a device, one at a time: never two copies of a model in memory. For measuring speed
//! they can be drawn instead.

use assay_text::safetensors::{Dtype, TensorFiles};
use tch::{Device, Kind, Tensor};

use crate::{ModelError, Result};

/// Where the numbers of tensors come from.
enum Source<'a> {
    /// One folder or file.
    Files(&'a TensorFiles),
    /// Matrices of normal numbers with a deviation of 0.02 (`initializer_range` of most families), norms of one, biases of zero.
    Drawn,
}

/// Brings tensors to a device, as one kind of float.
pub(crate) struct WeightLoader<'a> {
    source: Source<'a>,
    pub(crate) device: Device,
    pub(crate) kind: Kind,
}

impl<'a> WeightLoader<'a> {
    /// Reads the tensors of files.
    pub(crate) fn files(files: &'a TensorFiles, device: Device, kind: Kind) -> Self {
        Self { source: Source::Files(files), device, kind }
    }

    /// Draws the tensors from LibTorch's generator.
    pub(crate) fn drawn(device: Device, kind: Kind) -> Self {
        Self { source: Source::Drawn, device, kind }
    }

    /// The tensor of this name, which must have this shape.
    pub(crate) fn load(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match self.source {
            Source::Files(files) => self.read(files, name, shape),
            Source::Drawn => self.draw(name, shape),
        }
    }

    fn draw(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let size: Vec<i64> = shape.iter().map(|length| *length as i64).collect();
        let options = (self.kind, self.device);
        match shape {
            _ if name.ends_with(".bias") => Ok(Tensor::f_zeros(&size, options)?),
            [_] => Ok(Tensor::f_ones(&size, options)?),
            _ => Ok(Tensor::f_empty(&size, options)?.f_normal_(0.0, 0.02)?),
        }
    }

    fn read(&self, files: &TensorFiles, name: &str, shape: &[usize]) -> Result<Tensor> {
        let slice = files.tensor(name)?;
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
