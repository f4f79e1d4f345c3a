//! What the operating system says of the process and its disk: from `/proc`, and nothing where that isn't there.

use std::path::Path;

/// The process, now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Process {
    /// Bytes of memory that are resident.
    pub(super) resident_bytes: u64,
    /// Seconds of processor time since it began, of all threads.
    pub(super) cpu_seconds: f64,
    /// When it began, in seconds since 1970.
    pub(super) started: f64,
    /// Threads.
    pub(super) threads: u64,
    /// Open file descriptors.
    pub(super) open_files: u64,
}

/// What the numbers of `/proc` are counted in.
struct System {
    /// When the machine was started, in seconds since 1970.
    booted: f64,
    ticks_per_second: f64,
    page_bytes: u64,
}

impl Process {
    pub(super) fn now() -> Option<Process> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let system = std::fs::read_to_string("/proc/stat").ok()?;
        let booted = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
        let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let page_bytes = rustix::param::page_size() as u64;
        Process::read(&stat, &System { booted, ticks_per_second, page_bytes }, open_files)
    }

    /// From the line of `/proc/self/stat`: fields are counted after the name, which may hold spaces and parentheses.
    fn read(stat: &str, system: &System, open_files: u64) -> Option<Process> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // proc(5) numbers from 1, and the state after the name is its field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Process {
            cpu_seconds: (field(14)? + field(15)?) / system.ticks_per_second,
            threads: field(20)? as u64,
            started: system.booted + field(22)? / system.ticks_per_second,
            resident_bytes: field(24)? as u64 * system.page_bytes,
            open_files,
        })
    }
}

/// Bytes that are free, and all bytes, of the filesystem that a folder is on (or the first one above it that is there).
pub(super) fn disk(folder: &Path) -> Option<(u64, u64)> {
    let folder = std::path::absolute(folder).ok()?;
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some((found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_proc() {
        let stat = "7 (a )( b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 12 0 3000 999 100 0";
        let expected =
            Process { resident_bytes: 409_600, cpu_seconds: 3.0, started: 1030.0, threads: 12, open_files: 5 };
        let system = System { booted: 1000.0, ticks_per_second: 100.0, page_bytes: 4096 };
        assert_eq!(Process::read(stat, &system, 5), Some(expected));
    }

    #[test]
    fn this_process_is_plausible() {
        let now = Process::now().unwrap();
        assert!(now.resident_bytes > 1 << 20 && now.threads >= 1 && now.open_files >= 3, "{now:?}");
        let (free, all) = disk(Path::new("not/there/yet")).unwrap();
        assert!(0 < free && free <= all);
    }
}
