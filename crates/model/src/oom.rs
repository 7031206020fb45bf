//! How running out of memory shows: as errors of LibTorch and, where an operation takes a number, as panics of tch. (In
//! tch 0.24 the number's drop finds the operation's error before its caller does, and unwraps it.)

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};

use tch::TchError;

use crate::{ModelError, Result};

/// What LibTorch, its allocators, cuBLAS and C++ say when there is no memory left, in lower case.
const WORDS: [&str; 5] =
    ["out of memory", "not enough memory", "can't allocate memory", "bad_alloc", "alloc_failed"];

/// Whether the text of an error says that there is no memory left.
pub(crate) fn is_said(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    WORDS.iter().any(|words| text.contains(words))
}

/// The text of a panic that says so.
pub fn said_by_panic(panic: &(dyn Any + Send)) -> Option<&str> {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.filter(|text| is_said(text))
}

/// Runs `work`, and answers a panic of this kind as the error that it was.
pub(crate) fn as_error<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| match said_by_panic(&*panic) {
        Some(text) => Err(ModelError::OutOfMemory(TchError::Torch(text.to_owned()))),
        None => resume_unwind(panic),
    })
}

/// From now on such panics, which are met, say nothing: a trace of the stack would need the memory that there is not.
pub fn panic_quietly() {
    let loud = take_hook();
    set_hook(Box::new(move |info| {
        let text = info.payload_as_str();
        if !text.is_some_and(is_said) {
            loud(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_says_so_is_an_error_and_others_go_on() {
        let allocator = "called `Result::unwrap()` on an `Err` value: Torch(\"DefaultCPUAllocator: can't allocate memory\")";
        let met: Result<()> = as_error(|| resume_unwind(Box::new(allocator.to_owned())));
        assert!(matches!(met, Err(ModelError::OutOfMemory(_))), "{met:?}");
        let other = catch_unwind(|| as_error::<()>(|| resume_unwind(Box::new("index out of bounds"))));
        assert!(other.is_err());
        assert_eq!(as_error(|| Ok(3)).unwrap(), 3);
    }
}
