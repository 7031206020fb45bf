//! All statistics against vectors computed with scipy, statsmodels, scikit-learn, krippendorff and choix.
//!
//! Every expected value of every vector must be asked for, so that a vector cannot pass by being half read.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

#[path = "judge_stats/checker.rs"]
mod checker;
#[path = "judge_stats/clusters.rs"]
mod clusters;
#[path = "judge_stats/judges.rs"]
mod judges;
#[path = "judge_stats/proportions.rs"]
mod proportions;

use checker::Vector;

/// Vectors that nothing computes yet: none.
const NOT_COVERED: [&str; 0] = [];

type Check = fn(&mut Vector);

/// What computes the vectors whose id starts so; the first match counts.
const FAMILIES: [(&str, Check); 31] = [
    ("prop_ci_", proportions::intervals),
    ("binom_two_sided_", proportions::binomial),
    ("tie_conventions", proportions::ties),
    ("two_prop_", proportions::two_samples),
    ("power_sign_test_", proportions::power),
    ("order_strata_", proportions::order_strata),
    ("order_balance_", proportions::order_balance),
    ("paper_overall_arithmetic", proportions::paper_arithmetic),
    ("multipletests_", proportions::corrections),
    ("mcnemar_", judges::mcnemar),
    ("position_mcnemar_", proportions::flips),
    ("position_swap_", judges::position),
    ("cohen_kappa_", judges::kappa),
    ("weighted_kappa_", judges::weighted_kappa),
    ("fleiss_wikipedia", judges::fleiss_counts),
    ("fleiss_3judges", judges::fleiss_judges),
    ("krippendorff_", judges::krippendorff),
    ("cochran_q_", judges::cochran),
    ("wilcoxon_", judges::wilcoxon),
    ("panel_aggregation", judges::panel),
    ("logprob_judge_", judges::logprob),
    ("logprob_token_variants", judges::token_variants),
    ("bradley_terry_separable", clusters::separable),
    ("bradley_terry_", clusters::bradley_terry),
    ("clustered_se_", clusters::standard_errors),
    ("cluster_bootstrap_enumerated", clusters::bootstrap_enumerated),
    ("cluster_bootstrap_given", clusters::bootstrap_given),
    ("paired_diff_clustered", clusters::paired),
    ("cluster_sign_flip", clusters::sign_flip),
    ("length_controlled_", clusters::length_controlled),
    ("", unknown),
];

fn unknown(vector: &mut Vector) {
    panic!("no family computes {}", vector.id);
}

#[test]
fn every_vector_is_reproduced() {
    let vectors = Vector::all(include_str!("fixtures/judge_stats.json"));
    assert_eq!(vectors.len(), 97);
    for mut vector in vectors {
        if NOT_COVERED.contains(&vector.id.as_str()) {
            continue;
        }
        let family = FAMILIES.iter().find(|(prefix, _)| vector.id.starts_with(prefix));
        let (_, check) = family.expect("the last family takes all");
        check(&mut vector);
        vector.finish();
    }
}
