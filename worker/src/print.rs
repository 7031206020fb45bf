//! Results go to standard output. That nobody reads on, as behind `head`, changes no result and no exit code.

use std::fmt::Display;
use std::io::{self, Write as _};

/// One line, or several.
pub(crate) fn line(text: impl Display) {
    let _nobody_reads = writeln!(io::stdout(), "{text}");
}
