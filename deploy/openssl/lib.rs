//! Stands in the place of the crate `openssl-sys`, of which weir and librdkafka need only that OpenSSL is linked: see `build.rs`.

use std::ffi::{c_int, c_void};
use std::ptr;

unsafe extern "C" {
    fn OPENSSL_init_ssl(options: u64, settings: *const c_void) -> c_int;
}

/// Reads the texts of errors: `OPENSSL_INIT_LOAD_SSL_STRINGS` of `openssl/ssl.h`.
const LOAD_SSL_STRINGS: u64 = 0x0020_0000;
/// Leaves everything as it is when the process ends: `OPENSSL_INIT_NO_ATEXIT` of `openssl/crypto.h`.
const NO_ATEXIT: u64 = 0x0008_0000;

/// Initialises OpenSSL so that it doesn't clean up when the process ends. Later calls do nothing.
pub fn init() {
    // SAFETY: the function takes any options and no settings, from any thread, any number of times.
    unsafe { OPENSSL_init_ssl(LOAD_SSL_STRINGS | NO_ATEXIT, ptr::null()) };
}
