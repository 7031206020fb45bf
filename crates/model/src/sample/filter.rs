//! One token from one row of probabilities: the filters of Transformers, then the inverse of the cumulative sum.

use super::SampleSettings;

/// Probabilities are summed in blocks of this many, to find the place without adding up every one in sequence.
pub(super) const BLOCK: usize = 512;

/// Picks by the number `unit` in `[0, 1)`: kept tokens lie side by side in order of their ids, each as wide as its probability. None
/// where the probabilities are no numbers.
pub(super) fn pick_one(settings: &SampleSettings, probabilities: &[f32], unit: f64) -> Option<u32> {
    let floor = if is_unfiltered(settings) {
        f32::MIN_POSITIVE
    } else {
        floor(settings, &ranked(settings, probabilities))
    };
    let sums: Vec<f64> = probabilities.chunks(BLOCK).map(|block| sum_kept(block, floor)).collect();
    let place = Place::find(&sums, unit)?;
    let block = &probabilities[place.block * BLOCK..];
    Some(place.pick(&block[..block.len().min(BLOCK)], floor))
}

/// Whether every token with a probability passes.
pub(super) fn is_unfiltered(settings: &SampleSettings) -> bool {
    settings.top_k == 0 && settings.top_p >= 1.0 && settings.min_p <= 0.0
}

/// In which block a random number lies.
pub(super) struct Place {
    pub(super) block: usize,
    /// The sum of all before it.
    before: f64,
    target: f64,
}

impl Place {
    /// By the sums of what passes in each block; none where they are no numbers.
    pub(super) fn find(sums: &[f64], unit: f64) -> Option<Self> {
        let total = sums.iter().sum::<f64>();
        if total == 0.0 || !total.is_finite() {
            return None;
        }
        let (target, mut before) = (unit * total, 0.0);
        // The last block that has anything is always looked into: rounding may put the target behind it.
        let last = sums.iter().rposition(|sum| *sum > 0.0)?;
        for (block, sum) in sums[..last].iter().enumerate().filter(|(_, sum)| **sum > 0.0) {
            if before + sum > target {
                return Some(Self { block, before, target });
            }
            before += sum;
        }
        Some(Self { block: last, before, target })
    }

    /// The token in the block's probabilities.
    pub(super) fn pick(&self, block: &[f32], floor: f32) -> u32 {
        let (mut sum, mut last) = (self.before, 0);
        for (place, probability) in block.iter().enumerate().filter(|(_, one)| **one >= floor) {
            sum += f64::from(*probability);
            last = place;
            if sum > self.target {
                break;
            }
        }
        (self.block * BLOCK + last) as u32
    }
}

/// Sum of what passes, in eight independent sums that a processor can work on at once.
fn sum_kept(block: &[f32], floor: f32) -> f64 {
    let mut sums = [0.0_f64; 8];
    for part in block.chunks(8) {
        for (sum, probability) in sums.iter_mut().zip(part) {
            *sum += if *probability >= floor { f64::from(*probability) } else { 0.0 };
        }
    }
    sums.iter().sum()
}

/// The least probability that passes all filters. Tokens equal to it pass too: which of equals are kept is undefined in
/// Transformers as well. `ranked` are the largest in descending order, as many as the filters need.
pub(super) fn floor(settings: &SampleSettings, ranked: &[f32]) -> f32 {
    let mut kept = ranked;
    if settings.top_k > 0 && kept.len() > settings.top_k as usize {
        let least = kept[settings.top_k as usize - 1];
        let end = kept.partition_point(|probability| *probability >= least);
        kept = &kept[..end];
    }
    if settings.top_p < 1.0 {
        let total: f64 = if settings.top_k > 0 {
            kept.iter().map(|probability| f64::from(*probability)).sum()
        } else {
            1.0
        };
        let mut sum = 0.0;
        let enough = kept.iter().position(|probability| {
            sum += f64::from(*probability) / total;
            sum >= settings.top_p
        });
        kept = &kept[..enough.map_or(kept.len(), |at| at + 1)];
    }
    let least = kept.last().copied().unwrap_or(0.0);
    let most = ranked.first().copied().unwrap_or(0.0);
    least.max((settings.min_p * f64::from(most)) as f32).max(f32::MIN_POSITIVE)
}

/// Whether the largest probabilities, so many of them, are as many as the filters can need.
pub(super) fn is_enough(settings: &SampleSettings, largest: &[f32]) -> bool {
    let mass: f64 = largest.iter().map(|probability| f64::from(*probability)).sum();
    let enough_k = settings.top_k == 0 || largest.len() >= settings.top_k as usize;
    let enough_p = settings.top_k > 0 || mass >= settings.top_p;
    enough_k && enough_p && !largest.is_empty()
}

/// The largest probabilities, in descending order: as many as the filters can need. Most of a vocabulary has next to none,
/// so that only a few thousand are sorted.
fn ranked(settings: &SampleSettings, probabilities: &[f32]) -> Vec<f32> {
    let mut threshold = 1e-3_f32;
    loop {
        let mut large: Vec<f32> =
            probabilities.iter().copied().filter(|probability| *probability >= threshold).collect();
        if is_enough(settings, &large) || threshold == 0.0 {
            large.sort_unstable_by(|left, right| right.total_cmp(left));
            return large;
        }
        threshold = if threshold > 1e-9 { threshold * 0.03 } else { 0.0 };
    }
}
