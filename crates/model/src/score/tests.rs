use std::path::PathBuf;

use super::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/smollm2")
}

fn model() -> Decoder {
    Decoder::load(&folder(), Device::Cpu, Kind::Float).unwrap()
}

fn label(variants: &[&[u32]]) -> LabelTokens {
    LabelTokens { label: "x".to_owned(), variants: variants.iter().map(|ids| ids.to_vec()).collect() }
}

fn rows() -> Vec<ScoreRow> {
    (0..5)
        .map(|index| ScoreRow {
            index: index * 10,
            ids: (0..3 + index as u32).map(|place| 7 * place + 1).collect(),
        })
        .collect()
}

/// ln P(next | ids), from a whole pass of its own.
fn log_probability(model: &Decoder, lora: Option<&Lora>, ids: &[u32], next: u32) -> f64 {
    let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    let length = ids.len() as i64;
    let adapters: Box<dyn Adapters + '_> = match lora {
        Some(lora) => Box::new(RowAdapters::new().with(0..length, lora)),
        None => Box::new(NoAdapters),
    };
    let logits = model.sequence_logits(&Tensor::from_slice(&ids), &[length], adapters.as_ref()).unwrap();
    logits.get(-1).to_kind(Kind::Double).log_softmax(-1, Kind::Double).double_value(&[i64::from(next)])
}

fn score(
    model: &Decoder,
    lora: Option<&Lora>,
    labels: &[LabelTokens],
    tokens_per_pass: usize,
) -> Vec<LabelScores> {
    score_labels(model, lora, &rows(), labels, ScoreSettings { tokens_per_pass }, &mut |_| true).unwrap()
}

#[test]
fn single_tokens_are_summed_over_their_variants() {
    let model = model();
    let lora = Lora::read(&folder().join("adapter"), model.config(), Device::Cpu).unwrap();
    let labels = [label(&[&[5], &[40]]), label(&[&[6]])];
    for lora in [None, Some(&lora)] {
        let scores = score(&model, lora, &labels, 4096);
        for (row, score) in rows().iter().zip(&scores) {
            let one = |id| log_probability(&model, lora, &row.ids, id);
            let first = (one(5).exp() + one(40).exp()).ln();
            assert_eq!(score.index, row.index);
            assert!((score.logprobs[0] - first).abs() < 1e-5 && (score.logprobs[1] - one(6)).abs() < 1e-5);
            assert!((score.mass - (first.exp() + one(6).exp())).abs() < 1e-6);
        }
    }
}

#[test]
fn several_tokens_are_scored_by_teacher_forcing() {
    let model = model();
    let scores = score(&model, None, &[label(&[&[5, 9, 2]]), label(&[&[6], &[5, 9]])], 4096);
    for (row, score) in rows().iter().zip(&scores) {
        let after = |more: &[u32], next| log_probability(&model, None, &[&row.ids, more].concat(), next);
        let long = after(&[], 5) + after(&[5], 9);
        assert!((score.logprobs[0] - (long + after(&[5, 9], 2))).abs() < 1e-4);
        assert!((score.logprobs[1] - (after(&[], 6).exp() + long.exp()).ln()).abs() < 1e-4);
    }
}

#[test]
fn the_way_passes_are_cut_does_not_matter() {
    let model = model();
    let labels = [label(&[&[5], &[40, 3]]), label(&[&[6]])];
    let whole = score(&model, None, &labels, 4096);
    for tokens_per_pass in [1, 20] {
        for (left, right) in score(&model, None, &labels, tokens_per_pass).iter().zip(&whole) {
            assert_eq!(left.index, right.index);
            assert!(
                left.logprobs.iter().zip(&right.logprobs).all(|(left, right)| (left - right).abs() < 1e-5)
            );
        }
    }
}

#[test]
fn bad_labels_and_rows_are_refused_and_runs_can_be_stopped() {
    let model = model();
    let fine = [label(&[&[5]])];
    let run = |rows: &[ScoreRow], labels: &[LabelTokens]| {
        let refused = score_labels(&model, None, rows, labels, ScoreSettings::default(), &mut |_| true);
        refused.unwrap_err().to_string()
    };
    assert!(run(&rows(), &[]).contains("labels"));
    assert!(run(&rows(), &[label(&[])]).contains("labels"));
    assert!(run(&rows(), &[label(&[&[5]]), label(&[&[5]])]).contains("alike"));
    assert!(run(&[ScoreRow { index: 4, ids: vec![] }], &fine).contains("row 4"));
    assert!(run(&[ScoreRow { index: 4, ids: vec![u32::MAX] }], &fine).contains("4294967295"));
    let stopped =
        score_labels(&model, None, &rows(), &fine, ScoreSettings { tokens_per_pass: 1 }, &mut |done| {
            done < 2
        });
    assert!(matches!(stopped, Err(ModelError::Cancelled)));
}
