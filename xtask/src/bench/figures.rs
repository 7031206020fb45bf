//! Figures: medians of both sides, their ratio, and whether it meets the target.

use serde_json::{Value, json};

use super::side::Sample;

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    Higher,
    Lower,
}

/// What the ratios ours / baseline should reach.
#[derive(Clone, Copy)]
pub(super) struct Targets {
    /// At least.
    pub(super) speed: f64,
    /// At most.
    pub(super) memory: f64,
}

/// One compared quantity.
pub(super) struct Figure {
    name: String,
    unit: &'static str,
    ours: f64,
    baseline: f64,
    direction: Direction,
    /// What the ratio ours / baseline should reach, or not pass.
    target: f64,
}

impl Figure {
    /// Speed and memory of `[ours, baseline]` pairs.
    pub(super) fn compute(comparison: &str, targets: Targets, pairs: &[[Sample; 2]]) -> Vec<Self> {
        let medians = |value: fn(&Sample) -> f64| {
            [0, 1].map(|side| median(pairs.iter().filter_map(|pair| pair.get(side)).map(value).collect()))
        };
        let figure = |name: &str, unit, [ours, baseline]: [f64; 2], direction, target| Self {
            name: format!("{comparison} {name}"),
            unit,
            ours,
            baseline,
            direction,
            target,
        };
        vec![
            figure(
                "speed",
                "tokens/s",
                medians(|sample| sample.tokens_per_s),
                Direction::Higher,
                targets.speed,
            ),
            figure(
                "peak memory",
                "MiB",
                medians(|sample| sample.peak_rss_mib),
                Direction::Lower,
                targets.memory,
            ),
        ]
    }

    fn ratio(&self) -> f64 {
        self.ours / self.baseline
    }

    fn met(&self) -> bool {
        match self.direction {
            Direction::Higher => self.ratio() >= self.target,
            Direction::Lower => self.ratio() <= self.target,
        }
    }

    pub(super) fn json(&self) -> Value {
        let direction = match self.direction {
            Direction::Higher => "higher",
            Direction::Lower => "lower",
        };
        json!({
            "name": self.name, "unit": self.unit, "ours": self.ours, "baseline": self.baseline,
            "ratio": self.ratio(), "direction": direction, "target": self.target, "met": self.met(),
        })
    }
}

/// The middle value, or the mean of the two; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    if values.len() % 2 == 1 || middle == 0 { at(middle) } else { f64::midpoint(at(middle - 1), at(middle)) }
}

/// The figures for people.
pub(super) fn table(figures: &[Figure]) -> String {
    let head = format!(
        "{:24} {:>10} {:>10} {:>10} {:>7} {:>8}  met",
        "figure", "unit", "ours", "baseline", "ratio", "target"
    );
    let rows = figures.iter().map(|figure| {
        let sign = if figure.direction == Direction::Higher { ">=" } else { "<=" };
        format!(
            "{:24} {:>10} {:>10.1} {:>10.1} {:>7.2} {:>8}  {}",
            figure.name,
            figure.unit,
            figure.ours,
            figure.baseline,
            figure.ratio(),
            format!("{sign} {:.2}", figure.target),
            if figure.met() { "yes" } else { "no" }
        )
    });
    std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Figure, Sample, Targets, median};

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![5.0]), 5.0);
    }

    #[test]
    fn met_follows_from_the_other_fields() {
        let sample = |tokens_per_s, peak_rss_mib| Sample { tokens_per_s, peak_rss_mib, raw: json!(null) };
        let pairs = [[sample(120.0, 900.0), sample(100.0, 600.0)]];
        let compute = |speed, memory| -> Vec<_> {
            let targets = Targets { speed, memory };
            Figure::compute("train", targets, &pairs).iter().map(Figure::json).collect()
        };
        let figures = compute(1.2, 1.4);
        assert_eq!(figures[0]["ratio"], json!(1.2));
        assert_eq!((&figures[0]["direction"], &figures[0]["met"]), (&json!("higher"), &json!(true)));
        assert_eq!((&figures[1]["ratio"], &figures[1]["met"]), (&json!(1.5), &json!(false)));
        let figures = compute(1.3, 1.5);
        assert_eq!((&figures[0]["met"], &figures[1]["met"]), (&json!(false), &json!(true)));
    }
}
