//! What jobs need and workers have: memory, disk, device, and time.

use assay_domain::decide::schedule::Obstacle;
use assay_domain::job::Footprint;
use assay_domain::{PlannedJob, Work};

use super::schedule::{desk, names};
use super::*;

/// Its training needs so much; nothing else needs anything.
fn wanting(id: &str, demand: Demand) -> SubmittedMatrix {
    let mut matrix = submitted(id);
    matrix.plan[0].demand = demand;
    matrix
}

fn memory(whole_mib: u64, least_mib: u64) -> Demand {
    Demand { float32: Footprint { whole_mib, least_mib }, ..Demand::default() }
}

/// A desk whose only jobs are trainings.
fn trainings(demands: &[Demand], workers: &[(&str, u64)]) -> Desk {
    let matrices = demands.iter().enumerate().map(|(number, demand)| {
        let mut matrix = wanting(&format!("m-{number}"), *demand);
        matrix.plan.truncate(1);
        // Else equal jobs would be one job.
        matrix.plan[0].key = assay_domain::JobKey(Digest::of(&[number as u8]));
        matrix
    });
    desk(matrices.collect(), workers)
}

impl Desk {
    pub(crate) fn offers(&mut self, worker: &str, offer: Offer) {
        self.offers.insert(WorkerId::new(worker), offer);
    }

    /// Why the first job of `m-0` is not on a worker.
    fn why(&self, worker: &str, slots: &[(&str, u32)]) -> Vec<(Obstacle, String, String)> {
        let explained = self.explain("m-0", 0, slots);
        let known = explained.workers.into_iter().find(|known| known.worker.as_str() == worker);
        let known = known.expect("it has registered");
        known.reasons.into_iter().map(|reason| (reason.obstacle, reason.text, reason.remedy)).collect()
    }
}

#[test]
fn a_job_goes_to_the_smallest_worker_that_has_the_memory_free() {
    let sizes = [("large", 64), ("middle", 32), ("small", 16)];
    let mut desk = trainings(&[memory(20, 4), memory(20, 4)], &sizes);
    let all = [("large", 1), ("middle", 1), ("small", 1)];
    desk.offers("middle", Offer { memory_free_mib: Some(19), ..Offer::default() });
    let explained = desk.why("small", &all);
    let too_large =
        |free_mib, has_mib| Obstacle::TooLarge { needs_mib: 20, free_mib, has_mib, largest_mib: 64 };
    assert_eq!(explained[0].0, too_large(16, 16));
    assert_eq!(desk.why("middle", &all)[0].0, too_large(19, 32));
    assert!(desk.why("large", &all).is_empty());
    assert_eq!(names(&desk.place(&all)), ["m-0/0 large"], "the second waits for it");
    desk.offers("middle", Offer { memory_free_mib: Some(20), ..Offer::default() });
    assert_eq!(names(&desk.place(&all[1..])), ["m-1/0 middle"]);
}

#[test]
fn what_no_worker_could_ever_hold_whole_is_tried_in_the_smallest_passes_and_else_says_so() {
    let all = [("large", 1), ("small", 1)];
    let mut desk = trainings(&[memory(100, 40)], &[("large", 64), ("small", 16)]);
    let small = desk.why("small", &all);
    assert_eq!(small[0].1, "needs 0.0 GiB of memory, the worker has 0.0 GiB");
    assert_eq!(names(&desk.place(&all)), ["m-0/0 large"]);

    let desk = &mut trainings(&[memory(8192, 5530)], &[("large", 3994), ("small", 16)]);
    assert!(desk.place(&all).is_empty());
    let [(obstacle, text, remedy)] = &desk.why("large", &all)[..] else { panic!("one reason") };
    assert_eq!(text, "needs 5.4 GiB of memory, the worker has 3.9 GiB");
    assert!(
        matches!(obstacle, Obstacle::TooLarge { needs_mib: 5530, largest_mib: 3994, .. }),
        "{obstacle:?}"
    );
    assert!(remedy.starts_with("no worker of this fleet has more than 3.9 GiB: a larger one"), "{remedy}");
    assert!(remedy.contains("`needs: {memory_gib: ...}`"), "{remedy}");
    // A larger one that is not taken out is waited for, and asked for all of it.
    let larger = WorkerInfo { memory_mib: 9000, kinds: WorkKind::ALL.to_vec(), ..worker("larger") };
    desk.record(decide::register(&desk.state, larger, AT));
    assert!(desk.why("large", &all)[0].1.starts_with("needs 8.0 GiB"), "{:?}", desk.why("large", &all));
    desk.record(decide::drain(&desk.state, &WorkerId::new("larger"), DrainMode::Finish, AT).unwrap());
    assert!(desk.why("large", &all)[0].1.starts_with("needs 5.4 GiB"));
    desk.record(decide::lift(&desk.state, &WorkerId::new("larger"), AT).unwrap());
    assert_eq!(names(&desk.place(&[("large", 1), ("larger", 1)])), ["m-0/0 larger"]);
}

#[test]
fn workers_that_do_not_say_what_they_have_get_what_they_got_before() {
    let mut desk = trainings(&[memory(1 << 20, 1 << 20)], &[("old", 0)]);
    assert_eq!(names(&desk.place(&[("old", 1)])), ["m-0/0 old"]);
    let offer: Offer = serde_json::from_str("{}").unwrap();
    assert_eq!(offer, Offer::default());
    let job = serde_json::to_value(&desk.state.matrices[0].submitted.plan[0]).unwrap();
    let mut before = job.as_object().unwrap().clone();
    before.remove("demand").expect("it asks for something");
    let read: PlannedJob = serde_json::from_value(before.into()).unwrap();
    assert!(read.demand.is_default());
}

#[test]
fn a_model_in_the_cache_needs_no_second_place_on_the_disk() {
    let files = Demand { disk_mib: 10, model_mib: 6, ..Demand::default() };
    let mut desk = trainings(&[files], &[("w", 64)]);
    desk.offers("w", Offer { disk_free_mib: Some(9), ..Offer::default() });
    let [(obstacle, text, _)] = &desk.why("w", &[("w", 1)])[..] else { panic!("one reason") };
    assert_eq!(*obstacle, Obstacle::Disk { needs_mib: 10, free_mib: 9 });
    assert_eq!(text, "needs 0.0 GiB of disk, the worker has 0.0 GiB free");
    desk.offers("w", Offer { disk_free_mib: Some(10), ..Offer::default() });
    let (lease, _) = desk.place(&[("w", 1)]).remove(0);
    desk.fail(&lease, FailureClass::Released).unwrap();
    // The model has come with the first attempt.
    desk.offers("w", Offer { disk_free_mib: Some(4), ..Offer::default() });
    assert_eq!(names(&desk.place(&[("w", 1)])), ["m-0/0 w"]);
}

#[test]
fn a_device_that_the_matrix_asks_for_is_waited_for() {
    let cuda = Demand { device: Some(DeviceKind::Cuda), ..memory(1 << 20, 1 << 20) };
    let mut desk = trainings(&[cuda], &[("w", 64)]);
    let [(obstacle, text, _), _memory] = &desk.why("w", &[("w", 1)])[..] else { panic!("two reasons") };
    assert_eq!(*obstacle, Obstacle::Device { needs: DeviceKind::Cuda, has: DeviceKind::Cpu });
    assert_eq!(text, "its matrix asks for `cuda`, and the worker has `cpu`");
    // Half the bytes on a GPU.
    let half = Footprint { whole_mib: 30, least_mib: 30 };
    let mut gpu = trainings(&[Demand { bfloat16: half, ..cuda }], &[]);
    let worker = WorkerInfo {
        device: DeviceKind::Cuda,
        memory_mib: 32,
        kinds: WorkKind::ALL.to_vec(),
        ..worker("gpu")
    };
    gpu.record(decide::register(&gpu.state, worker, AT));
    assert_eq!(names(&gpu.place(&[("gpu", 1)])), ["m-0/0 gpu"]);
    assert!(desk.place(&[("w", 1)]).is_empty());
}

#[test]
fn a_worker_that_leaves_soon_gets_what_will_be_kept_and_one_that_stays_is_preferred() {
    let hour = Demand { seconds: Some(3600), ..Demand::default() };
    let mut desk = trainings(&[hour, hour], &[("leaves", 16), ("stays", 64)]);
    let Work::Train(spec) = &desk.state.matrices[0].submitted.plan[0].work else { panic!("a training") };
    assert_eq!((spec.checkpoints.as_slice(), spec.total_steps), (&[6, 12][..], 12));
    let all = [("leaves", 1), ("stays", 1)];
    desk.offers("leaves", Offer { life_left_s: Some(1799), ..Offer::default() });
    let [(obstacle, text, _)] = &desk.why("leaves", &all)[..] else { panic!("one reason") };
    assert_eq!(*obstacle, Obstacle::Life { needs_s: 1800, left_s: 1799, resumable: true });
    assert_eq!(text, "needs about 30 min to its next checkpoint there, the worker leaves in 29 min");
    // Half of it would be kept: only where nobody stays longer.
    desk.offers("leaves", Offer { life_left_s: Some(1800), ..Offer::default() });
    assert_eq!(names(&desk.place(&all)), ["m-0/0 stays", "m-1/0 leaves"]);
    let (lease, _) = (desk.state.open_leases()[0].clone(), ());
    // After its last checkpoint but one, half of it is left.
    desk.checkpoint(&lease.0, 6).unwrap();
    desk.fail(&lease.0, FailureClass::Released).unwrap();
    desk.offers("leaves", Offer { life_left_s: Some(1790), ..Offer::default() });
    let [(obstacle, ..)] = &desk.why("leaves", &all)[..] else { panic!("one reason") };
    assert_eq!(*obstacle, Obstacle::Life { needs_s: 1800, left_s: 1790, resumable: false });
}
