//! From tensors in files to tensors on a device, one at a time: never two copies of a model in memory. For measuring speed
//! they can be drawn instead.

use std::cell::RefCell;

use assay_text::safetensors::{Dtype, TensorFiles};
use tch::{Device, Kind, Tensor};

use crate::export::Sum;
use crate::nf4::FourBits;
use crate::whole::Leaves;
use crate::{ModelError, Result};

/// Where the numbers of tensors come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// One folder or file.
    Files(&'a TensorFiles),
    /// Matrices of normal numbers with a deviation of 0.02 (`initializer_range` of most families), norms of one, biases of zero.
    Drawn,
}

/// Brings tensors to a device, as one kind of float.
#[derive(Clone, Copy)]
pub(crate) struct WeightLoader<'a> {
    source: Source<'a>,
    /// Added to what is read, in float32.
    sum: Option<&'a Sum<'a>>,
    /// Whether matrices of layers are in 4 bits.
    pub(crate) bits: Option<FourBits>,
    /// Takes what is loaded in as leaves for gradients.
    leaves: Option<&'a RefCell<Leaves>>,
    pub(crate) device: Device,
    pub(crate) kind: Kind,
}

impl<'a> WeightLoader<'a> {
    /// Reads the tensors of files.
    pub(crate) fn files(files: &'a TensorFiles, device: Device, kind: Kind) -> Self {
        Self { source: Source::Files(files), sum: None, leaves: None, bits: None, device, kind }
    }

    /// Reads the tensors of files and adds an adapter to them, in float32.
    pub(crate) fn sums(files: &'a TensorFiles, sum: &'a Sum<'a>, device: Device) -> Self {
        Self {
            source: Source::Files(files),
            sum: Some(sum),
            leaves: None,
            bits: None,
            device,
            kind: Kind::Float,
        }
    }

    /// Reads the tensors of files as leaves for gradients, in float32.
    pub(crate) fn leaves(files: &'a TensorFiles, leaves: &'a RefCell<Leaves>, device: Device) -> Self {
        Self {
            source: Source::Files(files),
            sum: None,
            leaves: Some(leaves),
            bits: None,
            device,
            kind: Kind::Float,
        }
    }

    /// Whether what is loaded is to be trained: then it must be used as it is handed out.
    pub(crate) fn trains(&self) -> bool {
        self.leaves.is_some()
    }

    /// Draws the tensors from LibTorch's generator.
    pub(crate) fn drawn(device: Device, kind: Kind) -> Self {
        Self { source: Source::Drawn, sum: None, leaves: None, bits: None, device, kind }
    }

    /// The tensor of this name, which must have this shape.
    pub(crate) fn load(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.taken(&[(name.to_owned(), shape.to_vec())], self.bring(name, shape)?)
    }

    fn taken(&self, parts: &[(String, Vec<usize>)], loaded: Tensor) -> Result<Tensor> {
        match self.leaves {
            Some(leaves) => leaves.borrow_mut().take(parts.to_vec(), &loaded),
            None => Ok(loaded),
        }
    }

    fn bring(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
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
        let tensor = tensor.f_to_device(self.device)?.f_to_kind(self.kind)?;
        match self.sum {
            Some(sum) => sum.of(name, tensor),
            None => Ok(tensor),
        }
    }

    /// Several tensors with the same columns, one below the other.
    pub(crate) fn load_stacked(&self, parts: &[(String, Vec<usize>)]) -> Result<Tensor> {
        let loaded: Vec<Tensor> =
            parts.iter().map(|(name, shape)| self.bring(name, shape)).collect::<Result<_>>()?;
        self.taken(parts, Tensor::f_cat(&loaded, 0)?)
    }
}

/// The type of a stored tensor that the model can use.
pub(crate) fn float_kind(name: &str, dtype: Dtype) -> Result<Kind> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the foreign enum is open, and all else is refused")]
    match dtype {
        Dtype::F32 => Ok(Kind::Float),
        Dtype::BF16 => Ok(Kind::BFloat16),
        Dtype::F16 => Ok(Kind::Half),
        other => Err(ModelError::ElementType { name: name.to_owned(), dtype: format!("{other:?}") }),
    }
}

/// How a kind of float is stored; all but bfloat16 and float16 as float32.
pub(crate) fn dtype_of(kind: Kind) -> Dtype {
    if kind == Kind::BFloat16 {
        Dtype::BF16
    } else if kind == Kind::Half {
        Dtype::F16
    } else {
        Dtype::F32
    }
}

/// What `config.json` calls it.
pub(crate) fn torch_name(kind: Kind) -> &'static str {
    if kind == Kind::BFloat16 {
        "bfloat16"
    } else if kind == Kind::Half {
        "float16"
    } else {
        "float32"
    }
}

/// The elements of a tensor as they are stored in this kind, one of those of [`dtype_of`], row by row.
pub(crate) fn stored_bytes(tensor: &Tensor, kind: Kind) -> Result<Vec<u8>> {
    let _guard = tch::no_grad_guard();
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(kind)?.f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * kind.elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}
