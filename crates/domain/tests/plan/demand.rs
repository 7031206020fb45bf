//! What jobs need: estimated from model, recipe and rows, or said by the matrix; never part of a key.

use assay_domain::job::{Demand, Footprint};
use assay_domain::matrix::TokenCount;
use assay_domain::{DeviceKind, Work};

use super::*;

fn planned(extra: &str) -> Vec<PlannedJob> {
    let parsed = matrix::parse("m.yaml", &small(extra), None).expect("it is right");
    plan(&resolved::resolve(parsed, 24)).expect("it is right")
}

fn first(jobs: &[PlannedJob], kind: WorkKind) -> Demand {
    jobs.iter().find(|job| job.work.kind() == kind).expect("it has one").demand
}

/// Peaks of `assay-worker bench-train` on 16 rows of `examples/data/train.jsonl`, rank 16, 2026-11-23: the process' largest
/// resident memory in MiB. The estimate is above each, by less than a third.
#[test]
fn the_estimate_of_a_training_is_above_what_was_measured_and_not_far() {
    let rows: [u32; 16] = [512, 512, 449, 445, 295, 250, 247, 247, 241, 239, 239, 235, 228, 227, 215, 194];
    for (micro_batch, measured_mib) in [(1, 1733), (2, 2553), (8, 5389)] {
        let text =
            small("").replace("warmup_steps: 1", &format!("warmup_steps: 1, micro_batch: {micro_batch}"));
        let mut resolved = resolved::resolve(matrix::parse("m.yaml", &text, None).unwrap(), 16);
        for count in resolved.data.values_mut().flat_map(|facts| &mut facts.tokens) {
            *count = TokenCount::of(&count.model, count.max_length, &rows, &[]);
        }
        let Footprint { whole_mib, least_mib } = first(&plan(&resolved).unwrap(), WorkKind::Train).float32;
        assert!((measured_mib..measured_mib * 4 / 3).contains(&whole_mib), "{micro_batch}: {whole_mib}");
        assert!((900..1733).contains(&least_mib), "{least_mib}");
    }
}

#[test]
fn what_takes_a_device_has_an_estimate_and_a_gpu_needs_less() {
    let jobs = planned("");
    for kind in [WorkKind::Train, WorkKind::Generate, WorkKind::Score] {
        let demand = first(&jobs, kind);
        let (cpu, gpu) = (demand.memory_on(DeviceKind::Cpu), demand.memory_on(DeviceKind::Cuda));
        assert!(cpu.whole_mib > 700 && cpu.whole_mib < 4000, "{kind:?}: {cpu:?}");
        assert!(gpu.whole_mib < cpu.whole_mib && gpu.least_mib <= gpu.whole_mib, "{kind:?}: {gpu:?}");
        assert!(demand.disk_mib >= 64 && demand.gang.is_one(), "{kind:?}: {demand:?}");
    }
    for kind in [WorkKind::Judge, WorkKind::Report] {
        assert!(first(&jobs, kind).is_default(), "{kind:?}");
    }
    let train = jobs.iter().find(|job| matches!(job.work, Work::Train(_))).unwrap();
    assert!(train.demand.float32.least_mib < train.demand.float32.whole_mib);
}

#[test]
fn a_matrix_may_say_what_its_jobs_need_and_keys_stay() {
    let (plain, told) =
        (planned(""), planned("needs: {memory_gib: 2.5, disk_gib: 0, hours: 0.5, device: cuda}\n"));
    let keys = |jobs: &[PlannedJob]| -> Vec<JobKey> { jobs.iter().map(|job| job.key).collect() };
    assert_eq!(keys(&plain), keys(&told));
    assert_eq!(keys(&plain), keys(&planned("schedule: {team: a, priority: 3}\n")));
    let demand = first(&told, WorkKind::Score);
    let memory = Footprint { whole_mib: 2560, least_mib: 2560 };
    assert_eq!((demand.float32, demand.bfloat16, demand.disk_mib), (memory, memory, 0));
    assert_eq!((demand.seconds, demand.device), (Some(1800), Some(DeviceKind::Cuda)));
    assert!(first(&told, WorkKind::Report).is_default());
}

#[test]
fn a_gang_of_several_is_refused_with_what_is_to_come() {
    let parsed = matrix::parse("m.yaml", &small("needs: {gang: {size: 4}}\n"), None).expect("it can be read");
    let errors = errors(&resolved::resolve(parsed, 24));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("needs.gang.size is 4") && errors[0].contains("later version"), "{errors:?}");
    assert!(matrix::parse("m.yaml", &small("needs: {gang: {size: 0}}\n"), None).is_err());
    assert!(matrix::parse("m.yaml", &small("needs: {memory_gib: -1}\n"), None).is_err());
    assert!(planned("needs: {gang: {size: 1}}\n").iter().all(|job| job.demand.gang.is_one()));
}
