//! How long a server wants to be left alone, in the several ways in which servers say it.

use std::time::Duration;

use super::{Cause, Level, RawResponse, Trouble};

/// A server that asks for more than this has no minute's limit but a day's.
const WAIT_MAX: Duration = Duration::from_secs(600);

impl RawResponse {
    /// A header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.trim())
    }

    /// `retry-after-ms`, else `retry-after` in seconds.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let number = |name: &str| self.header(name)?.parse::<f64>().ok();
        let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// A limit's three headers; `reset` reads the third.
    pub(super) fn level(&self, names: [&str; 3], reset: impl Fn(&str) -> Option<Duration>) -> Level {
        let number = |name: &str| self.header(name)?.parse().ok();
        let [limit, remaining, until] = names;
        Level {
            limit: number(limit),
            remaining: number(remaining),
            reset: self.header(until).and_then(reset),
        }
    }
}

/// What a status means when the body says nothing special. The labs' SDKs try 408, 409, 429 and 5xx again.
pub(super) fn by_status(response: &RawResponse, message: &str, after: Option<Duration>) -> Trouble {
    let why = format!("status {}: {message}", response.status);
    let cause = match response.status {
        429 => Cause::RateLimited,
        503 | 529 => Cause::Overloaded,
        408 | 409 | 500..=599 => Cause::Failed,
        401..=404 => return Trouble::Judge { why },
        _ => return Trouble::Question { why },
    };
    if response.header("x-should-retry") == Some("false") {
        return Trouble::Question { why };
    }
    match after {
        Some(wait) if wait > WAIT_MAX => {
            Trouble::Judge { why: format!("{why} (asks for {} s of patience)", wait.as_secs()) }
        }
        after => Trouble::Again { why, after, cause },
    }
}

/// `1s`, `6m0s`, `500ms`, `1h2m3.5s`.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| end + at);
        seconds += number
            * match &rest[end..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// Seconds since 1970 of `2026-02-25T20:02:32Z`.
pub(super) fn rfc3339_unix_s(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !text.ends_with('Z') || !(1..=12).contains(&month) || year < 1970 {
        return None;
    }
    // Days from civil, http://howardhinnant.github.io/date_algorithms.html, for years since 1970.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_era =
        (y % 400) * 365 + (y % 400) / 4 - (y % 400) / 100 + (153 * m + 2) / 5 + day.checked_sub(1)?;
    let days = (y / 400 * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}
