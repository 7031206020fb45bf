//! Which rows belong to which optimizer step: a pure function of seed and step, so a resume needs only the step.

use tch::{Device, Kind, Tensor};

use super::TrainSettings;
use crate::Result;
use crate::random::seeded;

/// The data order of a run.
#[derive(Debug)]
pub(super) struct DataOrder {
    rows: usize,
    micro_batch: usize,
    accumulation: usize,
    epochs: u64,
    /// Seed of the first epoch's order; none keeps the rows in order.
    seed: Option<u64>,
}

impl DataOrder {
    pub(super) fn new(settings: &TrainSettings, rows: usize) -> Self {
        Self {
            rows,
            micro_batch: settings.micro_batch,
            accumulation: settings.accumulation,
            epochs: settings.epochs,
            seed: settings.shuffle.then_some(settings.seed),
        }
    }

    /// Micro-batches of an epoch in groups; the last group, even if smaller, is a step of its own.
    pub(super) fn steps_per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.micro_batch).div_ceil(self.accumulation) as u64
    }

    pub(super) fn total_steps(&self) -> u64 {
        self.steps_per_epoch() * self.epochs
    }

    /// Row numbers of each micro-batch of the step after `done` steps.
    pub(super) fn step(&self, done: u64) -> Result<Vec<Vec<usize>>> {
        let order = self.epoch(done / self.steps_per_epoch())?;
        let group = self.micro_batch * self.accumulation;
        let start = (done % self.steps_per_epoch()) as usize * group;
        let end = (start + group).min(order.len());
        Ok(order[start..end].chunks(self.micro_batch).map(<[usize]>::to_vec).collect())
    }

    /// The order of an epoch, from 0: `torch.randperm` after `manual_seed(seed + epoch)`, as the seedable sampler of
    /// Accelerate has it.
    fn epoch(&self, epoch: u64) -> Result<Vec<usize>> {
        let Some(seed) = self.seed else { return Ok((0..self.rows).collect()) };
        let permute = || Tensor::f_randperm(self.rows as i64, (Kind::Int64, Device::Cpu));
        let order = seeded(seed.wrapping_add(epoch), permute)?;
        let order = Vec::<i64>::try_from(&order)?;
        Ok(order.into_iter().map(|row| row as usize).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(rows: usize, micro_batch: usize, accumulation: usize, shuffle: bool) -> DataOrder {
        let settings =
            TrainSettings { micro_batch, accumulation, shuffle, epochs: 2, ..TrainSettings::default() };
        DataOrder::new(&settings, rows)
    }

    /// The method's own runs: 1,213 rows made 304 steps, 1,153 rows 290 steps, whichever way 8 was split.
    #[test]
    fn steps_are_counted_as_in_recorded_runs() {
        assert_eq!(order(1213, 2, 4, true).total_steps(), 304);
        assert_eq!(order(1153, 2, 4, true).total_steps(), 290);
        assert_eq!(order(1153, 1, 8, true).total_steps(), 290);
    }

    #[test]
    fn every_row_is_used_once_an_epoch_and_the_last_group_is_smaller() {
        let order = order(11, 2, 2, true);
        assert_eq!(order.steps_per_epoch(), 3);
        let mut first: Vec<usize> = (0..3).flat_map(|done| order.step(done).unwrap().concat()).collect();
        let second: Vec<usize> = (3..6).flat_map(|done| order.step(done).unwrap().concat()).collect();
        assert_ne!(first, second, "each epoch has its own order");
        assert_eq!(order.step(2).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        first.sort_unstable();
        assert_eq!(first, (0..11).collect::<Vec<_>>());
    }

    #[test]
    fn the_order_does_not_depend_on_how_a_step_is_split() {
        let (wide, narrow) = (order(20, 4, 2, true), order(20, 1, 8, true));
        for done in 0..6 {
            assert_eq!(wide.step(done).unwrap().concat(), narrow.step(done).unwrap().concat());
        }
    }

    /// `torch.randperm(10, generator=torch.Generator().manual_seed(42))` of PyTorch, and 43 for the second epoch: the
    /// Mersenne Twister's numbers, each modulo the places left, written down from an implementation of its own.
    #[test]
    fn the_permutation_is_that_of_torch() {
        let order = order(10, 10, 1, true);
        assert_eq!(order.step(0).unwrap(), [[2, 6, 1, 8, 4, 5, 0, 9, 3, 7]]);
        assert_eq!(order.step(1).unwrap(), [[8, 4, 9, 0, 5, 1, 6, 7, 2, 3]]);
    }
}
