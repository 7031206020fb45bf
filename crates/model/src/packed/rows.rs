//! Rows of floats in the memory of tensors: read by all threads, written by each in its own columns.

use std::marker::PhantomData;

use tch::{Device, Kind, Tensor};

/// Where a float32 matrix on the CPU lies: rows of neighbouring values, at equal distances.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: *mut f32,
    rows: usize,
    width: usize,
    stride: usize,
}

impl Place {
    /// # Panics
    ///
    /// For other tensors.
    fn of(tensor: &Tensor) -> Self {
        assert!(
            tensor.kind() == Kind::Float && tensor.device() == Device::Cpu,
            "{tensor:?} is not float32 on the CPU"
        );
        let (size, stride) = (tensor.size(), tensor.stride());
        let (rows, width) = match size[..] {
            [width] => (1, width),
            [rows, width] => (rows, width),
            _ => panic!("{tensor:?} is not a matrix"),
        };
        assert!(width <= 1 || stride.last() == Some(&1), "the rows of {tensor:?} are not contiguous");
        let distance = if rows > 1 { stride[0] } else { width };
        assert!(distance >= width, "the rows of {tensor:?} overlap");
        let start = tensor.data_ptr().cast();
        Self { start, rows: rows as usize, width: width as usize, stride: distance as usize }
    }
}

/// Rows that are read.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    place: Place,
    tensor: PhantomData<&'a Tensor>,
}

impl<'a> Rows<'a> {
    /// The rows of a matrix whose rows are contiguous, or a vector as one row.
    pub(crate) fn of(tensor: &'a Tensor) -> Self {
        Self { place: Place::of(tensor), tensor: PhantomData }
    }

    pub(super) fn count(&self) -> usize {
        self.place.rows
    }

    /// Values from one row to the next.
    pub(super) fn stride(&self) -> usize {
        self.place.stride
    }

    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        &self.values()[row * self.place.stride..][..self.place.width]
    }

    /// Everything from the first value to the last, with what lies between the rows.
    pub(super) fn values(&self) -> &'a [f32] {
        let place = self.place;
        if place.rows == 0 || place.width == 0 {
            return &[];
        }
        #[expect(unsafe_code, reason = "tch has no view of a tensor's memory")]
        // Safety: all of this lies in the tensor's memory, which lives as long as it is borrowed.
        unsafe {
            std::slice::from_raw_parts(place.start, (place.rows - 1) * place.stride + place.width)
        }
    }
}

/// Rows that are written by several threads at once, each its own columns.
pub(super) struct Out<'a> {
    place: Place,
    adds: bool,
    tensor: PhantomData<&'a mut Tensor>,
}

#[expect(unsafe_code, reason = "threads write different columns of the same rows")]
// Safety: a row's columns are written by the one thread that works on them, and nobody reads before all are done.
unsafe impl Sync for Out<'_> {}

impl<'a> Out<'a> {
    /// The rows of a matrix; what is written is added to what is there, or replaces it.
    pub(super) fn new(tensor: &'a mut Tensor, adds: bool) -> Self {
        Self { place: Place::of(tensor), adds, tensor: PhantomData }
    }

    /// `width` columns from `first` on. No two threads may write the same columns of a row.
    pub(super) fn columns(&self, first: usize, width: usize) -> Columns<'_> {
        assert!(first + width <= self.place.width, "no columns {first} to {}", first + width);
        Columns { out: self, first, width }
    }
}

/// Some of the columns.
pub(super) struct Columns<'a> {
    out: &'a Out<'a>,
    first: usize,
    width: usize,
}

impl Columns<'_> {
    pub(super) fn write(&mut self, row: usize, values: &[f32]) {
        let place = self.out.place;
        assert!(row < place.rows, "no row {row} of {}", place.rows);
        #[expect(unsafe_code, reason = "threads write different columns of the same rows")]
        // Safety: row and columns are inside the tensor, and nobody else has these columns.
        let there = unsafe {
            std::slice::from_raw_parts_mut(place.start.add(row * place.stride + self.first), self.width)
        };
        if self.out.adds {
            there.iter_mut().zip(values).for_each(|(there, value)| *there += value);
        } else {
            there.copy_from_slice(&values[..self.width]);
        }
    }
}
