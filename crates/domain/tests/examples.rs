//! The examples and the committed schema are what this version reads.

use std::path::PathBuf;

use assay_domain::job::Orders;
use assay_domain::matrix::{self, Evaluate};

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn philosophy(variant: Option<&str>) -> matrix::Matrix {
    let text = std::fs::read_to_string(examples().join("philosophy.yaml")).expect("the example is there");
    matrix::parse("philosophy.yaml", &text, variant).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(|error| format!("{error}\n")).collect::<String>())
    })
}

#[test]
fn the_demo_is_the_one_promised() {
    let demo = philosophy(None);
    let (recipe, _) = demo.recipe_for("smollm2-135m", "lora-r16").unwrap();
    assert_eq!((demo.data[0].train_rows, demo.data[0].valid_rows), (Some(24), Some(8)));
    assert_eq!((recipe.epochs, recipe.micro_batch * recipe.accumulate, recipe.warmup_steps), (2, 4, 2));
    assert_eq!(demo.evaluate, Evaluate::All);
    assert_eq!((demo.sampling[0].temperature, demo.sampling[0].max_new_tokens), (Some(0.75), 48));
    assert_eq!(demo.panel.orders, Orders::Both);
    assert_eq!(demo.prompts[0].take.as_ref().unwrap().values().sum::<u32>(), 12);
}

#[test]
fn the_full_run_is_one_flag_away() {
    let full = philosophy(Some("full"));
    assert_eq!((full.data[0].train_rows, full.data[0].valid_rows), (Some(120), Some(16)));
    assert_eq!(full.data[0].train, "data/train.jsonl");
    assert_eq!(full.prompts[0].take, None);
    assert_eq!(full.sampling[0].max_new_tokens, 512);
    assert_eq!(full.sampling[0].temperature, Some(0.75));
    assert_eq!(full.panel.orders, Orders::Full);
    assert_eq!(full.panel.judges.len(), 2);
}

#[test]
fn a_matrix_survives_json() {
    let demo = philosophy(None);
    let json = serde_json::to_string(&demo).unwrap();
    assert_eq!(serde_json::from_str::<matrix::Matrix>(&json).unwrap(), demo);
}

/// After a change of the types: `ASSAY_WRITE_GOLDEN=1 cargo test -p assay-domain --test examples`.
#[test]
fn the_committed_schema_is_fresh() {
    let path = examples().join("matrix.schema.json");
    let schema = serde_json::to_string_pretty(&matrix::json_schema()).unwrap() + "\n";
    if std::env::var_os("ASSAY_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == schema,
        "examples/matrix.schema.json is old: write it again as this test's comment says"
    );
}

#[test]
fn the_published_method_is_whole_and_its_retired_judges_are_replaced() {
    let text = std::fs::read_to_string(examples().join("paper.yaml")).expect("the example is there");
    let paper = matrix::parse("paper.yaml", &text, None).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!((paper.models.len(), paper.panel.judges.len()), (4, 4));
    assert_eq!((&paper.evaluate, paper.panel.orders), (&Evaluate::All, Orders::Both));
    let of = |model: &str| {
        let (recipe, _) = paper.recipe_for(model, "lora").unwrap();
        (recipe.rank, recipe.alpha, recipe.micro_batch * recipe.accumulate, recipe.epochs)
    };
    assert_eq!(of("qwen2.5-3b"), (16, 32.0, 8, 2));
    assert_eq!(of("qwen2.5-0.5b"), (16, 32.0, 8, 2));
    let (recipe, checkpoints) = paper.recipe_for("llama-3.2-3b", "lora").unwrap();
    assert_eq!(
        (recipe.targets, checkpoints),
        (vec!["q_proj".to_owned(), "v_proj".to_owned()], matrix::Checkpoints::EveryEpoch)
    );
    let known = assay_domain::judge_models::builtin();
    for judge in &paper.panel.judges {
        let model = judge.api().unwrap().model;
        assert!(known.price(&model).is_some() && known.retired(&model).is_none(), "{model}");
    }
    for gone in ["claude-3-5-sonnet-20241022", "claude-opus-4-20250514"] {
        let (on, said) = (known.retired(gone).unwrap(), text.matches(gone).count());
        assert!(said >= 2 && text.contains(on), "the retirement of {gone} on {on} is said");
    }
}

#[test]
fn a_preset_fills_what_a_recipe_leaves_out_and_a_model_may_have_its_own() {
    let mut tree = serde_json::to_value(philosophy(None)).unwrap();
    let model = tree["models"][0]["name"].as_str().unwrap().to_owned();
    tree["recipes"] = serde_json::json!([
        { "name": "plain", "preset": "paper-3b" },
        { "name": "other", "preset": "paper-0.5b", "alpha": 64, "epochs": 3 },
    ]);
    tree["models"][0]["overrides"] =
        serde_json::json!([{ "recipe": "plain", "preset": "paper-0.5b-qv", "dropout": 0 }]);
    let matrix: matrix::Matrix = serde_json::from_value(tree).unwrap();
    let (other, _) = matrix.recipe_for(&model, "other").unwrap();
    assert_eq!((other.rank, other.alpha, other.epochs, other.targets.len()), (8, 64.0, 3, 7));
    let (own, checkpoints) = matrix.recipe_for(&model, "plain").unwrap();
    assert_eq!((own.targets.join(" "), own.rank, own.dropout), (String::from("q_proj v_proj"), 16, 0.0));
    assert_eq!(checkpoints, matrix::Checkpoints::EverySteps(100));
    let (plain, _) = matrix.recipe_for("another", "plain").unwrap();
    assert_eq!((plain.targets.len(), plain.rank, plain.alpha, plain.dropout), (7, 16, 32.0, 0.05));
    assert_eq!((plain.learning_rate, plain.warmup_steps, plain.max_length), (2e-4, 20, 2048));
}
