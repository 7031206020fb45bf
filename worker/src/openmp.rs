//! How OpenMP threads wait: chosen before LibTorch starts, since libgomp reads it once, when it is loaded.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// A short bounded spin: nearly the speed of spinning on a quiet machine and of sleeping on a busy one.
pub(crate) const WAITING: (&str, &str) = ("GOMP_SPINCOUNT", "20000");

/// The variables by which a person may have chosen already.
const CHOSEN_BY: [&str; 2] = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];

/// What an engine process is to be started with; none when a person has chosen.
pub(crate) fn waiting() -> Option<(&'static str, &'static str)> {
    CHOSEN_BY.iter().all(|name| std::env::var_os(name).is_none()).then_some(WAITING)
}

/// Makes sure of it in this process: starts the same command again in its place when nothing is chosen.
pub(crate) fn settle() -> anyhow::Result<()> {
    let Some((name, value)) = waiting() else { return Ok(()) };
    let error =
        Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(name, value).exec();
    Err(error.into())
}
