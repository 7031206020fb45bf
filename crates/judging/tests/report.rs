//! The report of a small matrix: what it says, that it says it twice the same way, and that missing is missing.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

#[path = "report/direct.rs"]
mod direct;
#[path = "report/sample.rs"]
mod sample;

use std::collections::BTreeMap;

use assay_domain::job::Orders;
use assay_judging::logprob::sigmoid;
use assay_judging::records::{
    Evidence, FinishReason, LabelLogprobs, MetricRecord, Setting, SettingSource, Slot, VerdictStatus, Winner,
    from_jsonl, to_jsonl,
};
use assay_judging::report::{
    IntervalMethod, Report, ReportError, ReportInputs, Scope, build_report, resolve_all,
};
use serde_json::Value;

use sample::{API_JUDGE, PLAIN, RUBRIC, Sample};

fn build(inputs: &ReportInputs) -> Report {
    build_report(inputs).unwrap()
}

/// Equal but for the last bits of numbers, which mathematical libraries of platforms do not share.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-9,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn the_sample_is_the_committed_report() {
    let report = build(&Sample::smoke(Orders::Both).inputs());
    let text = serde_json::to_string_pretty(&report).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/report.json");
    if std::env::var_os("ASSAY_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    let (ours, theirs) = (serde_json::from_str(&text).unwrap(), serde_json::from_str(&committed).unwrap());
    assert!(same(&ours, &theirs), "report.json changed: if that is meant, run this test with ASSAY_BLESS=1");
    let read: Report = serde_json::from_str(&committed).unwrap();
    assert_eq!(
        serde_json::to_string_pretty(&read).unwrap() + "\n",
        committed,
        "reading and writing keeps all bytes"
    );
}

#[test]
fn the_order_of_records_and_the_execution_change_nothing_else() {
    let inputs = Sample::smoke(Orders::Both).inputs();
    let mut other = inputs.clone();
    other.generations.reverse();
    other.verdicts.reverse();
    other.keys.reverse();
    let repeated: Vec<_> = other.keys.clone();
    other.keys.extend(repeated);
    for verdict in &mut other.verdicts {
        verdict.seconds *= 3.0;
    }
    other.history.clear();
    let (one, two) = (build(&inputs), build(&other));
    assert_ne!(one, two);
    assert_eq!(
        serde_json::to_string(&one.without_execution()).unwrap(),
        serde_json::to_string(&two.without_execution()).unwrap()
    );
}

#[test]
fn with_four_passes_the_blinding_secret_changes_no_number() {
    let sample = Sample::smoke(Orders::Full);
    let other = Sample { secret: [99; 32], ..sample.clone() };
    assert_eq!(build(&sample.inputs()).without_execution(), build(&other.inputs()).without_execution());
}

#[test]
fn rates_are_means_over_prompts_with_clustered_intervals() {
    let report = build(&Sample::smoke(Orders::Both).inputs());
    assert!(report.smoke);
    let second = &report.comparisons[1];
    let row = second.overall(Some(PLAIN)).unwrap();
    assert_eq!((row.prompts, row.pairs, row.counts.decided()), (12, 12, 12));
    let expected = (row.counts.wins as f64 + row.counts.ties as f64 / 2.0) / 12.0;
    assert!((row.rate.unwrap() - expected).abs() < 1e-12);
    assert_eq!(row.interval.unwrap().method, IntervalMethod::ClusterT);
    assert!(row.interval.unwrap().low < expected && expected < row.interval.unwrap().high);
    assert!(row.wilson.is_some() && row.bounds.is_none() && row.withheld.is_none());
    let panel = second.overall(None).unwrap().rate.unwrap();
    let rubric = second.overall(Some(RUBRIC)).unwrap().rate.unwrap();
    assert!((panel - (row.rate.unwrap() + rubric) / 2.0).abs() < 1e-12);
    assert_eq!(second.leave_one_out.len(), 2);
    assert_eq!(second.leave_one_out[0].rate, Some(rubric));
    let few: Vec<_> = second.rates.iter().filter(|row| row.few).map(|row| row.scope.label()).collect();
    assert!(few.contains(&"out-of-domain") && !few.contains(&"all"));
}

/// The sample's training lost its first attempt; here it had stored steps 1 to 9, of which 6 were kept.
fn with_lost_steps(change: f64) -> ReportInputs {
    let mut inputs = Sample::smoke(Orders::Both).inputs();
    let mut lost: Vec<MetricRecord> = inputs.metrics[&0].iter().take(11).cloned().collect();
    for record in &mut lost {
        if let MetricRecord::Step { step: 7.., loss, seconds, .. } = record {
            *seconds += 0.25;
            *loss += change;
        }
    }
    inputs.metric_lines = BTreeMap::from([((0, String::from("e1-a1")), lost)]);
    inputs
}

#[test]
fn steps_of_a_lost_attempt_are_kept_or_computed_again_and_compared() {
    let report = build(&with_lost_steps(0.0));
    let [lost] = &report.execution.unfinished[..] else { panic!("{:?}", report.execution.unfinished) };
    assert_eq!((lost.fence.to_string().as_str(), lost.outcome.as_str()), ("e1-a1", "lost"));
    assert_eq!((lost.first_step, lost.last_step, lost.kept, lost.again), (1, 9, 6, 3));
    assert_eq!(lost.largest_difference, Some(0.0));
    assert_eq!(
        serde_json::to_string(&report.without_execution()).unwrap(),
        serde_json::to_string(&build(&Sample::smoke(Orders::Both).inputs()).without_execution()).unwrap(),
        "a lost attempt changes no result"
    );

    let report = build(&with_lost_steps(0.125));
    let difference = report.execution.unfinished[0].largest_difference.unwrap();
    assert!((difference - 0.125).abs() < 1e-12, "{difference}");
    // The lines of the attempt that succeeded are its metrics.
    let mut inputs = with_lost_steps(0.0);
    let lines = inputs.metric_lines.pop_first().unwrap().1;
    inputs.metric_lines.insert((0, String::from("e1-a2")), lines);
    assert!(build(&inputs).execution.unfinished.is_empty());
}

#[test]
fn what_was_drawn_with_stands_side_by_side_and_differences_are_said_first() {
    let mut inputs = Sample::smoke(Orders::Both).inputs();
    let report = build(&inputs);
    let [set] = &report.sampling[..] else { panic!("{:?}", report.sampling) };
    let systems: Vec<&str> = set.systems.iter().map(|system| system.system.as_str()).collect();
    assert_eq!((systems.len(), systems[0]), (3, "base"));
    assert_eq!(set.matrix.as_ref().unwrap().top_p, None);
    let top_p = |place: usize| set.systems[place].effective.as_ref().unwrap().top_p;
    assert_eq!((top_p(0), top_p(2)), (Setting { value: 0.9, source: SettingSource::Model }, top_p(0)));
    assert!(set.differing.is_empty());
    let about = |report: &Report| -> Vec<String> {
        report.method.warnings.iter().filter(|warning| warning.contains("eval, t075")).cloned().collect()
    };
    assert_eq!(about(&report), [""; 0]);

    let tuned = inputs.samplings.iter_mut().find(|record| record.system != "base").unwrap();
    tuned.effective.top_p.value = 0.8;
    tuned.not_followed.insert(String::from("num_beams"), Value::from(4));
    let report = build(&inputs);
    assert_eq!(report.sampling[0].differing, ["top_p"]);
    let [differ, ignored] = &about(&report)[..] else { panic!("{:?}", about(&report)) };
    assert!(differ.contains("drawn with different top_p"), "{differ}");
    assert!(ignored.contains("num_beams = 4, which was not followed"), "{ignored}");
}

#[test]
fn answers_and_reports_of_a_build_that_did_not_record_the_sampling_still_read() {
    let mut inputs = Sample::smoke(Orders::Both).inputs();
    inputs.samplings.retain(|record| record.system == "base");
    let report = build(&inputs);
    let set = &report.sampling[0];
    assert!(set.systems[0].effective.is_some() && set.systems[1].effective.is_none());
    let told =
        report.method.warnings.iter().any(|warning| warning.contains("not recorded for 2 of 3 systems"));
    assert!(told, "{:?}", report.method.warnings);
    let mut old = serde_json::to_value(&report).unwrap();
    old.as_object_mut().unwrap().remove("sampling").unwrap();
    let read: Report = serde_json::from_value(old).unwrap();
    assert!(read.sampling.is_empty() && read.pairs == report.pairs);
}

#[test]
fn what_the_logprobs_say_is_what_the_pairs_show() {
    let inputs = Sample::smoke(Orders::Both).inputs();
    let report = build(&inputs);
    assert_eq!(report.pairs.len(), 24);
    for pair in &report.pairs {
        assert_eq!(pair.verdicts.len(), 2);
        for verdict in &pair.verdicts {
            let [first, second] = &verdict.passes[..] else { panic!("two passes") };
            assert_eq!((first.tuned_slot, second.tuned_slot), (Some(Slot::First), Some(Slot::Second)));
            assert_eq!(first.tuned_label, second.tuned_label.map(|label| label.other()));
            let logit = |p: f64| (p / (1.0 - p)).ln();
            let mean = (logit(first.p_tuned.unwrap()) + logit(second.p_tuned.unwrap())) / 2.0;
            assert!((verdict.p_tuned.unwrap() - sigmoid(mean)).abs() < 1e-9);
            if first.winner != second.winner {
                assert_eq!(verdict.winner, Some(Winner::Tie));
            }
        }
    }
}

#[test]
fn missing_verdicts_are_never_ties_or_losses() {
    let inputs = Sample::smoke(Orders::Both).inputs();
    let before = build(&inputs);
    let statuses = [
        VerdictStatus::Refused,
        VerdictStatus::Blocked,
        VerdictStatus::Truncated,
        VerdictStatus::Malformed,
        VerdictStatus::Error,
    ];
    for status in statuses {
        let mut inputs = inputs.clone();
        let hit = inputs.verdicts.iter_mut().find(|v| v.judge == PLAIN).unwrap();
        (hit.status, hit.evidence) = (status, Evidence::None);
        let report = build(&inputs);
        let rows = |report: &Report| {
            report.comparisons.iter().map(|c| c.overall(Some(PLAIN)).cloned().unwrap()).collect::<Vec<_>>()
        };
        let (was, is) = (rows(&before), rows(&report));
        let changed = (0..2).find(|i| was[*i] != is[*i]).unwrap();
        assert_eq!(is[changed].missing.total(), 1, "{status:?}");
        assert_eq!(is[changed].missing.named(), [(status.name(), 1)]);
        assert_eq!(is[changed].counts.decided(), 11, "one pass is missing, so is the pair");
        assert!(is[changed].bounds.unwrap().low < is[changed].bounds.unwrap().high);
        assert!(is[changed].withheld.is_some(), "1 of 12 is more than 5 %");
        assert!(
            report.method.warnings.iter().any(|w| w.contains("no headline"))
                == (report.comparisons[changed].overall(None).unwrap().withheld.is_some())
        );
    }
}

#[test]
fn a_status_of_ok_does_not_make_a_verdict() {
    let mut inputs = Sample::smoke(Orders::Both).inputs();
    inputs.verdicts[0].evidence = Evidence::Logprobs(LabelLogprobs { a: f64::NAN, b: -1.0 });
    inputs.verdicts[1].evidence = Evidence::Text { text: "Winner: A".into() };
    inputs.verdicts[2].evidence = Evidence::None;
    let report = build(&inputs);
    let malformed: u64 = report.judges.iter().map(|judge| judge.missing.malformed).sum();
    assert_eq!(malformed, 3);
}

#[test]
fn a_judge_without_records_is_absent_and_one_unavailable_is_named() {
    let mut inputs = Sample::smoke(Orders::Both).inputs();
    inputs.verdicts.retain(|verdict| verdict.judge != RUBRIC);
    let report = build(&inputs);
    let row = report.comparisons[0].overall(Some(RUBRIC)).unwrap();
    assert_eq!((row.missing.absent, row.rate, row.prompts), (12, None, 0));
    inputs.spec.judges[1].unavailable = Some("OPENAI_API_KEY is not set".into());
    let report = build(&inputs);
    assert!(report.comparisons[0].overall(Some(RUBRIC)).is_none());
    assert!(report.method.warnings.iter().any(|w| w.contains("OPENAI_API_KEY")));
    assert_eq!(report.method.panel, [PLAIN]);
}

#[test]
fn smoke_judges_never_stand_in_a_real_panel() {
    let report = build(&Sample::with_api().inputs());
    assert!(!report.smoke);
    assert_eq!(report.method.panel, [API_JUDGE]);
    let panel = report.comparisons[0].overall(None).unwrap();
    let api = report.comparisons[0].overall(Some(API_JUDGE)).unwrap();
    assert_eq!((panel.rate, panel.counts), (api.rate, api.counts));
    let scored = report.pairs.iter().flat_map(|pair| &pair.verdicts).find(|v| v.judge == API_JUDGE).unwrap();
    for pass in &scored.passes {
        let scores = pass.scores.unwrap();
        let better = scores.tuned.quality > scores.base.quality;
        assert_eq!(
            better,
            pass.winner == Some(Winner::Tuned),
            "scores follow their label as the winner does"
        );
    }
}

#[test]
fn judges_blinded_by_different_secrets_meet_on_the_same_pairs() {
    let one = Sample::smoke(Orders::Both);
    let two = Sample { secret: [77; 32], ..one.clone() };
    let (mut inputs, other) = (one.inputs(), two.inputs());
    inputs.verdicts.retain(|verdict| verdict.judge == PLAIN);
    inputs.verdicts.extend(other.verdicts.into_iter().filter(|verdict| verdict.judge == RUBRIC));
    inputs.keys.extend(other.keys);
    let report = build(&inputs);
    assert_eq!(report.pairs.len(), 24);
    assert_eq!(report.agreement.judges[0].pairs, 24);
}

#[test]
fn the_training_section_names_base_and_epochs() {
    let report = build(&Sample::smoke(Orders::Both).inputs());
    let [run] = &report.training[..] else { panic!("one run") };
    let names: Vec<_> = run.evals.iter().map(|eval| eval.checkpoint.as_str()).collect();
    assert_eq!(names, ["base", "epoch 1", "epoch 2"]);
    assert!(run.evals.windows(2).all(|two| two[1].loss < two[0].loss));
    assert_eq!(run.steps.len(), 12);
    let [difference] = &report.checkpoint_differences[..] else { panic!("one difference") };
    assert_eq!((difference.from_checkpoint.as_str(), difference.prompts), ("epoch 1", 12));
    assert!(difference.p_holm >= difference.p);
}

#[test]
fn truncation_and_style_are_counted() {
    let report = build(&Sample::smoke(Orders::Both).inputs());
    let systems: Vec<_> = report.generations.iter().map(|set| set.system.as_str()).collect();
    assert_eq!(systems, ["base", "authored/lora-r8/seed-42/step-6", "authored/lora-r8/seed-42/step-12"]);
    let cut: BTreeMap<_, _> =
        report.generations.iter().map(|set| (set.system.as_str(), set.truncated)).collect();
    let in_pairs = report.pairs[..12].iter().filter(|p| p.base.finish_reason == FinishReason::Length).count();
    assert_eq!(cut["base"], in_pairs as u64);
    assert!(report.generations[0].mean_markdown_marks > report.generations[2].mean_markdown_marks);
}

#[test]
fn a_prompt_that_stands_twice_in_a_set_counts_once() {
    let mut inputs = Sample::smoke(Orders::Both).inputs();
    let text = inputs.generations[0].prompt.clone();
    let twin = inputs.generations[1].prompt_id.clone();
    inputs.generations.iter_mut().filter(|g| g.prompt_id == twin).for_each(|g| g.prompt = text.clone());
    let row = build(&inputs).comparisons[0].overall(None).cloned().unwrap();
    assert_eq!((row.pairs, row.prompts), (12, 11));
    assert!(row.wilson.is_none(), "pairs of one prompt are not independent");
}

#[test]
fn records_that_contradict_each_other_are_refused() {
    let inputs = Sample::smoke(Orders::Both).inputs();
    let refused = |change: &dyn Fn(&mut ReportInputs)| {
        let mut inputs = inputs.clone();
        change(&mut inputs);
        build_report(&inputs).unwrap_err()
    };
    assert!(matches!(refused(&|i| i.keys.truncate(1)), ReportError::Resolve(_)));
    assert!(matches!(refused(&|i| i.verdicts[0].judge = "ghost".into()), ReportError::UnknownJudge { .. }));
    assert!(matches!(refused(&|i| i.spec.comparisons.truncate(1)), ReportError::UnknownComparison { .. }));
    assert!(matches!(refused(&|i| i.generations.truncate(20)), ReportError::MissingGeneration { .. }));
    assert!(matches!(refused(&|i| i.spec.trainings.clear()), ReportError::UnknownTraining { job: 0, .. }));
    let twice = |i: &mut ReportInputs| {
        let mut copy = i.generations[0].clone();
        copy.text.push('!');
        i.generations.push(copy);
    };
    assert!(matches!(refused(&twice), ReportError::GenerationConflict { .. }));
}

#[test]
fn an_empty_matrix_has_an_empty_report() {
    let mut inputs = Sample::smoke(Orders::Both).inputs();
    (inputs.keys, inputs.verdicts, inputs.generations) = (Vec::new(), Vec::new(), Vec::new());
    let report = build(&inputs);
    let row = report.comparisons[0].overall(None).unwrap();
    assert_eq!((row.rate, row.interval, row.prompts), (None, None, 0));
    assert_eq!(report.comparisons[0].rates.iter().filter(|r| r.scope != Scope::All).count(), 0);
}

#[test]
fn records_survive_json_lines() {
    let sample = Sample::smoke(Orders::Both);
    let inputs = sample.inputs();
    let key = assay_judging::pair::Key::new(inputs.keys.clone()).unwrap();
    let resolved = resolve_all(&inputs.verdicts, &key).unwrap();
    assert_eq!(resolved.len(), inputs.verdicts.len());
    assert_eq!(
        from_jsonl::<_>("keys.jsonl", &to_jsonl(&inputs.keys).unwrap()).ok(),
        Some(inputs.keys.clone())
    );
    let lines = to_jsonl(&resolved).unwrap();
    let read: Vec<assay_judging::records::ResolvedRecord> = from_jsonl("resolved.jsonl", &lines).unwrap();
    assert_eq!(read.len(), resolved.len());
    let error = from_jsonl::<assay_judging::records::KeyRecord>("keys.jsonl", "\n{}\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "keys.jsonl: line 2 is not a valid KeyRecord (write it again with the same version of assay)"
    );
}

#[test]
fn every_row_has_a_test_and_its_correction() {
    let report = build(&Sample::smoke(Orders::Both).inputs());
    let rows = || report.comparisons.iter().flat_map(|c| &c.rates);
    for row in rows() {
        assert!(row.p_holm.unwrap() >= row.p.unwrap(), "{row:?}");
    }
    let primary: Vec<_> = rows().filter(|row| row.judge.is_none() && row.scope == Scope::All).collect();
    assert_eq!(primary.len(), 2);
    let least = primary.iter().map(|row| row.p.unwrap()).fold(1.0, f64::min);
    let corrected = primary.iter().find(|row| row.p == Some(least)).unwrap().p_holm.unwrap();
    assert!((corrected - (2.0 * least).min(1.0)).abs() < 1e-12, "two tests in the primary family");
}

#[test]
fn orders_style_and_strengths_come_from_the_pairs() {
    let report = build(&Sample::smoke(Orders::Both).inputs());
    let judge = &report.judges[0];
    assert_eq!(judge.orders.tuned_first.decided + judge.orders.tuned_second.decided, judge.verdicts);
    assert_eq!(judge.orders.fisher_p, None, "both orders of a pair are not independent");
    let single = build(&Sample::smoke(Orders::Single).inputs());
    assert!(single.judges[0].orders.fisher_p.is_some());
    let style = report.comparisons[0].style.as_ref().unwrap();
    let chars = |text: &str| text.chars().count() as f64;
    let expected: f64 =
        report.pairs[..12].iter().map(|p| chars(&p.tuned.text) - chars(&p.base.text)).sum::<f64>() / 12.0;
    assert!((style.chars.mean - expected).abs() < 1e-9);
    let cut = report.pairs[..12].iter().filter(|p| p.base.finish_reason == FinishReason::Length).count();
    assert_eq!((style.pairs, style.base_truncated), (12, cut as u64));
    let [group] = &report.strengths[..] else { panic!("one model, one prompt set") };
    assert_eq!(group.systems.len(), 3, "the base and two checkpoints");
    assert!(group.systems.windows(2).all(|two| two[0].log_strength >= two[1].log_strength));
    assert!(group.systems.iter().map(|s| s.log_strength).sum::<f64>().abs() < 1e-9);
}

#[test]
fn what_was_fixed_at_submit_is_said() {
    let inputs = Sample::smoke(Orders::Both).inputs();
    let fixed = build(&inputs).preregistration;
    assert!(fixed.fixed_by.contains(&inputs.spec.matrix_digest.to_string()));
    let plan = fixed.stored().unwrap();
    assert_eq!(fixed.digest, Some(plan.digest().unwrap().to_string()));
    assert_eq!((plan.comparisons.len(), plan.judges.len()), (2, 2));
    assert!(plan.judges[0].orders.as_deref().unwrap().contains("both orders"));
    assert_eq!((&plan.training_seeds[..], plan.bootstrap_seed), (&[42][..], 20_260_101));
    assert_eq!(fixed.differences, Vec::<String>::new());
    // Nothing in it depends on what came out.
    let mut other = inputs.clone();
    other.verdicts.truncate(3);
    let other = build(&other).preregistration;
    assert_eq!(other.plan, fixed.plan);
    assert_eq!(other.differences, ["judge smoke-rubric was planned and gave no verdict"]);
}

#[test]
fn an_analysis_that_was_fixed_by_another_version_stays_and_what_is_done_otherwise_is_said() {
    let mut inputs = Sample::smoke(Orders::Both).inputs();
    let fixed = inputs.spec.analysis.as_mut().unwrap();
    fixed.ties = String::from("a tie is a loss");
    fixed.tests.push(String::from("primary: a test that nobody knows any more"));
    (fixed.alpha, fixed.bootstrap_replicates) = (0.01, 100);
    let fixed = fixed.clone();
    inputs.spec.judges.push(person("ann"));
    inputs.spec.judges.retain(|judge| judge.name != RUBRIC);
    inputs.verdicts.retain(|verdict| verdict.judge != RUBRIC);
    let report = build(&inputs);
    let block = &report.preregistration;
    assert_eq!((block.stored(), &block.digest), (Some(&fixed), &Some(fixed.digest().unwrap().to_string())));
    let said = [
        "ties: planned was \"a tie is a loss\", done is",
        "test not done: primary: a test that nobody knows any more",
        "two-sided level: planned was 0.01, done is 0.05",
        "resamples: planned was 100, done is 10000",
        "judge smoke-rubric was planned and is not in the report",
        "judge ann was not planned: beside the panel",
    ];
    assert_eq!(block.differences.len(), said.len(), "{:#?}", block.differences);
    for said in said {
        assert!(
            block.differences.iter().any(|one| one.starts_with(said)),
            "{said}: {:#?}",
            block.differences
        );
    }
    // Read again as it was written, whoever reads it.
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<assay_judging::report::Report>(&text).unwrap(), report);

    // One that was submitted before any was stored has this version's words, and says so.
    inputs.spec.analysis = None;
    let block = build(&inputs).preregistration;
    assert!(block.stored().is_none() && block.fixed_by.contains("these words are this version's"));
    assert_eq!(block.differences, Vec::<String>::new());
}

fn person(name: &str) -> assay_domain::job::JudgeInfo {
    let kind = assay_judging::report::HUMAN.to_owned();
    assay_domain::job::JudgeInfo {
        name: name.to_owned(),
        kind,
        ..Sample::smoke(Orders::Both).judges[0].clone()
    }
}

#[test]
fn what_a_judge_cost_is_said_with_the_price_and_its_date() {
    let inputs = Sample::with_api().inputs();
    let report = build(&inputs);
    let [price] = &report.reproducibility.prices[..] else { panic!("one API judge") };
    assert!(price.starts_with("gpt-4o-2024-08-06: 2.5 USD") && price.contains("2026-"), "{price}");
    let used = report.execution.judge_usage[API_JUDGE];
    assert_eq!(
        used.calls,
        inputs.verdicts.iter().filter(|verdict| verdict.judge == API_JUDGE).count() as u64
    );
    assert!(
        (used.usd.unwrap() - (used.prompt_tokens as f64 * 2.5 + used.new_tokens as f64 * 10.0) / 1e6).abs()
            < 1e-12
    );
    assert_eq!(report.execution.judge_usage[PLAIN].usd, None, "a judge of one's own has no price");
}
