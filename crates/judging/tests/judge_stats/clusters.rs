//! Clustered means, bootstrap, paired differences, Bradley and Terry, length control.

use assay_judging::stats::bradley_terry::{BradleyTerryError, bradley_terry as fit};
use assay_judging::stats::cluster::{
    all_resamples, bootstrap_means, clustered_mean, paired_differences, percentile, sign_flip_test,
};
use assay_judging::stats::logit;
use assay_judging::stats::{rank::pearson, student_t_quantile};

use super::checker::Vector;

type Clusters = Vec<Vec<f64>>;

pub(crate) fn standard_errors(v: &mut Vector) {
    let order: Vec<String> = v.get("order");
    let clusters: Clusters = order
        .iter()
        .map(|name| serde_json::from_value(v.inputs["clusters"][name].clone()).unwrap())
        .collect();
    let mean = clustered_mean(&clusters).unwrap();
    v.check("n", mean.n as f64);
    v.check("clusters", mean.clusters as f64);
    v.check("mean", mean.mean);
    v.check("se_iid", mean.se_iid);
    v.check("se_cluster_cr0_miller", mean.se_cr0);
    v.check("se_cluster_finite_inspect", mean.se);
    v.check("se_cluster_stata", mean.se);
    v.check("design_effect", mean.design_effect());
    v.check("t_crit_df6", student_t_quantile(0.975, 6.0));
    v.check_all("ci95_t", &mean.t_interval(0.05).unwrap());
}

pub(crate) fn bootstrap_enumerated(v: &mut Vector) {
    let clusters: Clusters = v.get("clusters");
    let means = bootstrap_means(&clusters, all_resamples(clusters.len(), 1000).unwrap());
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    v.check("n_resamples", n);
    v.check("point", clustered_mean(&clusters).unwrap().mean);
    v.check("boot_mean", mean);
    v.check("boot_sd_population", (means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / n).sqrt());
    v.check("percentile_2_5_type7", percentile(&means, 0.025));
    v.check("percentile_97_5_type7", percentile(&means, 0.975));
    v.check("median", percentile(&means, 0.5));
}

pub(crate) fn bootstrap_given(v: &mut Vector) {
    let (clusters, indices): (Clusters, Vec<Vec<usize>>) = (v.get("clusters"), v.get("resample_indices"));
    v.check_all("replicate_means", &bootstrap_means(&clusters, &indices));
}

pub(crate) fn paired(v: &mut Vector) {
    let (a, b): (Clusters, Clusters) = (v.get("a"), v.get("b"));
    let differences = paired_differences(&a, &b).unwrap();
    let mean = clustered_mean(&differences).unwrap();
    v.check("mean_diff", mean.mean);
    v.check("se_unclustered", mean.se_iid);
    v.check("se_cluster_cr0", mean.se_cr0);
    v.check("se_cluster_finite", mean.se);
    let means = bootstrap_means(&differences, all_resamples(differences.len(), 1000).unwrap());
    v.check_all("exact_boot_ci95", &[percentile(&means, 0.025).unwrap(), percentile(&means, 0.975).unwrap()]);
    v.check("corr_ab", pearson(&a.concat(), &b.concat()));
}

pub(crate) fn sign_flip(v: &mut Vector) {
    let (p, flips) = sign_flip_test(&v.get::<Vec<f64>>("cluster_sums"), 0);
    v.check("p_two_sided", p);
    v.check("n_flips", flips as f64);
}

pub(crate) fn bradley_terry(v: &mut Vector) {
    let wins: Vec<Vec<f64>> = v.get("wins");
    let strengths = fit(&wins, 0.0).unwrap();
    v.check_all("log_strength_mean0", &strengths.centred);
    v.check_all("log_strength_ref0", &strengths.relative);
    v.check_all("se_vs_model0", &strengths.relative_se);
    v.check_all("elo_like_400_mean1000", &strengths.elo());
    v.check("loglik", strengths.log_likelihood);
    let matrix = v.take("p_matrix");
    for i in 0..wins.len() {
        let row: Vec<f64> = (0..wins.len()).map(|j| strengths.probability(i, j)).collect();
        v.compare_all("p_matrix", &row, &matrix[i]);
    }
}

pub(crate) fn separable(v: &mut Vector) {
    let wins: Vec<Vec<f64>> = v.get("wins");
    assert!(v.take("error").as_str().unwrap().contains("diverges"));
    assert_eq!(fit(&wins, 0.0).unwrap_err(), BradleyTerryError::Separable(1));
    let with_prior = fit(&wins, 0.5).unwrap();
    assert!((with_prior.relative[0] - with_prior.relative[1] - 2.397_895_272_798).abs() < 1e-11);
}

pub(crate) fn length_controlled(v: &mut Vector) {
    let (lengths, wins): (Vec<f64>, Vec<f64>) = (v.get("delta_len"), v.get("tuned_win"));
    let fit = logit::length_controlled(&lengths, &wins).unwrap();
    v.check("b0", fit.b0);
    v.check("b1", fit.b1);
    v.check("se_b0", fit.b0_se);
    v.check("se_b1", fit.b1_se);
    v.check("raw_win_rate", wins.iter().sum::<f64>() / wins.len() as f64);
    v.check("lc_win_rate", fit.rate());
    v.check_all("lc_ci95", &fit.interval(0.05));
    v.check("loglik", fit.log_likelihood);
}
