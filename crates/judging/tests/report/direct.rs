//! Systems that judges compared with each other: whose win it is, in which table and family, and on which scale.

use assay_domain::analysis::AnalysisPlan;
use assay_domain::job::{Comparison, Opponent, Orders, System};
use assay_judging::pair::{Secret, blind, match_generations};
use assay_judging::records::{Evidence, GenerationRecord, Label, LabelLogprobs, RawVerdictRecord};
use assay_judging::report::{ReportInputs, Scope};

use super::build;
use super::sample::{PLAIN, Sample};

/// The sample with a second model, whose only checkpoint is compared with the first one's last, and always loses.
fn inputs(with: impl Fn(&Comparison) -> Opponent, rename: bool) -> ReportInputs {
    let mut inputs = Sample::smoke(Orders::Both).inputs();
    let last = inputs.spec.comparisons[1].clone();
    let against = with(&last);
    let direct = Comparison {
        id: format!("{}/against/{}", last.id, against.id()),
        against: Some(against.clone()),
        ..last.clone()
    };
    let of = |model: &str, system: &str, all: &[GenerationRecord]| -> Vec<GenerationRecord> {
        all.iter().filter(|one| one.model == model && one.system == system).cloned().collect()
    };
    let this = of(&last.model, &last.tuned().name(), &inputs.generations);
    let mut that = of(&last.model, &against.system.name(), &inputs.generations);
    if rename {
        that.iter_mut().for_each(|one| one.model.clone_from(&against.model));
        inputs.generations.extend(that.clone());
    }
    let pairs = match_generations(&direct.id, &that, &this).unwrap();
    let blinded = blind(&Secret::new([7; 32]), Orders::Both, &pairs).unwrap();
    for judge in inputs.spec.judges.clone() {
        let template = inputs.verdicts.iter().find(|one| one.judge == judge.name).unwrap().clone();
        inputs.verdicts.extend(blinded.key.records().map(|key| {
            let a = if key.tuned_label() == Label::A { 0.8f64 } else { 0.1 };
            RawVerdictRecord {
                pair_id: key.pair_id.clone(),
                pass: key.pass,
                evidence: Evidence::Logprobs(LabelLogprobs { a: a.ln(), b: (0.9 - a).ln() }),
                ..template.clone()
            }
        }));
    }
    inputs.keys.extend(blinded.key.records().cloned());
    inputs.spec.direct.push(direct);
    inputs.spec.analysis = Some(AnalysisPlan::of(&inputs.spec));
    inputs
}

fn first_checkpoint(last: &Comparison) -> Opponent {
    let system = System::Tuned { data: last.data.clone(), recipe: last.recipe.clone(), seed: 42, step: 6 };
    Opponent { model: last.model.clone(), system, checkpoint: "epoch 1".into(), quantization: None }
}

fn base_of_another(_: &Comparison) -> Opponent {
    Opponent { model: "other".into(), system: System::Base, checkpoint: "base".into(), quantization: None }
}

#[test]
fn the_first_of_two_compared_systems_wins_in_a_table_and_families_of_its_own() {
    let alone = build(&Sample::smoke(Orders::Both).inputs());
    let report = build(&inputs(first_checkpoint, false));
    let [direct] = &report.direct[..] else { panic!("one direct comparison") };
    let row = direct.overall(None).unwrap();
    assert_eq!((row.counts.wins, row.counts.losses, row.prompts), (12, 0, 12));
    assert_eq!(row.rate, Some(1.0));
    // What the checkpoints do against their base is the same to the last bit: rows, families and differences.
    assert_eq!(report.comparisons, alone.comparisons);
    assert_eq!(report.checkpoint_differences, alone.checkpoint_differences);
    assert_eq!(row.p, row.p_holm, "the only one of its family");
    let others = direct.rates.iter().filter(|row| row.judge.is_some() || row.scope != Scope::All);
    assert!(
        others.clone().count() > 1 && others.into_iter().any(|row| row.p_holm > row.p),
        "corrected together"
    );
    // Agreement, order effects and pairs hold them too, with both texts.
    let pairs: Vec<_> = report.pairs.iter().filter(|pair| pair.comparison == direct.comparison.id).collect();
    assert_eq!(pairs.len(), 12);
    for pair in &pairs {
        let epoch_1 = report.pairs.iter().find(|one| one.prompt_id == pair.prompt_id).unwrap();
        assert_eq!(pair.base, epoch_1.tuned, "the other side is epoch 1");
    }
    let of_plain = |report: &assay_judging::report::Report| {
        report.judges.iter().find(|judge| judge.info.name == PLAIN).unwrap().verdicts
    };
    assert_eq!(of_plain(&report), of_plain(&alone) + 24);
    // On one scale still, and stronger by it.
    let [group] = &report.strengths[..] else { panic!("one group") };
    assert_eq!((group.systems.len(), group.unconnected.len()), (3, 0));
    let strength = |report: &assay_judging::report::Report, of: &str| {
        let group = &report.strengths[0];
        let at = |of: &str| group.systems.iter().find(|s| s.system.ends_with(of)).unwrap().log_strength;
        at(of) - at("base")
    };
    assert!(strength(&report, "step-12") > strength(&alone, "step-12"));
    // It was planned, and nothing is otherwise than planned.
    assert_eq!(report.preregistration.differences, Vec::<String>::new());
    let plan = report.preregistration.stored().unwrap();
    assert!(plan.comparisons.contains(&direct.comparison.id), "{:?}", plan.comparisons);
}

#[test]
fn a_comparison_with_another_model_puts_both_on_one_scale_and_none_leaves_it_out() {
    let report = build(&inputs(base_of_another, true));
    assert_eq!(report.direct[0].overall(None).unwrap().rate, Some(1.0));
    let [group] = &report.strengths[..] else { panic!("one group: {:?}", report.strengths) };
    assert_eq!(group.group, "other, smollm2-135m eval t075");
    let names: Vec<&str> = group.systems.iter().map(|system| system.system.as_str()).collect();
    assert_eq!(names.len(), 4);
    assert_eq!(names.last(), Some(&"other base"), "it lost to the strongest: {names:?}");
    assert!(group.prior_used, "it never won: said, not hidden");
    // Two systems that nobody compared with the others are named beside the scale.
    let mut apart = inputs(base_of_another, true);
    let id = apart.spec.direct[0].id.clone();
    apart.spec.direct[0].model = "third".into();
    let third: Vec<GenerationRecord> = apart
        .generations
        .iter()
        .filter(|one| one.model == "smollm2-135m" && one.system.ends_with("step-12"))
        .map(|one| GenerationRecord { model: "third".into(), ..one.clone() })
        .collect();
    apart.generations.extend(third);
    let report = build(&apart);
    let [group] = &report.strengths[..] else { panic!("one group") };
    assert_eq!(group.systems.len(), 3);
    assert_eq!(group.unconnected, ["other base", "third authored/lora-r8/seed-42/step-12"], "{id}");
}

#[test]
fn training_seeds_of_a_direct_comparison_are_pooled_like_any() {
    let mut inputs = inputs(first_checkpoint, false);
    let mut second = inputs.spec.direct[0].clone();
    second.seed = 43;
    second.id = second.id.replace("seed-42", "seed-43");
    if let Some(System::Tuned { seed, .. }) = second.against.as_mut().map(|against| &mut against.system) {
        *seed = 43;
    }
    let rename = |text: &str| text.replace("seed-42", "seed-43");
    let records: Vec<GenerationRecord> = inputs.generations.clone();
    inputs.generations.extend(
        records
            .into_iter()
            .filter(|one| one.system != "base")
            .map(|one| GenerationRecord { system: rename(&one.system), ..one }),
    );
    let old = inputs.spec.direct[0].id.clone();
    for key in inputs.keys.clone().into_iter().filter(|key| key.comparison == old) {
        let pair_id = format!("{}b", key.pair_id);
        for verdict in inputs.verdicts.clone() {
            if (&verdict.pair_id, verdict.pass) == (&key.pair_id, key.pass) {
                inputs.verdicts.push(RawVerdictRecord { pair_id: pair_id.clone(), ..verdict });
            }
        }
        let (tuned, base) = (rename(&key.tuned), rename(&key.base));
        inputs.keys.push(assay_judging::records::KeyRecord {
            pair_id,
            comparison: second.id.clone(),
            tuned,
            base,
            ..key
        });
    }
    inputs.spec.direct.push(second);
    let report = build(&inputs);
    let [pool] = &report.seed_pools[..] else { panic!("{:?}", report.seed_pools) };
    assert_eq!((pool.seeds.as_slice(), pool.rate), (&[42, 43][..], 1.0));
    assert!(pool.comparisons.iter().all(|id| id.contains("against")), "{:?}", pool.comparisons);
}
