//! The allocator: a way to give back what is free. See `source/ffi.rs` for where else there is `unsafe` code.

#![allow(unsafe_code)]

use crate::base::failpoint;

/// Gives what is free back to the system, in all arenas: what is free in one of them, only its own threads can use. To be called where
/// memory is short and much was freed. Does nothing where the C library isn't glibc.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        if failpoint::planted("overflow.allocator") {
            let block = Box::new(0_u8);
            // SAFETY: there is none: this reads a byte after the block.
            unsafe { (&raw const *block).add(1).read_volatile() };
        }
        // SAFETY: the function is glibc's, with glibc's types; it may be called by any thread at any time.
        unsafe { malloc_trim(0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_thread_may_give_back_at_any_time() {
        let busy = || (0..20).for_each(|n| drop((vec![1_u8; n << 12], give_back())));
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(busy))));
    }
}
