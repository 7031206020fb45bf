//! Models, seeds, checkpoints, judges and scores of one file, against numbers worked out by hand.

use assay_judging::report::import::{Format, ImportSettings, import};
use assay_judging::report::{IntervalMethod, Report};

use super::{map, settings};

const PROMPTS: usize = 12;

/// Whether a judge prefers the tuned response.
fn wins(model: usize, seed: usize, checkpoint: usize, judge: usize, prompt: usize) -> bool {
    (prompt * 5 + model * 3 + seed * 7 + judge * 2) % 12 < 5 + 2 * model + seed + 2 * checkpoint
}

fn text() -> String {
    let mut text = String::from("item,model,seed,step,judge,winner,tc,bc\n");
    for model in 0..2 {
        for seed in 1..4 {
            for checkpoint in 0..2 {
                for judge in 0..2 {
                    for prompt in 0..PROMPTS {
                        let winner =
                            if wins(model, seed, checkpoint, judge, prompt) { "tuned" } else { "base" };
                        let score = 1 + (prompt + judge) % 5;
                        text.push_str(&format!(
                            "q{prompt},m{model},{seed},epoch {checkpoint},j{judge},{winner},{score},2\n"
                        ));
                    }
                }
            }
        }
    }
    text
}

fn report() -> Report {
    let scores = ["creativity", "coherence", "depth", "engagement", "quality"];
    let scores: Vec<String> =
        scores.iter().flat_map(|name| [format!("tuned.{name}=tc"), format!("base.{name}=bc")]).collect();
    let mut columns =
        vec!["item=item", "model=model", "seed=seed", "checkpoint=step", "judge=judge", "winner=winner"];
    columns.extend(scores.iter().map(String::as_str));
    let map = map(&columns, &["tuned=tuned", "base=base"], &[]);
    import(&text(), &settings(Format::Csv, map)).unwrap()
}

/// The panel's score of one prompt: the mean over both judges.
fn panel(model: usize, seed: usize, checkpoint: usize, prompt: usize) -> f64 {
    (0..2).map(|judge| f64::from(u8::from(wins(model, seed, checkpoint, judge, prompt)))).sum::<f64>() / 2.0
}

#[test]
fn seeds_are_reported_apart_and_together() {
    let report = report();
    assert_eq!(report.comparisons.len(), 12);
    assert_eq!(report.seed_pools.len(), 4, "two models at two checkpoints");
    for (index, pool) in report.seed_pools.iter().enumerate() {
        let (model, checkpoint) = (index / 2, index % 2);
        assert_eq!((pool.seeds.as_slice(), pool.prompts), (&[1, 2, 3][..], 12));
        assert_eq!(pool.checkpoint, format!("epoch {checkpoint}"));
        let of_seed = |seed: usize| {
            (0..PROMPTS).map(|prompt| panel(model, seed, checkpoint, prompt)).sum::<f64>() / PROMPTS as f64
        };
        for (seed, rate) in pool.rates.iter().enumerate() {
            assert!((rate - of_seed(seed + 1)).abs() < 1e-12);
        }
        assert!((pool.rate - (1..4).map(of_seed).sum::<f64>() / 3.0).abs() < 1e-12);
        assert_eq!(pool.interval.unwrap().method, IntervalMethod::CrossedT);
    }
}

#[test]
fn models_and_checkpoints_are_compared_on_shared_prompts() {
    let report = report();
    let [models] = &report.system_differences[..] else { panic!("two models, one difference") };
    assert!(models.one.starts_with("m0") && models.other.starts_with("m1"));
    let of = |model: usize| {
        let all = (1..4).flat_map(|seed| (0..PROMPTS).map(move |prompt| panel(model, seed, 1, prompt)));
        all.sum::<f64>() / (3 * PROMPTS) as f64
    };
    assert!((models.difference - (of(1) - of(0))).abs() < 1e-12);
    assert_eq!(models.prompts, 12);
    assert_eq!(report.checkpoint_differences.len(), 6, "three seeds of two models");
    for row in &report.checkpoint_differences {
        assert_eq!((row.from_checkpoint.as_str(), row.to_checkpoint.as_str()), ("epoch 0", "epoch 1"));
        assert!(row.difference >= 0.0 && row.p_holm >= row.p);
    }
}

#[test]
fn scores_and_their_agreement_are_by_dimension() {
    let report = report();
    assert_eq!(report.scores.len(), 5);
    let depth = &report.scores[2];
    assert_eq!(depth.dimension, "depth");
    let tuned =
        |judge: usize| (0..PROMPTS).map(|p| (1 + (p + judge) % 5) as f64).sum::<f64>() / PROMPTS as f64;
    for (judge, row) in depth.judges.iter().enumerate() {
        assert!((row.tuned - tuned(judge)).abs() < 1e-12 && row.base == 2.0);
        assert!((row.difference - (tuned(judge) - 2.0)).abs() < 1e-12);
    }
    let [kappa] = &depth.weighted_kappa[..] else { panic!("two judges") };
    assert_eq!(kappa.scores, 2 * 12 * PROMPTS as u64, "both responses of every pair");
    assert!(kappa.kappa.unwrap() < 1.0 && depth.krippendorff_alpha.unwrap() < 1.0);
    assert!(report.agreement.judges[0].ac1_interval.is_some());
}

#[test]
fn three_systems_get_strengths_and_a_separable_one_gets_the_prior() {
    let columns = ["item=item", "system_a=a", "system_b=b", "winner=winner"];
    let settings = |base: &str| ImportSettings {
        base: Some(base.into()),
        ..settings(Format::Csv, map(&columns, &["judge=j"], &[]))
    };
    let text = |winner: &dyn Fn(usize, &str, &str) -> String| {
        let mut text = String::from("item,a,b,winner\n");
        for item in 0..12 {
            for (a, b) in [("x", "y"), ("y", "z"), ("z", "x")] {
                text.push_str(&format!("q{item},{a},{b},{}\n", winner(item, a, b)));
            }
        }
        text
    };
    // x beats y 9 of 12, y beats z 9 of 12, x beats z 10 of 12.
    let graded = |item: usize, a: &str, b: &str| {
        let better = if a < b { a } else { b };
        let worse = if a < b { b } else { a };
        let losses = if (better, worse) == ("x", "z") { 2 } else { 3 };
        if item < losses { worse.to_owned() } else { better.to_owned() }
    };
    let report = import(&text(&graded), &settings("x")).unwrap();
    let [group] = &report.strengths[..] else { panic!("one group") };
    let names: Vec<&str> = group.systems.iter().map(|system| system.system.as_str()).collect();
    assert_eq!((names, group.prior_used), (vec!["x", "y", "z"], false));
    assert_eq!((group.systems[0].wins, group.systems[0].losses), (19.0, 5.0));
    // Whichever system is counted from, strengths are the same.
    let other = import(&text(&graded), &settings("z")).unwrap();
    for (one, two) in group.systems.iter().zip(&other.strengths[0].systems) {
        assert!((one.log_strength - two.log_strength).abs() < 1e-9);
    }
    let always = |_: usize, a: &str, b: &str| if a < b { a.to_owned() } else { b.to_owned() };
    let report = import(&text(&always), &settings("x")).unwrap();
    assert!(report.strengths[0].prior_used, "x never loses: there is no maximum without a prior");
    assert!(report.strengths[0].systems[0].log_strength.is_finite());
}
