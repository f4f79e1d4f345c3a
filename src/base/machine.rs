//! How much memory this process may have: the container's, or the machine's.
//!
//! A batch of records is the one thing whose size others decide. What is left for it is the memory
//! that there is, without what `limits.memory` and the process itself take.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::memory::FIXED;
use crate::base::words;

/// `limits.memory`; none in commands that run no pipeline.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// The memory that there is, with the words for where that is said; measured once.
static MEMORY: LazyLock<Memory> = LazyLock::new(|| Memory::of(Path::new("/")));

/// A limit, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Memory {
    bytes: usize,
    of: &'static str,
}

/// Says how much of the memory the pipelines may use. Warns where there is less.
pub(crate) fn plan(limit: usize) {
    LIMIT.store(limit, Ordering::Relaxed);
    let Memory { bytes, of } = &*MEMORY;
    if limit.saturating_add(FIXED) > *bytes {
        let [memory, limit, fixed] = [*bytes, limit, FIXED].map(|bytes| words::bytes(bytes as u64));
        tracing::warn!(
            memory,
            limits_memory = limit,
            "{of} has less memory than limits.memory and the {fixed} that the process takes: it may be killed"
        );
    }
}

/// Bytes that a single batch may take.
pub(crate) fn left_for_a_batch() -> usize {
    MEMORY.bytes.saturating_sub(LIMIT.load(Ordering::Relaxed)).saturating_sub(FIXED)
}

/// The same in words, with where it comes from.
pub(crate) fn words() -> String {
    let Memory { bytes, of } = &*MEMORY;
    let [left, memory, limit, fixed] =
        [left_for_a_batch(), *bytes, LIMIT.load(Ordering::Relaxed), FIXED].map(|bytes| words::bytes(bytes as u64));
    format!("{left}: {of} has {memory}, of which limits.memory takes {limit} and the process {fixed}")
}

impl Memory {
    /// The least of what the machine and its control groups say, as the files below `root` have it.
    fn of(root: &Path) -> Memory {
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        let meminfo = read(&root.join("proc/meminfo")).unwrap_or_default();
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
        let total = total.and_then(|kilobytes| kilobytes.trim().parse::<usize>().ok());
        let machine = total.map_or(usize::MAX, |kilobytes| kilobytes.saturating_mul(1024));
        let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
        let limits = groups.lines().flat_map(|line| limits(root, line));
        // "max" in one version and a number beyond all memory in the other say that there is no limit.
        let least = limits.filter_map(|path| read(&path)?.trim().parse::<usize>().ok()).min();
        match least.filter(|least| *least < machine) {
            Some(bytes) => Memory { bytes, of: "the container (its control group)" },
            None => Memory { bytes: machine, of: "the machine" },
        }
    }
}

/// The files that may have a limit for what a line of `/proc/self/cgroup` names: of the group, and of
/// those that it is in. In a container the group's own path may not be there, only its root.
fn limits(root: &Path, line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|controller| controller == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let mount = root.join(mount);
    let group = mount.join(path.trim_start_matches('/'));
    group.ancestors().take_while(|folder| folder.starts_with(&mount)).map(|folder| folder.join(file)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], bytes: usize, of: &str) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let found = Memory::of(root.path());
        assert_eq!((found.bytes, found.of.split(' ').nth(1).unwrap()), (bytes, of));
    }

    #[test]
    fn the_least_limit_counts() {
        let machine = ("proc/meminfo", "MemFree: 1 kB\nMemTotal:       2048 kB\n");
        check(&[machine], 2 << 20, "machine");
        let second = ("proc/self/cgroup", "0::/a/b\n");
        let max = ("sys/fs/cgroup/a/b/memory.max", "max\n");
        check(&[machine, second, max], 2 << 20, "machine");
        check(&[machine, second, max, ("sys/fs/cgroup/a/memory.max", "1000\n")], 1_000, "container");
        // A container that has a namespace of its own, or sees the host's paths and not the host's files.
        check(&[machine, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "999")], 999, "container");
        let first = ("proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory:/docker/1\n");
        check(&[machine, first, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "998")], 998, "container");
        let none = ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712");
        check(&[machine, first, none], 2 << 20, "machine");
        check(&[], usize::MAX, "machine");
    }
}
