//! Gradients on a GPU that are the same each time. Some of LibTorch's operators add in whatever order threads come to; its
//! deterministic mode has others in their place, and refuses operators that have none.

use std::sync::atomic::{AtomicBool, Ordering};

use tch::Device;

use super::libtorch::{is_deterministic, set_deterministic};
use crate::{ModelError, Result};

/// Set when an operator was refused: the mode stays off in this process.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// The function of PyTorch that LibTorch names when it refuses an operator.
const REFUSAL: &str = "use_deterministic_algorithms";

/// Runs `work` so that its sums come in a fixed order. Where LibTorch refuses that, runs it as it comes, from then on.
pub(crate) fn in_fixed_order<T>(device: Device, work: impl Fn() -> Result<T>) -> Result<T> {
    match device {
        Device::Cuda(_) => fixed_unless(&REFUSED, work),
        // Their operators know one order only.
        Device::Cpu | Device::Mps | Device::Vulkan => work(),
    }
}

/// How gradients are added on a device, `fixed` or `any`; none where there is one way only.
pub fn order_of_sums(device: Device) -> Option<&'static str> {
    let refused = REFUSED.load(Ordering::Relaxed);
    matches!(device, Device::Cuda(_)).then_some(if refused { "any" } else { "fixed" })
}

fn fixed_unless<T>(refused: &AtomicBool, work: impl Fn() -> Result<T>) -> Result<T> {
    if refused.load(Ordering::Relaxed) {
        return work();
    }
    let mode = Mode::on();
    let done = work();
    drop(mode);
    match done {
        Err(ModelError::Torch(error)) if error.to_string().contains(REFUSAL) => {
            refused.store(true, Ordering::Relaxed);
            work()
        }
        done => done,
    }
}

/// The mode, as long as this lives.
struct Mode {
    before: bool,
}

impl Mode {
    fn on() -> Self {
        let before = is_deterministic();
        set_deterministic(true);
        Self { before }
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        set_deterministic(self.before);
    }
}

#[cfg(test)]
mod tests {
    use tch::TchError;

    use super::*;

    /// One test, as the mode is the whole process's.
    #[test]
    fn the_mode_is_on_while_work_runs_and_given_up_where_an_operator_is_refused() {
        let refused = AtomicBool::new(false);
        assert!(fixed_unless(&refused, || Ok(is_deterministic())).unwrap());
        assert!(!is_deterministic());
        let other = || Err::<(), _>(ModelError::Torch(TchError::Torch(String::from("index out of range"))));
        assert!(fixed_unless(&refused, other).is_err());
        assert!(!refused.load(Ordering::Relaxed) && !is_deterministic());
        let picky = || match is_deterministic() {
            true => Err(ModelError::Torch(TchError::Torch(String::from(
                "cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use_deterministic_algorithms(True)'",
            )))),
            false => Ok(3),
        };
        assert_eq!(fixed_unless(&refused, picky).unwrap(), 3);
        assert!(!fixed_unless(&refused, || Ok(is_deterministic())).unwrap(), "it stays off");
        assert!(!in_fixed_order(Device::Cpu, || Ok(is_deterministic())).unwrap());
        assert_eq!((order_of_sums(Device::Cpu), order_of_sums(Device::Cuda(0))), (None, Some("fixed")));
    }
}
