//! What is in effect when a model answers: the matrix's settings, and those that it leaves to the model.

use std::collections::BTreeMap;

use assay_domain::job::{FailureClass, GenerateSpec, Sampling, SamplingDefaults};
use assay_judging::records::{EffectiveSampling, SamplingRecord, Setting};
use assay_model::sample::SampleSettings;
use serde_json::{Value, json};

use crate::engine::context::Stop;

/// Settings of `generation_config.json` that change what is drawn and that this engine does not have, with the values (besides
/// null) at which they change nothing. Names and defaults are those of Transformers' `GenerationConfig`.
fn not_ours() -> [(&'static str, Value); 13] {
    [
        ("num_beams", json!(1)),
        ("penalty_alpha", json!(0)),
        ("typical_p", json!(1)),
        ("epsilon_cutoff", json!(0)),
        ("eta_cutoff", json!(0)),
        ("no_repeat_ngram_size", json!(0)),
        ("encoder_repetition_penalty", json!(1)),
        ("guidance_scale", json!(1)),
        ("min_length", json!(0)),
        ("min_new_tokens", json!(0)),
        ("bad_words_ids", json!([])),
        ("suppress_tokens", json!([])),
        ("begin_suppress_tokens", json!([])),
    ]
}

/// What a job's responses are drawn with, for the model whose `generation_config.json` is given (null: it has none).
pub(super) fn record(spec: &GenerateSpec, generation_config: &Value) -> SamplingRecord {
    let asked = match spec.sampling.defaults {
        SamplingDefaults::Matrix => &Value::Null,
        SamplingDefaults::Model => generation_config,
    };
    SamplingRecord {
        model: spec.model.clone(),
        prompts: spec.prompts.clone(),
        system: spec.system_name(),
        matrix: spec.sampling.clone(),
        effective: effective(&spec.sampling, asked),
        not_followed: not_followed(asked),
    }
}

/// The rule that `submit` has for matrices, for what the model adds.
pub(super) fn check(effective: &EffectiveSampling) -> Result<(), Stop> {
    if effective.samples.value > 1 && settings(effective).is_greedy() {
        let reason = format!(
            "samples is {} at temperature {}: every sample would be the same: use 1 sample, or give a temperature above \
             0 in the matrix",
            effective.samples.value, effective.temperature
        );
        return Err(Stop::Failed { class: FailureClass::BadInput, reason });
    }
    Ok(())
}

/// The part of them that picks tokens.
pub(super) fn settings(effective: &EffectiveSampling) -> SampleSettings {
    SampleSettings {
        temperature: effective.temperature.value,
        top_p: effective.top_p.value,
        top_k: effective.top_k.value,
        min_p: effective.min_p.value,
        repetition_penalty: effective.repetition_penalty.value,
        seed: effective.seed.value,
    }
}

fn effective(matrix: &Sampling, model: &Value) -> EffectiveSampling {
    let number = |given, name: &str, off| Setting::of(given, model[name].as_f64(), off);
    let top_k = model["top_k"].as_u64().and_then(|top_k| top_k.try_into().ok());
    // As in Transformers: the temperature of a model that does not sample is not looked at.
    let greedy = (model["do_sample"] == false).then_some(0.0);
    EffectiveSampling {
        temperature: Setting::of(matrix.temperature, greedy.or(model["temperature"].as_f64()), 1.0),
        top_p: number(matrix.top_p, "top_p", 1.0),
        top_k: Setting::of(matrix.top_k, top_k, 0),
        min_p: number(matrix.min_p, "min_p", 0.0),
        repetition_penalty: number(matrix.repetition_penalty, "repetition_penalty", 1.0),
        max_new_tokens: Setting::of(Some(matrix.max_new_tokens), None, 0),
        samples: Setting::of(Some(matrix.samples), None, 1),
        seed: Setting::of(Some(matrix.seed), None, 0),
    }
}

fn not_followed(model: &Value) -> BTreeMap<String, Value> {
    let says = |(name, neutral): (&str, Value)| {
        let said = &model[name];
        let changes_nothing = said.is_null()
            || *said == neutral
            || said.as_f64().is_some_and(|number| Some(number) == neutral.as_f64());
        (!changes_nothing).then(|| (name.to_owned(), said.clone()))
    };
    not_ours().into_iter().filter_map(says).collect()
}

#[cfg(test)]
mod tests {
    use assay_domain::job::System;
    use assay_judging::records::SettingSource::{Matrix, Model, Neutral};

    use super::*;

    fn spec(defaults: SamplingDefaults, temperature: Option<f64>) -> GenerateSpec {
        let exact = |neutral| (defaults == SamplingDefaults::Matrix).then_some(neutral);
        GenerateSpec {
            model: String::from("m"),
            model_settings: assay_domain::job::ModelSettings::default(),
            system: System::Base,
            prompts: String::from("eval"),
            prompt_ids: Vec::new(),
            system_prompt: None,
            sampling: Sampling {
                name: String::from("s"),
                defaults,
                temperature,
                top_p: exact(1.0),
                top_k: exact(0.0).map(|_| 0),
                min_p: exact(0.0),
                repetition_penalty: exact(1.0),
                max_new_tokens: 48,
                samples: 2,
                seed: 7,
            },
            quantization: None,
        }
    }

    fn config() -> Value {
        json!({
            "do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "repetition_penalty": null,
            "max_new_tokens": 2048, "num_beams": 1, "typical_p": 1.0, "no_repeat_ngram_size": 3
        })
    }

    #[test]
    fn what_the_matrix_leaves_open_is_the_models_and_each_value_says_whose_it_is() {
        let record = record(&spec(SamplingDefaults::Model, Some(0.3)), &config());
        let drawn = &record.effective;
        assert_eq!((drawn.temperature.value, drawn.temperature.source), (0.3, Matrix));
        assert_eq!((drawn.top_p.value, drawn.top_p.source), (0.9, Model));
        assert_eq!((drawn.top_k.value, drawn.top_k.source), (20, Model));
        assert_eq!((drawn.min_p.value, drawn.min_p.source), (0.0, Neutral));
        assert_eq!((drawn.repetition_penalty.value, drawn.repetition_penalty.source), (1.0, Neutral));
        // The length of a response is always the matrix's word.
        assert_eq!((drawn.max_new_tokens.value, drawn.max_new_tokens.source), (48, Matrix));
        assert_eq!((drawn.samples.value, drawn.seed.value), (2, 7));
        assert_eq!(record.not_followed, BTreeMap::from([(String::from("no_repeat_ngram_size"), json!(3))]));
        assert_eq!((record.matrix.temperature, record.matrix.top_p), (Some(0.3), None));
    }

    #[test]
    fn without_being_asked_the_model_has_no_say() {
        let record = record(&spec(SamplingDefaults::Matrix, Some(0.3)), &config());
        assert!(record.effective.texts().iter().all(|text| text.ends_with("(matrix)")));
        assert_eq!((record.effective.top_p.value, record.effective.top_k.value), (1.0, 0));
        assert!(record.not_followed.is_empty());
    }

    #[test]
    fn tokens_are_picked_with_what_is_recorded() {
        let record = record(&spec(SamplingDefaults::Model, None), &config());
        let picked = settings(&record.effective);
        let expected =
            SampleSettings { temperature: 0.6, top_p: 0.9, top_k: 20, seed: 7, ..SampleSettings::default() };
        assert_eq!(picked, expected);
    }

    #[test]
    fn a_model_that_does_not_sample_is_greedy_whatever_else_it_says() {
        let mut config = config();
        config["do_sample"] = json!(false);
        let drawn = record(&spec(SamplingDefaults::Model, None), &config);
        assert_eq!((drawn.effective.temperature.value, drawn.effective.temperature.source), (0.0, Model));
        assert!(settings(&drawn.effective).is_greedy());
        assert!(!drawn.not_followed.contains_key("do_sample"));
        let bare = record(&spec(SamplingDefaults::Model, None), &json!({ "do_sample": false }));
        assert_eq!((bare.effective.temperature.value, bare.effective.temperature.source), (0.0, Model));
    }

    #[test]
    fn the_matrixs_temperature_counts_more_than_a_model_that_does_not_sample() {
        let config = json!({ "do_sample": false });
        let drawn = record(&spec(SamplingDefaults::Model, Some(0.3)), &config);
        assert_eq!((drawn.effective.temperature.value, drawn.effective.temperature.source), (0.3, Matrix));
        let unasked = record(&spec(SamplingDefaults::Matrix, Some(0.3)), &config);
        assert_eq!(unasked.effective.temperature.source, Matrix);
    }

    #[test]
    fn a_model_that_says_nothing_of_sampling_samples() {
        let silent = record(&spec(SamplingDefaults::Model, None), &Value::Null);
        assert_eq!((silent.effective.temperature.value, silent.effective.temperature.source), (1.0, Neutral));
    }

    #[test]
    fn several_samples_are_refused_where_all_would_be_the_same() {
        // The test's matrix asks for 2.
        let greedy = record(&spec(SamplingDefaults::Model, None), &json!({ "do_sample": false }));
        let Err(Stop::Failed { class, reason }) = check(&greedy.effective) else { panic!("not refused") };
        assert_eq!(class, FailureClass::BadInput);
        assert!(reason.contains("samples is 2 at temperature 0 (model)"), "{reason}");
        let mut one = greedy.effective.clone();
        one.samples.value = 1;
        assert!(check(&one).is_ok());
        let sampled = record(&spec(SamplingDefaults::Model, Some(0.3)), &json!({ "do_sample": false }));
        assert!(check(&sampled.effective).is_ok());
    }
}
