//! Trying a finished matrix again.

use super::*;

/// What a retry of the desk's matrix, as it is, would run.
fn retry(desk: &Desk, absent: BTreeSet<assay_domain::JobKey>) -> Result<Vec<u32>, Rejection> {
    let before = desk.state.matrices[0].clone();
    // Finished jobs come from the index once their matrix is archived.
    let by_key = |job: &assay_domain::PlannedJob| Some((job.key, before.finished_job(job.ordinal)?));
    let mut finished: BTreeMap<_, _> = before.submitted.plan.iter().filter_map(by_key).collect();
    finished.retain(|key, _| !absent.contains(key));
    let read = ReadSet { retried: Some(before), finished, absent, ..ReadSet::default() };
    let (id, events) = decide::submit(&State::default(), &read, submitted("m-2"))?;
    assert_eq!(id.as_str(), "m-2");
    let reused = events.iter().filter(|event| matches!(event, Event::JobReused { .. }));
    let reused: BTreeSet<u32> = reused.filter_map(|event| event.job().map(|job| job.ordinal)).collect();
    Ok((0..submitted("m-2").plan.len() as u32).filter(|job| !reused.contains(job)).collect())
}

/// Runs what can run until nothing can; what `bad` names fails for good.
fn run_to_end(desk: &mut Desk, bad: Option<u32>, missing: u64) {
    while let Some(lease) = desk.lease(&WorkKind::ALL) {
        let work = desk.state.matrices[0].submitted.plan[lease.job.ordinal as usize].work.clone();
        if bad == Some(lease.job.ordinal) {
            desk.fail(&lease, FailureClass::BadInput).expect("it is current");
            continue;
        }
        let outputs = work.outputs().iter().map(|name| made(&lease, name)).collect();
        let missing = if work.kind() == WorkKind::Score { missing } else { 0 };
        let usage = Usage { missing, ..Usage::default() };
        let completed = decide::complete(&desk.state, &ReadSet::default(), &lease, outputs, usage, AT);
        let events = completed.expect("all outputs are there");
        // The archive would take it out of the state.
        desk.record(events.into_iter().filter(|e| !matches!(e, Event::MatrixArchived { .. })).collect());
    }
}

#[test]
fn only_what_is_not_done_runs_again() {
    let mut desk = Desk::with_one();
    let not_yet = retry(&desk, BTreeSet::new());
    assert_eq!(not_yet, Err(Rejection::NotFinished { matrix: MatrixId::new("m-1") }));

    let first_score = {
        let plan = &desk.state.matrices[0].submitted.plan;
        plan.iter().find(|job| job.work.kind() == WorkKind::Score).unwrap().ordinal
    };
    run_to_end(&mut desk, Some(first_score), 0);
    let open: Vec<u32> = {
        let statuses = desk.state.matrices[0].statuses();
        let failed = |status: &Status| matches!(status, Status::Failed | Status::Blocked);
        (0..).zip(&statuses).filter(|(_, status)| failed(status)).map(|(ordinal, _)| ordinal).collect()
    };
    assert!(open.contains(&first_score), "{open:?}");
    assert_eq!(retry(&desk, BTreeSet::new()), Ok(open));
}

#[test]
fn what_was_cancelled_runs_and_what_was_done_before_is_taken() {
    let mut desk = Desk::with_one();
    let lease = desk.lease(&[WorkKind::Generate]).unwrap();
    desk.complete(&lease, &["generations"]).unwrap();
    let events = decide::cancel(&desk.state, &MatrixId::new("m-1"), AT).unwrap();
    desk.record(events.into_iter().filter(|e| !matches!(e, Event::MatrixArchived { .. })).collect());
    let again = retry(&desk, BTreeSet::new()).unwrap();
    assert_eq!(again.len(), desk.state.matrices[0].submitted.plan.len() - 1);
    assert!(!again.contains(&lease.job.ordinal));
}

#[test]
fn a_whole_matrix_is_refused_unless_its_files_are_gone_or_verdicts_are_missing() {
    let mut whole = Desk::with_one();
    run_to_end(&mut whole, None, 0);
    let nothing = Err(Rejection::NothingToRetry { matrix: MatrixId::new("m-1") });
    assert_eq!(retry(&whole, BTreeSet::new()), nothing);
    let report = whole.state.matrices[0].submitted.plan.last().unwrap();
    assert_eq!(retry(&whole, BTreeSet::from([report.key])), Ok(vec![report.ordinal]));

    let mut lacking = Desk::with_one();
    run_to_end(&mut lacking, None, 1);
    let plan = &lacking.state.matrices[0].submitted.plan;
    let judged = plan.iter().filter(|job| matches!(job.work.kind(), WorkKind::Score | WorkKind::Report));
    let judged: Vec<u32> = judged.map(|job| job.ordinal).collect();
    assert!(judged.len() > 1);
    assert_eq!(retry(&lacking, BTreeSet::new()), Ok(judged));
}

#[test]
fn the_same_retry_again_is_the_same_submission() {
    let desk = Desk::with_one();
    // Nothing is looked at but the key: by now the matrix may lack nothing.
    let read = ReadSet { retried: Some(desk.state.matrices[0].clone()), ..ReadSet::default() };
    let (id, events) = decide::submit(&desk.state, &read, submitted("m-1")).unwrap();
    assert_eq!((id.as_str(), events.len()), ("m-1", 0));
}
