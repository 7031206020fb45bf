//! A mean over prompts crossed with training seeds: both are samples of what could have been asked and drawn.
//!
//! Two-way random effects without replication: y_ps = mu + prompt_p + seed_s + e_ps. Expected mean squares give
//! Var(mean) = (MS_prompt + MS_seed - MS_rest) / (P S), with Satterthwaite's degrees of freedom (Searle, Casella and
//! McCulloch 1992, section 4.3). A seed component below 0 counts as 0, so that luck never narrows the interval.

use super::special::student_t_quantile;

/// A mean over prompts x seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossedMean {
    /// Prompts.
    pub prompts: usize,
    /// Seeds.
    pub seeds: usize,
    /// Mean over all cells.
    pub mean: f64,
    /// Its standard error.
    pub se: f64,
    /// Satterthwaite's degrees of freedom; 0/0 when nothing varies.
    pub degrees: f64,
    /// Standard deviation between seeds beyond chance; 0 when seeds differ less than chance would let them.
    pub seed_sd: f64,
}

impl CrossedMean {
    /// The t interval, not clamped; `None` when nothing varies.
    #[must_use]
    pub fn t_interval(&self, alpha: f64) -> Option<[f64; 2]> {
        if self.se <= 0.0 {
            return None;
        }
        let half = student_t_quantile(1.0 - alpha / 2.0, self.degrees) * self.se;
        Some([self.mean - half, self.mean + half])
    }
}

/// The crossed mean of prompts x seeds. `None` for fewer than two of either, or rows of different lengths.
#[must_use]
pub fn crossed_mean(cells: &[Vec<f64>]) -> Option<CrossedMean> {
    let (prompts, seeds) = (cells.len(), cells.first()?.len());
    if prompts < 2 || seeds < 2 || cells.iter().any(|row| row.len() != seeds) {
        return None;
    }
    let (p, s) = (prompts as f64, seeds as f64);
    let rows: Vec<f64> = cells.iter().map(|row| row.iter().sum::<f64>() / s).collect();
    let columns: Vec<f64> = (0..seeds).map(|j| cells.iter().map(|row| row[j]).sum::<f64>() / p).collect();
    let mean = rows.iter().sum::<f64>() / p;
    let squares = |means: &[f64]| means.iter().map(|m| (m - mean).powi(2)).sum::<f64>();
    let rest = |(row, of_row): (&Vec<f64>, &f64)| {
        row.iter().zip(&columns).map(|(y, of_column)| (y - of_row - of_column + mean).powi(2)).sum::<f64>()
    };
    let (df_prompt, df_seed) = (p - 1.0, s - 1.0);
    let df_rest = df_prompt * df_seed;
    let ms_prompt = s * squares(&rows) / df_prompt;
    let ms_seed = p * squares(&columns) / df_seed;
    let ms_rest = cells.iter().zip(&rows).map(rest).sum::<f64>() / df_rest;
    let by_seed = ms_seed > ms_rest;
    let sum = if by_seed { ms_prompt + ms_seed - ms_rest } else { ms_prompt };
    let spread = if by_seed {
        ms_prompt.powi(2) / df_prompt + ms_seed.powi(2) / df_seed + ms_rest.powi(2) / df_rest
    } else {
        ms_prompt.powi(2) / df_prompt
    };
    Some(CrossedMean {
        prompts,
        seeds,
        mean,
        se: (sum / (p * s)).sqrt(),
        degrees: sum.powi(2) / spread,
        seed_sd: ((ms_seed - ms_rest).max(0.0) / p).sqrt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_table_by_hand() {
        // Rows 0.5, 0.5, 1; columns 2/3, 2/3; mean 2/3. MS_prompt = 2 * (2/36 + 1/9) / 2 = 1/6, MS_seed = 0;
        // residuals 1/2 - 1/3 - ... : +-1/2 in two rows, 0 in the third, so MS_rest = 4 * 1/4 / 2 = 1/2.
        let mean = crossed_mean(&[vec![1.0, 0.0], vec![0.0, 1.0], vec![1.0, 1.0]]).unwrap();
        assert!((mean.mean - 2.0 / 3.0).abs() < 1e-15);
        assert!((mean.se - (1.0f64 / 6.0 / 6.0).sqrt()).abs() < 1e-15);
        assert!((mean.degrees - 2.0).abs() < 1e-12);
        assert_eq!(mean.seed_sd, 0.0);
    }

    #[test]
    fn seeds_that_differ_widen_the_interval() {
        // Columns 1 and 1/4, rows 1/2 (three) and 1, mean 5/8. MS_seed = 4 * 2 * (3/8)^2 = 9/8,
        // MS_prompt = 2 * (3/64 + 9/64) / 3 = 1/8, residuals 1/8 (six) and 3/8 (two): MS_rest = 3/8 / 3 = 1/8.
        // Var = (1/8 + 9/8 - 1/8) / 8 = (3/8)^2; df = (9/8)^2 / (1/192 + 81/64 + 1/192) = 243/245.
        let cells = [vec![1.0, 0.0], vec![1.0, 0.0], vec![1.0, 0.0], vec![1.0, 1.0]];
        let mean = crossed_mean(&cells).unwrap();
        assert!((mean.se - 0.375).abs() < 1e-15, "{}", mean.se);
        assert!((mean.degrees - 243.0 / 245.0).abs() < 1e-12, "{}", mean.degrees);
        assert!((mean.seed_sd - 0.5).abs() < 1e-15);
    }

    #[test]
    fn what_cannot_be_crossed_is_refused() {
        assert!(crossed_mean(&[vec![1.0, 0.0]]).is_none());
        assert!(crossed_mean(&[vec![1.0], vec![0.0]]).is_none());
        assert!(crossed_mean(&[vec![1.0, 0.0], vec![0.0]]).is_none());
        assert!(crossed_mean(&[vec![1.0, 1.0], vec![1.0, 1.0]]).unwrap().t_interval(0.05).is_none());
    }
}
