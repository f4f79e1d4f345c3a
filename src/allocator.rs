//! The allocator: how many arenas it has, two a core, and a way to give back what is free.
//!
//! glibc gives up to eight arenas a core to a process's threads, and what one of them has freed the others can't use: threads
//! that write files come and go here by the hundred, so that each arena comes to hold what the busiest one needs. With one a core
//! half of all that threads wait for is an arena that another one uses, which costs 6 % more processor time. docs/performance.md has what
//! each number of them takes in memory. See `source/ffi.rs` for where else there is `unsafe` code.

#![allow(unsafe_code)]

/// To be called before the process has a second thread. Does nothing where the C library isn't glibc, or where
/// `MALLOC_ARENA_MAX` says how many.
pub fn few_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        /// From glibc's `malloc.h`.
        const M_ARENA_MAX: std::ffi::c_int = -8;
        unsafe extern "C" {
            fn mallopt(param: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        let arenas = 2 * std::thread::available_parallelism().map_or(1, usize::from);
        // SAFETY: the function is glibc's, with glibc's types, and sets a number; it takes any value.
        unsafe { mallopt(M_ARENA_MAX, std::ffi::c_int::try_from(arenas).unwrap_or(std::ffi::c_int::MAX)) };
    }
}

/// Gives what is free back to the system, in all arenas: what is free in one of them, only its own threads can use. To be called where
/// memory is short and much was freed. Does nothing where the C library isn't glibc.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: the function is glibc's, with glibc's types; it may be called by any thread at any time.
        unsafe { malloc_trim(0) };
    }
}
