//! Agreement between judges, position bias, panels, log-probabilities.

use assay_judging::logprob::{Pass, combine, log_sum_exp, sigmoid};
use assay_judging::records::{Label, LabelLogprobs, Slot, Winner};
use assay_judging::stats::agreement::{self, Weights, agreement};
use assay_judging::stats::panel::{panel_rates, plurality, score_of};
use assay_judging::stats::position::{SlotChoice, position_counts};
use assay_judging::stats::rank::{self, Zeros};
use assay_judging::stats::reliability::{
    Metric, cochran_q, fleiss_kappa, krippendorff_alpha, randolph_kappa,
};
use assay_judging::stats::{binomial::sign_test, proportion::wilson};
use serde_json::json;

use super::checker::Vector;

pub(crate) fn mcnemar(v: &mut Vector) {
    let table: [[u64; 2]; 2] = v.get("table");
    let (b, c) = (table[0][1], table[1][0]);
    v.check("b", b as f64);
    v.check("c", c as f64);
    let test = agreement::mcnemar(b, c);
    v.check("p_exact", test.exact);
    v.check_if_expected("p_mid", test.mid);
    if let Some(chi) = test.chi_squared {
        v.check("chi2", chi.statistic);
        v.check("p_chi2", chi.p);
        v.check("chi2_cc", chi.corrected);
        v.check("p_chi2_cc", chi.corrected_p);
    }
}

pub(crate) fn position(v: &mut Vector) {
    let pairs: Vec<String> = v.get("choice_pairs");
    let choice = |letter: u8| match letter {
        b'A' => SlotChoice::First,
        b'B' => SlotChoice::Second,
        _ => SlotChoice::Tie,
    };
    let swaps: Vec<_> = pairs.iter().map(|p| (choice(p.as_bytes()[0]), choice(p.as_bytes()[1]))).collect();
    let counts = position_counts(&swaps);
    v.check("n", counts.n as f64);
    v.check("primacy", counts.primacy as f64);
    v.check("recency", counts.recency as f64);
    v.check("consistent", counts.consistent as f64);
    v.check("position_consistency", counts.consistency());
    v.check("preference_fairness", counts.preference_fairness());
    v.check("first_slot_picks", counts.first_picks as f64);
    v.check("second_slot_picks", counts.second_picks as f64);
    v.check("first_slot_rate", counts.first_slot_rate());
    v.check("p_first_slot_binom", counts.first_slot_p());
    v.check("x_win_consistent_only", counts.x_wins as f64);
    v.check("y_win_consistent_only", counts.y_wins as f64);
    v.check("tie_after_reconcile", counts.ties_reconciled() as f64);
    v.check("x_win_rate_reconciled_half", counts.x_rate_reconciled());
    v.check("x_win_rate_mean_of_orders", counts.x_rate_mean_of_orders());
}

pub(crate) fn kappa(v: &mut Vector) {
    let table: Vec<Vec<u64>> = v.get("table");
    let ours = agreement(&table).unwrap();
    let agreeing: u64 = (0..table.len()).map(|i| table[i][i]).sum();
    v.check_if_expected("n", ours.n as f64);
    v.check_if_expected("po", ours.observed);
    v.check_if_expected("pe", ours.expected);
    v.check("kappa", ours.kappa);
    v.check_if_expected("se_kappa", ours.kappa_se);
    v.check_if_expected("se_kappa_null", ours.kappa_se_null);
    if v.expects("ci95") {
        v.check_all("ci95", &ours.kappa_interval(0.05).unwrap());
        v.check_all("wilson_po", &wilson(agreeing, ours.n, 0.05).unwrap());
    }
    v.check_if_expected("gwet_ac1", ours.ac1);
    v.check_if_expected("scott_pi", ours.scott_pi);
    v.check_if_expected("pabak", ours.pabak);
}

pub(crate) fn weighted_kappa(v: &mut Vector) {
    let (table, scale): (Vec<Vec<u64>>, Vec<f64>) = (v.get("table"), v.get("scale"));
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for (i, row) in table.iter().enumerate() {
        for (j, count) in row.iter().enumerate() {
            for _ in 0..*count {
                one.push(scale[i]);
                other.push(scale[j]);
            }
        }
    }
    v.check("kappa", agreement(&table).unwrap().kappa);
    v.check("kappa_linear", agreement::weighted_kappa(&table, Weights::Linear));
    v.check("kappa_quadratic", agreement::weighted_kappa(&table, Weights::Quadratic));
    v.check("spearman", rank::spearman(&one, &other));
    v.check("kendall_tau_b", rank::kendall_tau_b(&one, &other));
    v.check("pearson", rank::pearson(&one, &other));
    let difference: f64 = one.iter().zip(&other).map(|(a, b)| a - b).sum();
    v.check("mean_diff", difference / one.len() as f64);
}

pub(crate) fn fleiss_counts(v: &mut Vector) {
    let counts: Vec<Vec<u64>> = v.get("counts");
    v.check("kappa", fleiss_kappa(&counts));
    v.check("kappa_uniform_randolph", randolph_kappa(&counts));
}

pub(crate) fn fleiss_judges(v: &mut Vector) {
    let items: Vec<Vec<usize>> = v.get("items_x_judges");
    let counts: Vec<Vec<u64>> = items
        .iter()
        .map(|item| (0..3).map(|c| item.iter().filter(|x| **x == c).count() as u64).collect())
        .collect();
    assert_eq!(json!(counts), v.take("counts"));
    assert_eq!(v.take("category_order"), json!([0, 1, 2]));
    v.check("kappa", fleiss_kappa(&counts));
    let raters: Vec<Vec<Option<f64>>> =
        (0..3).map(|j| items.iter().map(|item| Some(item[j] as f64)).collect()).collect();
    v.check("krippendorff_alpha_nominal", krippendorff_alpha(&raters, Metric::Nominal));
    let pairwise = v.take("pairwise_agreement");
    let mut shares = Vec::new();
    for (i, j) in [(0, 1), (0, 2), (1, 2)] {
        let mut table = [[0u64; 3]; 3];
        items.iter().for_each(|item| table[item[i]][item[j]] += 1);
        shares.push(agreement(&table).unwrap().observed);
        v.compare_all("pairwise", &shares[shares.len() - 1..], &json!([pairwise[format!("{i}-{j}")]]));
    }
    v.check("mean_pairwise_agreement", shares.iter().sum::<f64>() / 3.0);
    v.check("unanimous", items.iter().filter(|item| item.iter().all(|x| *x == item[0])).count() as f64);
    let winner = |code: &usize| [Winner::Base, Winner::Tuned, Winner::Tie][*code];
    let majority: Vec<_> = items.iter().map(|item| plurality(item.iter().map(winner)).unwrap()).collect();
    let codes: Vec<usize> = majority
        .iter()
        .map(|w| match w {
            Winner::Base => 0,
            Winner::Tuned => 1,
            Winner::Tie => 2,
        })
        .collect();
    assert_eq!(json!(codes), v.take("majority"));
}

pub(crate) fn krippendorff(v: &mut Vector) {
    let raters: Vec<Vec<Option<f64>>> = v.get("raters_x_units");
    v.check("nominal", krippendorff_alpha(&raters, Metric::Nominal));
    v.check("ordinal", krippendorff_alpha(&raters, Metric::Ordinal));
    v.check("interval", krippendorff_alpha(&raters, Metric::Interval));
    v.check_if_expected("ratio", krippendorff_alpha(&raters, Metric::Ratio));
}

pub(crate) fn cochran(v: &mut Vector) {
    let items: Vec<Vec<u8>> = v.get("items_x_judges_binary");
    let items: Vec<Vec<bool>> = items.iter().map(|row| row.iter().map(|x| *x == 1).collect()).collect();
    let q = cochran_q(&items).unwrap();
    v.check("statistic", q.statistic);
    v.check("df", q.degrees as f64);
    v.check("p", q.p);
}

pub(crate) fn wilcoxon(v: &mut Vector) {
    let diffs: Vec<f64> = v.get("diffs");
    let (drop, pratt) =
        (rank::wilcoxon(&diffs, Zeros::Drop).unwrap(), rank::wilcoxon(&diffs, Zeros::Pratt).unwrap());
    v.check("W_wilcox", drop.statistic);
    v.check("p_wilcox_approx", drop.p);
    v.check("W_pratt", pratt.statistic);
    v.check("p_pratt_approx", pratt.p);
    v.check("mean", diffs.iter().sum::<f64>() / diffs.len() as f64);
    let count = |want: fn(f64) -> bool| diffs.iter().filter(|d| want(**d)).count() as u64;
    let (positive, negative) = (count(|d| d > 0.0), count(|d| d < 0.0));
    v.check("n_pos", positive as f64);
    v.check("n_neg", negative as f64);
    v.check("n_zero", count(|d| d == 0.0) as f64);
    v.check("sign_test_p", sign_test(positive, negative));
}

pub(crate) fn panel(v: &mut Vector) {
    let rows: Vec<Vec<Option<String>>> = v.get("rows");
    let winner = |code: &Option<String>| {
        code.as_deref().map(|code| match code {
            "T" => Winner::Tuned,
            "B" => Winner::Base,
            _ => Winner::Tie,
        })
    };
    let verdicts: Vec<Vec<Option<Winner>>> =
        rows.iter().map(|row| row.iter().map(winner).collect()).collect();
    let name = |winner: Option<Winner>| match winner {
        Some(Winner::Tuned) => "T",
        Some(Winner::Base) => "B",
        Some(Winner::Tie) | None => "tie",
    };
    let most: Vec<_> = verdicts.iter().map(|row| name(plurality(row.iter().flatten().copied()))).collect();
    assert_eq!(json!(most), v.take("plurality"));
    let scores: Vec<Vec<Option<f64>>> =
        verdicts.iter().map(|row| row.iter().map(|w| w.map(score_of)).collect()).collect();
    let rates = panel_rates(&scores);
    let theirs = v.take("per_judge_win_rate_ties_half");
    for (judge, ours) in v.get::<Vec<String>>("judges").iter().zip(&rates.per_judge) {
        v.compare_all(judge, &[ours.unwrap()], &json!([theirs[judge]]));
    }
    v.check("macro_mean_of_judges", rates.macro_mean);
    v.check("item_mean_then_mean", rates.item_mean);
    v.check("pooled_micro", rates.pooled);
}

pub(crate) fn logprob(v: &mut Vector) {
    let pass = |order: &str, tuned_slot, tuned_label| {
        let of = |label: &str| v.inputs[order][label].as_f64().unwrap();
        Pass { tuned_slot, tuned_label, logprobs: LabelLogprobs { a: of("A"), b: of("B") } }
    };
    // The vectors tie labels to slots: the first slot is A in both orders.
    let one = pass("order1", Slot::First, Label::A);
    let two = pass("order2", Slot::Second, Label::B);
    let preference = combine(&[one, two]).unwrap();
    v.check("p_first_slot_order1", one.p_first_slot());
    v.check("p_first_slot_order2", two.p_first_slot());
    v.check("ab_mass_order1", one.logprobs.mass());
    v.check("ab_mass_order2", two.logprobs.mass());
    v.check("p_x_prob_mean", preference.p_tuned_prob_mean);
    v.check("logit_x_debiased", preference.logit_tuned);
    v.check("p_x_logit_mean", preference.p_tuned);
    v.check("position_bias_logit", preference.slot_bias_logit);
    assert_eq!(v.take("consistent"), json!(preference.consistent), "{}", v.id);
    let verdict = match preference.winner {
        Winner::Tuned => "X",
        Winner::Base => "Y",
        Winner::Tie => "tie",
    };
    assert_eq!(v.take("verdict"), json!(verdict), "{}", v.id);
    assert_eq!(preference.is_low_mass(), v.id.ends_with("low_mass"), "{}", v.id);
}

pub(crate) fn token_variants(v: &mut Vector) {
    let of = |label: &str| {
        let variants: Vec<String> = serde_json::from_value(v.inputs["groups"][label].clone()).unwrap();
        let logs: Vec<f64> = variants.iter().map(|t| v.inputs["logprobs"][t].as_f64().unwrap()).collect();
        log_sum_exp(&logs)
    };
    let both = LabelLogprobs { a: of("A"), b: of("B") };
    v.check("logp_A", both.a);
    v.check("logp_B", both.b);
    v.check("p_A_normalised", sigmoid(both.logit(Label::A)));
    v.check("ab_mass", both.mass());
}
