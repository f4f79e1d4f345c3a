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
use crate::base::failpoint;

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
    let allocated = if failpoint::planted("overflow.zstd") { room / 4 } else { room };
    // SAFETY: the call allocates, or returns null.
    let out = unsafe { malloc(allocated.max(1)) };
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::ffi::c_int;

    use proptest::prelude::*;

    use super::*;

    unsafe extern "C" {
        fn ZSTD_compress(out: *mut c_void, room: usize, content: *const c_void, length: usize, level: c_int) -> usize;
    }

    fn compress(content: &[u8]) -> Vec<u8> {
        let mut out = vec![0; content.len() + (1 << 10)];
        // SAFETY: both have those lengths.
        let length =
            unsafe { ZSTD_compress(out.as_mut_ptr().cast(), out.len(), content.as_ptr().cast(), content.len(), 3) };
        out.truncate(length);
        out
    }

    fn read(stream: &[u8]) -> Result<Vec<u8>, RespErr> {
        let (mut content, mut length) = (ptr::null_mut(), 0);
        // SAFETY: the stream has that length, and both places are there.
        let code = unsafe {
            __wrap_rd_kafka_zstd_decompress(
                ptr::null_mut(),
                stream.as_ptr().cast(),
                stream.len(),
                &raw mut content,
                &raw mut length,
            )
        };
        if code != RespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code);
        }
        // SAFETY: it is ours from here on, and has that length.
        let bytes = unsafe { std::slice::from_raw_parts(content.cast::<u8>(), length).to_vec() };
        // SAFETY: as above; it is freed once.
        unsafe { rd::rd_kafka_mem_free(ptr::null_mut(), content) };
        Ok(bytes)
    }

    #[test]
    fn content_comes_back() {
        let zeros = vec![0; 1 << 20];
        let mixed: Vec<u8> = (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for content in [&b"a"[..], b"some text", &zeros, &mixed] {
            let stream = compress(content);
            assert_eq!(read(&stream).as_deref(), Ok(content));
            assert!(fetched::zstd(&stream) >= content.len());
            // Frames may stand one after the other.
            assert_eq!(read(&stream.repeat(2)), Ok(content.repeat(2)));
        }
    }

    #[test]
    fn what_is_cut_is_refused() {
        let stream = compress(&b"content that repeats itself, ".repeat(20));
        assert_eq!(read(b""), Err(RespErr::RD_KAFKA_RESP_ERR__BAD_COMPRESSION));
        for length in 1..stream.len() {
            assert_eq!(read(&stream[..length]), Err(RespErr::RD_KAFKA_RESP_ERR__BAD_COMPRESSION), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_content_comes_back(content in proptest::collection::vec(0_u8..4, 1..5000)) {
            let stream = compress(&content);
            prop_assert!(fetched::zstd(&stream) >= content.len());
            prop_assert_eq!(read(&stream), Ok(content));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[&ZSTD_MAGIC[..], &bytes].concat());
        }
    }

    const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
}
