use super::*;

#[test]
fn smaller_passes_are_told_in_order() {
    let sample: super::super::Report =
        serde_json::from_str(include_str!("../../../tests/fixtures/report.json")).unwrap();
    let training = &sample.training[0].training;
    let lines = "\
        {\"type\":\"memory\",\"step\":0,\"rows\":2,\"recompute\":false}\n\
        {\"type\":\"memory\",\"step\":5,\"rows\":1,\"recompute\":true}\n";
    let records: Vec<MetricRecord> = crate::records::from_jsonl("metrics.jsonl", lines).unwrap();
    let told = report(training, &records, &[]).smaller_passes;
    let told: Vec<_> = told.iter().map(|passes| (passes.step, passes.rows, passes.recompute)).collect();
    assert_eq!(told, [(0, 2, false), (5, 1, true)]);
}

#[test]
fn a_move_to_another_machine_is_told_with_what_changed() {
    let sample: super::super::Report =
        serde_json::from_str(include_str!("../../../tests/fixtures/report.json")).unwrap();
    let line = "{\"type\":\"moved\",\"step\":3,\"changes\":[\"threads was 2 and is 4\"]}\n";
    let records: Vec<MetricRecord> = crate::records::from_jsonl("metrics.jsonl", line).unwrap();
    let told = report(&sample.training[0].training, &records, &[]).moved;
    assert_eq!(told, [Moved { step: 3, changes: vec![String::from("threads was 2 and is 4")] }]);
}

/// The last adapter is judged as `best`; the loss at the last step is that of the epoch's own adapter.
#[test]
fn the_end_and_the_losses_of_a_run_that_keeps_its_best_have_names_of_their_own() {
    let sample: super::super::Report =
        serde_json::from_str(include_str!("../../../tests/fixtures/report.json")).unwrap();
    let training = &sample.training[0].training;
    let last = training.total_steps;
    let of_run = |c: &&super::super::ComparisonReport| c.comparison.step == last;
    let mut comparison = sample.comparisons.iter().find(of_run).unwrap().comparison.clone();
    comparison.checkpoint = String::from("best");
    let records = [
        MetricRecord::Eval { step: last, epoch: 2.0, loss: 2.0, tokens: 9 },
        MetricRecord::End { step: last, kept: 6 },
    ];
    let told = report(training, &records, &[comparison]);
    assert_eq!(told.end, Some(TrainingEnd { step: last, kept: 6 }));
    assert_eq!(told.evals[0].checkpoint, "epoch 2");
}
