//! Calls into libraries that panic at some damaged files: what a user can put there is an error, never our end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `call` answers, with a panic as its reason to refuse. Nothing that `call` changed may be used after a panic.
pub(crate) fn guarded<T, E: ToString>(call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("the library gave up: {}", message(panic.as_ref()))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_reason_to_refuse() {
        assert_eq!(guarded(|| Ok::<_, String>(7)), Ok(7));
        assert_eq!(guarded(|| Err::<(), _>("no")), Err("no".to_owned()));
        let index = [0; 3].len();
        let panics = guarded(|| Ok::<_, String>([1, 2, 3][..][index]));
        assert!(panics.unwrap_err().starts_with("the library gave up: index out of bounds"));
    }
}
