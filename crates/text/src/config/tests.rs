use serde_json::{Value, json};

use super::*;

fn base(model_type: &str) -> Value {
    json!({
        "model_type": model_type, "vocab_size": 512, "hidden_size": 64, "intermediate_size": 160,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true
    })
}

fn with(mut value: Value, field: &str, inner: Value) -> Value {
    value[field] = inner;
    value
}

fn refusal(value: &Value) -> String {
    DecoderConfig::from_json(value).expect_err("must be refused").to_string()
}

#[test]
fn both_spellings_of_the_rotary_base_agree() {
    let old = DecoderConfig::from_json(&with(base("llama"), "rope_theta", json!(100000.0))).unwrap();
    let new = with(base("llama"), "rope_parameters", json!({"rope_type": "default", "rope_theta": 100000.0}));
    assert_eq!(old, DecoderConfig::from_json(&new).unwrap());
    assert_eq!(old.rope_theta, 100_000.0);
}

#[test]
fn llama3_scaling_reads_from_both_spellings() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64
    });
    let old = with(with(base("llama"), "rope_theta", json!(5e5)), "rope_scaling", scaling.clone());
    let new = with(base("llama"), "rope_parameters", with(scaling, "rope_theta", json!(5e5)));
    let config = DecoderConfig::from_json(&old).unwrap();
    assert_eq!(config, DecoderConfig::from_json(&new).unwrap());
    let frequencies = config.rotary_frequencies();
    assert_eq!(frequencies[0], 1.0, "the highest frequency is kept");
    let last = 5e5_f64.powf(-14.0 / 16.0);
    assert!((frequencies[7] - last / 32.0).abs() < 1e-18, "the lowest is divided by the factor");
}

#[test]
fn families_differ_only_in_data() {
    let qwen2 = DecoderConfig::from_json(&base("qwen2")).unwrap();
    assert!(qwen2.qkv_bias && !qwen2.output_bias && !qwen2.qk_norm);
    assert_eq!(qwen2.head_dim, 16);
    let qwen3 = DecoderConfig::from_json(&with(base("qwen3"), "head_dim", json!(32))).unwrap();
    assert!(qwen3.qk_norm && !qwen3.qkv_bias);
    assert_eq!((qwen3.query_size(), qwen3.key_value_size()), (128, 64));
    let biased = DecoderConfig::from_json(&with(base("llama"), "attention_bias", json!(true))).unwrap();
    assert!(biased.qkv_bias && biased.output_bias);
}

#[test]
fn end_of_text_may_be_one_token_or_many() {
    let one = DecoderConfig::from_json(&with(base("llama"), "eos_token_id", json!(2))).unwrap();
    assert_eq!(one.eos_token_ids, [2]);
    let many = DecoderConfig::from_json(&with(base("llama"), "eos_token_id", json!([1, 8, 9]))).unwrap();
    assert_eq!(many.eos_token_ids, [1, 8, 9]);
}

#[test]
fn what_cannot_be_computed_is_refused_by_name() {
    let cases = [
        (base("gemma2"), "model type `gemma2` is not supported: use one of llama, mistral, qwen2, qwen3"),
        (
            with(base("llama"), "hidden_act", json!("gelu")),
            "config.json: `hidden_act` is \"gelu\", which is not supported (only `silu`)",
        ),
        (
            with(base("qwen2"), "use_sliding_window", json!(true)),
            "config.json: `use_sliding_window` is true, which is not supported (only full attention)",
        ),
        (
            with(base("llama"), "rope_scaling", json!({"type": "yarn", "factor": 4.0})),
            "config.json: `rope_scaling.rope_type` is \"yarn\", which is not supported \
             (only `default`, `linear` and `llama3`)",
        ),
        (
            with(base("llama"), "num_key_value_heads", json!(3)),
            "config.json: `num_key_value_heads` is 3, but must be a divisor of `num_attention_heads` (4)",
        ),
        (
            with(base("llama"), "hidden_size", json!(-1)),
            "config.json: `hidden_size` is -1, but must be a whole number above 0",
        ),
        (
            with(base("llama"), "vocab_size", Value::Null),
            "config.json has no `vocab_size`: the field is required for model type `llama`",
        ),
    ];
    for (value, message) in cases {
        assert_eq!(refusal(&value), message);
    }
}

#[test]
fn a_sliding_window_that_is_not_used_is_accepted() {
    let unused =
        with(with(base("qwen2"), "sliding_window", json!(32768)), "use_sliding_window", json!(false));
    assert!(DecoderConfig::from_json(&unused).is_ok());
    assert!(
        refusal(&with(base("mistral"), "sliding_window", json!(4096))).contains("`sliding_window` is 4096")
    );
}
