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

/// A file with nothing but what no family has a default for.
fn bare(model_type: &str) -> Value {
    json!({
        "model_type": model_type, "vocab_size": 512, "hidden_size": 256, "intermediate_size": 160,
        "num_hidden_layers": 3, "num_attention_heads": 64
    })
}

fn windows(value: &Value) -> Vec<Option<usize>> {
    DecoderConfig::from_json(value).unwrap().windows
}

#[test]
fn fields_that_are_left_out_are_those_of_transformers() {
    let all_of = |value: &Value| DecoderConfig::from_json(value).unwrap();
    let shape = |model_type: &str| {
        let config = all_of(&bare(model_type));
        (config.kv_head_count, config.head_dim, config.max_positions, config.tied_embeddings)
    };
    assert_eq!(shape("llama"), (64, 4, 2048, false));
    assert_eq!(shape("mistral"), (8, 4, 131_072, false));
    assert_eq!(shape("qwen2"), (32, 4, 32_768, false));
    assert_eq!(shape("qwen3"), (32, 128, 32_768, false));
    assert_eq!(shape("phi3"), (64, 4, 4096, false));
    assert_eq!(shape("gemma2"), (4, 256, 8192, true));
    assert_eq!(all_of(&bare("phi3")).norm_epsilon, 1e-5);
    assert_eq!(all_of(&with(bare("mistral"), "num_key_value_heads", Value::Null)).kv_head_count, 64);
    let gemma = all_of(&bare("gemma2"));
    assert_eq!((gemma.attention_softcap, gemma.logit_softcap), (Some(50.0), Some(30.0)));
    assert_eq!((gemma.attention_scale, gemma.activation), (1.0 / 16.0, Activation::GeluTanh));
    let uncapped = all_of(&with(bare("gemma2"), "final_logit_softcapping", Value::Null));
    assert_eq!((uncapped.attention_softcap, uncapped.logit_softcap), (Some(50.0), None));
}

#[test]
fn windows_follow_the_rule_of_the_family() {
    let slid = |model_type: &str| with(base(model_type), "sliding_window", json!(16));
    assert_eq!(windows(&base("mistral")), [Some(4096); 3], "as in Transformers");
    assert_eq!(windows(&slid("mistral")), [Some(16); 3]);
    assert_eq!(windows(&with(base("mistral"), "sliding_window", Value::Null)), [None; 3]);
    assert_eq!(windows(&base("phi3")), [None; 3]);
    assert_eq!(windows(&slid("phi3")), [Some(16); 3]);
    assert_eq!(windows(&slid("gemma2")), [Some(16), None, Some(16)]);
    let used = with(slid("qwen2"), "use_sliding_window", json!(true));
    assert_eq!(windows(&used), [None; 3], "28 layers come first");
    assert_eq!(windows(&with(used.clone(), "max_window_layers", json!(2))), [None, None, Some(16)]);
    assert_eq!(windows(&with(used.clone(), "max_window_layers", json!(0))), [Some(16); 3]);
    let types = json!(["sliding_attention", "full_attention", "full_attention"]);
    assert_eq!(windows(&with(used, "layer_types", types.clone())), [Some(16), None, None]);
    assert_eq!(windows(&with(slid("gemma2"), "layer_types", types)), [Some(16), None, None]);
    let unused = with(slid("qwen2"), "use_sliding_window", json!(false));
    assert_eq!(windows(&unused), [None; 3]);
}

#[test]
fn phi3_turns_a_part_of_each_head_by_its_own_factors() {
    let long = json!({
        "type": "su", "short_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "long_factor": [9, 9, 9, 9, 9, 9]
    });
    let old = with(with(base("phi3"), "partial_rotary_factor", json!(0.75)), "rope_scaling", long);
    let old = with(
        with(old, "max_position_embeddings", json!(1024)),
        "original_max_position_embeddings",
        json!(64),
    );
    let config = DecoderConfig::from_json(&old).unwrap();
    assert_eq!((config.rotary_dim, config.max_positions), (12, 1024));
    let (length, beyond) = config.long_rotary_frequencies().unwrap();
    assert_eq!(length, 64);
    assert!((beyond[1] - 10_000f64.powf(-2.0 / 12.0) / 9.0).abs() < 1e-15);
    let frequencies = config.rotary_frequencies();
    assert!((frequencies[1] - 10_000f64.powf(-2.0 / 12.0) / 2.0).abs() < 1e-15);
    assert!((config.rotary_factor() - (1.0 + 16f64.ln() / 64f64.ln()).sqrt()).abs() < 1e-15);
    let new = json!({
        "rope_type": "longrope", "partial_rotary_factor": 0.75, "rope_theta": 10000.0,
        "short_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "long_factor": [9, 9, 9, 9, 9, 9]
    });
    let mut renamed = old;
    renamed["rope_scaling"] = Value::Null;
    renamed["partial_rotary_factor"] = Value::Null;
    assert_eq!(DecoderConfig::from_json(&with(renamed, "rope_parameters", new)).unwrap(), config);
}

#[test]
fn yarn_keeps_high_frequencies_and_divides_low_ones() {
    let yarn = |more: Value| {
        let mut scaling = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
        scaling.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let value = with(with(base("qwen2"), "max_position_embeddings", json!(256)), "rope_scaling", scaling);
        DecoderConfig::from_json(&with(value, "head_dim", json!(16))).unwrap()
    };
    let config = yarn(json!({}));
    let found = config.rotary_frequencies();
    let plain = |pair: i32| 10_000f64.powf(-f64::from(2 * pair) / 16.0);
    // Both ends of the change: 64 / (32 x 2 pi) turns come before the first pair, 64 / (2 pi) turns after the second.
    assert_eq!(found[0], 1.0);
    assert!((found[1] - plain(1) * (1.0 / 3.0 / 4.0 + 2.0 / 3.0)).abs() < 1e-12, "{found:?}");
    assert!((found[7] - plain(7) / 4.0).abs() < 1e-15);
    assert!((config.rotary_factor() - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-15);
    let scaled = yarn(json!({"mscale": 1.0, "mscale_all_dim": 0.5})).rotary_factor();
    assert!((scaled - (0.1 * 4f64.ln() + 1.0) / (0.05 * 4f64.ln() + 1.0)).abs() < 1e-15);
    assert_eq!(yarn(json!({"attention_factor": 0.9, "mscale": 0})).rotary_factor(), 0.9);
    assert_ne!(yarn(json!({"truncate": false})).rotary_frequencies(), found);
}

#[test]
fn what_cannot_be_computed_is_refused_by_name() {
    let longrope = json!({"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]});
    let nested = json!({"full_attention": {"rope_type": "default"}});
    let types = |kind: &str| json!([kind, kind, kind]);
    let cases = [
        (
            base("mixtral"),
            "model type `mixtral` is not supported: use one of llama, mistral, qwen2, qwen3, phi3, gemma2",
        ),
        (
            with(base("llama"), "hidden_act", json!("relu")),
            "config.json: `hidden_act` is \"relu\", which is not supported \
             (only `silu`, `gelu` and `gelu_pytorch_tanh`)",
        ),
        (
            with(base("llama"), "sliding_window", json!(64)),
            "config.json: `sliding_window` is 64, which is not supported (model type `llama` has none)",
        ),
        (
            with(base("mistral"), "attention_bias", json!(true)),
            "config.json: `attention_bias` is true, which is not supported (model type `mistral` has none)",
        ),
        (
            with(base("llama"), "attention_dropout", json!(0.1)),
            "config.json: `attention_dropout` is 0.1, which is not supported (only 0: dropout is the adapter's)",
        ),
        (
            with(base("llama"), "rope_scaling", json!({"type": "proportional", "factor": 4.0})),
            "config.json: `rope_scaling.rope_type` is \"proportional\", which is not supported \
             (only `default`, `linear`, `dynamic`, `llama3`, `yarn` and `longrope`)",
        ),
        (
            with(base("phi3"), "rope_scaling", longrope),
            "config.json: `short_factor` is [1.0], but must be a list of 8 numbers, one for each turned pair",
        ),
        (
            with(base("qwen3"), "rope_parameters", nested),
            "config.json: `rope_parameters.full_attention` is {\"rope_type\":\"default\"}, which is not supported \
             (one set of rotary parameters for all layers)",
        ),
        (
            with(base("gemma2"), "layer_types", types("chunked_attention")),
            "config.json: `layer_types` is \"chunked_attention\", which is not supported \
             (only `full_attention` and `sliding_attention`)",
        ),
        (
            with(base("qwen2"), "layer_types", types("sliding_attention")),
            "config.json: `sliding_window` is null, but must be in use and a number of tokens, as some layers slide",
        ),
    ];
    for (value, message) in cases {
        assert_eq!(refusal(&value), message);
    }
}

#[test]
fn sizes_out_of_range_are_refused_with_their_rule() {
    let cases = [
        (
            with(base("llama"), "num_key_value_heads", json!(3)),
            "config.json: `num_key_value_heads` is 3, but must be a divisor of `num_attention_heads` (4)",
        ),
        (
            with(base("llama"), "hidden_size", json!(-1)),
            "config.json: `hidden_size` is -1, but must be a whole number from 1 to 16777216",
        ),
        (
            with(base("llama"), "hidden_size", json!(2)),
            "config.json: `head_dim` is 0, but must be even and above 0, as rotary positions turn pairs",
        ),
        (
            with(base("llama"), "num_hidden_layers", json!(1_000_000)),
            "config.json: `num_hidden_layers` is 1000000, but must be at most 4096",
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
