//! What `assay up` starts ends with it, whether it is asked to or killed.

use assay_tests::{Need, need};
use nix::sys::signal::Signal;

use crate::processes::Process;
use crate::stack::Up;
use crate::world::{World, alone};

/// Seconds within which every process must be gone.
const GONE_WITHIN: i64 = 30;

#[test]
fn ctrl_c_stops_all_processes() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = World::new(&model);
    let (mut up, started) = start(&world);
    assert_eq!(up.end(Signal::SIGINT).code(), Some(0));
    assert_all_end(&started);
}

#[test]
fn a_killed_up_leaves_no_orphans() {
    let Some(model) = need(Need::Model) else { return };
    let _alone = alone();
    let world = World::new(&model);
    let (mut up, started) = start(&world);
    assert_eq!(up.end(Signal::SIGKILL).code(), None);
    assert_all_end(&started);
    // The folder is free and whole: another one starts in it.
    let mut again = Up::start(&world);
    assert_eq!(again.end(Signal::SIGTERM).code(), Some(0));
}

fn start(world: &World) -> (Up, Vec<Process>) {
    let up = Up::start(world);
    up.wait_for_workers(world);
    let started = up.processes();
    for name in
        ["assay-coordinator serve", "assay-worker agent", "assay-worker engine", "assay-judge-runner run"]
    {
        let found = started.iter().filter(|process| process.command.contains(name)).count();
        assert_eq!(found, 1, "`{name}` among {started:?}");
    }
    (up, started)
}

fn assert_all_end(started: &[Process]) {
    let left: Vec<&Process> = started.iter().filter(|process| !process.ends_within(GONE_WITHIN)).collect();
    assert!(left.is_empty(), "after {GONE_WITHIN} s there are still {left:?}");
}
