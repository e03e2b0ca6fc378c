//! What the kernel and the allocator say about this process, read at each scrape. On systems without /proc the kernel's
//! part is absent. Knows nothing about calls.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use tikv_jemalloc_ctl::{epoch, stats};

/// Ticks a second of the times in /proc/self/stat: USER_HZ, part of the kernel's interface and 100 on every
/// architecture that Rust's Linux targets cover.
const TICKS: f64 = 100.0;

/// One look at the process.
#[derive(Debug)]
pub(super) struct Process {
    /// Seconds since 1970 at which it started.
    pub(super) start: f64,
    /// Bytes that the program has allocated and not freed, by jemalloc's count.
    pub(super) allocated: Option<u64>,
    /// Bytes in physical memory.
    pub(super) resident: Option<u64>,
    /// Open file descriptors, sockets included.
    pub(super) open_fds: Option<u64>,
    /// The most descriptors it may have.
    pub(super) max_fds: Option<u64>,
    /// User and system time, in seconds.
    pub(super) cpu: Option<f64>,
}

impl Process {
    /// Looks now. `started`: when the process began.
    pub(super) fn look(started: SystemTime) -> Self {
        Self {
            start: started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            allocated: allocated_bytes(),
            resident: fs::read_to_string("/proc/self/status").ok().and_then(|text| resident_bytes(&text)),
            // Less one: the descriptor that reads this very folder.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count() as u64).saturating_sub(1)),
            max_fds: fs::read_to_string("/proc/self/limits").ok().and_then(|text| max_fds(&text)),
            cpu: fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_seconds(&text)),
        }
    }
}

/// jemalloc's `stats.allocated`. Its numbers stand still between two advances of the epoch.
pub fn allocated_bytes() -> Option<u64> {
    epoch::advance().ok()?;
    stats::allocated::read().ok().map(|bytes| bytes as u64)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of proc(5) `stat`. The second field, the command, may hold spaces and brackets, so that counting
/// begins after the last bracket.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        assert_eq!(resident_bytes("VmPeak:\t  99 kB\nVmRSS:\t   1234 kB\n"), Some(1234 * 1024));
        assert_eq!(max_fds("Max processes  1  2  p\nMax open files            1024    524288    files\n"), Some(1024));
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (short) S 1"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_seen() {
        let seen = Process::look(SystemTime::now());
        assert!(seen.resident.is_some_and(|bytes| bytes > 1 << 20));
        assert!(seen.open_fds.is_some_and(|fds| fds >= 3));
        assert!(seen.max_fds >= seen.open_fds);
        assert!(seen.cpu.is_some_and(|seconds| seconds >= 0.0));
        assert!(seen.start > 1.7e9);
    }
}
