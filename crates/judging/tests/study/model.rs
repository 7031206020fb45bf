//! The simulated study: prompts, training seeds, biased judges and a taste for the first slot.
//!
//! Quality of a pair: mu + prompt + seed + rest. A judge sees it with its own bias, a slot bias that changes sign with the
//! order, and noise; it ties when what it sees is close to 0. mu is solved for, so that the expected score of the panel
//! over both orders is the cell's rate: bias of judges is part of what a panel measures, and no interval mends it.

use assay_judging::stats::panel::mean_present;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use statrs::distribution::{ContinuousCDF, Normal};

const PROMPT_SD: f64 = 0.6;
const REST_SD: f64 = 0.6;
/// Only where several seeds are pooled: of one seed the estimand is that very run.
const SEED_SD: f64 = 0.15;
const NOISE_SD: f64 = 0.8;
const TIE_WITHIN: f64 = 0.1;
const BIASES: [f64; 3] = [-0.4, 0.0, 0.6];
const SLOT_BIAS: f64 = 0.5;

/// One point of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cell {
    pub(crate) rate: f64,
    pub(crate) prompts: usize,
    pub(crate) seeds: usize,
    pub(crate) biased_judges: bool,
    pub(crate) position_bias: bool,
}

/// The grid, fixed before the first run.
pub(crate) static GRID: std::sync::LazyLock<Vec<Cell>> = std::sync::LazyLock::new(|| {
    let mut grid = Vec::new();
    for rate in [0.5, 0.7, 0.9] {
        for prompts in [25, 57] {
            for seeds in [1, 3] {
                for biased_judges in [false, true] {
                    for position_bias in [false, true] {
                        grid.push(Cell { rate, prompts, seeds, biased_judges, position_bias });
                    }
                }
            }
        }
    }
    grid
});

/// Panel scores of one run.
pub(crate) struct Scores {
    /// Prompts x seeds.
    pub(crate) cells: Vec<Vec<f64>>,
    /// All verdicts behind them.
    pub(crate) verdicts: u64,
}

impl Scores {
    pub(crate) fn by_prompt(&self) -> Vec<f64> {
        self.cells.iter().filter_map(|row| mean_present(row.iter().copied().map(Some))).collect()
    }

    pub(crate) fn mean(&self) -> f64 {
        mean_present(self.by_prompt().into_iter().map(Some)).unwrap()
    }
}

/// Draws runs of one cell.
pub(crate) struct Study {
    cell: Cell,
    /// The bias of every judge in every order.
    views: Vec<f64>,
    seed_sd: f64,
    mu: f64,
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Study {
    pub(crate) fn new(cell: &Cell) -> Study {
        let slot = if cell.position_bias { SLOT_BIAS } else { 0.0 };
        let judges = if cell.biased_judges { BIASES } else { [0.0; 3] };
        let views: Vec<f64> = judges.iter().flat_map(|bias| [bias + slot, bias - slot]).collect();
        let seed_sd = if cell.seeds > 1 { SEED_SD } else { 0.0 };
        let place = GRID.iter().position(|known| known == cell).unwrap() as u64;
        let mut study = Study {
            cell: *cell,
            views,
            seed_sd,
            mu: 0.0,
            rng: ChaCha8Rng::seed_from_u64(20_261_123 + place),
            spare: None,
        };
        study.mu = study.solve();
        study
    }

    /// The mu at which the expected score of the panel is the cell's rate.
    fn solve(&self) -> f64 {
        let spread =
            [PROMPT_SD, REST_SD, self.seed_sd, NOISE_SD].iter().map(|sd| sd * sd).sum::<f64>().sqrt();
        let normal = Normal::standard();
        let score = |m: f64| {
            f64::midpoint(normal.cdf((m - TIE_WITHIN) / spread), normal.cdf((m + TIE_WITHIN) / spread))
        };
        let expected = |mu: f64| mean_present(self.views.iter().map(|view| Some(score(mu + view)))).unwrap();
        let (mut low, mut high) = (-10.0, 10.0);
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if expected(middle) < self.cell.rate { low = middle } else { high = middle }
        }
        low
    }

    pub(crate) fn draw(&mut self) -> Scores {
        let seeds: Vec<f64> = (0..self.cell.seeds).map(|_| self.seed_sd * self.normal()).collect();
        let mut cells = Vec::with_capacity(self.cell.prompts);
        for _ in 0..self.cell.prompts {
            let prompt = self.mu + PROMPT_SD * self.normal();
            cells.push(seeds.iter().map(|seed| self.panel(prompt + seed)).collect());
        }
        Scores { cells, verdicts: (self.cell.prompts * self.cell.seeds * self.views.len()) as u64 }
    }

    /// The panel's score of one pair: the mean over judges and orders.
    fn panel(&mut self, quality: f64) -> f64 {
        let quality = quality + REST_SD * self.normal();
        let mut sum = 0.0;
        for index in 0..self.views.len() {
            let seen = quality + self.views[index] + NOISE_SD * self.normal();
            sum += if seen > TIE_WITHIN {
                1.0
            } else if seen < -TIE_WITHIN {
                0.0
            } else {
                0.5
            };
        }
        sum / self.views.len() as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let mut uniform = || ((self.rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f64::consts::TAU * uniform());
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}
