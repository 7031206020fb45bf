//! Work on LibTorch's own threads. A second pool beside it would fight for the same processors, for LibTorch's threads
//! go on spinning for a while after each of its operations.

use std::ffi::{c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `work` for every number below `count`, on as many threads as LibTorch uses; returns when all are done.
pub(super) fn for_each(count: usize, work: &(dyn Fn(usize) + Sync)) {
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).min(count);
    // Large enough that threads read long stretches of memory, small enough that none waits long for the last one.
    let job = Job { next: AtomicUsize::new(0), count, grain: (count / (8 * threads.max(1))).max(1), work };
    match parallel() {
        Some(parallel) if threads > 1 => parallel.run(threads, &job),
        _ => job.run(),
    }
}

/// Runs `work` for every number below `count` on this thread.
pub(super) fn alone(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(work);
}

struct Job<'a> {
    next: AtomicUsize,
    count: usize,
    grain: usize,
    work: &'a (dyn Fn(usize) + Sync),
}

impl Job<'_> {
    fn run(&self) {
        loop {
            let start = self.next.fetch_add(self.grain, Ordering::Relaxed);
            if start >= self.count {
                return;
            }
            (start..self.count.min(start + self.grain)).for_each(self.work);
        }
    }
}

/// libgomp's entry for a parallel region: what a compiler makes of `#pragma omp parallel`.
type GompParallel = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);

#[derive(Clone, Copy)]
struct Parallel(GompParallel);

impl Parallel {
    fn run(self, threads: usize, job: &Job<'_>) {
        extern "C" fn member(job: *mut c_void) {
            #[expect(unsafe_code, reason = "C passes the job as a pointer")]
            // Safety: the pointer is the job of the call below, which outlives the region.
            let job = unsafe { &*job.cast::<Job<'_>>().cast_const() };
            job.run();
        }
        let data = std::ptr::from_ref(job).cast_mut().cast();
        #[expect(unsafe_code, reason = "a C function")]
        // Safety: the region ends before the call returns, and a job is shared by reference only.
        unsafe {
            (self.0)(member, data, threads as c_uint, 0);
        }
    }
}

/// None where LibTorch does not run on libgomp: then one thread does it all.
fn parallel() -> Option<Parallel> {
    static FOUND: OnceLock<Option<Parallel>> = OnceLock::new();
    *FOUND.get_or_init(find)
}

#[cfg(target_os = "linux")]
fn find() -> Option<Parallel> {
    let this = libloading::os::unix::Library::this();
    #[expect(unsafe_code, reason = "a symbol's type is not checked")]
    // Safety: this is the signature that libgomp has had since 4.9.
    let symbol = unsafe { this.get::<GompParallel>(b"GOMP_parallel\0") };
    symbol.ok().map(|symbol| Parallel(*symbol))
}

#[cfg(not(target_os = "linux"))]
fn find() -> Option<Parallel> {
    None
}
