//! The machine that figures were taken on, in one line: they mean nothing without it.

use std::fs;

use crate::process;

/// Processor, cores, memory, system, and how busy it was.
pub(super) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let parts = [
        processor().unwrap_or_else(|| "unknown processor".to_owned()),
        format!("{cores} threads"),
        memory().unwrap_or_else(|| "unknown memory".to_owned()),
        format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        process::probe("uname", &["-r"]).map(|text| text.trim().to_owned()).unwrap_or_default(),
        load().unwrap_or_default(),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn processor() -> Option<String> {
    if let Ok(text) = fs::read_to_string("/proc/cpuinfo") {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        return Some(line.split_once(':')?.1.trim().to_owned());
    }
    process::probe("sysctl", &["-n", "machdep.cpu.brand_string"]).map(|text| text.trim().to_owned())
}

fn memory() -> Option<String> {
    let gib = |bytes: u64| format!("{} GiB", bytes >> 30);
    if let Ok(text) = fs::read_to_string("/proc/meminfo") {
        let kib: u64 = text
            .lines()
            .find(|line| line.starts_with("MemTotal:"))?
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()?;
        return Some(gib(kib << 10));
    }
    process::probe("sysctl", &["-n", "hw.memsize"])?.trim().parse().ok().map(gib)
}

/// What else the machine was doing when the bench began.
fn load() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    Some(format!("load {} before the bench", text.split_whitespace().next()?))
}
