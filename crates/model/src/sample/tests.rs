use std::collections::BTreeSet;

use proptest::prelude::*;
use tch::Tensor;

use super::*;

fn pick_one(settings: &SampleSettings, probabilities: &[f32], unit: f64) -> u32 {
    filter::pick_one(settings, probabilities, unit).expect("they are probabilities")
}

fn settings(change: impl Fn(&mut SampleSettings)) -> SampleSettings {
    let mut settings = SampleSettings::default();
    change(&mut settings);
    settings
}

/// Every token that some random number picks.
fn support(settings: &SampleSettings, probabilities: &[f32]) -> BTreeSet<u32> {
    (0..10_000).map(|step| pick_one(settings, probabilities, f64::from(step) / 10_000.0)).collect()
}

const STEPS: [f32; 5] = [0.1, 0.4, 0.2, 0.25, 0.05];

#[test]
fn filters_keep_what_transformers_keeps() {
    let kept = |change: &dyn Fn(&mut SampleSettings)| {
        support(&settings(change), &STEPS).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(kept(&|_| {}), [0, 1, 2, 3, 4]);
    assert_eq!(kept(&|settings| settings.top_k = 1), [1]);
    assert_eq!(kept(&|settings| settings.top_k = 3), [1, 2, 3]);
    assert_eq!(kept(&|settings| settings.top_p = 0.3), [1]);
    assert_eq!(kept(&|settings| settings.top_p = 0.6), [1, 3]);
    assert_eq!(kept(&|settings| settings.top_p = 0.86), [0, 1, 2, 3]);
    assert_eq!(kept(&|settings| settings.min_p = 0.5), [1, 2, 3]);
    // After top-k 2 the two have 0.62 and 0.38 of what is left.
    assert_eq!(kept(&|settings| (settings.top_k, settings.top_p) = (2, 0.6)), [1]);
    assert_eq!(kept(&|settings| (settings.top_k, settings.top_p) = (2, 0.7)), [1, 3]);
}

#[test]
fn equal_probabilities_pass_top_k_together() {
    assert_eq!(support(&settings(|settings| settings.top_k = 1), &[0.5, 0.5]).len(), 2);
}

#[test]
fn tokens_without_probability_are_never_picked() {
    let probabilities = [0.0, 0.5, 0.0, 0.5, 0.0];
    for unit in [0.0, 0.499_999, 0.5, 1.0 - f64::EPSILON] {
        assert!([1, 3].contains(&pick_one(&SampleSettings::default(), &probabilities, unit)));
    }
}

/// Over many blocks, against adding up in sequence. Every probability is a multiple of 2^-30, so that sums are exact.
#[test]
fn large_vocabularies_are_searched_as_in_sequence() {
    let mut probabilities: Vec<f32> =
        (0..5_000_u32).map(|id| (id * 7919 % 1009) as f32 / 2_f32.powi(30)).collect();
    // A block with nothing in it, and nothing at the end.
    probabilities[1024..1536].fill(0.0);
    probabilities[4_800..].fill(0.0);
    let total: f64 = probabilities.iter().map(|probability| f64::from(*probability)).sum();
    for step in 0..4_096 {
        let unit = f64::from(step) / 4_096.0;
        let mut sum = 0.0;
        let expected = probabilities.iter().position(|probability| {
            sum += f64::from(*probability);
            sum > unit * total
        });
        assert_eq!(Some(pick_one(&SampleSettings::default(), &probabilities, unit) as usize), expected);
    }
    let last = pick_one(&SampleSettings::default(), &probabilities, 1.0);
    assert_eq!(last as usize, probabilities.iter().rposition(|probability| *probability > 0.0).unwrap());
}

#[test]
fn frequencies_follow_the_probabilities() {
    let mut stream = SampleStream::new(7, &[1, 2, 3], 0, None);
    let mut counts = [0_u32; STEPS.len()];
    for _ in 0..100_000 {
        counts[pick_one(&SampleSettings::default(), &STEPS, stream.next_unit()) as usize] += 1;
    }
    for (count, probability) in counts.iter().zip(STEPS) {
        let share = f64::from(*count) / 100_000.0;
        assert!((share - f64::from(probability)).abs() < 0.006, "{counts:?}");
    }
}

#[test]
fn streams_are_fixed_and_differ() {
    let tuned =
        |seed, ids: &[u32], sample, adapter| SampleStream::new(seed, ids, sample, adapter).next_unit();
    let first = |seed, ids: &[u32], sample| tuned(seed, ids, sample, None);
    // Pinned: a change of these numbers changes every sampled answer, and so the result version of generate jobs.
    assert_eq!(first(42, &[1, 2, 3], 0), 0.184_293_739_119_880_45);
    let all = [
        first(42, &[1, 2, 3], 0),
        first(43, &[1, 2, 3], 0),
        first(42, &[1, 2, 4], 0),
        first(42, &[1, 2, 3], 1),
        tuned(42, &[1, 2, 3], 0, Some(&[0; 32])),
        tuned(42, &[1, 2, 3], 0, Some(&[1; 32])),
    ];
    assert_eq!(all.iter().map(|unit| unit.to_bits()).collect::<BTreeSet<_>>().len(), 6);
}

#[test]
fn penalty_and_greedy_as_transformers() {
    let logits = Tensor::from_slice(&[2.0_f32, 1.5, -1.0, -1.1]).view([1, 4]);
    let mut stream = SampleStream::new(0, &[0], 0, None);
    let mut pick = |penalty, seen: &[u32]| {
        let settings =
            settings(|settings| (settings.temperature, settings.repetition_penalty) = (0.0, penalty));
        let mut rows = [RowState { stream: &mut stream, seen }];
        super::pick(&settings, &logits, &mut rows).unwrap()[0]
    };
    assert_eq!(pick(1.0, &[0, 0]), 0);
    assert_eq!(pick(1.3, &[0]), 0);
    assert_eq!(pick(1.4, &[0, 0]), 1);
    let penalised = penalise(
        &settings(|settings| settings.repetition_penalty = 2.0),
        logits.copy(),
        &[RowState { stream: &mut SampleStream::new(0, &[0], 0, None), seen: &[0, 3, 0] }],
    );
    let values = Vec::<f32>::try_from(penalised.unwrap().view([-1])).unwrap();
    assert_eq!(values, [1.0, 1.5, -1.0, -2.2]);
}

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<GoldenCase>,
}

#[derive(serde::Deserialize)]
struct GoldenCase {
    settings: SampleSettings,
    seen: Vec<u32>,
    logits: Vec<f32>,
    /// Id and probability of what Transformers leaves.
    probabilities: Vec<(u32, f64)>,
}

/// `make_sampling.py` wrote what Transformers' processors leave: of the numbers from 0 to 1, each token here takes the same
/// part, from its first to its last.
#[test]
fn what_is_left_to_pick_from_is_what_transformers_leaves() {
    let golden: Golden = serde_json::from_str(include_str!("../../tests/fixtures/sampling.json")).unwrap();
    assert!(golden.cases.len() > 20);
    for GoldenCase { settings, seen, logits, probabilities: wanted } in golden.cases {
        let logits = Tensor::from_slice(&logits).view([1, -1]);
        let mut stream = SampleStream::new(0, &seen, 0, None);
        let row = RowState { stream: &mut stream, seen: &seen };
        let penalised = penalise(&settings, logits, &[row]).unwrap();
        let ours = Vec::<f32>::try_from(probabilities(&settings, penalised).unwrap().view([-1])).unwrap();
        let mut sum = 0.0;
        for (id, probability) in wanted {
            for unit in [sum + 1e-6, sum + probability / 2.0, sum + probability - 1e-6] {
                let picked = pick_one(&settings, &ours, unit.clamp(0.0, 1.0 - 1e-9));
                assert!(picked == id || probability < 4e-6, "{settings:?}: {picked} is picked, not {id}");
            }
            sum += probability;
        }
        assert!((sum - 1.0).abs() < 1e-5);
    }
}

#[test]
fn bad_settings_are_refused() {
    for (name, bad) in [
        ("temperature", settings(|settings| settings.temperature = -0.1)),
        ("temperature", settings(|settings| settings.temperature = f64::NAN)),
        ("top_p", settings(|settings| settings.top_p = 0.0)),
        ("top_p", settings(|settings| settings.top_p = 1.1)),
        ("min_p", settings(|settings| settings.min_p = 2.0)),
        ("repetition_penalty", settings(|settings| settings.repetition_penalty = 0.0)),
    ] {
        assert!(bad.check().unwrap_err().to_string().contains(name));
    }
}

proptest! {
    /// Against the definition, on every ranking: sort everything, cut, compare the sets.
    #[test]
    fn floors_agree_with_a_full_sort(
        weights in prop::collection::vec(1_u32..1_000_000, 2..60),
        top_k in 0_u32..20,
        top_p in 0.01_f64..1.0,
        unit in 0.0_f64..1.0,
    ) {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let probabilities: Vec<f32> = weights.iter().map(|weight| (f64::from(*weight) / total) as f32).collect();
        let settings = settings(|settings| (settings.top_k, settings.top_p) = (top_k, top_p));
        let picked = pick_one(&settings, &probabilities, unit) as usize;
        let larger: Vec<f32> = probabilities.iter().copied().filter(|other| *other > probabilities[picked]).collect();
        prop_assert!(top_k == 0 || larger.len() < top_k as usize);
        let mut ranked = probabilities.clone();
        ranked.sort_by(|left, right| right.total_cmp(left));
        let in_k = if top_k == 0 { ranked.len() } else { ranked.len().min(top_k as usize) };
        let kept_mass: f64 = ranked[..in_k].iter().map(|probability| f64::from(*probability)).sum();
        let mass_before: f64 = larger.iter().map(|probability| f64::from(*probability)).sum();
        prop_assert!(mass_before / kept_mass < top_p + 1e-6);
    }
}

#[test]
fn logits_that_are_no_numbers_have_no_next_token() {
    let mut stream = SampleStream::new(7, &[1], 0, None);
    for temperature in [0.0, 1.0] {
        for bad in [f32::NAN, f32::INFINITY] {
            let settings = settings(|settings| settings.temperature = temperature);
            let logits = Tensor::from_slice(&[0.5, bad, 1.0]).view([1, 3]);
            let mut rows = [RowState { stream: &mut stream, seen: &[4, 5] }];
            let refused = super::pick(&settings, &logits, &mut rows).unwrap_err();
            assert!(refused.to_string().starts_with("the logits after 2 tokens are not"), "{bad}: {refused}");
        }
    }
}
