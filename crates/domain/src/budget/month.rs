//! Calendar months in UTC, from a clock that is passed in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnixMillis;

const DAY_MS: u64 = 86_400_000;

/// A calendar month, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Month {
    year: u32,
    /// From 1.
    month: u8,
}

/// A text that is no month.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no month: write YEAR-MONTH, such as 2026-11")]
pub struct MonthError {
    given: String,
}

impl Month {
    /// The month of a moment: the day's number as a civil date (Hinnant, "chrono-compatible low-level date algorithms",
    /// `civil_from_days`; here for days from 1970 on only).
    pub fn of(at: UnixMillis) -> Self {
        let day = at.0 / DAY_MS + 719_468;
        let (era, day_of_era) = (day / 146_097, day % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Counted from March.
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self { year: u32::try_from(year).unwrap_or(u32::MAX), month: month as u8 }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Self, MonthError> {
        let parsed = text.split_once('-').and_then(|(year, month)| {
            let month = month.parse().ok().filter(|month| (1..=12).contains(month))?;
            Some(Self { year: year.parse().ok()?, month })
        });
        parsed.ok_or_else(|| MonthError { given: text.to_owned() })
    }
}

impl TryFrom<String> for Month {
    type Error = MonthError;

    fn try_from(text: String) -> Result<Self, MonthError> {
        text.parse()
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_the_calendar() {
        // As `date -u -d @SECONDS +%Y-%m` says.
        for (seconds, month) in [
            (0, "1970-01"),
            (951_782_399, "2000-02"),
            (951_868_800, "2000-03"),
            (1_709_164_800, "2024-02"),
            (1_709_251_199, "2024-02"),
            (1_709_251_200, "2024-03"),
            (1_767_225_599, "2025-12"),
            (1_767_225_600, "2026-01"),
            (1_795_391_999, "2026-11"),
            (4_107_542_400, "2100-03"),
        ] {
            let found = Month::of(UnixMillis(seconds * 1000));
            assert_eq!(found.to_string(), month, "{seconds}");
            assert_eq!(month.parse(), Ok(found));
        }
        assert!(Month::of(UnixMillis(u64::MAX)) > Month::of(UnixMillis(0)));
        for bad in ["", "2026", "2026-0", "2026-13", "x-1"] {
            assert!(bad.parse::<Month>().unwrap_err().to_string().contains("YEAR-MONTH"));
        }
    }

    #[test]
    fn a_month_is_a_text_also_as_a_key() {
        let map = std::collections::BTreeMap::from([(Month::of(UnixMillis(0)), 1)]);
        let json = serde_json::to_string(&map).unwrap();
        assert_eq!(json, r#"{"1970-01":1}"#);
        assert_eq!(serde_json::from_str::<std::collections::BTreeMap<Month, i32>>(&json).unwrap(), map);
    }
}
