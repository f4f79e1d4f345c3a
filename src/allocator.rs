//! The allocator's one setting: an arena a core.
//!
//! glibc gives up to eight arenas a core to a process's threads, and what one of them has freed the others can't use. Threads
//! that write files come and go here by the hundred, so that each arena came to hold what the busiest one needs: 500 columns
//! took 323 MiB, and 265 like this, at the same speed. See `source/ffi.rs` for where else there is `unsafe` code.

#![allow(unsafe_code)]

/// To be called before the process has a second thread. Does nothing where the C library isn't glibc, or where
/// `MALLOC_ARENA_MAX` says how many.
pub fn one_arena_per_core() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        /// From glibc's `malloc.h`.
        const M_ARENA_MAX: std::ffi::c_int = -8;
        unsafe extern "C" {
            fn mallopt(param: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // SAFETY: the function is glibc's, with glibc's types, and sets a number; it takes any value.
        unsafe { mallopt(M_ARENA_MAX, std::ffi::c_int::try_from(cores).unwrap_or(std::ffi::c_int::MAX)) };
    }
}
