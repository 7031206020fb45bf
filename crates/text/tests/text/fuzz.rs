//! Damaged files and noise into every reader: each must answer or refuse, without a panic and within bounded memory.
//! All of a case follows from its number, which a failure tells.

mod damage;
mod target;

use std::collections::BTreeSet;
use std::path::Path;

use assay_text::chat::{ChatTemplate, RenderOptions};
use assay_text::config::DecoderConfig;
use assay_text::gguf::{GgufFile, import};
use assay_text::safetensors::TensorFiles;
use assay_text::tokenizer::{SpecialTokens, Tokenizer};
use serde_json::{Value, json};

use crate::gguf_file;
use crate::support::{fixture, messages};
use target::Target;

/// Noise for each reader: ten million bytes.
const NOISE_CASES: u64 = 5_000;
const NOISE_BYTES: usize = 2_000;

#[test]
fn configs() {
    let corpus = folder("config");
    let values: Vec<Value> = corpus.iter().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect();
    assert!(values.iter().all(|value| DecoderConfig::from_json(value).is_ok()), "the corpus itself is right");
    let read = |bytes: &[u8]| {
        let Ok(value) = serde_json::from_slice(bytes) else { return false };
        let Ok(config) = DecoderConfig::from_json(&value) else { return false };
        assert_eq!(config.windows.len(), config.layer_count);
        let turned = config.rotary_frequencies();
        assert!(turned.iter().all(|frequency| frequency.is_finite()) && !config.projections().is_empty());
        true
    };
    let target = Target::new("configs");
    run(&target, 50_000, 0.5, &corpus, &read);
    target.cases("values", 50_000, 0.5, |rng| read(damage::json(rng, &values).to_string().as_bytes()));
}

#[test]
fn tensor_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    run(&Target::new("tensor_files"), 40_000, 1.0, &folder("safetensors"), &|bytes| {
        put(&path, bytes);
        let Ok(files) = TensorFiles::open_file(&path) else { return false };
        let names: BTreeSet<&str> = files.names().collect();
        names.into_iter().all(|name| files.tensor(name).is_ok())
    });
}

#[test]
fn shard_lists() {
    let dir = tempfile::tempdir().unwrap();
    let part = &folder("safetensors")[0];
    std::fs::write(dir.path().join("a.safetensors"), part).unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    let good =
        json!({"metadata": {"total_size": 8}, "weight_map": {"x": "a.safetensors", "y": "a.safetensors"}});
    // Beside the files that it names: no time of its own.
    run(&Target::new("shard_lists"), 20_000, 0.0, &[good.to_string().into_bytes()], &|bytes| {
        put(&index, bytes);
        TensorFiles::open_folder(dir.path()).is_ok()
    });
}

#[test]
fn tokenizers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    run(&Target::new("tokenizers"), 10_000, 1.0, &folder("tokenizer"), &|bytes| {
        put(&path, bytes);
        let special = json!({"eos_token": "</s>"});
        let Ok(tokenizer) = Tokenizer::load(&path, &Value::Null, &Value::Null, &special) else {
            return false;
        };
        let Ok(ids) = tokenizer.encode("Hello, wörld </s> 12\u{1f600}", true) else { return false };
        tokenizer.decode(&ids, false).is_ok() && tokenizer.decode(&[0, 7, 300, u32::MAX], true).is_ok()
    });
}

#[test]
fn gguf_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let corpus = [gguf_file::llama().bytes()];
    let read = |bytes: &[u8]| {
        put(&path, bytes);
        let Ok(mut file) = GgufFile::open(&path) else { return false };
        let tensors = file.tensors().to_vec();
        assert!(
            tensors.iter().all(|tensor| file.read_f32(tensor).unwrap().len() as u64 == tensor.elements())
        );
        true
    };
    let target = Target::new("gguf_files");
    run(&target, 10_000, 1.0, &corpus, &read);
    // Fewer: what is imported is made durable.
    let imported = target.cases("import", 40, 0.0, |rng| {
        put(&path, &damage::file(rng, &corpus));
        let folder = tempfile::tempdir_in(dir.path()).unwrap();
        import(&path, &folder.path().join("model")).is_ok()
    });
    assert!(imported > 0 || target.is_one_case(), "none of the damaged files was imported");
}

#[test]
fn templates() {
    let corpus: Vec<Vec<u8>> = read_all(&fixture("chat"), "jinja");
    let conversation = messages(&[("system", "s"), ("user", " q\n"), ("assistant", "<think>t</think>a")]);
    let special = SpecialTokens {
        bos: Some("<s>".to_owned()),
        eos: Some("</s>".to_owned()),
        ..SpecialTokens::default()
    };
    run(&Target::new("templates"), 20_000, 1.0, &corpus, &|bytes| {
        let source = String::from_utf8_lossy(bytes);
        let Ok(template) = ChatTemplate::new(&source, &special) else { return false };
        let marked = template.render_marked(&conversation, &RenderOptions::default());
        if let Ok((text, ranges)) = &marked {
            assert!(ranges.iter().all(|range| text.get(range.clone()).is_some()));
        }
        // Gemma's refuses a system turn.
        let render = |messages| template.render(messages, &RenderOptions::default());
        render(&conversation).or_else(|_| render(&conversation[1..])).is_ok()
    });
}

/// Noise, and damaged files of a corpus.
fn run(target: &Target, fixed: u64, share: f64, corpus: &[Vec<u8>], read: &dyn Fn(&[u8]) -> bool) {
    assert!(corpus.iter().all(|file| read(file)), "the corpus itself is right");
    target.cases("noise", NOISE_CASES, 0.0, |rng| {
        let mut bytes = vec![0; NOISE_BYTES];
        rng.fill(&mut bytes);
        read(&bytes)
    });
    let taken = target.cases("damaged", fixed, share, |rng| read(&damage::file(rng, corpus)));
    // None would mean that nothing gets past the first check.
    assert!(taken > 0 || target.is_one_case(), "none of the damaged files was read");
}

/// A new file in the old one's place: file systems may flush one that is written over, which takes milliseconds.
fn put(path: &Path, bytes: &[u8]) {
    let _absent = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
}

fn folder(name: &str) -> Vec<Vec<u8>> {
    read_all(&fixture("corpus").join(name), "")
}

fn read_all(dir: &Path, extension: &str) -> Vec<Vec<u8>> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(extension)).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}
