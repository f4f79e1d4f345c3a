//! Whose fault a panic is: the runtimes that weir is built on panic where the operating system gives
//! them no thread, and that is no bug in weir.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the operating system has refused a thread since the process began.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Listens to what panics say, from here on.
pub(crate) fn listen() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload();
        let said = said.downcast_ref::<String>().map(String::as_str).or_else(|| said.downcast_ref::<&str>().copied());
        if said.is_some_and(is_refusal) {
            REFUSED.store(true, Ordering::Relaxed);
        }
        before(panic);
    }));
}

/// Whether these are the words of a runtime that got no thread.
fn is_refusal(words: &str) -> bool {
    // EAGAIN and ENOMEM, as errors are shown and as they are debugged.
    let given = ["os error 11)", "os error 12)", "code: 11,", "code: 12,"].iter().any(|code| words.contains(code));
    given && words.contains("spawn")
}

/// Why something panicked, and what to do, as far as that is known: after a refusal that is taken for the reason.
pub(crate) fn blame() -> &'static str {
    if REFUSED.load(Ordering::Relaxed) {
        "the operating system gives no more threads or memory: raise the process's limits (`ulimit -u`, `ulimit -v`, the \
         container's memory and number of processes)"
    } else {
        "this is a bug in weir, please report it with the log lines above"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_thread_is_no_bug() {
        assert!(is_refusal("OS can't spawn worker thread: Resource temporarily unavailable (os error 11)"));
        assert!(is_refusal(
            "failed to spawn thread: Os { code: 11, kind: WouldBlock, message: \"Resource temporarily unavailable\" }"
        ));
        assert!(is_refusal("Cannot spawn Arbiter's thread: \"x\": Os { code: 12, kind: OutOfMemory, message: \"\" }"));
        assert!(!is_refusal("range 1 does not follow 2") && !is_refusal("bad address (os error 14)"));
    }
}
