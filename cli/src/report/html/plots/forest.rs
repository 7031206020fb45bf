//! Win rates with their intervals, one row per checkpoint, judge and split.

use assay_judging::report::{Report, Scope, WinRate};

use super::axis::Axis;
use super::{dot, figure, line, series, text};
use crate::report::{format, sections};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 700.0;
const ROW: f64 = 24.0;
const TOP: f64 = 34.0;

/// All rows over all prompts and by split; domains are in the table.
pub(in crate::report::html) fn forest(report: &Report) -> String {
    let groups = [sections::groups(report), sections::direct_groups(report)];
    groups.iter().flatten().map(|group| group_figure(report, group)).collect()
}

fn group_figure(report: &Report, group: &sections::Group<'_>) -> String {
    let axis = Axis::new((0.0, 100.0), (LEFT, RIGHT));
    let mut body = String::new();
    let mut y = TOP;
    for comparison in &group.comparisons {
        let rows: Vec<&WinRate> = comparison.rates.iter().filter(|row| drawn(report, row)).collect();
        if rows.is_empty() {
            continue;
        }
        body.push_str(&text(0.0, y + 4.0, "strong", &comparison.comparison.checkpoint));
        let mut last_scope = None;
        for row in rows {
            if last_scope.is_some_and(|scope| scope != &row.scope) {
                y += 6.0;
            }
            if last_scope != Some(&row.scope) {
                body.push_str(&text(84.0, y + 4.0, "small", row.scope.label()));
            }
            last_scope = Some(&row.scope);
            body.push_str(&one_row(report, row, &axis, y));
            y += ROW;
        }
        y += 14.0;
    }
    if y <= TOP {
        return String::new();
    }
    let bottom = y - 20.0;
    let label = format!("Win rates with 95 % intervals: {}", group.title);
    figure(WIDTH, bottom + 26.0, &label, &(frame(&axis, bottom, group.ends) + &body), &group.title)
}

fn frame(axis: &Axis, bottom: f64, [low, high]: [&str; 2]) -> String {
    let mut frame = String::new();
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let class = if percent == 50.0 { "half" } else { "grid" };
        frame.push_str(&line(axis.at(percent), TOP - 14.0, axis.at(percent), bottom, class));
        frame.push_str(&text(axis.at(percent), bottom + 16.0, "small middle", &format!("{percent:.0} %")));
    }
    frame.push_str(&text(LEFT, 12.0, "small", &format!("\u{2190} {low}")));
    frame.push_str(&text(RIGHT, 12.0, "small end", &format!("{high} \u{2192}")));
    frame
}

fn drawn(report: &Report, row: &WinRate) -> bool {
    let scope = match row.scope {
        Scope::All | Scope::Split(_) => true,
        Scope::Domain(_) => false,
    };
    scope && !(row.judge.is_none() && report.method.panel.len() < 2)
}

fn one_row(report: &Report, row: &WinRate, axis: &Axis, y: f64) -> String {
    let class = colour(report, row.judge.as_deref());
    let name = format::judge(report, row.judge.as_deref());
    let mut body = text(LEFT - 12.0, y + 4.0, "small end", &name);
    let quiet = row.few || row.withheld.is_some();
    if let (Some(rate), false) = (row.rate, quiet) {
        if let Some(interval) = row.interval {
            let (low, high) = (axis.at(interval.low * 100.0), axis.at(interval.high * 100.0));
            body.push_str(&line(low, y, high, y, &format!("{class} whisker")));
            body.push_str(&line(low, y - 4.0, low, y + 4.0, &format!("{class} cap")));
            body.push_str(&line(high, y - 4.0, high, y + 4.0, &format!("{class} cap")));
        }
        let says = format!("{name}: {}, {}", format::rate(row), format::rate_interval(row));
        body.push_str(&dot(axis.at(rate * 100.0), y, 5.0, &format!("{class} fill"), &says));
    }
    let ink = if quiet { "small faint" } else { "small" };
    body.push_str(&text(RIGHT + 16.0, y + 4.0, ink, &format::outcomes(&row.counts)));
    body.push_str(&text(WIDTH, y + 4.0, &format!("{ink} end"), &format::rate(row)));
    body
}

/// The panel in the page's ink, judges in their colours.
pub(super) fn colour(report: &Report, judge: Option<&str>) -> String {
    match judge {
        None => "panel".to_owned(),
        Some(name) => series(report.judges.iter().position(|judge| judge.info.name == name).unwrap_or(0)),
    }
}
