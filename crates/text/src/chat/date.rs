//! A calendar day and the part of `strftime` that chat templates use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A day of the Gregorian calendar. The default is 26 July 2024: the day that Llama's templates fall back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CivilDate {
    year: u16,
    month: u8,
    day: u8,
}

/// Why a date was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DateError {
    /// Not a day.
    #[error("{given:?} is not a day; write YYYY-MM-DD, such as 2024-07-26")]
    NotADay {
        /// What was given.
        given: String,
    },
    /// A template asks for something that a pinned day cannot tell.
    #[error(
        "strftime_now cannot give %{directive}; known are %Y %m %d %e %j %y %b %B %a %A %H %M %S %p %I %F and %%"
    )]
    Directive {
        /// The letter.
        directive: char,
    },
}

impl Default for CivilDate {
    fn default() -> Self {
        Self { year: 2024, month: 7, day: 26 }
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl CivilDate {
    /// A day that exists.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let date = Self { year, month, day };
        let exists = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=date.days_in_month(month)).contains(&day);
        exists.then_some(date)
    }

    fn is_leap(self) -> bool {
        self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400))
    }

    fn days_in_month(self, month: u8) -> u8 {
        match month {
            2 if self.is_leap() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(self) -> u16 {
        (1..self.month).map(|month| u16::from(self.days_in_month(month))).sum::<u16>() + u16::from(self.day)
    }

    /// 0 is Sunday.
    fn weekday(self) -> usize {
        let before = u32::from(self.year) - 1;
        let days = before * 365 + before / 4 - before / 100 + before / 400 + u32::from(self.day_of_year());
        (days % 7) as usize
    }

    /// Formats midnight of the day as Python's `strftime` in the C locale.
    pub fn strftime(self, format: &str) -> Result<String, DateError> {
        let mut out = String::new();
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                out.push(letter);
                continue;
            }
            out.push_str(&self.directive(letters.next().unwrap_or('%'))?);
        }
        Ok(out)
    }

    fn directive(self, directive: char) -> Result<String, DateError> {
        let month = MONTHS[usize::from(self.month - 1)];
        let weekday = WEEKDAYS[self.weekday()];
        Ok(match directive {
            'Y' => format!("{:04}", self.year),
            'y' => format!("{:02}", self.year % 100),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year()),
            'B' => month.to_owned(),
            'b' => month[..3].to_owned(),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'F' => self.to_string(),
            'H' | 'M' | 'S' => "00".to_owned(),
            'I' => "12".to_owned(),
            'p' => "AM".to_owned(),
            '%' => "%".to_owned(),
            _ => return Err(DateError::Directive { directive }),
        })
    }
}

impl fmt::Display for CivilDate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for CivilDate {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let parsed = || {
            let mut parts = text.split('-');
            let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
            let plain =
                |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
            if parts.next().is_some() || !plain(year, 4) || !plain(month, 2) || !plain(day, 2) {
                return None;
            }
            Self::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
        };
        parsed().ok_or_else(|| DateError::NotADay { given: text.to_owned() })
    }
}

impl TryFrom<String> for CivilDate {
    type Error = DateError;

    fn try_from(text: String) -> Result<Self, DateError> {
        text.parse()
    }
}

impl From<CivilDate> for String {
    fn from(date: CivilDate) -> Self {
        date.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_python() {
        let day = CivilDate::default();
        assert_eq!(day.strftime("%d %b %Y").unwrap(), "26 Jul 2024");
        assert_eq!(day.strftime("%A %B %j %e%%").unwrap(), "Friday July 208 26%");
        assert_eq!("2000-02-29".parse::<CivilDate>().unwrap().strftime("%a %F").unwrap(), "Tue 2000-02-29");
        assert_eq!("2026-11-23".parse::<CivilDate>().unwrap().strftime("%A").unwrap(), "Monday");
        assert_eq!(day.strftime("%Q"), Err(DateError::Directive { directive: 'Q' }));
    }

    #[test]
    fn refuses_days_that_do_not_exist() {
        for bad in [
            "",
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-10",
            "24-01-01",
            "2024-1-1",
            "2024-01-01-",
            "+024-01-01",
        ] {
            assert!(bad.parse::<CivilDate>().is_err(), "{bad}");
        }
    }
}
