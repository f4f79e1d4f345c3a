//! gzip batches, decompressed in one pass: takes the place of librdkafka's own `rd_gz_decompress`.
//!
//! librdkafka runs zlib over each batch twice, once to learn how long it gets and once to keep it: a third of all the time
//! that a gzip topic took (`docs/performance.md` has the numbers). A gzip stream ends with its length, so one pass is
//! enough, and libdeflate, which takes a batch as a whole, needs a fraction of zlib's time for it.
//!
//! No feature of rdkafka-sys offers this, so the linker does it: librdkafka comes as a static library, of which it takes what
//! nobody has defined yet, and this crate stands before it. The name and its contract are of the librdkafka that this was
//! read in; `Cargo.toml` pins that version, and the tests fail with another one, or where the linker takes the other
//! function.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use libdeflater::{DecompressionError, Decompressor};
use rdkafka::bindings as rd;

/// The most that deflate makes of a byte: 258 bytes of two bits.
const RATIO_MAX: usize = 1032;

/// Bytes of the trailer that say how long the stream is.
const LENGTH_BYTES: usize = 4;

/// Batches that were decompressed here.
static BATCHES: AtomicU64 = AtomicU64::new(0);

/// How many gzip batches this process has decompressed with the function of this module.
pub fn gzip_batches() -> u64 {
    BATCHES.load(Ordering::Relaxed)
}

/// The content of a gzip stream in memory of librdkafka's allocator, and in `length` how long it is; null for what is no
/// whole gzip stream. As in librdkafka, only the first member of a stream counts.
///
/// # Safety
/// `compressed` points to `compressed_length` bytes, and `length` to a number. What is returned is the caller's to free.
#[unsafe(no_mangle)]
unsafe extern "C" fn rd_gz_decompress(
    compressed: *const c_void,
    compressed_length: c_int,
    length: *mut u64,
) -> *mut c_void {
    BATCHES.fetch_add(1, Ordering::Relaxed);
    let Ok(compressed_length @ 1..) = usize::try_from(compressed_length) else { return ptr::null_mut() };
    // SAFETY: as this function's contract says.
    let stream = unsafe { std::slice::from_raw_parts(compressed.cast::<u8>(), compressed_length) };
    let Some(Content { bytes, length: found }) = decompress(stream) else { return ptr::null_mut() };
    // SAFETY: as this function's contract says.
    unsafe { *length = found as u64 };
    let kept = bytes.0.cast();
    std::mem::forget(bytes);
    kept
}

/// What was in a stream.
struct Content {
    bytes: Allocated,
    length: usize,
}

fn decompress(stream: &[u8]) -> Option<Content> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    }
    let most = stream.len().saturating_mul(RATIO_MAX);
    let mut room = length_of(stream)?.min(most);
    loop {
        // One more, so that a batch of nothing has an address, and that text ends as librdkafka's callers may expect.
        let bytes = Allocated::zeroed(room + 1)?;
        // SAFETY: so many bytes were allocated, and all are 0.
        let out = unsafe { std::slice::from_raw_parts_mut(bytes.0, room) };
        match DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.gzip_decompress(stream, out)) {
            Ok(length) => return Some(Content { bytes, length }),
            // The last member's length, and the first one is longer.
            Err(DecompressionError::InsufficientSpace) if room < most => room = room.saturating_mul(2).clamp(1, most),
            Err(_) => return None,
        }
    }
}

/// How long a stream says that it is, modulo 2^32.
fn length_of(stream: &[u8]) -> Option<usize> {
    let length = stream.last_chunk::<LENGTH_BYTES>()?;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

/// Memory of librdkafka's allocator.
struct Allocated(*mut u8);

impl Allocated {
    fn zeroed(bytes: usize) -> Option<Self> {
        // SAFETY: the call allocates, or returns null.
        let pointer = unsafe { rd::rd_kafka_mem_calloc(ptr::null_mut(), 1, bytes) };
        (!pointer.is_null()).then_some(Allocated(pointer.cast()))
    }
}

impl Drop for Allocated {
    fn drop(&mut self) {
        // SAFETY: it came from the allocator that this belongs to, and whoever keeps it forgets this.
        unsafe { rd::rd_kafka_mem_free(ptr::null_mut(), self.0.cast()) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(stream: &[u8]) -> Option<Vec<u8>> {
        let mut length = 0;
        let stream_length = c_int::try_from(stream.len()).unwrap();
        // SAFETY: the slice has so many bytes.
        let content = unsafe { rd_gz_decompress(stream.as_ptr().cast(), stream_length, &raw mut length) };
        if content.is_null() {
            return None;
        }
        let content = Allocated(content.cast());
        // SAFETY: the function says that there are so many.
        Some(unsafe { std::slice::from_raw_parts(content.0, usize::try_from(length).unwrap()) }.to_vec())
    }

    #[test]
    fn librdkafka_is_the_one_whose_function_this_replaces() {
        assert_eq!(
            rdkafka::util::get_rdkafka_version().1,
            "2.12.1",
            "read rdgz.c of the new librdkafka: is `rd_gz_decompress` still what this module replaces?"
        );
    }

    #[test]
    fn content_comes_back() {
        for content in [&b""[..], b"a", &[7; 1 << 20]] {
            assert_eq!(read(&gzip(content)).as_deref(), Some(content));
        }
    }

    #[test]
    fn only_the_first_member_counts() {
        let long = vec![b'x'; 1 << 16];
        assert_eq!(read(&[gzip(&long), gzip(b"short")].concat()), Some(long.clone()));
        assert_eq!(read(&[gzip(b"short"), gzip(&long)].concat()).as_deref(), Some(&b"short"[..]));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let whole = gzip(b"content that is long enough to be cut");
        assert_eq!(read(b""), None);
        assert_eq!(read(b"{}"), None);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length} bytes");
        }
        for bit in (10 * 8)..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_content_comes_back(content in proptest::collection::vec(0u8..4, 0..5000)) {
            prop_assert_eq!(read(&gzip(&content)), Some(content));
        }
    }
}
