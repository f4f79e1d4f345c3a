//! zstd batches, decompressed once, into as much memory as they need: stands before librdkafka's
//! `rd_kafka_zstd_decompress`, as `gate.rs` does before other functions.
//!
//! Where a batch doesn't say how long it gets, as those of Kafka's own producer don't, librdkafka
//! tries with twice its compressed size, then three times as much as before, and so on. It decompresses
//! the batch each time, and gives up past `receive.message.max.bytes`, which a batch of a gigabyte may
//! jump over. The blocks' headers say how much it is at the most.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_uint, c_void};
use std::ptr::{self, NonNull};

use rdkafka::bindings::{self as rd, rd_kafka_resp_err_t as RespErr};

use super::fetched;

enum Context {}

unsafe extern "C" {
    fn ZSTD_createDCtx() -> *mut Context;
    fn ZSTD_freeDCtx(context: *mut Context) -> usize;
    fn ZSTD_decompressDCtx(
        context: *mut Context,
        out: *mut c_void,
        room: usize,
        stream: *const c_void,
        length: usize,
    ) -> usize;
    fn ZSTD_isError(code: usize) -> c_uint;
    // The C library's: librdkafka's allocator is no other one, and ends the process where there is no memory.
    fn malloc(size: usize) -> *mut c_void;
    fn realloc(memory: *mut c_void, size: usize) -> *mut c_void;
}

/// A thread's memory for zstd's tables.
struct Decompressor(NonNull<Context>);

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: it is ours, and not used any more.
        unsafe { ZSTD_freeDCtx(self.0.as_ptr()) };
    }
}

thread_local! {
    static DECOMPRESSOR: Option<Decompressor> =
        // SAFETY: the call allocates, or returns null.
        NonNull::new(unsafe { ZSTD_createDCtx() }).map(Decompressor);
}

/// The content of a zstd stream in memory of librdkafka's allocator.
///
/// # Safety
/// As `rd_kafka_zstd_decompress`: `stream` points to `length` bytes, and the last two to where the content and its length go.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_rd_kafka_zstd_decompress(
    _: *mut c_void,
    stream: *const c_char,
    length: usize,
    content: *mut *mut c_void,
    content_length: *mut usize,
) -> RespErr {
    // SAFETY: as this function's contract says.
    let bytes = unsafe { std::slice::from_raw_parts(stream.cast::<u8>(), length) };
    let room = fetched::zstd(bytes);
    // SAFETY: the call allocates, or returns null.
    let out = unsafe { malloc(room.max(1)) };
    if out.is_null() {
        return RespErr::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
    }
    let done = DECOMPRESSOR.with(|decompressor| {
        // SAFETY: the stream and the room have those lengths, and no other thread has the decompressor.
        let decompress =
            |of: &Decompressor| unsafe { ZSTD_decompressDCtx(of.0.as_ptr(), out, room, stream.cast(), length) };
        decompressor.as_ref().map(decompress)
    });
    // SAFETY: the call only looks at the number.
    let failed = |code: usize| unsafe { ZSTD_isError(code) } != 0;
    let error = match done {
        None => RespErr::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
        Some(code) if failed(code) || length == 0 => RespErr::RD_KAFKA_RESP_ERR__BAD_COMPRESSION,
        Some(written) => {
            // SAFETY: what was allocated is ours, and gets smaller; where that fails it stays as it is.
            unsafe {
                let smaller = realloc(out, written.max(1));
                *content = if smaller.is_null() { out } else { smaller };
                *content_length = written;
            }
            return RespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        }
    };
    // SAFETY: it was allocated above, and nobody else knows of it.
    unsafe { rd::rd_kafka_mem_free(ptr::null_mut(), out) };
    error
}
