//! Where the kernel for all rows is tried, and what becomes of it where there is none.

use serde_json::json;

use super::*;

fn config(head_dim: usize) -> DecoderConfig {
    DecoderConfig::from_json(&json!({
        "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8, "head_dim": head_dim,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64
    }))
    .unwrap()
}

#[test]
fn the_kernel_is_tried_where_its_demands_are_met() {
    let capped = DecoderConfig { attention_softcap: Some(50.0), ..config(64) };
    let windowed = DecoderConfig { windows: vec![Some(4), None], ..config(64) };
    let gpu = Device::Cuda(1);
    for (config, device, kind, reason) in [
        (config(64), gpu, Kind::BFloat16, None),
        (config(64), gpu, Kind::Half, None),
        (config(12), gpu, Kind::BFloat16, None),
        (config(256), gpu, Kind::BFloat16, None),
        (windowed, gpu, Kind::BFloat16, None),
        (config(258), gpu, Kind::BFloat16, Some("256 values at most, the model 258")),
        (config(64), gpu, Kind::Float, Some("not Float")),
        (config(64), Device::Cpu, Kind::Float, Some("NVIDIA")),
        (config(64), Device::Cpu, Kind::BFloat16, Some("NVIDIA")),
        (config(64), Device::Mps, Kind::BFloat16, Some("NVIDIA")),
        (capped, gpu, Kind::BFloat16, Some("no cap of scores")),
    ] {
        let found = unsuited(&config, device, kind);
        match (&found, reason) {
            (None, None) => {}
            (Some(found), Some(reason)) => assert!(found.contains(reason), "{found}"),
            _ => panic!("{device:?} {kind:?} {}: {found:?}", config.head_dim),
        }
    }
}

/// This process has no such kernel: what C++ throws is told in a line, and rows go one by one.
#[test]
fn a_device_without_the_kernel_takes_rows_one_by_one_and_says_why() {
    let Packing::RowByRow(reason) = Packing::tried(&config(64), Device::Cpu, Kind::Float) else { panic!() };
    assert!(reason.contains("Could not run 'aten::_flash_attention_forward'"), "{reason}");
    assert_eq!(reason.lines().count(), 1, "{reason}");
    let chosen = Packing::chosen(&config(64), Device::Cpu, Kind::Float);
    assert_eq!(chosen.to_string(), "row by row (the kernel for all rows is for NVIDIA GPUs)");
}

#[test]
fn models_that_the_kernel_does_not_compute_are_refused() {
    let capped = DecoderConfig { attention_softcap: Some(50.0), ..config(64) };
    let refused = PackedCausal::together(&[3], &capped, Device::Cpu).unwrap_err().to_string();
    assert!(refused.contains("`attention` is rows together") && refused.contains("no cap"), "{refused}");
}
