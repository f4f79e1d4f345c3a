//! A control group with little memory. Without control groups, or without the right to make one, a test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A limit for processes; it goes when it is dropped, after they have ended.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// A group whose processes have so much memory together, and none on a swap device.
    pub fn new(name: &str, bytes: u64) -> Cgroup {
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let (mount, limit) = match unified {
            true => ("/sys/fs/cgroup", "memory.max"),
            false => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        };
        let folder = Path::new(mount).join(format!("weir-{name}-{}", std::process::id()));
        let missing = "needs a control group for memory: run the tests as root, on Linux with /sys/fs/cgroup";
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}; this test {missing}", folder.display()));
        let group = Cgroup(folder);
        let limit = group.0.join(limit);
        fs::write(&limit, bytes.to_string())
            .unwrap_or_else(|error| panic!("{}: {error}; this test {missing}", limit.display()));
        if unified {
            let _ = fs::write(group.0.join("memory.swap.max"), "0");
        }
        group
    }

    /// What starts a program in it: a shell's script, the program and its arguments follow.
    pub fn starter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", self.0.display())
    }

    /// From here on the process is in it.
    pub fn take_in(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It is busy until its last process is gone.
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        eprintln!("{} could not be removed", self.0.display());
    }
}
