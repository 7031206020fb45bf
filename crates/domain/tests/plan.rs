//! The plan of the example and of small matrices: jobs, inputs, keys and prices.

#[path = "plan/demand.rs"]
mod demand;
#[path = "plan/direct.rs"]
mod direct;
#[path = "plan/origin.rs"]
mod origin;
#[path = "support/resolved.rs"]
mod resolved;

use std::collections::BTreeSet;

use assay_domain::job::{PlannedJob, Source, System, Work};
use assay_domain::matrix::{self, ResolvedMatrix};
use assay_domain::plan::{PlanTable, PriceTable, keep_analysis, plan};
use assay_domain::{JobKey, WorkKind};

const PHILOSOPHY: &str = include_str!("../../../examples/philosophy.yaml");

fn philosophy(variant: Option<&str>) -> ResolvedMatrix {
    let parsed = matrix::parse("philosophy.yaml", PHILOSOPHY, variant).expect("the example is right");
    resolved::resolve(parsed, 120)
}

fn small(extra: &str) -> String {
    format!(
        "name: trial\nmodels: [{{name: a, path: a}}, {{name: b, path: b, overrides: [{{rank: 8, alpha: 16}}]}}]\n\
         data: [{{name: talks, train: t.jsonl}}]\nrecipes: [{{name: r16, warmup_steps: 1}}]\nseeds: [1, 2]\n\
         prompts: [{{name: eval, file: p.jsonl, take: {{math: 2}}}}]\n\
         sampling: [{{name: cold, temperature: 0, max_new_tokens: 8}}, {{name: warm, max_new_tokens: 8}}]\n\
         panel:\n  judges:\n    - {{name: plain, kind: logprob, model: a, template: smoke-plain-v1}}\n\
         \x20   - {{name: api, kind: api, provider: openai, model: gpt-4o-mini, base_url: 'https://x/v1', key_env: K, template: assay-v1}}\n\
         {extra}"
    )
}

fn count(jobs: &[PlannedJob], kind: WorkKind) -> usize {
    jobs.iter().filter(|job| job.work.kind() == kind).count()
}

fn errors(resolved: &ResolvedMatrix) -> Vec<String> {
    plan(resolved).expect_err("it is wrong").iter().map(ToString::to_string).collect()
}

/// Targets that are left out are those of each model; named ones must be there.
#[test]
fn a_model_with_fused_projections_has_its_own_targets() {
    let fuse = |text: &str| {
        let mut resolved = resolved::resolve(matrix::parse("m.yaml", text, None).unwrap(), 8);
        let facts = resolved.models.get_mut("b").unwrap();
        facts.projections = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
            .map(|name| (name.to_owned(), (64, 64)))
            .into();
        resolved
    };
    let jobs = plan(&fuse(&small(""))).unwrap();
    let targets = |model: &str| {
        jobs.iter().find_map(|job| {
            let Work::Train(train) = &job.work else { return None };
            (train.model == model).then(|| train.recipe.targets.join(" "))
        })
    };
    assert_eq!(targets("a").unwrap(), "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj");
    assert_eq!(targets("b").unwrap(), "qkv_proj o_proj gate_up_proj down_proj");
    let named = small("").replace("warmup_steps: 1", "warmup_steps: 1, targets: [q_proj]");
    let refused = errors(&fuse(&named));
    assert!(refused[0].contains("model `b` has no `q_proj`"), "{refused:?}");
}

#[test]
fn the_demo_is_one_training_three_systems_two_judges() {
    let jobs = plan(&philosophy(None)).unwrap();
    let labels: Vec<&str> = jobs.iter().map(|job| job.label.as_str()).collect();
    let expected = [
        "train smollm2-135m lora-r16 seed 42",
        "generate smollm2-135m base",
        "generate smollm2-135m lora-r16 seed 42 epoch 1",
        "generate smollm2-135m lora-r16 seed 42 epoch 2",
        "score smoke-plain: smollm2-135m lora-r16 seed 42 epoch 1",
        "score smoke-rubric: smollm2-135m lora-r16 seed 42 epoch 1",
        "score smoke-plain: smollm2-135m lora-r16 seed 42 epoch 2",
        "score smoke-rubric: smollm2-135m lora-r16 seed 42 epoch 2",
        "report philosophy",
    ];
    assert_eq!(labels, expected);
    let Work::Train(train) = &jobs[0].work else { panic!("{:?}", jobs[0].work) };
    assert_eq!((train.total_steps, train.checkpoints.as_slice()), (12, &[6, 12][..]));
    assert_eq!((train.train_rows, train.valid_rows), (24, 8));
    let Work::Generate(base) = &jobs[1].work else { panic!("{:?}", jobs[1].work) };
    assert_eq!(base.system, System::Base);
    let of = |domain: &str| base.prompt_ids.iter().filter(|id| id.starts_with(domain)).count();
    let domains = ["philosophy", "brainstorming", "creative-writing", "contemplative-prose"];
    assert_eq!(domains.map(of), [2, 2, 2, 2]);
    assert_eq!(["coding", "math", "practical"].map(of), [2, 1, 1]);
}

#[test]
fn the_full_run_has_the_same_shape_and_more_to_do() {
    let (demo, full) = (plan(&philosophy(None)).unwrap(), plan(&philosophy(Some("full"))).unwrap());
    assert_eq!(demo.len(), full.len());
    let Work::Generate(base) = &full[1].work else { panic!("{:?}", full[1].work) };
    assert_eq!((base.prompt_ids.len(), base.sampling.max_new_tokens), (57, 512));
    let Work::Train(train) = &full[0].work else { panic!("{:?}", full[0].work) };
    assert_eq!((train.train_rows, train.valid_rows, train.total_steps), (120, 16, 60));
    assert!(full[4].estimate.input_tokens > 4 * demo[4].estimate.input_tokens);
}

#[test]
fn every_axis_is_expanded_and_bases_are_shared() {
    let jobs = plan(&resolved::resolve(resolved::parse(&small("")), 24)).unwrap();
    // 2 models x 2 seeds; bases: 2 models x 2 samplings; tuned: 4 trainings x 2 epochs x 2 samplings.
    assert_eq!(count(&jobs, WorkKind::Train), 4);
    assert_eq!(count(&jobs, WorkKind::Generate), 4 + 16);
    assert_eq!(count(&jobs, WorkKind::Score), 16);
    assert_eq!(count(&jobs, WorkKind::Judge), 16);
    assert_eq!(count(&jobs, WorkKind::Report), 1);
    let keys: BTreeSet<JobKey> = jobs.iter().map(|job| job.key).collect();
    assert_eq!(keys.len(), jobs.len());
    let ranks: Vec<u32> = jobs.iter().filter_map(rank_of).collect();
    assert_eq!(ranks, [16, 16, 8, 8]);
}

fn rank_of(job: &PlannedJob) -> Option<u32> {
    if let Work::Train(spec) = &job.work { Some(spec.recipe.rank) } else { None }
}

#[test]
fn inputs_come_from_earlier_jobs_that_make_them() {
    let jobs = plan(&resolved::resolve(resolved::parse(&small("")), 24)).unwrap();
    for job in &jobs {
        for (needed, name) in job.needs() {
            assert!(needed < job.ordinal);
            assert!(jobs[needed as usize].work.outputs().iter().any(|output| output == name), "{name}");
        }
        assert_eq!(jobs[job.ordinal as usize], *job);
    }
    let report = jobs.last().unwrap();
    let generations = report.inputs.iter().filter(|input| input.name.starts_with("generations/")).count();
    assert_eq!(generations, 20);
    assert!(report.inputs.iter().all(|input| matches!(input.source, Source::Output { .. })));
}

#[test]
fn rules_choose_what_is_run() {
    let rules = "exclude:\n  - {model: b, sampling: cold}\n  - {seed: 2}\n";
    let jobs = plan(&resolved::resolve(resolved::parse(&small(rules)), 24)).unwrap();
    assert_eq!(count(&jobs, WorkKind::Train), 2);
    // Bases: a cold, a warm, b warm; tuned: 2 epochs of each.
    assert_eq!(count(&jobs, WorkKind::Generate), 3 + 6);
}

#[test]
fn an_unavailable_judge_gets_no_jobs_and_a_line_in_the_report() {
    let mut resolved = resolved::resolve(resolved::parse(&small("")), 24);
    let why = String::from("environment variable K is not set");
    resolved.judges.get_mut("api").unwrap().unavailable = Some(why.clone());
    let jobs = plan(&resolved).unwrap();
    assert_eq!(count(&jobs, WorkKind::Judge), 0);
    let table = PlanTable::of("trial", &jobs, PriceTable::builtin());
    assert_eq!(table.unavailable_judges, [(String::from("api"), why)]);
}

/// Matrices of older versions keep their keys: what came later is not in them unless it is used.
#[test]
fn settings_that_came_later_are_in_no_key_where_they_are_off() {
    let train = |more: &str| {
        let text = small("").replace("train: t.jsonl", "train: t.jsonl, valid: v.jsonl");
        let text = text.replace("warmup_steps: 1", &format!("warmup_steps: 1{more}"));
        plan(&resolved::resolve(resolved::parse(&text), 24)).unwrap().swap_remove(0)
    };
    let plain = train("");
    let recipe = serde_json::to_value(&plain.work).unwrap()["recipe"].take();
    let first = "accumulate alpha dropout epochs learning_rate loss_on max_grad_norm max_length micro_batch name rank \
                 reference_quirks rslora targets warmup_steps weight_decay";
    let mut fields: Vec<&str> = recipe.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields.join(" "), first);
    let off = train(
        ", lora_plus_ratio: 1, neftune_alpha: 0, dora: false, keep_best: false, early_stopping: null, residual: null",
    );
    assert_eq!(off.key, plain.key);
    for on in
        ["lora_plus_ratio: 16", "neftune_alpha: 5", "dora: true", "keep_best: true", "residual: float32"]
    {
        assert_ne!(train(&format!(", {on}")).key, plain.key, "{on}");
    }
    let Work::Train(spec) = serde_json::from_value(serde_json::to_value(&plain.work).unwrap()).unwrap()
    else {
        panic!("it is no training")
    };
    assert_eq!((spec.recipe.lora_plus_ratio, spec.recipe.keep_best), (1.0, false));
}

/// Computed from Qwen2.5-7B's shape, not run: with its matrices in 4 bits it trains on 12 GB, in full it does not.
#[test]
fn seven_billion_parameters_fit_on_12_gigabytes_in_4_bits_alone() {
    let memory = |recipe: &str| {
        let recipe = format!("warmup_steps: 1, micro_batch: 1, accumulate: 8, {recipe}");
        let text =
            small("").replace(", overrides: [{rank: 8, alpha: 16}]", "").replace("warmup_steps: 1", &recipe);
        let mut resolved = resolved::resolve(resolved::parse(&text), 24);
        for facts in resolved.models.values_mut() {
            (facts.layers, facts.hidden, facts.attention_width, facts.kv_width) = (28, 3584, 3584, 512);
            (facts.linear_parameters, facts.tied) = (6_525_288_448, false);
            (facts.embedding_parameters, facts.head_parameters) = (544_997_376, 544_997_376);
            facts.projections = [
                ("q_proj", (3584, 3584)),
                ("k_proj", (512, 3584)),
                ("v_proj", (512, 3584)),
                ("o_proj", (3584, 3584)),
                ("gate_proj", (18944, 3584)),
                ("up_proj", (18944, 3584)),
                ("down_proj", (3584, 18944)),
            ]
            .map(|(name, widths)| (name.to_owned(), widths))
            .into();
        }
        for count in resolved.data.values_mut().flat_map(|facts| &mut facts.tokens) {
            count.longest = vec![2048];
        }
        plan(&resolved).unwrap().swap_remove(0).demand.bfloat16
    };
    let (four, plain) = (memory("quantization: nf4"), memory("quantization: null"));
    println!("7B: {four:?} in 4 bits, {plain:?} in full");
    assert!(four.whole_mib < 11_000 && four.whole_mib > 6_000, "{four:?}");
    assert!(plain.least_mib > 15_000, "{plain:?}");
    // All weights: twenty bytes for each, on a GPU too.
    assert!(memory("method: full").least_mib > 140_000);
}

/// Base and adapter answer with the matrices that the adapter was trained beside, and are compared with each other alone.
#[test]
fn a_recipe_over_weights_in_4_bits_has_a_base_of_its_own() {
    let of = |recipes: &str| {
        let text = small("").replace("{name: r16, warmup_steps: 1}", recipes);
        plan(&resolved::resolve(resolved::parse(&text), 24)).unwrap()
    };
    let plain = of("{name: r16, warmup_steps: 1}");
    let both = of("{name: r16, warmup_steps: 1}, {name: q16, warmup_steps: 1, quantization: nf4}");
    let answers = |jobs: &[PlannedJob]| -> BTreeSet<(String, String)> {
        let spec = |job: &PlannedJob| match &job.work {
            Work::Generate(spec) => Some((spec.model.clone(), spec.system_name())),
            Work::Train(_) | Work::Score(_) | Work::Judge(_) | Work::Report(_) => None,
        };
        jobs.iter().filter_map(spec).filter(|(_, system)| system.starts_with("base")).collect()
    };
    let pairs = |systems: &[&str]| -> BTreeSet<(String, String)> {
        let of = |model: &str| {
            systems.iter().map(|system| (model.to_owned(), (*system).to_owned())).collect::<Vec<_>>()
        };
        ["a", "b"].into_iter().flat_map(of).collect()
    };
    assert_eq!(answers(&plain), pairs(&["base"]));
    assert_eq!(answers(&both), pairs(&["base", "base-nf4"]));
    let keys: BTreeSet<JobKey> = both.iter().map(|job| job.key).collect();
    assert!(
        plain.iter().filter(|job| job.work.kind() != WorkKind::Report).all(|job| keys.contains(&job.key))
    );
    for job in &both {
        let Work::Score(spec) = &job.work else { continue };
        let of = |role: &str| {
            let input = job.inputs.iter().find(|input| input.name == role).unwrap();
            let Source::Output { job, .. } = &input.source else { panic!("{role} is uploaded") };
            let Work::Generate(spec) = &both[*job as usize].work else { panic!("{role} is no answer") };
            spec.quantization
        };
        assert_eq!(of("base"), of("tuned"));
        assert_eq!(of("base").is_some(), spec.comparison.recipe == "q16");
    }
    // Forward is computed twice: half as much work again.
    let flops = |name: &str| {
        let train = |job: &&PlannedJob| matches!(&job.work, Work::Train(spec) if spec.recipe.name == name);
        both.iter().find(train).unwrap().estimate.flops
    };
    let ratio = flops("q16") / flops("r16");
    assert!((1.2..1.5).contains(&ratio), "{ratio}");
}

/// All weights are trained: nothing of an adapter is in the key, and each weight costs its own gradient too.
#[test]
fn a_recipe_that_trains_all_weights_has_no_adapter_and_costs_half_as_much_again() {
    let trainings = |recipe: &str| {
        let text = small("").replace(", overrides: [{rank: 8, alpha: 16}]", "");
        let text = text.replace("warmup_steps: 1", &format!("warmup_steps: 1{recipe}"));
        plan(&resolved::resolve(resolved::parse(&text), 24)).unwrap()
    };
    let (lora, full) = (trainings(""), trainings(", method: full"));
    let Work::Train(spec) = &full[0].work else { panic!("it is no training") };
    let recipe = serde_json::to_value(&spec.recipe).unwrap();
    assert_eq!(
        (&recipe["method"], &recipe["rank"], &recipe["learning_rate"]),
        (&"full".into(), &0.into(), &2e-5.into())
    );
    assert!(spec.recipe.targets.is_empty());
    // Half as much again for what is trained on; the validation rows cost the same.
    let ratio = full[0].estimate.flops / lora[0].estimate.flops;
    assert!((1.2..1.5).contains(&ratio), "{ratio}");
    assert_ne!(full[0].key, lora[0].key);
    assert_eq!(trainings(", method: lora")[0].key, lora[0].key);
    let tuned = |jobs: &[PlannedJob]| {
        jobs.iter()
            .filter(|job| matches!(&job.work, Work::Generate(spec) if spec.system != System::Base))
            .count()
    };
    assert_eq!(tuned(&full), tuned(&lora));
}

/// Presets are recipes of adapters, and what a model sets in a recipe's place counts too.
#[test]
fn settings_of_adapters_are_refused_where_all_weights_are_trained() {
    let refused = |from: &str, to: &str| {
        let text = small("").replace(", overrides: [{rank: 8, alpha: 16}]", "").replace(from, to);
        let errors = matrix::parse("m.yaml", &text, None).expect_err("it is wrong");
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let said =
        |field: &str| format!("{field} is a setting of adapters, and `method: full` trains all weights");
    let preset = refused("warmup_steps: 1", "method: full, preset: paper-3b");
    assert!(preset.contains(&said("preset")), "{preset}");
    let model = refused(
        "path: b}",
        "path: b, overrides: [{recipe: r16, method: full, alpha: 4, quantization: nf4, residual: float32}]}",
    );
    for field in ["alpha", "quantization", "residual"] {
        assert!(model.contains(&said(field)), "{model}");
    }
}

#[test]
fn the_end_of_a_recipe_that_keeps_its_best_is_judged_by_that_name() {
    let text = small("").replace("train: t.jsonl", "train: t.jsonl, valid: v.jsonl");
    let text = text.replace("warmup_steps: 1", "warmup_steps: 1, keep_best: true");
    let jobs = plan(&resolved::resolve(resolved::parse(&text), 24)).unwrap();
    let checkpoints: BTreeSet<(u64, &str)> = jobs
        .iter()
        .filter_map(|job| match &job.work {
            Work::Score(spec) => Some((spec.comparison.step, spec.comparison.checkpoint.as_str())),
            Work::Train(_) | Work::Generate(_) | Work::Judge(_) | Work::Report(_) => None,
        })
        .collect();
    assert_eq!(checkpoints, BTreeSet::from([(3, "epoch 1"), (6, "best")]));
}

#[test]
fn keys_do_not_depend_on_what_is_not_part_of_the_result() {
    let keys =
        |resolved: &ResolvedMatrix| plan(resolved).unwrap().iter().map(|job| job.key).collect::<Vec<_>>();
    let demo = philosophy(None);
    let mut moved = demo.clone();
    moved.matrix.models[0].path = Some(String::from("/elsewhere/smollm2"));
    let (first, second) = (keys(&demo), keys(&moved));
    // The report names the matrix as it was resolved; everything before it is the same job.
    assert_eq!(first[..8], second[..8]);
    let mut other = demo.clone();
    other.matrix.seeds = vec![43];
    assert_ne!(keys(&other)[0], first[0]);
    assert_eq!(keys(&other)[1], first[1]);
}

#[test]
fn prices_are_computed_and_unknown_ones_stay_unknown() {
    let jobs = plan(&resolved::resolve(resolved::parse(&small("")), 24)).unwrap();
    let table = PlanTable::of("trial", &jobs, PriceTable::builtin());
    assert!(table.total.api_usd.is_some_and(|usd| usd > 0.0));
    assert_eq!(table.total.api_calls, 16 * 2 * 2);
    assert!(table.workers.iter().all(|worker| worker.seconds > 0.0));
    let text = small("").replace("gpt-4o-mini", "someone-else");
    let jobs = plan(&resolved::resolve(resolved::parse(&text), 24)).unwrap();
    assert_eq!(PlanTable::of("trial", &jobs, PriceTable::builtin()).total.api_usd, None);
    let local = plan(&philosophy(None)).unwrap();
    assert_eq!(PlanTable::of("demo", &local, PriceTable::builtin()).total.api_usd, Some(0.0));
}

#[test]
fn the_estimate_of_training_is_four_operations_for_each_parameter_and_token() {
    let jobs = plan(&philosophy(None)).unwrap();
    let estimate = jobs[0].estimate;
    assert_eq!(estimate.input_tokens, 2 * 24 * 300);
    let parameters = (106_168_320 + 28_311_552) as f64;
    let least = 4.0 * parameters * estimate.input_tokens as f64;
    // Attention and three passes over the validation rows come on top.
    assert!(estimate.flops > least && estimate.flops < 1.5 * least, "{}", estimate.flops / least);
}

#[test]
fn what_only_the_files_can_tell_is_told_with_its_place() {
    let mut resolved = philosophy(None);
    resolved.data.get_mut("philosophy").unwrap().train_rows = 20;
    assert_eq!(errors(&resolved)[0], "philosophy.yaml:18:17: train_rows is 24: the file has 20");
    let mut resolved = philosophy(None);
    resolved.models.get_mut("smollm2-135m").unwrap().max_positions = 100;
    let given = errors(&resolved);
    assert!(
        given[0].contains("max_length is 512 in recipe `lora-r16`: model `smollm2-135m` has 100 positions"),
        "{given:?}"
    );
    assert!(given[1].contains("at most 40"), "{given:?}");
    let mut resolved = philosophy(None);
    resolved.prompts.get_mut("eval").unwrap().records.retain(|record| record.split != "out-of-domain");
    let given = errors(&resolved);
    assert!(given[0].contains("no prompt has the split or domain `out-of-domain`"), "{given:?}");
    assert!(given[0].ends_with("`in-domain`, `philosophy`"), "{given:?}");
}

#[test]
fn a_resolved_matrix_survives_json_and_plans_the_same() {
    let resolved = philosophy(None);
    let json = serde_json::to_string(&resolved).unwrap();
    let again: ResolvedMatrix = serde_json::from_str(&json).unwrap();
    assert_eq!(again, resolved);
    assert_eq!(plan(&again).unwrap(), plan(&resolved).unwrap());
    assert!(errors(&ResolvedMatrix { data: Default::default(), ..again })[0].starts_with("matrix: "));
}

#[test]
fn a_plan_says_what_to_know_before_it_is_paid_for() {
    let with = |model: &str| {
        let text = small("").replace("model: gpt-4o-mini", model);
        let jobs = plan(&resolved::resolve(resolved::parse(&text), 24)).unwrap();
        PlanTable::of("trial", &jobs, PriceTable::builtin())
    };
    let source = "prices of 2026-11-22 by the litellm 1.109.1 price table (PyPI); the labs' own pages decide";
    let known = with("model: gpt-4o-mini");
    assert!(known.total.api_usd.is_some_and(|usd| usd > 0.0));
    assert_eq!(known.notes, [source]);
    let retiring = with("model: gpt-4o-2024-08-06");
    assert_eq!(
        retiring.notes[0],
        "judge `api`: model `gpt-4o-2024-08-06` is announced to retire on 2027-01-14"
    );
    let unknown = with("model: gpt-99");
    assert_eq!(unknown.total.api_usd, None);
    assert_eq!(unknown.notes, ["judge `api`: the price of model `gpt-99` is unknown", source]);
}

#[test]
fn batches_cost_half_and_are_the_labs_alone() {
    let usd = |text: &str| {
        let jobs = plan(&resolved::resolve(resolved::parse(text), 24)).unwrap();
        PlanTable::of("m", &jobs, PriceTable::builtin()).total.api_usd.unwrap()
    };
    let batched = small("").replace("model: gpt-4o-mini", "batch: true, model: gpt-4o-mini");
    assert!(batched.contains("batch: true"));
    assert!((usd(&batched) * 2.0 - usd(&small(""))).abs() < 1e-9);
}

#[test]
fn a_budget_is_kept_or_the_plan_is_refused() {
    let with = |model: &str, budget: f64| {
        let panel = format!("panel:\n  budget_usd: {budget}\n  judges:");
        let text = small("").replace("panel:\n  judges:", &panel).replace("gpt-4o-mini", model);
        plan(&resolved::resolve(resolved::parse(&text), 24))
    };
    let shares = with("gpt-4o-mini", 5.0).unwrap();
    let shares: Vec<f64> = shares.iter().filter_map(|job| job.estimate.api_usd_max).collect();
    assert!(!shares.is_empty() && (shares.iter().sum::<f64>() - 5.0).abs() < 1e-9, "{shares:?}");
    let told =
        |outcome: Result<Vec<PlannedJob>, Vec<matrix::MatrixError>>| outcome.unwrap_err()[0].to_string();
    let over = told(with("gpt-4o-mini", 0.001));
    assert!(over.contains("the judges cost about 0.0") && over.contains("budget_usd allows 0.001"), "{over}");
    let unknown = told(with("gpt-99", 5.0));
    assert!(unknown.contains("is unknown"), "{unknown}");
}

/// The commit is part of the key of every job that loads the model; an unpinned revision is no plan.
#[test]
fn a_model_of_the_hub_is_planned_at_its_commit() {
    let at = |revision: &str| {
        let place = format!("{{name: a, hub: org/tiny, revision: {revision}, thinking: false}}");
        let text = small("").replace("{name: a, path: a}", &place);
        resolved::resolve(matrix::parse("m.yaml", &text, None).unwrap(), 8)
    };
    let (first, second) = ("a".repeat(40), "b".repeat(40));
    let (one, other) = (plan(&at(&first)).unwrap(), plan(&at(&second)).unwrap());
    let keys = |jobs: &[PlannedJob], model: &str| -> Vec<JobKey> {
        let of_model = |work: &Work| match work {
            Work::Train(spec) => spec.model == model,
            Work::Generate(spec) => spec.model == model,
            Work::Score(spec) => spec.model == model,
            Work::Judge(_) | Work::Report(_) => false,
        };
        jobs.iter().filter(|job| of_model(&job.work)).map(|job| job.key).collect()
    };
    let (of_one, of_other) = (keys(&one, "a"), keys(&other, "a"));
    assert!(!of_one.is_empty() && of_one.iter().all(|key| !of_other.contains(key)));
    let trained = one.iter().find_map(|job| match &job.work {
        Work::Train(spec) if spec.model == "a" => Some(&spec.model_settings),
        Work::Train(_) | Work::Generate(_) | Work::Score(_) | Work::Judge(_) | Work::Report(_) => None,
    });
    let hub = trained.unwrap().hub.as_ref().unwrap();
    assert_eq!(
        (hub.repo.as_str(), &hub.commit, trained.unwrap().thinking),
        ("org/tiny", &first, Some(false))
    );
    // Nothing is said of a folder, so keys of earlier versions stay.
    let folder = one.iter().find(|job| matches!(&job.work, Work::Train(spec) if spec.model == "b")).unwrap();
    assert!(!serde_json::to_string(&folder.work).unwrap().contains("model_settings"));
    let refused = errors(&at("main"));
    assert!(
        refused[0].contains("revision `main` of `a` (org/tiny) is not pinned to a commit"),
        "{refused:?}"
    );
}

/// What a later version would do changes nothing for a matrix that was submitted before.
#[test]
fn a_plan_holds_its_analysis_and_a_retry_keeps_the_one_that_was_fixed_first() {
    let resolved = resolved::resolve(matrix::parse("m.yaml", &small(""), None).unwrap(), 8);
    let fresh = plan(&resolved).unwrap();
    let analysis = |jobs: &[PlannedJob]| match &jobs.last().unwrap().work {
        Work::Report(spec) => spec.analysis.clone().unwrap(),
        Work::Train(_) | Work::Generate(_) | Work::Score(_) | Work::Judge(_) => {
            panic!("the report comes last")
        }
    };
    let fixed = analysis(&fresh);
    assert_eq!((fixed.training_seeds.clone(), fixed.judges.len(), fixed.alpha), (vec![1, 2], 2, 0.05));
    assert!(fixed.tests[0].starts_with("primary") && fixed.comparisons.len() == 16, "{fixed:#?}");

    let mut before = fresh.clone();
    let last = before.last_mut().unwrap();
    let Work::Report(spec) = &mut last.work else { panic!("the report comes last") };
    spec.analysis.as_mut().unwrap().ties = String::from("a tie is a loss");
    let mut again = fresh.clone();
    keep_analysis(&mut again, &before).unwrap();
    assert_eq!(analysis(&again).ties, "a tie is a loss");
    let keys = |jobs: &[PlannedJob]| jobs.iter().map(|job| job.key).collect::<Vec<_>>();
    let (others, report) = (fresh.len() - 1, |jobs: &[PlannedJob]| jobs.last().unwrap().key);
    assert_eq!(keys(&again)[..others], keys(&fresh)[..others]);
    assert_ne!(report(&again), report(&fresh));
    // The same analysis is the same report.
    let mut same = fresh.clone();
    keep_analysis(&mut same, &fresh).unwrap();
    assert_eq!(keys(&same), keys(&fresh));
}
