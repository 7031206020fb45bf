//! A linear scale with round ticks.

/// Maps values to positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Values from `low` to `high` between positions `from` and `to`. A range without width is widened.
    pub(super) fn new((low, high): (f64, f64), (from, to): (f64, f64)) -> Axis {
        let (low, high) = if high - low > 1e-12 { (low, high) } else { (low - 0.5, high + 0.5) };
        Axis { low, high, from, to }
    }

    /// An axis around values, with a little room at both ends; not finite values are left out.
    pub(super) fn around(values: impl Iterator<Item = f64>, span: (f64, f64)) -> Axis {
        let finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let low = finite.iter().copied().fold(f64::INFINITY, f64::min);
        let high = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Axis::new((0.0, 1.0), span);
        }
        let room = (high - low) * 0.06;
        Axis::new((low - room, high + room), span)
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// About `count` round values with the decimals that they need.
    pub(super) fn ticks(&self, count: f64) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / count;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * magnitude).find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * magnitude);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|i| (i as f64 * step, format!("{:.decimals$}", i as f64 * step))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::around([3.09, 3.43].into_iter(), (100.0, 0.0));
        let ticks = axis.ticks(5.0);
        assert!((3..=8).contains(&ticks.len()), "{ticks:?}");
        assert!(ticks.iter().all(|(value, _)| (0.0..=100.0).contains(&axis.at(*value))));
        assert_eq!(ticks[0].1, "3.1");
    }

    #[test]
    fn no_value_and_one_value_have_an_axis_too() {
        assert!(Axis::around(std::iter::empty(), (0.0, 1.0)).at(0.5).is_finite());
        assert!(Axis::around([f64::NAN, 2.0].into_iter(), (0.0, 1.0)).at(2.0).is_finite());
    }
}
