//! `comparisons:`: what is planned for it, what stays as it was, and what is refused.

use assay_domain::JobKey;
use assay_domain::job::{Comparison, PlannedJob, Source, Work};
use assay_domain::matrix;
use assay_domain::plan::plan;

use super::{count, resolved, small};

/// Two models, two seeds, two epochs, two samplings, a local judge and an API judge: see [`small`].
fn planned(comparisons: &str) -> Vec<PlannedJob> {
    let text = small(&format!("comparisons:\n{comparisons}\n"));
    plan(&resolved::resolve(resolved::parse(&text), 24)).expect("it is right")
}

fn refused(comparisons: &str) -> String {
    let text = small(&format!("comparisons:\n{comparisons}\n"));
    let errors = match matrix::parse("m.yaml", &text, None) {
        Err(errors) => errors,
        Ok(matrix) => plan(&resolved::resolve(matrix, 24)).expect_err("it is wrong"),
    };
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn direct(jobs: &[PlannedJob]) -> Vec<Comparison> {
    let Some(Work::Report(spec)) = jobs.last().map(|job| &job.work) else { panic!("the report is the last") };
    spec.direct.clone()
}

fn ids(jobs: &[PlannedJob]) -> Vec<String> {
    direct(jobs).into_iter().map(|comparison| comparison.id).collect()
}

fn keys(jobs: &[PlannedJob]) -> Vec<JobKey> {
    jobs.iter().map(|job| job.key).collect()
}

#[test]
fn a_checkpoint_against_another_of_the_same_training_is_judged_by_everyone_on_what_is_there() {
    let before = plan(&resolved::resolve(resolved::parse(&small("")), 24)).unwrap();
    let jobs = planned("  - {compare: {model: a, seed: 1}, with: {checkpoint: first}, sampling: cold}");
    assert_eq!(
        ids(&jobs),
        ["a/talks/r16/seed-1/step-6/against/a/talks/r16/seed-1/step-3/eval/cold"],
        "the last checkpoint with the first"
    );
    // Nothing is trained or answered for it, and all else keeps its place and key.
    let all_but_the_report = &before[..before.len() - 1];
    assert_eq!(keys(&jobs)[..all_but_the_report.len()], keys(all_but_the_report));
    let added: Vec<&PlannedJob> = jobs[all_but_the_report.len()..jobs.len() - 1].iter().collect();
    let labels: Vec<&str> = added.iter().map(|job| job.label.as_str()).collect();
    assert_eq!(
        labels,
        [
            "score plain: a r16 seed 1 epoch 2 against a r16 seed 1 epoch 1 cold",
            "judge api: a r16 seed 1 epoch 2 against a r16 seed 1 epoch 1 cold",
        ]
    );
    // It costs what any comparison of as many pairs costs.
    let alike = before.iter().find(|job| job.label == "judge api: a r16 seed 1 epoch 2 cold").unwrap();
    assert_eq!(added[1].estimate, alike.estimate);
    assert!(added[1].estimate.api_usd.unwrap() > 0.0);
    // Its sides are the answers of both checkpoints, in both jobs the same ones.
    let answers = |label: &str| jobs.iter().find(|job| job.label == label).unwrap().ordinal;
    for job in added {
        let of = |role: &str| {
            let input = job.inputs.iter().find(|input| input.name == role).unwrap();
            let Source::Output { job, name } = &input.source else { panic!("{role} is an output") };
            (*job, name.clone())
        };
        let answered = |label: &str| (answers(label), "generations".to_owned());
        assert_eq!(of("tuned"), answered("generate a r16 seed 1 epoch 2 cold"));
        assert_eq!(of("base"), answered("generate a r16 seed 1 epoch 1 cold"));
    }
    let Work::Report(spec) = &jobs.last().unwrap().work else { panic!("the report is the last") };
    let fixed = spec.analysis.as_ref().unwrap();
    assert_eq!(fixed.comparisons.len(), spec.comparisons.len() + 1, "it is fixed at the submission");
    assert!(fixed.tests.iter().any(|test| test.starts_with("direct comparisons")), "{:?}", fixed.tests);
    assert!(fixed.estimand.contains("direct comparisons"), "{}", fixed.estimand);
}

#[test]
fn models_recipes_seeds_and_bases_can_be_compared() {
    // Another model: seed with seed, last with last, each sampling.
    let jobs = planned("  - {compare: {model: a}, with: {model: b}}");
    let found = ids(&jobs);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(
        found.contains(&"a/talks/r16/seed-2/step-6/against/b/talks/r16/seed-2/step-6/eval/warm".to_owned())
    );
    // Every checkpoint with that of the same name.
    let jobs =
        planned("  - {compare: {model: a, checkpoint: all, seed: 1}, with: {model: b}, sampling: warm}");
    assert_eq!(
        ids(&jobs),
        [
            "a/talks/r16/seed-1/step-3/against/b/talks/r16/seed-1/step-3/eval/warm",
            "a/talks/r16/seed-1/step-6/against/b/talks/r16/seed-1/step-6/eval/warm",
        ]
    );
    // A tuned model with another's base, and one seed with another.
    let jobs = planned(
        "  - {compare: {model: a, seed: 1, checkpoint: epoch 2}, with: {model: b, checkpoint: base}, sampling: cold}\n\
         \x20 - {compare: {model: a, seed: 1}, with: {seed: 2}, sampling: [cold]}",
    );
    assert_eq!(
        ids(&jobs),
        [
            "a/talks/r16/seed-1/step-6/against/b/base/eval/cold",
            "a/talks/r16/seed-1/step-6/against/a/talks/r16/seed-2/step-6/eval/cold",
        ]
    );
    let against = direct(&jobs)[0].against.clone().unwrap();
    assert_eq!((against.words().as_str(), against.checkpoint.as_str()), ("b base", "base"));
    assert_eq!(count(&jobs, assay_domain::WorkKind::Judge), 16 + 2);
}

#[test]
fn two_systems_meet_once_whichever_is_named_first() {
    let both = planned(
        "  - {compare: {seed: 1}, with: {model: [a, b]}, sampling: cold}\n\
         \x20 - {compare: {model: a, seed: 1, checkpoint: all}, with: {checkpoint: [first, last]}, sampling: cold}",
    );
    assert_eq!(
        ids(&both),
        [
            "a/talks/r16/seed-1/step-6/against/b/talks/r16/seed-1/step-6/eval/cold",
            "a/talks/r16/seed-1/step-3/against/a/talks/r16/seed-1/step-6/eval/cold",
        ]
    );
    let same: Comparison = serde_json::from_str(&serde_json::to_string(&direct(&both)[0]).unwrap()).unwrap();
    assert_eq!(same, direct(&both)[0]);
}

/// What is given, what there is, and the way out.
#[test]
fn what_cannot_be_compared_is_refused() {
    let cases = [
        ("{compare: {model: c}, with: {model: b}}", "model `c` is not defined: use one of `a`, `b`"),
        (
            "{compare: {recipe: r17}, with: {model: b}}",
            "recipe `r17` is not defined: use `r16`; did you mean `r16`?",
        ),
        ("{compare: {seed: 3}, with: {model: b}}", "seed `3` is not defined"),
        ("{compare: {}, with: {model: b}, sampling: hot}", "sampling `hot` is not defined"),
        ("{compare: {}, with: {model: b}, prompts: evil}", "prompt set `evil` is not defined: use `eval`"),
        ("{compare: {model: a}, with: {checkpoint: lst}}", "checkpoint is `lst`: use "),
        ("{compare: {model: a}, with: {checkpoint: lst}}", "did you mean `last`?"),
        ("{compare: {checkpoint: base}, with: {model: b}}", "name `base` in `with`"),
        ("{compare: {model: a}, with: {}}", "`with` names no axis"),
        (
            "{compare: {model: []}, with: {model: b}}",
            "is an empty list: name at least one, or leave the axis out",
        ),
        ("{compare: {model: a}}", "has no `with`"),
        ("{compare: {modell: a}, with: {model: b}}", "unknown field `modell`"),
        (
            "{compare: {model: a}, with: {checkpoint: epoch 3}}",
            "checkpoint `epoch 3` of `a talks r16 seed 1` is not evaluated: those that are: `epoch 1`, `epoch 2`; name one of \
             them, or change `evaluate`",
        ),
        (
            "{compare: {model: a}, with: {checkpoint: best}}",
            "checkpoint `best` of `a talks r16 seed 1` is not evaluated",
        ),
        ("{compare: {model: a}, with: {checkpoint: base}}", "the comparison adds nothing"),
        ("{compare: {model: a}, with: {model: a}}", "the comparison adds nothing"),
    ];
    for (comparison, said) in cases {
        let errors = refused(&format!("  - {comparison}"));
        assert!(errors.contains(said), "{comparison} gives:\n{errors}\nand not:\n{said}");
        assert!(errors.starts_with("m.yaml:"), "{errors}");
    }
}

#[test]
fn what_a_rule_takes_away_cannot_be_compared() {
    let comparisons = "  - {compare: {model: a}, with: {model: b}}\nexclude: [{model: b, seed: 2}]";
    assert!(
        refused(comparisons).contains(
            "`a talks r16 seed 2` is compared with `b talks r16 seed 2`, which is not run: let the matrix run it, or narrow `compare`"
        ),
        "{}",
        refused(comparisons)
    );
    let none =
        refused("  - {compare: {model: b, seed: 2}, with: {model: a}}\nexclude: [{model: b, seed: 2}]");
    assert!(none.contains("matches no combination that is run"), "{none}");
    let narrowed = "  - {compare: {model: a, seed: 1}, with: {model: b}}\nexclude: [{model: b, seed: 2}]";
    assert_eq!(ids(&planned(narrowed)).len(), 2);
}
