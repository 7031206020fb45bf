//! The win rate along a training run, one line per judge.

use assay_judging::report::{Report, Scope};

use super::axis::Axis;
use super::forest::colour;
use super::{dot, figure, legend, line, path, text};
use crate::report::{format, sections};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 830.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 212.0;

/// One figure per run with at least two checkpoints; base against itself is one half by construction.
pub(in crate::report::html) fn checkpoints(report: &Report) -> String {
    let drawn = |group: &&sections::Group<'_>| group.comparisons.len() > 1;
    sections::groups(report).iter().filter(drawn).map(|group| one(report, group)).collect()
}

fn one(report: &Report, group: &sections::Group<'_>) -> String {
    let last = group.comparisons.last().map_or(1, |comparison| comparison.comparison.step);
    let x = Axis::new((0.0, last as f64), (LEFT + 30.0, RIGHT - 40.0));
    let y = Axis::new((0.0, 100.0), (BOTTOM, TOP));
    let all = group.comparisons[0].rates.iter().filter(|row| row.scope == Scope::All);
    let judges: Vec<Option<&str>> = all
        .map(|row| row.judge.as_deref())
        .filter(|judge| judge.is_some() || report.method.panel.len() > 1)
        .collect();
    let mut body = frame(group, &x, &y);
    let mut entries = Vec::new();
    for (index, judge) in judges.iter().enumerate() {
        // Judges stand a little beside each other, so that whiskers do not hide each other.
        let offset = (index as f64 - (judges.len() as f64 - 1.0) / 2.0) * 9.0;
        let curve = curve(report, group, *judge, offset, &x, &y);
        if !curve.is_empty() {
            body.push_str(&curve);
            entries.push((colour(report, *judge), format::judge(report, *judge)));
        }
    }
    if entries.is_empty() {
        return String::new();
    }
    body.push_str(&legend(LEFT, 14.0, &entries));
    let label = format!("Win rate by checkpoint: {}", group.title);
    figure(
        WIDTH,
        HEIGHT,
        &label,
        &body,
        &format!("{}, along the training. Base against itself is 50 % by construction.", group.title),
    )
}

fn curve(
    report: &Report,
    group: &sections::Group<'_>,
    judge: Option<&str>,
    offset: f64,
    x: &Axis,
    y: &Axis,
) -> String {
    let class = colour(report, judge);
    let name = format::judge(report, judge);
    let mut marks = String::new();
    let mut points = vec![(x.at(0.0), y.at(50.0))];
    for comparison in &group.comparisons {
        let row = comparison.overall(judge).filter(|row| !row.few && row.withheld.is_none());
        let Some((row, rate)) = row.and_then(|row| Some((row, row.rate?))) else { continue };
        let at = x.at(comparison.comparison.step as f64) + offset;
        if let Some(interval) = row.interval {
            let (low, high) = (y.at(interval.low * 100.0), y.at(interval.high * 100.0));
            marks.push_str(&line(at, low, at, high, &format!("{class} whisker thin")));
        }
        let says = format!("{name}, {}: {}", comparison.comparison.checkpoint, format::rate(row));
        marks.push_str(&dot(at, y.at(rate * 100.0), 4.5, &format!("{class} fill"), &says));
        points.push((at, y.at(rate * 100.0)));
    }
    if points.len() < 2 {
        return String::new();
    }
    path(&points, &format!("{class} curve")) + &marks
}

fn frame(group: &sections::Group<'_>, x: &Axis, y: &Axis) -> String {
    let mut body = String::new();
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let class = if percent == 50.0 { "half" } else { "grid" };
        body.push_str(&line(LEFT, y.at(percent), RIGHT, y.at(percent), class));
        body.push_str(&text(LEFT - 8.0, y.at(percent) + 4.0, "small end", &format!("{percent:.0} %")));
    }
    body.push_str(&text(x.at(0.0), BOTTOM + 20.0, "small middle", "base"));
    for comparison in &group.comparisons {
        let c = &comparison.comparison;
        body.push_str(&text(x.at(c.step as f64), BOTTOM + 20.0, "small middle", &c.checkpoint));
        body.push_str(&text(
            x.at(c.step as f64),
            BOTTOM + 36.0,
            "small middle faint",
            &format!("step {}", c.step),
        ));
    }
    body
}
