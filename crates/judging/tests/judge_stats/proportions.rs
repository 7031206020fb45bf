//! Proportions, exact tests, ties, orders, corrections.

use assay_judging::stats::binomial::{binomial_test, fisher_exact, sign_test, sign_test_power};
use assay_judging::stats::multiple;
use assay_judging::stats::panel::{macro_rate, pooled_rate};
use assay_judging::stats::position::{order_balance_p, order_strata as strata};
use assay_judging::stats::proportion::{
    agresti_coull, clopper_pearson, cohens_h, jeffreys, newcombe, tie_rates, wilson,
};

use super::checker::Vector;

pub(crate) fn intervals(v: &mut Vector) {
    let (k, n, alpha) = (v.u64("k"), v.u64("n"), v.f64("alpha"));
    v.check_all("wilson", &wilson(k, n, alpha).unwrap());
    v.check_all("clopper_pearson", &clopper_pearson(k, n, alpha).unwrap());
    v.check_all("agresti_coull", &agresti_coull(k, n, alpha).unwrap());
    v.check_all("jeffreys", &jeffreys(k, n, alpha).unwrap());
    v.check("p_hat", k as f64 / n as f64);
}

pub(crate) fn binomial(v: &mut Vector) {
    let test = binomial_test(v.u64("k"), v.u64("n"), v.f64("p0"));
    v.check("p_two_sided", test.two_sided);
    v.check_if_expected("p_greater", test.greater);
    v.check_if_expected("p_less", test.less);
}

pub(crate) fn ties(v: &mut Vector) {
    let rates = tie_rates(v.u64("wins"), v.u64("ties"), v.u64("losses"), 0.05).unwrap();
    v.check("ties_as_loss", rates.as_loss);
    v.check("ties_dropped", rates.dropped);
    v.check("ties_half", rates.half);
    v.check_all("wilson_dropped", &rates.wilson_dropped.unwrap());
    v.check("sign_test_p_ties_dropped", rates.sign_test_p);
}

pub(crate) fn two_samples(v: &mut Vector) {
    let (a, na, b, nb) = (v.u64("a"), v.u64("na"), v.u64("b"), v.u64("nb"));
    let (pa, pb) = (a as f64 / na as f64, b as f64 / nb as f64);
    v.check("diff", pa - pb);
    v.check_all("newcombe_ci95", &newcombe(a, na, b, nb, 0.05).unwrap());
    v.check("fisher_p", fisher_exact(a, na - a, b, nb - b));
    v.check("cohens_h", cohens_h(pa, pb));
}

pub(crate) fn power(v: &mut Vector) {
    let (p1, alpha) = (v.f64("p1"), v.f64("alpha"));
    let by_n = v.take("power_by_n");
    for (n, theirs) in by_n.as_object().unwrap() {
        let ours = sign_test_power(n.parse().unwrap(), p1, alpha);
        v.compare_all(n, &[ours], &serde_json::json!([theirs]));
    }
}

pub(crate) fn order_strata(v: &mut Vector) {
    let base_first = (v.u64("tuned_wins_when_baseline_first"), v.u64("n_ab"));
    let tuned_first = (v.u64("tuned_wins_when_tuned_first"), v.u64("n_ba"));
    let strata = strata(base_first, tuned_first).unwrap();
    v.check("rate_ab", strata.rate_base_first);
    v.check("rate_ba", strata.rate_tuned_first);
    v.check("diff", strata.difference);
    v.check("fisher_p", strata.fisher_p);
    v.check("balanced_rate", strata.balanced_rate);
}

pub(crate) fn order_balance(v: &mut Vector) {
    v.check("p", order_balance_p(v.u64("n_ab"), v.u64("n_ba")));
}

pub(crate) fn flips(v: &mut Vector) {
    v.check("p_exact", sign_test(v.u64("AA"), v.u64("BB")));
}

pub(crate) fn corrections(v: &mut Vector) {
    let (p, alpha): (Vec<f64>, f64) = (v.get("p"), v.f64("alpha"));
    type Method = fn(&[f64]) -> Vec<f64>;
    let methods: [(&str, Method); 5] = [
        ("bonferroni", multiple::bonferroni),
        ("holm", multiple::holm),
        ("hommel", multiple::hommel),
        ("fdr_bh", multiple::benjamini_hochberg),
        ("fdr_by", multiple::benjamini_yekutieli),
    ];
    for (name, method) in methods {
        let (ours, theirs) = (method(&p), v.take(name));
        v.compare_all(name, &ours, &theirs["adjusted"]);
        let rejected: Vec<bool> = ours.iter().map(|p| *p <= alpha).collect();
        assert_eq!(serde_json::json!(rejected), theirs["reject"], "{}: {name}", v.id);
    }
}

pub(crate) fn paper_arithmetic(v: &mut Vector) {
    let file = |model: &str, judge: &str| -> (u64, u64) {
        serde_json::from_value(v.inputs[model][judge].clone()).unwrap()
    };
    let qwen = |judge: &str| file("qwen3b", judge);
    let llama = |judge: &str| file("llama", judge);
    let qwen4 = [qwen("sonnet"), qwen("opus_full"), qwen("gpt4o"), qwen("gemini")];
    let llama4 = [llama("sonnet4"), llama("opus"), llama("gpt4o"), llama("gemini")];
    let first_pass = pooled_rate(&[qwen("sonnet"), qwen("opus_first15")]);
    let llama_first = (llama("sonnet4").0 + llama("opus").0, llama("sonnet4").1 + llama("opus").1);
    let llama3 = [llama_first, llama("gpt4o"), llama("gemini")];
    v.check("qwen_aggregate_printed", first_pass);
    v.check("qwen_sonnet_plus_opus15", first_pass);
    v.check("qwen_macro_4", macro_rate(&qwen4));
    v.check("qwen_micro_4", pooled_rate(&qwen4));
    v.check("llama_macro_4", macro_rate(&llama4));
    v.check("llama_micro_4", pooled_rate(&llama4));
    v.check("llama_macro_3_files", macro_rate(&llama3));
    // The number in print is no aggregate of these files: that is what the vector says.
    let printed = v.take("llama_printed").as_f64().unwrap();
    for ours in [macro_rate(&llama4), pooled_rate(&llama4), macro_rate(&llama3)] {
        assert!((ours.unwrap() - printed).abs() > 1e-3);
    }
}
