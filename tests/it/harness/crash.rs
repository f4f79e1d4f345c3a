//! A process that ends by a signal that nobody sent: its core is kept, and a backtrace is printed.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::setup;

const SIGKILL: i32 = 9;

/// Lets a process of ours write a core, as large as the system allows.
pub fn allow_core(pid: u32) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    let pid = Pid::from_raw(pid.cast_signed()).expect("a child has an id");
    // It may have ended already: then there is nothing to allow.
    let _ = prlimit(Some(pid), Resource::Core, Rlimit { current: maximum, maximum });
}

/// The name of a signal, without `SIG`.
pub fn signal_name(signal: i32) -> String {
    let output = Command::new("bash").args(["-c", &format!("kill -l {signal}")]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Says how a process died, keeps its core and shows where its threads were.
pub fn report(pid: u32, signal: i32, folder: &Path, since: SystemTime) -> String {
    let mut text = format!("weir (process {pid}) died by SIG{}, which no test sent\n", signal_name(signal));
    if signal == SIGKILL {
        return text + "it leaves no core; the kernel may have killed it for its memory: see `dmesg`\n";
    }
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = pattern.trim();
    let found = if pattern.starts_with('|') { None } else { core(pattern, pid, folder, since) };
    let Some(found) = found else {
        let maximum = getrlimit(Resource::Core).maximum;
        writeln!(
            text,
            "its core was not found: kernel.core_pattern is {pattern:?}, the hard limit of RLIMIT_CORE {maximum:?} \
             (no number: no limit). Where a program takes cores, ask it: `coredumpctl gdb {pid}`. Otherwise raise the \
             limit, or let cores be files: `sysctl kernel.core_pattern=core`"
        )
        .unwrap();
        return text;
    };
    let kept = setup::target().join("cores").join(format!("weir.{pid}.core"));
    fs::create_dir_all(kept.parent().expect("it is in a folder")).unwrap();
    // It may be on another file system.
    fs::copy(&found, &kept).unwrap();
    fs::remove_file(&found).unwrap();
    let binary = env!("CARGO_BIN_EXE_weir");
    writeln!(text, "its core: {}", kept.display()).unwrap();
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-ex", "bt", "-ex", "thread apply all bt", binary]).arg(&kept);
    match gdb.output() {
        Ok(output) => text += &String::from_utf8_lossy(&output.stdout),
        Err(error) => writeln!(text, "no backtrace: {error}; install gdb, and run {gdb:?}").unwrap(),
    }
    text
}

/// The newest file that the pattern may have named.
fn core(pattern: &str, pid: u32, folder: &Path, since: SystemTime) -> Option<PathBuf> {
    let pattern = folder.join(pattern.replace("%p", &pid.to_string()));
    let name = pattern.file_name()?.to_str()?;
    let start = name.split('%').next().unwrap_or_default();
    let items = fs::read_dir(pattern.parent()?).ok()?.flatten();
    let cores = items.filter_map(|item| {
        let metadata = item.metadata().ok()?;
        let named = item.file_name().to_str()?.starts_with(start);
        let modified = metadata.modified().ok()?;
        (named && metadata.is_file() && metadata.size() > 0 && modified >= since).then(|| (modified, item.path()))
    });
    cores.max().map(|(_, path)| path)
}
