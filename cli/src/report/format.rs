//! Numbers and names as a report prints them.

use assay_domain::job::{Comparison, Opponent};
use assay_judging::report::{Counts, Interval, MissingCounts, Report, WinRate};

/// Stands where there is nothing to say.
pub(super) const NOTHING: &str = "\u{2013}";

/// A share as a percentage with one decimal.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// An interval in percent.
pub(super) fn interval(interval: &Interval) -> String {
    format!("{:.1} to {:.1}", interval.low * 100.0, interval.high * 100.0)
}

/// A difference of shares in points.
pub(super) fn points(difference: f64) -> String {
    format!("{:+.1}", difference * 100.0)
}

/// An interval of a difference, in points.
pub(super) fn points_interval(interval: &Interval) -> String {
    format!("{} to {}", points(interval.low), points(interval.high))
}

/// Model, data set and recipe of a comparison, as far as it has them.
pub(super) fn words(c: &Comparison) -> String {
    let words = [c.model.as_str(), c.data.as_str(), c.recipe.as_str()];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// [`words`] with the training seed; an import that has no seeds has 0.
pub(super) fn system(c: &Comparison) -> String {
    if c.seed == 0 && c.data.is_empty() { words(c) } else { format!("{} seed {}", words(c), c.seed) }
}

/// What a direct comparison is with.
pub(super) fn against(c: &Comparison) -> Option<String> {
    c.against.as_ref().map(Opponent::words)
}

/// A comparison's checkpoint, and what it is compared with where that is not its own base.
pub(super) fn checkpoint(c: &Comparison) -> String {
    let over = against(c).map(|against| format!(" over {against}")).unwrap_or_default();
    format!("{}{over}", c.checkpoint)
}

/// The same with what was trained.
pub(super) fn compared(c: &Comparison) -> String {
    format!("{} {}", words(c), checkpoint(c))
}

/// A p-value.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.001 { "< .001".to_owned() } else { format!("{p:.3}") }
}

/// A number with some decimals, or nothing.
pub(super) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| format!("{value:.decimals$}"))
}

/// A count with thousands apart.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds for people.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        // A sum of nothing is -0.
        format!("{:.1} s", seconds + 0.0)
    } else if seconds < 3600.0 {
        format!("{} min {:02} s", seconds as u64 / 60, seconds as u64 % 60)
    } else {
        format!("{} h {:02} min", seconds as u64 / 3600, seconds as u64 / 60 % 60)
    }
}

/// Wins, ties and losses.
pub(super) fn outcomes(counts: &Counts) -> String {
    format!("{}-{}-{}", counts.wins, counts.ties, counts.losses)
}

/// What is missing, by status.
pub(super) fn missing(missing: &MissingCounts) -> String {
    let named: Vec<String> = missing.named().iter().map(|(name, count)| format!("{count} {name}")).collect();
    if named.is_empty() { "0".to_owned() } else { named.join(", ") }
}

/// The win rate, as far as it may be printed.
pub(super) fn rate(row: &WinRate) -> String {
    match row.rate {
        None => NOTHING.to_owned(),
        Some(_) if row.few => "n < 10".to_owned(),
        Some(_) if row.withheld.is_some() => "withheld".to_owned(),
        Some(rate) => percent(rate),
    }
}

/// The interval, as far as it may be printed; for a withheld rate what missing verdicts leave open.
pub(super) fn rate_interval(row: &WinRate) -> String {
    match (&row.interval, &row.bounds) {
        _ if row.few => NOTHING.to_owned(),
        (_, Some(bounds)) if row.withheld.is_some() => {
            format!("{:.1} to {:.1} (bounds)", bounds.low * 100.0, bounds.high * 100.0)
        }
        (Some(value), _) => interval(value),
        (None, _) => NOTHING.to_owned(),
    }
}

/// A judge's name, or the panel's, marked if it is a smoke judge.
pub(super) fn judge(report: &Report, judge: Option<&str>) -> String {
    let name = Report::judge_label(judge);
    if report.is_smoke(judge) { format!("{name} [smoke]") } else { name.to_owned() }
}
