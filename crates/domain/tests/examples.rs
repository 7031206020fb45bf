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
