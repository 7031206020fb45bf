//! GGUF import: the folder that comes out, blocks against the Python reader, and files that lie.

use std::collections::BTreeSet;
use std::path::Path;

use assay_text::config::DecoderConfig;
use assay_text::folder::ModelFolder;
use assay_text::gguf::{GgufFile, ImportError, Imported, TensorType, import};
use assay_text::safetensors::TensorFiles;
use proptest::prelude::*;
use serde_json::Value;

use crate::gguf_file::{HEADS, HIDDEN, KV_HEADS, Meta, Parts, Tensor, llama, value};
use crate::support::fixture_json;

fn import_parts(parts: &Parts, folder: &Path) -> Result<Imported, ImportError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), parts.bytes()).unwrap();
    import(file.path(), &folder.join("model"))
}

fn bf16(files: &TensorFiles, name: &str) -> Vec<f32> {
    let bytes = files.tensor(name).unwrap().bytes;
    bytes
        .chunks_exact(2)
        .map(|pair| f32::from_bits(u32::from(u16::from_le_bytes([pair[0], pair[1]])) << 16))
        .collect()
}

#[test]
fn a_folder_that_opens_as_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let done = import_parts(&llama(), folder.path()).unwrap();
    assert_eq!((done.written, done.tensors, done.chat_template, done.vocabulary), (true, 20, true, 268));
    let path = folder.path().join("model");
    let model = ModelFolder::open(&path).unwrap();
    let config = DecoderConfig::read(&path).unwrap();
    assert_eq!(
        (config.hidden_size, config.layer_count, config.head_dim, config.kv_head_count),
        (32, 2, 8, 2)
    );
    assert_eq!((config.rope_theta, config.norm_epsilon, config.tied_embeddings), (100_000.0, 1e-5, true));
    let written: Value = serde_json::from_slice(&std::fs::read(path.join("config.json")).unwrap()).unwrap();
    assert_eq!(written["rms_norm_eps"], 1e-5);
    let tokenizer = model.tokenizer().unwrap();
    assert_eq!((tokenizer.eos_ids(), tokenizer.pad_id()), (&[257][..], 257));
    let template = model.template(&tokenizer).unwrap();
    assert!(!template.has_generation());
    let digests = model.digests().unwrap();
    let names: Vec<&str> = digests.iter().map(|digest| digest.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the folder");
}

#[test]
fn digits_are_split_and_control_tokens_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    import_parts(&llama(), folder.path()).unwrap();
    let tokenizer = ModelFolder::open(&folder.path().join("model")).unwrap().tokenizer().unwrap();
    // The merge "1 2" never applies: each digit is a word of its own.
    assert_eq!(tokenizer.encode("he 12", false).unwrap(), [266, 32, 49, 50]);
    assert_eq!(tokenizer.encode("<|im_end|>he", true).unwrap(), [257, 266]);
    let plain = tempfile::tempdir().unwrap();
    import_parts(
        &llama()
            .set("tokenizer.ggml.pre", Meta::Text("gpt-2"))
            .set("tokenizer.ggml.add_bos_token", Meta::Bool(true)),
        plain.path(),
    )
    .unwrap();
    let tokenizer = ModelFolder::open(&plain.path().join("model")).unwrap().tokenizer().unwrap();
    assert_eq!(tokenizer.encode("he 12", true).unwrap(), [256, 266, 32, 267]);
}

#[test]
fn query_and_key_rows_are_put_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    import_parts(&llama(), folder.path()).unwrap();
    let files = TensorFiles::open_folder(&folder.path().join("model")).unwrap();
    let (width, head_dim) = (HIDDEN as usize, (HIDDEN / HEADS) as usize);
    for (name, heads, seed) in [("q_proj", HEADS, 3), ("k_proj", KV_HEADS, 4)] {
        let values = bf16(&files, &format!("model.layers.0.self_attn.{name}.weight"));
        for row in 0..heads as usize * head_dim {
            // The converter of llama.cpp: reshape(heads, 2, head_dim / 2).swapaxes(1, 2).
            let (head, half, pair) = (row / head_dim, row % head_dim / (head_dim / 2), row % (head_dim / 2));
            let stored = head * head_dim + 2 * pair + half;
            assert_eq!(values[row * width], value(seed, stored * width), "{name} row {row}");
        }
    }
    let kept = bf16(&files, "model.layers.1.mlp.down_proj.weight");
    assert!(kept.iter().enumerate().all(|(place, kept)| *kept == value(20, place)));
}

#[test]
fn blocks_decode_as_in_the_python_reader() {
    let unhex = |text: &Value| hex::decode(text.as_str().unwrap()).unwrap();
    let mut tested = BTreeSet::new();
    let fixture = fixture_json("dequantized.json");
    for block in fixture["blocks"].as_array().unwrap() {
        let name = block["type"].as_str().unwrap();
        let (kind, code) = match name {
            "Q4_0" => (TensorType::Q4_0, 2),
            "Q4_1" => (TensorType::Q4_1, 3),
            "Q5_0" => (TensorType::Q5_0, 6),
            "Q5_1" => (TensorType::Q5_1, 7),
            "Q8_0" => (TensorType::Q8_0, 8),
            "Q4_K" => (TensorType::Q4_K, 12),
            "Q5_K" => (TensorType::Q5_K, 13),
            "Q6_K" => (TensorType::Q6_K, 14),
            "BF16" => (TensorType::BF16, 30),
            other => panic!("{other}"),
        };
        let (bytes, expected) = (unhex(&block["bytes"]), unhex(&block["values_f32"]));
        let elements = expected.len() as u64 / 4;
        let parts = Parts {
            version: 2,
            meta: vec![],
            tensors: vec![Tensor { name: "t".to_owned(), shape: vec![1, elements], kind: code, bytes }],
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), parts.bytes()).unwrap();
        let mut gguf = GgufFile::open(file.path()).unwrap();
        let info = gguf.tensor("t").unwrap().clone();
        assert_eq!((info.kind, info.elements()), (kind, elements));
        let values: Vec<u8> = gguf.read_f32(&info).unwrap().into_iter().flat_map(f32::to_le_bytes).collect();
        assert_eq!(values, expected, "{name}");
        tested.insert(name);
    }
    assert_eq!(tested.len(), 9);
}

#[test]
fn an_existing_folder_is_kept_unless_it_is_this_model() {
    let folder = tempfile::tempdir().unwrap();
    assert!(import_parts(&llama(), folder.path()).unwrap().written);
    assert!(!import_parts(&llama(), folder.path()).unwrap().written);
    std::fs::write(folder.path().join("model/notes.txt"), "mine").unwrap();
    let refused = import_parts(&llama(), folder.path()).unwrap_err();
    assert!(
        matches!(&refused, ImportError::Exists { difference, .. } if difference.contains("notes.txt")),
        "{refused}"
    );
    std::fs::write(folder.path().join("model/config.json"), "{}").unwrap();
    let refused = import_parts(&llama(), folder.path()).unwrap_err();
    assert!(refused.to_string().contains("config.json differs"), "{refused}");
    assert_eq!(std::fs::read_to_string(folder.path().join("model/notes.txt")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn message(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn refused_with_a_reason_and_nothing_written() {
    let mut scaled = llama();
    scaled.tensors.push(Tensor {
        name: "rope_freqs.weight".to_owned(),
        shape: vec![4],
        kind: 0,
        bytes: vec![0; 16],
    });
    let mut narrow = llama();
    narrow.tensors[1].shape = vec![16];
    let mut unread = llama();
    unread.tensors[1].kind = 10;
    let cases = [
        (llama().set("general.architecture", Meta::Text("qwen2")), "qwen2"),
        (llama().set("tokenizer.ggml.pre", Meta::Text("deepseek-llm")), "deepseek-llm"),
        (llama().set("tokenizer.ggml.model", Meta::Text("llama")), "byte-level BPE"),
        (llama().set("tokenizer.ggml.eos_token_id", Meta::U32(9999)), "9999"),
        (
            llama().set("tokenizer.ggml.merges", Meta::Texts(vec!["zz q".to_owned()])),
            "does not give a tokenizer",
        ),
        (llama().set("llama.attention.head_count", Meta::U32(0)), "from 1"),
        (llama().set("llama.attention.head_count_kv", Meta::U32(3)), "divide"),
        (llama().set("llama.block_count", Meta::U32(3)), "blk.2.attn_norm.weight is missing"),
        (llama().set("llama.attention.layer_norm_rms_epsilon", Meta::F32(f32::NAN)), "finite"),
        (llama().set("llama.rope.scaling.type", Meta::Text("yarn")), "yarn"),
        (llama().without("blk.1.ffn_up.weight"), "blk.1.ffn_up.weight is missing"),
        (llama().without("llama.context_length"), "llama.context_length is missing"),
        (llama().without("tokenizer.ggml.token_type"), "token_type"),
        (scaled, "rope_freqs.weight"),
        (narrow, "output_norm.weight has the shape [16]"),
        (unread, "Q2_K"),
        (Parts { version: 1, ..llama() }, "version is 1"),
    ];
    for (parts, reason) in cases {
        let folder = tempfile::tempdir().unwrap();
        let error = import_parts(&parts, folder.path()).unwrap_err();
        assert!(message(&error).contains(reason), "{reason}: {}", message(&error));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{reason}");
    }
}

#[test]
fn false_counts_ask_for_no_memory() {
    let open = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        GgufFile::open(file.path()).map(|_| ()).unwrap_err().to_string()
    };
    assert!(open(b"").contains("0 are left"));
    assert!(open(b"GGML....").contains("not the letters GGUF"));
    let header = |tensors: u64, entries: u64| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes
    };
    assert!(open(&header(u64::MAX, 1)).contains("at most 65536"));
    let mut string = header(0, 1);
    string.extend(u64::MAX.to_le_bytes());
    assert!(open(&string).contains("at most"));
    let mut array = header(0, 1);
    array.extend([1, 0, 0, 0, 0, 0, 0, 0, b'k', 9, 0, 0, 0, 4, 0, 0, 0]);
    array.extend((u64::MAX / 2).to_le_bytes());
    assert!(open(&array).contains("more than the file can hold"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A cut file is always refused, whatever is left of it; a changed one never panics.
    #[test]
    fn damaged_files_never_panic(place in 0.0_f64..1.0, bits in 1_u8..=255, cut in any::<bool>()) {
        let mut bytes = llama().bytes();
        // The header is where a change matters most.
        let header = 8000.min(bytes.len());
        let at = if cut { (place * bytes.len() as f64) as usize } else { (place * header as f64) as usize };
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= bits;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("damaged.gguf");
        std::fs::write(&file, bytes).unwrap();
        let result = import(&file, &folder.path().join("model"));
        prop_assert!(!cut || result.is_err());
        let written = folder.path().join("model").exists();
        prop_assert_eq!(written, result.is_ok());
    }
}
