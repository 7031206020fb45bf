use std::path::PathBuf;

use assay_text::safetensors::TensorFiles;
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::*;
use crate::decoder::NoAdapters;
use crate::lora::tests::random_lora;

const FAMILIES: [&str; 7] = ["llama32", "smollm2", "qwen2-tied", "qwen3", "mistral", "phi3", "gemma2"];

fn folder(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(family)
}

fn model(family: &str) -> Decoder {
    Decoder::load(&folder(family), Device::Cpu, Kind::Float).unwrap()
}

fn ids(family: &str, name: &str) -> Vec<u32> {
    let files = TensorFiles::open_file(&folder(family).join("golden.safetensors")).unwrap();
    let bytes = files.tensor(name).unwrap().bytes;
    bytes.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as u32).collect()
}

fn settings(change: impl Fn(&mut GenerateSettings)) -> GenerateSettings {
    let sample = SampleSettings { temperature: 0.0, ..SampleSettings::default() };
    let mut settings = GenerateSettings::new(sample, 32, &[]);
    change(&mut settings);
    settings
}

/// Prompts of 1 to 11 tokens, all different.
fn prompts(count: usize) -> Vec<PromptRow> {
    (0..count)
        .map(|index| {
            let ids = (0..1 + index % 11).map(|place| ((index * 31 + place * 17 + 5) % 250) as u32).collect();
            PromptRow { index, ids, adapter: None }
        })
        .collect()
}

fn run(
    model: &Decoder,
    lora: Option<&Lora>,
    settings: GenerateSettings,
    prompts: &[PromptRow],
) -> Vec<Completion> {
    let adapter = lora.map(|_| 0);
    let rows: Vec<PromptRow> = prompts.iter().map(|row| PromptRow { adapter, ..row.clone() }).collect();
    run_mixed(model, lora.as_slice(), settings, &rows)
}

fn run_mixed(
    model: &Decoder,
    adapters: &[&Lora],
    settings: GenerateSettings,
    prompts: &[PromptRow],
) -> Vec<Completion> {
    Generator::new(model, adapters, settings).unwrap().run(prompts, &mut Unwatched).unwrap()
}

fn tokens(completions: &[Completion]) -> Vec<&[u32]> {
    completions.iter().map(|completion| completion.ids.as_slice()).collect()
}

#[test]
fn greedy_answers_are_those_of_transformers() {
    for family in FAMILIES {
        let prompt = PromptRow { index: 0, ids: ids(family, "prompt_ids"), adapter: None };
        let wanted = ids(family, "greedy_ids");
        let settings = settings(|settings| settings.max_new_tokens = wanted.len());
        let model = model(family);
        assert_eq!(
            run(&model, None, settings.clone(), std::slice::from_ref(&prompt))[0].ids,
            wanted,
            "{family}"
        );
        // Again and again, from what is kept of the prompt.
        let again = GenerateSettings { samples: 3, batch: 2, ..settings.clone() };
        let answers = run(&model, None, again, std::slice::from_ref(&prompt));
        assert_eq!(tokens(&answers), [&wanted; 3], "{family}");
        // Beside rows of other lengths, in a batch that is refilled while it runs.
        let mut rows = prompts(7);
        rows.insert(3, PromptRow { index: 99, ..prompt });
        let settings = GenerateSettings { batch: 3, prompt_tokens_per_pass: 14, ..settings };
        let completions = run(&model, None, settings, &rows);
        assert_eq!((completions[3].index, &completions[3].ids), (99, &wanted), "{family}");
    }
}

#[test]
fn answers_do_not_depend_on_the_batch() {
    let sampled = |batch, tokens_per_pass| {
        settings(|settings| {
            settings.sample =
                SampleSettings { temperature: 0.8, top_p: 0.95, seed: 11, ..SampleSettings::default() };
            (settings.samples, settings.max_new_tokens) = (2, 16);
            (settings.batch, settings.prompt_tokens_per_pass) = (batch, tokens_per_pass);
            settings.eos_ids = (0..256).step_by(19).collect();
        })
    };
    let model = model("llama32");
    let lora = Lora::read(&folder("llama32").join("adapter"), model.config(), Device::Cpu).unwrap();
    let rows = prompts(8);
    let alone: Vec<Completion> = rows
        .iter()
        .flat_map(|row| run(&model, Some(&lora), sampled(1, 1), std::slice::from_ref(row)))
        .collect();
    for (batch, tokens_per_pass) in [(16, 4096), (5, 16)] {
        assert_eq!(run(&model, Some(&lora), sampled(batch, tokens_per_pass), &rows), alone);
    }
    let reasons: Vec<FinishReason> = alone.iter().map(|completion| completion.finish_reason).collect();
    assert!(
        reasons.contains(&FinishReason::Stop) && reasons.contains(&FinishReason::Length),
        "both kinds are tested"
    );
    let reversed: Vec<PromptRow> = rows.iter().rev().cloned().collect();
    let mut answers = run(&model, Some(&lora), sampled(5, 16), &reversed);
    answers.sort_by_key(|completion| (completion.index, completion.sample));
    assert_eq!(answers, alone);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Rows of the base and of two adapters, in batches of up to 64 that are refilled while they run, with or without a
    /// beginning that all share: each row has the ids that it has alone, whatever is beside it.
    #[test]
    fn rows_of_any_adapter_are_as_alone(
        family in 0..FAMILIES.len(),
        seed in any::<u64>(),
        adapters in prop::collection::vec(prop::option::of(0..2_usize), 1..48),
        lengths in prop::collection::vec(1..24_usize, 48),
        beginning in prop::option::of(8..40_usize),
        batch in 1..=64_usize,
        samples in 1..3_u32,
    ) {
        let model = model(FAMILIES[family]);
        let loras = [random_lora(model.config(), 1), random_lora(model.config(), 2)];
        let loras: Vec<&Lora> = loras.iter().collect();
        let rows: Vec<PromptRow> = adapters.iter().zip(&lengths).enumerate().map(|(index, (adapter, length))| {
            // Some prompts come twice, and some begin alike.
            let own = (0..*length).map(|place| ((index % 9 * 31 + place * 17 + 5) % 250) as u32);
            let ids = (0..beginning.unwrap_or(0) as u32).map(|place| place * 5 % 250).chain(own).collect();
            PromptRow { index, ids, adapter: *adapter }
        }).collect();
        let settings = settings(|settings| {
            settings.sample = SampleSettings { temperature: 0.9, top_p: 0.97, seed, ..SampleSettings::default() };
            (settings.samples, settings.batch, settings.max_new_tokens) = (samples, batch, 9);
            (settings.prompt_tokens_per_pass, settings.eos_ids) = (100, (0..256).step_by(9).collect());
        });
        let together = run_mixed(&model, &loras, settings.clone(), &rows);
        let alone: Vec<Completion> = rows
            .iter()
            .step_by(1 + rows.len() / 6)
            .flat_map(|row| run_mixed(&model, &loras, settings.clone(), std::slice::from_ref(row)))
            .collect();
        for one in &alone {
            let found = together.iter().find(|other| (other.index, other.sample) == (one.index, one.sample));
            prop_assert_eq!(found, Some(one));
        }
        prop_assert_eq!(together.len(), rows.len() * samples as usize);
    }
}

#[test]
fn adapters_differ_from_the_base_and_from_each_other() {
    let model = model("qwen3");
    let loras = [random_lora(model.config(), 1), random_lora(model.config(), 2)];
    let row = |index, adapter| PromptRow { index, ids: vec![4, 8, 15, 16, 23], adapter };
    let rows = [row(0, Some(1)), row(1, None), row(2, Some(0))];
    let answers = run_mixed(&model, &[&loras[0], &loras[1]], settings(|_| {}), &rows);
    assert_eq!(answers.iter().map(|answer| answer.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(tokens(&answers).into_iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn the_adapter_changes_answers_and_samples_differ() {
    let model = model("llama32");
    let lora = Lora::read(&folder("llama32").join("adapter"), model.config(), Device::Cpu).unwrap();
    let rows = prompts(4);
    let base = run(&model, None, settings(|_| {}), &rows);
    assert_ne!(tokens(&base), tokens(&run(&model, Some(&lora), settings(|_| {}), &rows)));
    let sampled = settings(|settings| {
        settings.samples = 3;
        settings.sample.temperature = 1.0;
    });
    let answers = run(&model, None, sampled, &rows[..1]);
    assert_eq!(answers.iter().map(|answer| answer.sample).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(answers[0].ids != answers[1].ids && answers[1].ids != answers[2].ids);
}

#[test]
fn a_cache_that_grows_gives_the_answers_of_whole_passes() {
    let model = model("smollm2");
    let row = PromptRow { index: 0, ids: vec![9, 8, 7], adapter: None };
    let answer = &run(&model, None, settings(|settings| settings.max_new_tokens = 150), &[row])[0].ids;
    let mut all = vec![9_i64, 8, 7];
    for id in answer {
        let logits =
            model.sequence_logits(&Tensor::from_slice(&all), &[all.len() as i64], &NoAdapters).unwrap();
        assert_eq!(
            logits.get(-1).argmax(-1, false).int64_value(&[]),
            i64::from(*id),
            "after {} tokens",
            all.len()
        );
        all.push(i64::from(*id));
    }
}

#[test]
fn every_end_token_stops_and_is_not_text() {
    let model = model("smollm2");
    let row = [PromptRow { index: 5, ids: vec![9, 8, 7], adapter: None }];
    let free = run(&model, None, settings(|_| {}), &row).remove(0);
    assert_eq!((free.finish_reason, free.ids.len(), free.text_ids().len()), (FinishReason::Length, 32, 32));
    let end = free.ids[10];
    let first = free.ids.iter().position(|id| *id == end).unwrap();
    let stopped = run(&model, None, settings(|settings| settings.eos_ids = vec![4095, end]), &row).remove(0);
    assert_eq!(stopped.finish_reason, FinishReason::Stop);
    assert_eq!(stopped.ids, free.ids[..=first]);
    assert_eq!(stopped.text_ids(), &free.ids[..first]);
    // An end token as the very last one allowed is still an end.
    let last = settings(|settings| (settings.eos_ids, settings.max_new_tokens) = (vec![end], first + 1));
    assert_eq!(run(&model, None, last, &row)[0].finish_reason, FinishReason::Stop);
}

struct Stopper {
    steps: std::cell::Cell<u32>,
    seen: Vec<GenerateProgress>,
    most: u32,
}

impl GenerateWatch for Stopper {
    fn smaller_batch(&mut self, _: usize) {}

    fn seconds(&self) -> f64 {
        self.steps.set(self.steps.get() + 1);
        f64::from(self.steps.get())
    }

    fn progress(&mut self, progress: GenerateProgress) {
        self.seen.push(progress);
    }

    fn is_cancelled(&self) -> bool {
        self.seen.len() as u32 >= self.most
    }
}

#[test]
fn progress_is_told_time_is_shared_and_runs_can_be_stopped() {
    let model = model("smollm2");
    let generator = Generator::new(&model, &[], settings(|settings| settings.max_new_tokens = 4)).unwrap();
    let mut watch = Stopper { steps: 0.into(), seen: Vec::new(), most: u32::MAX };
    let completions = generator.run(&prompts(3), &mut watch).unwrap();
    let last = *watch.seen.last().unwrap();
    assert_eq!(last, GenerateProgress { finished: 3, total: 3, new_tokens: 12 });
    // Four passes of one second each, shared by three rows.
    let seconds: f64 = completions.iter().map(|completion| completion.seconds).sum();
    assert!((seconds - 4.0).abs() < 1e-9);
    let mut watch = Stopper { steps: 0.into(), seen: Vec::new(), most: 2 };
    assert!(matches!(generator.run(&prompts(3), &mut watch), Err(ModelError::Cancelled)));
    assert_eq!(watch.seen.len(), 2);
}

#[test]
fn what_cannot_be_generated_is_refused_before_anything_runs() {
    let model = model("smollm2");
    for (name, bad) in [
        ("batch", settings(|settings| settings.batch = 0)),
        ("samples", settings(|settings| settings.samples = 0)),
        ("max_new_tokens", settings(|settings| settings.max_new_tokens = 0)),
        ("temperature", settings(|settings| settings.sample.temperature = -1.0)),
    ] {
        assert!(Generator::new(&model, &[], bad).unwrap_err().to_string().contains(name));
    }
    let row = |ids: &[u32]| vec![PromptRow { index: 3, ids: ids.to_vec(), adapter: None }];
    let mut twice = row(&[1]);
    twice.extend(row(&[2]));
    let long = vec![1; model.config().max_positions];
    for (rows, reason) in [
        (row(&[]), "no tokens"),
        (row(&[1, u32::MAX]), "4294967295"),
        (row(&long), "positions"),
        (twice, "twice"),
        (vec![PromptRow { index: 3, ids: vec![1], adapter: Some(0) }], "adapter 0"),
    ] {
        let error =
            Generator::new(&model, &[], settings(|_| {})).unwrap().run(&rows, &mut Unwatched).unwrap_err();
        assert!(error.to_string().contains("row 3") && error.to_string().contains(reason), "{error}");
    }
    assert!(run(&model, None, settings(|_| {}), &[]).is_empty());
}
