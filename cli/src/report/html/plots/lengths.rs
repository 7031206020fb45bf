//! Length against win: does the longer response win, whatever it says?

use assay_judging::report::{PROMPTS_FOR_PERCENT, PairReport, Report};

use super::axis::Axis;
use super::{dot, figure, legend, line, path, series, text};
use crate::report::sections;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 830.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 236.0;
/// Groups of equally many pairs whose means make the line.
const GROUPS: usize = 5;

/// A pair: tuned less base in characters, and the panel's score.
struct Point {
    difference: f64,
    score: f64,
    says: String,
}

/// One figure per run whose texts are known.
pub(in crate::report::html) fn lengths(report: &Report) -> String {
    sections::groups(report).iter().map(|group| one(report, group)).collect()
}

fn one(report: &Report, group: &sections::Group<'_>) -> String {
    let known = group.comparisons.iter().filter(|comparison| comparison.style.is_some());
    let all: Vec<(String, Vec<Point>)> = known
        .map(|comparison| {
            let c = &comparison.comparison;
            let pairs = report.pairs.iter().filter(|pair| pair.comparison == c.id);
            (c.checkpoint.clone(), pairs.filter_map(|pair| point(report, pair)).collect())
        })
        .filter(|(_, points): &(String, Vec<Point>)| points.len() >= PROMPTS_FOR_PERCENT)
        .collect();
    if all.is_empty() {
        return String::new();
    }
    let differences = || all.iter().flat_map(|(_, points)| points).map(|point| point.difference);
    let x = Axis::around(differences().chain([0.0]), (LEFT, RIGHT));
    let y = Axis::new((0.0, 100.0), (BOTTOM, TOP));
    let mut body = frame(&x, &y);
    let mut entries = Vec::new();
    for (index, (name, points)) in all.iter().enumerate() {
        let class = series(index);
        for point in points {
            let (at, height) = (x.at(point.difference), y.at(point.score * 100.0));
            body.push_str(&dot(at, height, 3.5, &format!("{class} fill pale"), &point.says));
        }
        let means: Vec<(f64, f64)> =
            means(points).into_iter().map(|(at, score)| (x.at(at), y.at(score * 100.0))).collect();
        body.push_str(&path(&means, &format!("{class} curve")));
        entries.push((class, name.clone()));
    }
    body.push_str(&legend(LEFT, 14.0, &entries));
    let caption = format!(
        "{}: the panel's score of each pair (100 % tuned, 0 % base) by how much longer the tuned response is. Lines: means of {GROUPS} groups of \
         equally many pairs. A line that rises is a taste for length, or longer responses that are better.",
        group.title
    );
    figure(WIDTH, HEIGHT, &format!("Length against win: {}", group.title), &body, &caption)
}

fn point(report: &Report, pair: &PairReport) -> Option<Point> {
    let panel = &report.method.panel;
    let scores: Vec<f64> =
        pair.verdicts.iter().filter(|one| panel.contains(&one.judge)).filter_map(|one| one.score).collect();
    if scores.is_empty() {
        return None;
    }
    let chars = |text: &str| text.chars().count() as f64;
    let difference = chars(&pair.tuned.text) - chars(&pair.base.text);
    let score = scores.iter().sum::<f64>() / scores.len() as f64;
    let says = format!("{}: {difference:+.0} characters, {:.0} %", pair.prompt_id, score * 100.0);
    Some(Point { difference, score, says })
}

/// Mean difference and mean score of groups, shortest first.
fn means(points: &[Point]) -> Vec<(f64, f64)> {
    let mut sorted: Vec<&Point> = points.iter().collect();
    sorted.sort_by(|a, b| a.difference.total_cmp(&b.difference));
    let mean = |part: &[&Point], of: fn(&Point) -> f64| {
        part.iter().map(|point| of(point)).sum::<f64>() / part.len() as f64
    };
    let size = sorted.len().div_ceil(GROUPS).max(1);
    sorted.chunks(size).map(|part| (mean(part, |one| one.difference), mean(part, |one| one.score))).collect()
}

fn frame(x: &Axis, y: &Axis) -> String {
    let mut body = String::new();
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let class = if percent == 50.0 { "half" } else { "grid" };
        body.push_str(&line(LEFT, y.at(percent), RIGHT, y.at(percent), class));
        body.push_str(&text(LEFT - 8.0, y.at(percent) + 4.0, "small end", &format!("{percent:.0} %")));
    }
    for (value, name) in x.ticks(7.0) {
        let class = if value == 0.0 { "half" } else { "grid" };
        body.push_str(&line(x.at(value), TOP, x.at(value), BOTTOM, class));
        let name = if value > 0.0 { format!("+{name}") } else { name };
        body.push_str(&text(x.at(value), BOTTOM + 18.0, "small middle", &name));
    }
    let below = "characters of the tuned response, less those of the base's";
    body + &text((LEFT + RIGHT) / 2.0, BOTTOM + 36.0, "small middle faint", below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_equally_large_and_in_order() {
        let point =
            |at: usize| Point { difference: -(at as f64), score: at as f64 / 10.0, says: String::new() };
        let points: Vec<Point> = (0..10).map(point).collect();
        let means = means(&points);
        assert_eq!(means.len(), GROUPS);
        assert!((means[0].0 + 8.5).abs() < 1e-9 && (means[0].1 - 0.85).abs() < 1e-9, "{means:?}");
        assert!(means.windows(2).all(|two| two[0].0 < two[1].0));
    }
}
