//! What the simulated jobs need, and what the simulated workers have.

use assay_domain::PlannedJob;
use assay_domain::job::{Demand, Footprint, Offer};

/// Some jobs want more than anyone has, all more than the small workers have free at times; some take long.
pub(crate) fn demand(job: &PlannedJob) -> Demand {
    let number = u64::from(job.ordinal);
    let whole_mib = if number % 8 == 7 { 40 } else { 5 };
    let float32 = Footprint { whole_mib, least_mib: 2 + number % 3 };
    Demand {
        float32,
        disk_mib: number % 6,
        model_mib: number % 3,
        seconds: Some(10 + number * 17 % 60),
        ..Demand::default()
    }
}

/// Now and then a worker has little left of something, or leaves soon.
pub(crate) fn offer_now(now: u64, memory_mib: u64) -> Offer {
    let scarce = |every: u64, little: u64| now.is_multiple_of(every).then_some(little);
    Offer {
        memory_free_mib: scarce(7, memory_mib / 2),
        disk_free_mib: scarce(11, 3),
        life_left_s: scarce(13, 40),
        seats: (now % 3) as u32,
    }
}
