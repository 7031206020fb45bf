//! Data goes to standard output, talk to standard error; a closed pipe ends the command quietly.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

/// One line of data.
pub(crate) fn line(text: impl Display) {
    write_or_end(writeln!(io::stdout(), "{text}"));
}

/// A value as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    line(text);
    Ok(())
}

/// One value as one line of JSON.
pub(crate) fn json_line<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let text = serde_json::to_string(value)?;
    line(text);
    Ok(())
}

/// Something for the person, not for a pipe.
pub(crate) fn say(text: impl Display) {
    // Nobody to tell is no reason to stop.
    let _ = writeln!(io::stderr(), "{text}");
}

fn write_or_end(written: io::Result<()>) {
    if written.is_err() {
        std::process::exit(0);
    }
}

/// A count with thousands separated.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration as people say it.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.0} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_durations_read_well() {
        assert_eq!(
            (count(7), count(1_213), count(134_515_008)),
            ("7".into(), "1,213".into(), "134,515,008".into())
        );
        assert_eq!(
            (seconds(7.4), seconds(61.0), seconds(3725.0)),
            ("7 s".into(), "1 min 01 s".into(), "1 h 02 min".into())
        );
    }
}
