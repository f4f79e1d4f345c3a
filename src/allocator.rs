//! The allocator: a way to give back what is free. See `source/ffi.rs` for where else there is `unsafe` code.

#![allow(unsafe_code)]

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
