//! gzip batches, decompressed in one pass: takes the place of librdkafka's own `rd_gz_decompress`.
//!
//! librdkafka runs zlib over each batch twice, once to learn how long it gets and once to keep it: a third of all the time
//! that a gzip topic took (`docs/performance.md` has the numbers). A gzip stream ends with its length, so one pass is
//! enough, and libdeflate, which takes a batch as a whole, needs a fraction of zlib's time for it.
//!
//! No feature of rdkafka-sys offers this, so the linker does it: librdkafka comes as a static library, of which it takes what
//! nobody has defined yet, and this crate stands before it. The name and its contract are of the librdkafka that this was
//! read in: the tests fail with another one, or where the linker takes the other function.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io::Read as _;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::GzDecoder;
use libdeflate_sys as deflate;
use rdkafka::bindings as rd;

use crate::base::failpoint;

/// How a member of a stream begins.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Bytes of the trailer that say how long the stream is.
const LENGTH_BYTES: usize = 4;

/// Room that is made at first at the most: the trailer may lie.
const ROOM_MAX: usize = 64 << 20;

/// The most that deflate makes of a byte: 258 bytes of two bits.
const RATIO_MAX: usize = 1032;

/// Batches that were decompressed here.
static BATCHES: AtomicU64 = AtomicU64::new(0);

/// How many gzip batches this process has decompressed with the function of this module.
pub fn gzip_batches() -> u64 {
    BATCHES.load(Ordering::Relaxed)
}

/// The content of a gzip stream in memory of librdkafka's allocator, and in `length` how long it is; null for what is no
/// whole gzip stream.
///
/// A stream's further members count too, as for Kafka's own clients; librdkafka would drop them. What follows the last one
/// is ignored by both.
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
    let Some(content) = decompress(stream) else { return ptr::null_mut() };
    // SAFETY: as this function's contract says.
    unsafe { *length = content.length as u64 };
    content.hand_over()
}

fn decompress(stream: &[u8]) -> Option<Content> {
    let (first, read) = first_member(stream)?;
    let mut rest = &stream[read..];
    if !rest.starts_with(&MAGIC) {
        return Some(first);
    }
    let mut all = first.bytes().to_vec();
    while rest.starts_with(&MAGIC) {
        let mut member = GzDecoder::new(rest);
        member.read_to_end(&mut all).ok()?;
        rest = member.into_inner();
    }
    let mut content = Content::with_room(all.len())?;
    content.room_mut().copy_from_slice(&all);
    Some(content)
}

/// The content of a stream's first member, and how many bytes that takes of the stream.
fn first_member(stream: &[u8]) -> Option<(Content, usize)> {
    thread_local! {
        static DECOMPRESSOR: Decompressor = Decompressor::new();
    }
    let length = u32::from_le_bytes(*stream.last_chunk::<LENGTH_BYTES>()?);
    let most = stream.len().saturating_mul(RATIO_MAX);
    let mut room = usize::try_from(length).ok()?.min(ROOM_MAX).min(most);
    loop {
        let mut content = Content::with_room(room)?;
        match DECOMPRESSOR.with(|decompressor| decompressor.gzip(stream, content.room_mut())) {
            Ok((read, length)) => {
                content.length = length;
                return Some((content, read));
            }
            // It is the last member's length, which may be a shorter one.
            Err(deflate::libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE) if room < most => {
                room = room.saturating_mul(2).clamp(1, most);
            }
            Err(_) => return None,
        }
    }
}

/// One of libdeflate's decompressors.
struct Decompressor(NonNull<deflate::libdeflate_decompressor>);

impl Decompressor {
    fn new() -> Self {
        // SAFETY: the call allocates, or returns null.
        let made = unsafe { deflate::libdeflate_alloc_decompressor() };
        Decompressor(NonNull::new(made).expect("there are some kilobytes of memory"))
    }

    /// Decompresses a gzip stream's first member; gives the bytes read and written.
    fn gzip(&self, stream: &[u8], out: &mut [u8]) -> Result<(usize, usize), deflate::libdeflate_result> {
        let (mut read, mut written) = (0, 0);
        // SAFETY: both buffers have the lengths that are given. Only this thread has the decompressor.
        let result = unsafe {
            deflate::libdeflate_gzip_decompress_ex(
                self.0.as_ptr(),
                stream.as_ptr().cast(),
                stream.len(),
                out.as_mut_ptr().cast(),
                out.len(),
                &raw mut read,
                &raw mut written,
            )
        };
        if result == deflate::libdeflate_result_LIBDEFLATE_SUCCESS { Ok((read, written)) } else { Err(result) }
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: it is ours, and not used any more.
        unsafe { deflate::libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}

/// Bytes in memory of librdkafka's allocator.
struct Content {
    start: NonNull<u8>,
    room: usize,
    /// How many of them are content; never more than there is room for.
    length: usize,
}

impl Content {
    /// All zero, and all content.
    fn with_room(room: usize) -> Option<Self> {
        // One more, so that there is always one, and a text ends as librdkafka's callers may expect.
        let bytes = (room + 1).saturating_sub(if failpoint::planted("overflow.gzip") { 2 } else { 0 });
        // SAFETY: the call allocates, or returns null.
        let start = unsafe { rd::rd_kafka_mem_calloc(ptr::null_mut(), 1, bytes) };
        Some(Content { start: NonNull::new(start.cast())?, room, length: room })
    }

    fn room_mut(&mut self) -> &mut [u8] {
        // SAFETY: so many bytes were allocated, all are initialised, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.room) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// Gives the memory to librdkafka, which frees it.
    fn hand_over(self) -> *mut c_void {
        std::mem::ManuallyDrop::new(self).start.as_ptr().cast()
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        // SAFETY: it came from this allocator, and whoever was handed the memory has forgotten this.
        unsafe { rd::rd_kafka_mem_free(ptr::null_mut(), self.start.as_ptr().cast()) }
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
        let length = usize::try_from(length).unwrap();
        Some(Content { start: NonNull::new(content.cast()).unwrap(), room: length, length }.bytes().to_vec())
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
    fn all_members_count_and_what_follows_them_does_not() {
        let long = vec![b'x'; 1 << 16];
        for members in [[&long[..], b"short"], [b"short", &long], [b"same", b"else"]] {
            let stream = members.map(gzip).concat();
            assert_eq!(read(&stream), Some(members.concat()));
            assert_eq!(read(&[&stream[..], b"\xff\xff\xff\xff"].concat()), Some(members.concat()));
            assert_eq!(read(&stream[..stream.len() - 1]), None);
        }
        assert_eq!(read(&[gzip(&long), vec![0xff; 4]].concat()), Some(long));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let content = b"content that is long enough to be cut";
        let whole = gzip(content);
        assert_eq!(read(b""), None);
        assert_eq!(read(b"{}"), None);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length} bytes");
        }
        let mut refused = 0;
        for bit in (10 * 8)..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match read(&flipped) {
                None => refused += 1,
                // The last byte of the deflated bits is filled up with some that mean nothing.
                Some(found) => assert_eq!(found, content, "bit {bit}"),
            }
        }
        assert!(refused >= (whole.len() - 11) * 8, "only {refused} refused");
    }

    proptest! {
        #[test]
        fn any_content_comes_back(content in proptest::collection::vec(0u8..4, 0..5000)) {
            prop_assert_eq!(read(&gzip(&content)), Some(content));
        }
    }
}
