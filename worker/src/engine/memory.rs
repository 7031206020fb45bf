//! Memory of this process and machine: for reports, and as a limit that makes running out of it an error instead of an end.

use std::fs;

/// The largest resident memory so far, MiB.
pub(crate) fn peak_mib() -> f64 {
    let Ok(usage) = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF) else {
        return 0.0;
    };
    // Linux counts KiB, macOS bytes.
    let unit = if cfg!(target_os = "macos") { 1024.0 * 1024.0 } else { 1024.0 };
    usage.max_rss() as f64 / unit
}

/// The memory that this process may use at most, MiB: the machine's, or less where its control group says so. 0 where
/// it cannot be told.
pub(crate) fn usable_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let machine = kib.unwrap_or(0) / 1024;
    group_mib().map_or(machine, |group| machine.min(group))
}

/// The limit of this process's control group. Inside a container its own group is the root of what it sees.
fn group_mib() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = limit_files(&groups).into_iter().filter_map(|path| fs::read_to_string(path).ok());
    limits.filter_map(|text| text.trim().parse::<u64>().ok()).min().map(|bytes| bytes >> 20)
}

/// Where the limits stand, for the lines of `/proc/self/cgroup`: `0::PATH` (version 2), `N:memory:PATH` (version 1).
fn limit_files(groups: &str) -> Vec<String> {
    let files = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?.trim_end_matches('/'));
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        Some([format!("{root}{path}/{file}"), format!("{root}/{file}")])
    };
    groups.lines().filter_map(files).flatten().collect()
}

/// From now on an allocation that would take this process's own writable memory over the limit fails, and with it the
/// operation that asked: the kernel would end the process without a word.
#[cfg(target_os = "linux")]
pub(crate) fn limit(mib: u64) -> nix::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA)?;
    setrlimit(Resource::RLIMIT_DATA, (mib << 20).min(hard), hard)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn limit(_: u64) -> nix::Result<()> {
    Ok(())
}

/// How many processes the kernel's out-of-memory killer has ended since boot; none where it cannot be told.
pub(crate) fn oom_kills() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_where_both_versions_of_control_groups_keep_them() {
        let files = limit_files("5:cpu,memory:/box/a\n3:cpuset:/\n0::/user.slice\n");
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/memory/box/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/user.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert!(limit_files("nonsense").is_empty());
    }
}
