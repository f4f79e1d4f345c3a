//! What a partition's part of a fetch answer has: its batches, and how much memory each takes at the
//! most. Told from their headers and from how their compressed bytes are framed; nothing is
//! decompressed for it.
//!
//! Only the message format that Kafka has written since 0.11 is looked into. The older ones, and what
//! is cut or damaged, count as no batch.

/// Bytes of a batch before its records.
const HEADER: usize = 61;
/// Bytes of a batch that its length doesn't count.
const BEFORE_LENGTH: usize = 12;
/// Where a batch has the number of its message format.
const MAGIC_AT: usize = 16;
/// Where it has its checksum, which is of everything that follows.
const CHECKSUM_AT: usize = 17;
/// Where it has its attributes: the codec is in the last three bits.
const ATTRIBUTES_AT: usize = 21;
/// Where it has the number of its records.
const COUNT_AT: usize = 57;
/// The message format that is looked into.
const MAGIC: u8 = 2;
/// The least that a record takes, uncompressed: seven lengths and numbers of a byte each.
const RECORD_LEAST: usize = 7;
/// What librdkafka keeps for a batch, whatever is in it, about.
const BATCH_BYTES: usize = 1 << 10;

/// A batch, as its header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The offset of its first record.
    pub(crate) first: i64,
    /// Where it begins in the set.
    pub(crate) begin: usize,
    /// Where it ends in the set.
    pub(crate) end: usize,
    /// Bytes that it has at the most when it is decompressed; none where it isn't compressed.
    pub(crate) decompressed: usize,
    /// How many records it says it has, or how many fit into it.
    pub(crate) records: usize,
}

impl Batch {
    /// Bytes that it takes beside the answer that it came in.
    pub(crate) fn needs(&self, record_bytes: usize) -> usize {
        let records = self.records.saturating_mul(record_bytes);
        self.decompressed.saturating_add(records).saturating_add(BATCH_BYTES)
    }
}

/// The whole batches that a set begins with.
pub(crate) fn batches(set: &[u8], found: &mut Vec<Batch>) {
    found.clear();
    let mut begin = 0;
    while let Some(batch) = batch(&set[begin..], begin) {
        begin = batch.end;
        found.push(batch);
    }
}

fn batch(rest: &[u8], begin: usize) -> Option<Batch> {
    let header = rest.first_chunk::<HEADER>()?;
    let length = usize::try_from(number(header, 8)?).ok()?.checked_add(BEFORE_LENGTH)?;
    if header[MAGIC_AT] != MAGIC || length < HEADER || length > rest.len() {
        return None;
    }
    let content = &rest[HEADER..length];
    let compressed = |bound: fn(&[u8]) -> usize| bound(content);
    let decompressed = match header[ATTRIBUTES_AT + 1] & 7 {
        1 => compressed(gzip),
        2 => compressed(snappy),
        3 => compressed(lz4),
        4 => compressed(zstd),
        _ => 0,
    };
    let most = decompressed.max(content.len()) / RECORD_LEAST;
    let records = usize::try_from(number(header, COUNT_AT)?).unwrap_or(0).min(most);
    let first = i64::from_be_bytes(*header.first_chunk()?);
    Some(Batch { first, begin, end: begin + length, decompressed, records })
}

/// What a batch's checksum says, and what it is of.
pub(crate) fn checksum(batch: &[u8]) -> Option<(u32, &[u8])> {
    let said = batch.get(CHECKSUM_AT..)?.first_chunk()?;
    Some((u32::from_be_bytes(*said), &batch[ATTRIBUTES_AT..]))
}

/// A big-endian number of 32 bits.
fn number(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The most that deflate makes of a byte.
const GZIP_RATIO: usize = 1032;

/// A stream ends with its length. (Of several, that is the last one's: nobody writes such batches.)
fn gzip(stream: &[u8]) -> usize {
    let length = stream.last_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    usize::try_from(length).unwrap_or(usize::MAX).min(stream.len().saturating_mul(GZIP_RATIO))
}

/// The most that snappy makes of a byte: a copy of 64 bytes takes three.
const SNAPPY_RATIO: usize = 22;

/// As snappy-java frames it: this, two numbers, and then chunks with a length before each.
const SNAPPY_MAGIC: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_HEADER: usize = 16;

fn snappy(stream: &[u8]) -> usize {
    if !stream.starts_with(SNAPPY_MAGIC) {
        return snappy_chunk(stream);
    }
    let (mut at, mut all) = (SNAPPY_HEADER, 0_usize);
    while let Some(length) = number(stream, at).and_then(|length| usize::try_from(length).ok()) {
        let Some(chunk) = stream.get(at + 4..).and_then(|rest| rest.get(..length)) else { break };
        all = all.saturating_add(snappy_chunk(chunk));
        at += 4 + length;
    }
    all
}

/// A chunk begins with its length, seven bits a byte.
fn snappy_chunk(chunk: &[u8]) -> usize {
    let mut length = 0_u64;
    for (at, byte) in chunk.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let most = chunk.len().saturating_mul(SNAPPY_RATIO);
    usize::try_from(length).unwrap_or(usize::MAX).min(most)
}

const LZ4_MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

/// A frame has its blocks' largest size, and each block its own compressed one.
fn lz4(frame: &[u8]) -> usize {
    let (Some(flags), Some(largest)) = (frame.get(4), frame.get(5)) else { return 0 };
    if !frame.starts_with(&LZ4_MAGIC) {
        return 0;
    }
    let largest = match largest >> 4 & 7 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        _ => 4 << 20,
    };
    let flag = |bit: u8, bytes: usize| if flags & bit == 0 { 0 } else { bytes };
    let (content_size, dictionary, block_checksum) = (flag(0x08, 8), flag(0x01, 4), flag(0x10, 4));
    let (mut at, mut all) = (6 + content_size + dictionary + 1, 0_usize);
    while let Some(block) = frame.get(at..).and_then(|rest| rest.first_chunk()) {
        let block = u32::from_le_bytes(*block);
        let size = (block & 0x7fff_ffff) as usize;
        if size == 0 || at + 4 + size > frame.len() {
            break;
        }
        let stored = block & 0x8000_0000 != 0;
        // A byte makes 255 at the most.
        all = all.saturating_add(if stored { size } else { largest.min(size.saturating_mul(255)) });
        at += 4 + size + block_checksum;
    }
    all
}

const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// The most that a block has.
const ZSTD_BLOCK: usize = 128 << 10;

/// Frames stand one after the other; each has blocks, of which each has its size.
pub(crate) fn zstd(stream: &[u8]) -> usize {
    let (mut rest, mut all) = (stream, 0_usize);
    while let Some((length, decompressed)) = zstd_frame(rest) {
        all = all.saturating_add(decompressed);
        rest = rest.get(length..).unwrap_or_default();
    }
    all
}

/// How long a frame is, and how much it has at the most; none where there is no frame.
fn zstd_frame(frame: &[u8]) -> Option<(usize, usize)> {
    let magic = frame.first_chunk::<4>()?;
    if magic[0] & 0xf0 == 0x50 && magic[1..] == [0x2a, 0x4d, 0x18] {
        let length = u32::from_le_bytes(*frame.get(4..)?.first_chunk()?);
        return Some((8 + length as usize, 0));
    }
    if *magic != ZSTD_MAGIC {
        return None;
    }
    let descriptor = *frame.get(4)?;
    let single = descriptor & 0x20 != 0;
    let window = usize::from(!single);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = match descriptor >> 6 {
        0 => usize::from(single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let size_at = 5 + window + dictionary;
    let said = (size > 0).then(|| {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(frame.get(size_at..)?.get(..size)?);
        // Two bytes begin to count where one ends.
        Some(u64::from_le_bytes(bytes) + if size == 2 { 256 } else { 0 })
    });
    let (mut at, mut all) = (size_at + size, 0_usize);
    while let Some(&[a, b, c]) = frame.get(at..).and_then(|rest| rest.first_chunk::<3>()) {
        let block = u32::from_le_bytes([a, b, c, 0]);
        let (last, kind, size) = (block & 1 == 1, block >> 1 & 3, (block >> 3) as usize);
        // One byte stands for all of a block that repeats it.
        let (stored, decompressed) = match kind {
            0 => (size, size),
            1 => (1, size),
            _ => (size, ZSTD_BLOCK),
        };
        all = all.saturating_add(decompressed.min(ZSTD_BLOCK));
        at = at.saturating_add(3 + stored);
        if last {
            break;
        }
    }
    let checksum = if descriptor & 4 == 0 { 0 } else { 4 };
    let said = said.flatten().and_then(|said| usize::try_from(said).ok());
    Some((at + checksum, said.map_or(all, |said| said.min(all))))
}
