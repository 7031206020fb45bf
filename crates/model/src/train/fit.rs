//! Out of memory is met by smaller passes of the same step: its loss and gradient stay the same, and the run goes on.

use serde::{Deserialize, Serialize};

use super::TrainSettings;
use crate::{ModelError, Result, oom};

/// What one pass holds in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// The most rows of a pass; the settings' micro-batch unless memory was not enough for it.
    pub rows: usize,
    /// Whether activations are computed twice instead of kept.
    pub recompute: bool,
}

impl Fit {
    pub(super) fn of(settings: &TrainSettings) -> Self {
        Self { rows: settings.micro_batch, recompute: settings.recompute }
    }

    /// Half the rows; for one row, its activations computed twice; none when that was not enough either.
    fn smaller(self) -> Option<Self> {
        match self {
            Self { rows: 2.., .. } => Some(Self { rows: self.rows.div_ceil(2), ..self }),
            Self { recompute: false, .. } => Some(Self { recompute: true, ..self }),
            Self { .. } => None,
        }
    }

    /// Runs `work` as it fits now, and anew with less in a pass as often as memory was not enough.
    pub(super) fn within_memory<T>(&mut self, work: impl Fn(Self) -> Result<T>) -> Result<T> {
        loop {
            match (oom::as_error(|| work(*self)), self.smaller()) {
                (Err(ModelError::OutOfMemory(_)), Some(smaller)) => *self = smaller,
                (done, _) => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::TchError;

    use super::*;

    /// A device with room for so many rows; computing activations twice makes room for one more.
    fn run(fit: &mut Fit, room: usize) -> Result<usize> {
        fit.within_memory(|fit| {
            if fit.rows <= room + usize::from(fit.recompute) {
                return Ok(fit.rows);
            }
            Err(ModelError::from(TchError::Torch(
                "CUDA out of memory. Tried to allocate 2.00 GiB".to_owned(),
            )))
        })
    }

    #[test]
    fn rows_are_halved_down_to_one_then_computed_twice_then_it_fails() {
        let fit = Fit { rows: 5, recompute: false };
        let after = |room| {
            let mut fit = fit;
            run(&mut fit, room).map(|_| (fit.rows, fit.recompute))
        };
        assert_eq!(after(5).unwrap(), (5, false));
        assert_eq!(after(4).unwrap(), (3, false));
        assert_eq!(after(2).unwrap(), (2, false));
        assert_eq!(after(1).unwrap(), (1, false));
        assert_eq!(after(0).unwrap(), (1, true));
        let mut already = Fit { rows: 1, recompute: true };
        let nothing: Result<()> =
            already.within_memory(|_| Err(ModelError::from(TchError::Torch("std::bad_alloc".to_owned()))));
        assert!(matches!(nothing, Err(ModelError::OutOfMemory(_))));
    }

    #[test]
    fn other_errors_are_not_tried_again() {
        let mut fit = Fit { rows: 8, recompute: false };
        let failed: Result<()> = fit.within_memory(|_| Err(ModelError::setting("x", 0, "1")));
        assert!(failed.is_err());
        assert_eq!(fit.rows, 8);
    }
}
