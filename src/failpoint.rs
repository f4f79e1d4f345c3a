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
    "commit.before_reply",
    "recover.after_read",
    "recover.after_sync_ledger",
    "recover.before_sweep",
    "sweep.before_unlink",
    "recover.before_return",
];

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
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Calls `hook` at every failpoint that this thread reaches from now on, but not at those inside of the hook.
    pub(crate) fn set(hook: impl FnMut(&str) + 'static) {
        HOOK.set(Some(Box::new(hook)));
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

    fn collect(folder: &Path, found: &mut BTreeSet<String>) {
        for item in std::fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let calls = text.split(concat!("failpoint::", "hit(\"")).skip(1);
                found.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn the_list_is_what_the_sources_hit() {
        let mut found = BTreeSet::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let listed: BTreeSet<String> = NAMES.iter().map(|name| name.to_string()).collect();
        assert_eq!(found, listed);
        assert_eq!(listed.len(), NAMES.len(), "a name is listed twice");
    }
}
