//! What a person sees: talk on stderr (with progress bars where it is a terminal), results on stdout.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the one place that talks to the person at the terminal"
)]

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Says one line.
pub(crate) fn say(line: impl AsRef<str>) {
    eprintln!("{}", line.as_ref());
}

/// Prints what was asked for.
pub(crate) fn result(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

/// Says an error with its chain of causes, one per line.
pub(crate) fn failure(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because {cause}");
    }
}

/// A bar that counts bytes; hidden where stderr is no terminal.
pub(crate) fn bytes_bar(what: &str, total: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_message(what.to_owned())
}

/// Runs `work` and says how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "a stopwatch for the person; nothing is decided by it")]
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// `4.2 s` or `3 min 07 s`.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}
