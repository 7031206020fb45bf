//! Sums that are wrong in the ways in which code goes wrong.

use std::path::{Path, PathBuf};

use tch::{Device, Kind};

use super::{Merged, check_saved, logits};
use crate::Module;
use crate::decoder::Decoder;
use crate::lora::{Lora, LoraConfig};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(name)
}

/// What the check of the sums of base and a changed adapter says beside base and the true one.
fn sums(name: &str, change: impl FnOnce(&mut Lora)) -> crate::Result<(f64, f64)> {
    let model = fixture(name);
    let base = Decoder::load(&model, Device::Cpu, Kind::Float)?;
    let read = || Lora::read(&model.join("adapter_trained"), base.config(), Device::Cpu);
    let (plain, tuned) = (logits(&base, None)?, logits(&base, Some(&read()?))?);
    let mut lora = read()?;
    change(&mut lora);
    let folder = Path::new("merged");
    Merged { model: &model, folder, lora: &lora, device: Device::Cpu, plain, tuned }.sums()
}

fn with_config(lora: &mut Lora, change: impl FnOnce(&mut LoraConfig)) {
    change(lora.config_mut());
}

#[test]
fn a_wrong_scale_a_swapped_factor_and_one_forgotten_module_are_seen_before_rounding() {
    for name in ["smollm2", "dora"] {
        let (differ, tolerance) = sums(name, |_| {}).unwrap();
        assert!(differ <= tolerance, "{name}: {differ}");
        let refused = |change: &dyn Fn(&mut Lora)| {
            let why = sums(name, |lora| change(lora)).unwrap_err().to_string();
            assert!(why.contains("before they are rounded"), "{name}: {why}");
        };
        refused(&|lora| with_config(lora, |config| config.alpha *= 1.1));
        refused(&|lora| with_config(lora, |config| config.rslora = true));
        let _guard = tch::no_grad_guard();
        // One projection of one layer, of all.
        refused(&|lora| {
            let (_, b) = lora.pair(1, Module::Down).unwrap();
            let _zeros = b.shallow_clone().zero_();
        });
        // Query and output are square: their products could be transposed without an error of shapes.
        refused(&|lora| {
            let (a, b) = lora.pair(0, Module::Output).unwrap();
            let (mut first, mut second) = (a.shallow_clone(), b.shallow_clone());
            let (turned_a, turned_b) = (b.transpose(0, 1).contiguous(), a.transpose(0, 1).contiguous());
            first.copy_(&turned_a);
            second.copy_(&turned_b);
        });
    }
}

#[test]
fn a_saved_adapter_is_the_one_that_was_trained_and_computes_numbers() {
    let model = fixture("smollm2");
    let base = Decoder::load(&model, Device::Cpu, Kind::Float).unwrap();
    let read = |dir: &Path| Lora::read(dir, base.config(), Device::Cpu);
    let trained = read(&model.join("adapter_trained")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    trained.write(folder.path(), None).unwrap();
    assert!(check_saved(&base, &trained, folder.path()).unwrap() > 0.0);

    let other = read(&model.join("adapter_trained")).unwrap();
    let value = |number: f64| {
        let _guard = tch::no_grad_guard();
        let _filled = other.flat().shallow_clone().narrow(0, 5, 1).fill_(number);
    };
    value(0.5);
    let why = check_saved(&base, &other, folder.path()).unwrap_err().to_string();
    assert!(why.contains("is not the adapter that was trained"), "{why}");
    value(f64::NAN);
    other.write(folder.path(), None).unwrap();
    let why = check_saved(&base, &other, folder.path()).unwrap_err().to_string();
    assert!(why.contains("no finite numbers"), "{why}");
}
