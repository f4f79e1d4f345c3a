//! Named places at which a test may kill the process, or freeze it, to see what that leaves behind.
//!
//! `WEIR_FAILPOINT=commit.before_link` aborts the first time that place is reached, `WEIR_FAILPOINT=commit.before_link:3`
//! the third time, and `WEIR_FAILPOINT=commit.before_link:3:stop` stops the process there, as SIGSTOP does, until it gets
//! SIGCONT. A name that isn't in [`NAMES`] ends the process with exit code 2, because a test that sets it would
//! otherwise test nothing. Release builds contain none of this: [`hit`] is empty there.

/// Every place, in the order in which a commit and then a recovery reach them.
pub const NAMES: &[&str] = &[
    "dataset.before_link",
    "dataset.after_link",
    "commit.before_write_entry",
    "commit.before_sync_files",
    "commit.before_sync_staging",
    "commit.before_link",
    "commit.after_link",
    "commit.after_sync_ledger",
    "publish.before_link",
    "publish.after_link",
    "publish.before_sync",
    "publish.before_unlink",
    "publish.after_unlink",
    "fold.before_link",
    "fold.after_link",
    "fold.before_unlink",
    "fold.after_unlink",
    "commit.before_reply",
    "recover.after_read",
    "recover.after_sync_ledger",
    "recover.before_sweep",
    "sweep.before_unlink",
    "recover.before_return",
];

/// Bugs that a test can plant with `WEIR_PLANTED_BUG=name`, to see that the suite finds them; see `tests/planted` and
/// `tests/memcheck`.
pub const BUGS: &[&str] = &[
    "isolation.read_uncommitted",
    "range.off_by_one",
    "reject.dropped",
    "commit.no_fsync",
    "commit.publish_first",
    "fence.ignored",
    "publish.skipped",
    "sweep.early",
    "fold.names_freed",
    "discard.tried",
    // One for each module with `unsafe` code, by its file's name: `tests/memcheck` finds these.
    "overflow.allocator",
    "overflow.bulk",
    "overflow.ffi",
    "overflow.gate",
    "overflow.gzip",
    "overflow.zstd",
];

/// Whether this bug is planted.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn planted(_bug: &str) -> bool {
    false
}

/// Whether this bug is planted.
#[cfg(debug_assertions)]
pub fn planted(bug: &str) -> bool {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();

    let from_environment = || {
        let bug = std::env::var("WEIR_PLANTED_BUG").ok()?;
        if !BUGS.contains(&&*bug) {
            eprintln!("WEIR_PLANTED_BUG={bug}: want one of {BUGS:?}");
            std::process::exit(2);
        }
        Some(bug)
    };
    #[cfg(test)]
    if hook::planted(bug) {
        return true;
    }
    PLANTED.get_or_init(from_environment).as_deref() == Some(bug)
}

/// Ends the process here, if the environment asks for it.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// Ends the process here, if the environment asks for it.
#[cfg(debug_assertions)]
pub fn hit(name: &str) {
    use std::io::Write as _;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, u64, bool)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);

    #[cfg(test)]
    hook::run(name);
    let Some((armed, count, stop)) = ARMED.get_or_init(armed) else {
        return;
    };
    if armed == name && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *count {
        if *stop {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
            return;
        }
        // Not eprintln, which a test's harness keeps back until a test has ended.
        let _ = writeln!(std::io::stderr(), "failpoint {name}: aborting");
        std::process::abort();
    }
}

/// How many entries a checkpoint of a new dataset holds, where a test wants few: `WEIR_CHECKPOINT_ENTRIES`.
pub fn checkpoint_entries() -> Option<u64> {
    let value = if cfg!(debug_assertions) { std::env::var("WEIR_CHECKPOINT_ENTRIES").ok()? } else { return None };
    Some(value.parse().ok().filter(|count| *count > 0).expect("WEIR_CHECKPOINT_ENTRIES is a number above 0"))
}

/// What `WEIR_FAILPOINT` asks for: a name, at which time it is reached, and whether to stop there instead of aborting.
#[cfg(debug_assertions)]
fn armed() -> Option<(String, u64, bool)> {
    let value = std::env::var("WEIR_FAILPOINT").ok()?;
    let (rest, stop) = value.strip_suffix(":stop").map_or((value.as_str(), false), |rest| (rest, true));
    let (name, count) = rest.split_once(':').unwrap_or((rest, "1"));
    match count.parse() {
        Ok(count) if count > 0 && NAMES.contains(&name) => Some((name.to_owned(), count, stop)),
        _ => {
            eprintln!(
                "WEIR_FAILPOINT={value}: want one of {NAMES:?}, with :N for the N-th time, and :stop to stop there"
            );
            std::process::exit(2);
        }
    }
}

/// For tests in the process: what one thread does at every failpoint, such as a crash or another instance's work.
#[cfg(test)]
pub(crate) mod hook {
    use std::cell::RefCell;

    type Hook = Box<dyn FnMut(&str)>;

    thread_local! {
        static BUG: RefCell<Option<&'static str>> = const { RefCell::new(None) };
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Calls `hook` at every failpoint that this thread reaches from now on, but not at those inside of the hook.
    pub(crate) fn set(hook: impl FnMut(&str) + 'static) {
        HOOK.set(Some(Box::new(hook)));
    }

    /// Plants a bug in what this thread does, or none.
    pub(crate) fn plant(bug: Option<&'static str>) {
        BUG.set(bug);
    }

    #[cfg(debug_assertions)]
    pub(super) fn planted(bug: &str) -> bool {
        BUG.with_borrow(|planted| *planted == Some(bug))
    }

    pub(crate) fn clear() {
        HOOK.set(None);
    }

    #[cfg(debug_assertions)]
    pub(super) fn run(name: &str) {
        if let Some(mut hook) = HOOK.take() {
            hook(name);
            HOOK.set(Some(hook));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn collect(call: &str, folder: &Path, found: &mut BTreeSet<String>) {
        for item in std::fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                collect(call, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let call = format!("failpoint::{call}(\"");
                let calls = text.split(&call).skip(1);
                found.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn the_lists_are_what_the_sources_ask_for() {
        for (call, list) in [("hit", NAMES), ("planted", BUGS)] {
            let mut found = BTreeSet::new();
            collect(call, &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
            let listed: BTreeSet<String> = list.iter().map(|name| name.to_string()).collect();
            assert_eq!(found, listed);
            assert_eq!(listed.len(), list.len(), "a name is listed twice");
        }
    }
}
