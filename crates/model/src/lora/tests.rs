use assay_text::config::DecoderConfig;
use serde_json::json;
use tch::Device;

use super::*;
use crate::decoder::{Adapters, Decoder, NoAdapters, PackedCausal, RowAdapters};

fn model() -> DecoderConfig {
    DecoderConfig::from_json(&json!({
        "model_type": "llama", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2
    }))
    .unwrap()
}

fn config(targets: &[Module]) -> LoraConfig {
    LoraConfig {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        rslora: false,
        dora: false,
        targets: targets.iter().copied().collect(),
    }
}

fn all(model: &DecoderConfig) -> Vec<Module> {
    Module::of(model).iter().map(|sized| sized.module).collect()
}

/// An adapter on all modules whose both factors are random, for tests of what adapters do.
pub(crate) fn random_lora(model: &DecoderConfig, seed: u64) -> Lora {
    let lora = Lora::new(config(&all(model)), model, seed, Device::Cpu).unwrap();
    let _guard = tch::no_grad_guard();
    let _filled = seeded(seed, || lora.flat().shallow_clone().uniform_(-0.1, 0.1));
    lora
}

impl Lora {
    /// The same factors with another dropout.
    pub(crate) fn set_dropout(&mut self, dropout: f64) {
        self.config.dropout = dropout;
    }
}

/// Training adds to each product in place, generation by ranges of rows.
#[test]
fn training_computes_what_is_served_whatever_the_rank_and_the_targets() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/qwen2-tied");
    let model = Decoder::load(&dir, Device::Cpu, Kind::Float).unwrap();
    let hidden = |adapters: &dyn Adapters| {
        let mut attention = PackedCausal::new(&[9, 14], model.config());
        let positions = model.positions(attention.tokens()).unwrap();
        let ids = (Tensor::arange(23, (Kind::Int64, Device::Cpu)) * 7).remainder(256);
        model.hidden(&ids, &positions, &mut attention, adapters).unwrap()
    };
    let apart = |left: &Tensor, right: &Tensor| f64::try_from((left - right).abs().max()).unwrap();
    let all = all(model.config());
    let some = [&[Module::Query, Module::Value][..], &[Module::Key], &[Module::Up, Module::Down], &all];
    let base = hidden(&NoAdapters);
    for (rank, targets) in [4, 40].into_iter().flat_map(|rank| some.map(|targets| (rank, targets))) {
        let config = LoraConfig { rank, ..config(targets) };
        let lora = Lora::new(config, model.config(), 3, Device::Cpu).unwrap();
        let served = {
            let _guard = tch::no_grad_guard();
            let _filled = seeded(7, || lora.flat().shallow_clone().uniform_(-0.1, 0.1));
            hidden(&RowAdapters::new().with(0..23, &lora))
        };
        let trained = hidden(&TrainingAdapters { lora: &lora, dropout: None });
        let (off, on) = (apart(&trained, &served), apart(&trained, &base));
        assert!(
            off < 1e-4 && on > 1e-2,
            "rank {rank}, {targets:?}: {off} from what is served, {on} from the base"
        );
        let gradients =
            Tensor::run_backward(&[trained.square().sum(Kind::Float)], lora.factors(), false, false);
        let smallest = gradients.iter().map(|gradient| f64::try_from(gradient.abs().max()).unwrap());
        assert!(
            smallest.fold(f64::MAX, f64::min) > 1e-6,
            "rank {rank}, {targets:?}: a factor has no gradient"
        );
    }
}

#[test]
fn equal_adapters_have_equal_digests() {
    let digest = |seed| random_lora(&model(), seed).digest().unwrap();
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
    let scaled = |alpha| {
        let config = LoraConfig { alpha, ..config(&all(&model())) };
        Lora::new(config, &model(), 7, Device::Cpu).unwrap().digest().unwrap()
    };
    assert_ne!(scaled(8.0), scaled(16.0));
}

#[test]
fn a_new_adapter_is_kaiming_uniform_and_changes_nothing_yet() {
    let lora = Lora::new(config(&all(&model())), &model(), 7, Device::Cpu).unwrap();
    let (a, b) = lora.pair(1, Module::Down).unwrap();
    assert_eq!((a.size(), b.size()), (vec![4, 24], vec![16, 4]));
    let bound = 1.0 / 24f64.sqrt();
    let largest = f64::try_from(a.detach().abs().max()).unwrap();
    assert!(largest <= bound && largest > bound * 0.8, "{largest} of {bound}");
    assert_eq!(f64::try_from(b.detach().abs().max()).unwrap(), 0.0);
    let again = Lora::new(config(&all(&model())), &model(), 7, Device::Cpu).unwrap();
    assert_eq!(lora.flat(), again.flat());
    let other = Lora::new(config(&all(&model())), &model(), 8, Device::Cpu).unwrap();
    assert_ne!(lora.flat(), other.flat());
}

#[test]
fn the_scale_follows_the_rank_or_its_root() {
    let plain = config(&[Module::Query]);
    assert_eq!(plain.scale(), 2.0);
    assert_eq!(LoraConfig { rslora: true, ..plain }.scale(), 4.0);
}

#[test]
fn a_written_adapter_reads_back_equal() {
    let dir = tempfile::tempdir().unwrap();
    let lora = Lora::new(config(&[Module::Query, Module::Value]), &model(), 3, Device::Cpu).unwrap();
    lora.write(dir.path(), Some("base")).unwrap();
    let back = Lora::read(dir.path(), &model(), Device::Cpu).unwrap();
    assert_eq!(back.config(), lora.config());
    assert_eq!(back.flat(), lora.flat());
    assert_eq!(base_model_of(dir.path()).unwrap().as_deref(), Some("base"));
    assert!(back.pair(0, Module::Key).is_none());
}

/// Magnitudes need the model's weights, which only [`Lora::for_model`] has; in a file each is one line of numbers.
#[test]
fn a_weight_decomposed_adapter_is_made_for_a_model_and_reads_back_equal() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/dora");
    let model = Decoder::load(&dir, Device::Cpu, tch::Kind::Float).unwrap();
    let targets = all(model.config()).into_iter().collect();
    let config = LoraConfig { dora: true, targets, ..config(&[Module::Query]) };
    let refused = Lora::new(config.clone(), model.config(), 3, Device::Cpu).unwrap_err().to_string();
    assert!(refused.contains("`dora` is true"), "{refused}");
    let lora = Lora::for_model(config, &model, 3).unwrap();
    let magnitude = lora.magnitude(1, Module::Down).unwrap();
    assert_eq!(magnitude.size(), [32, 1]);
    let written = tempfile::tempdir().unwrap();
    lora.write(written.path(), None).unwrap();
    let back = Lora::read(written.path(), model.config(), Device::Cpu).unwrap();
    assert_eq!((back.config(), back.flat()), (lora.config(), lora.flat()));
    assert_ne!(back.digest().unwrap(), random_lora(model.config(), 3).digest().unwrap());
}

#[test]
fn an_adapter_that_would_be_misread_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let lora = Lora::new(config(&[Module::Query]), &model(), 3, Device::Cpu).unwrap();
    lora.write(dir.path(), None).unwrap();
    let path = dir.path().join("adapter_config.json");
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let refusal = |field: &str, value: serde_json::Value| {
        let mut changed = written.clone();
        changed[field] = value;
        std::fs::write(&path, changed.to_string()).unwrap();
        Lora::read(dir.path(), &model(), Device::Cpu).unwrap_err()
    };
    let text = |error: ModelError| error.to_string();
    assert!(text(refusal("lora_bias", json!(true))).contains("`lora_bias` is true, which is not supported"));
    assert!(matches!(refusal("use_dora", json!(true)), ModelError::TensorFile(_)), "there are no magnitudes");
    assert!(text(refusal("bias", json!("all"))).contains("only \"none\" is supported"));
    assert!(text(refusal("rank_pattern", json!({"q_proj": 8}))).contains("`rank_pattern`"));
    assert!(text(refusal("target_modules", json!(["lm_head"]))).contains("the known modules are q_proj"));
    assert!(matches!(refusal("r", json!(8)), ModelError::Shape { .. }));
    assert!(matches!(refusal("target_modules", json!(["k_proj"])), ModelError::TensorFile(_)));
}

#[test]
fn targets_of_other_families_are_passed_over_when_read_and_refused_when_new() {
    let dir = tempfile::tempdir().unwrap();
    let lora = Lora::new(config(&[Module::Query]), &model(), 3, Device::Cpu).unwrap();
    lora.write(dir.path(), None).unwrap();
    let path = dir.path().join("adapter_config.json");
    let mut written: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut read = |targets: serde_json::Value| {
        written["target_modules"] = targets;
        std::fs::write(&path, written.to_string()).unwrap();
        Lora::read(dir.path(), &model(), Device::Cpu)
    };
    assert_eq!(read(json!(["q_proj", "qkv_proj"])).unwrap().flat(), lora.flat());
    let none = read(json!(["gate_up_proj"])).unwrap_err().to_string();
    assert!(none.contains("none of q_proj, k_proj") && none.contains("model type `llama`"), "{none}");
    let new = Lora::new(config(&[Module::GateUp]), &model(), 3, Device::Cpu).unwrap_err().to_string();
    assert!(new.starts_with("setting `targets` is gate_up_proj, but must be one of q_proj"), "{new}");
}

#[test]
fn values_out_of_range_are_refused_with_their_rule() {
    let refusal = |config: LoraConfig| config.check().unwrap_err().to_string();
    let good = config(&[Module::Query]);
    assert_eq!(
        refusal(LoraConfig { dropout: 1.0, ..good.clone() }),
        "setting `dropout` is 1, but must be at least 0 and below 1"
    );
    assert_eq!(refusal(LoraConfig { rank: 0, ..good.clone() }), "setting `rank` is 0, but must be 1 or more");
    assert!(refusal(LoraConfig { targets: BTreeSet::new(), ..good }).contains("some of q_proj, k_proj"));
}
