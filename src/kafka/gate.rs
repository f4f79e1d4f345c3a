//! A gate in librdkafka: what it has fetched becomes records only as far as there is room for them.
//!
//! librdkafka decompresses all batches of an answer before it looks at the limits of its queues, and
//! these count neither compressed batches nor what each record costs. It offers no place to say no.
//! So the linker puts functions of this module before three of its own (`--wrap`, see `build.rs`):
//!
//! | function | what is done before |
//! |---|---|
//! | `rd_kafka_toppar_fetch_decide` | a client without room fetches nothing |
//! | `rd_kafka_msgset_parse` | a set is parsed as far as there is room; the rest is fetched again |
//! | `rd_kafka_buf_new_shadow` | a decompressed batch is counted until it is freed |
//!
//! What to take is decided in `room.rs`, by what `fetched.rs` reads in the batches' headers. A batch
//! that is too large for the memory there is becomes an error of its partition, in its place among
//! the records: [`TOO_LARGE`].
//!
//! The functions and their contracts are of the librdkafka that this was read in, 2.12.1. The tests
//! fail with another one, or where the linker takes the other functions.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::bindings::{self as rd, rd_kafka_resp_err_t as RespErr};
use rdkafka::error::RDKafkaErrorCode;

use super::fetched;
use super::fetched::Batch;
use super::room::Room;
use crate::base::credits::Credits;
use crate::base::failpoint;
use crate::base::machine;
use crate::base::words;

/// The error that stands in the place of a batch that is too large for the memory there is.
pub(crate) const TOO_LARGE: RDKafkaErrorCode = RDKafkaErrorCode::CriticalSystemResource;

/// Answers smaller than this are not counted: they go before the next one comes.
const ANSWER_LEAST: usize = 64 << 10;
/// How long all partitions of one answer may wait.
const ANSWER_WAITS: Duration = Duration::from_secs(1);
/// How long a client without room asks for nothing: as `fetch.queue.backoff.ms`.
const BACK_OFF_US: i64 = 5_000;
/// From here on it is tried whether a batch can be allocated: librdkafka ends the process where it can't.
const TRIED_BYTES: usize = 4 << 20;
/// The most that librdkafka takes as one batch.
const LARGEST: usize = i32::MAX as usize;

/// A buffer, a partition and what else of librdkafka's is only passed on.
enum Answer {}
enum Toppar {}
enum Opaque {}

/// As in `gate.c`.
#[repr(C)]
struct Set {
    client: *const c_void,
    bytes: *const u8,
    length: usize,
    end: usize,
    begin: usize,
    memory: *mut c_void,
    memory_size: usize,
}

type FreeMemory = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn weir_set(answer: *mut Answer, partition: *mut Toppar, set: *mut Set) -> c_int;
    fn weir_position(answer: *const Answer) -> usize;
    fn weir_narrow(answer: *mut Answer, end: usize);
    fn weir_skip(answer: *mut Answer);
    fn weir_free_by(answer: *mut Answer, free: FreeMemory) -> Option<FreeMemory>;
    fn weir_fetch_bytes(partition: *const Toppar) -> i32;
    fn weir_set_fetch_bytes(partition: *mut Toppar, bytes: i32);
    fn weir_tell_too_large(
        answer: *mut Answer,
        partition: *mut Toppar,
        version: *const Opaque,
        offset: i64,
        words: *const c_char,
    );
    fn weir_back_off(partition: *mut Toppar, microseconds: i64);
    fn weir_client(broker: *const Opaque) -> *const c_void;
    fn weir_record_bytes() -> usize;
    fn rd_crc32c(crc: u32, bytes: *const c_void, length: usize) -> u32;

    fn __real_rd_kafka_msgset_parse(
        answer: *mut Answer,
        request: *mut Opaque,
        partition: *mut Toppar,
        aborted: *mut Opaque,
        version: *const Opaque,
    ) -> RespErr;
    fn __real_rd_kafka_buf_new_shadow(memory: *const c_void, size: usize, free: Option<FreeMemory>) -> *mut Opaque;
    fn __real_rd_kafka_toppar_fetch_decide(partition: *mut Toppar, broker: *mut Opaque, remove: c_int) -> i64;
}

/// The rooms of the clients that have one, by the client's address.
static ROOMS: LazyLock<Mutex<HashMap<usize, Arc<Room>>>> = LazyLock::new(Mutex::default);

/// Memory that is counted, by its address.
static BLOCKS: LazyLock<Mutex<HashMap<usize, Block>>> = LazyLock::new(Mutex::default);

/// What librdkafka keeps for a record beside its content.
// SAFETY: the call only tells a number.
static RECORD_BYTES: LazyLock<usize> = LazyLock::new(|| unsafe { weir_record_bytes() });

/// Memory of a batch or an answer, with what the records in it cost.
struct Block {
    room: Arc<Room>,
    bytes: usize,
    /// Without the records.
    size: usize,
    free: FreeMemory,
}

/// What is being parsed on a thread.
struct Parsing {
    room: Arc<Room>,
    answer: *const Answer,
    begin: usize,
    batches: Vec<Batch>,
    /// Bytes that were taken for batches which have not been decompressed yet.
    left: usize,
}

/// How long an answer has waited.
#[derive(Clone, Copy)]
struct Waited {
    answer: usize,
    /// The last set that waited: which call, and where in the answer.
    call: u64,
    begin: usize,
    time: Duration,
    in_vain: bool,
}

thread_local! {
    /// The room of the client that this thread is of.
    static ROOM: RefCell<Option<(usize, Arc<Room>)>> = const { RefCell::new(None) };
    static PARSING: RefCell<Option<Parsing>> = const { RefCell::new(None) };
    /// Kept for the next set.
    static BATCHES: Cell<Vec<Batch>> = const { Cell::new(Vec::new()) };
    static WAITED: Cell<Waited> =
        const { Cell::new(Waited { answer: 0, call: 0, begin: 0, time: Duration::ZERO, in_vain: false }) };
    /// How many sets this thread has parsed.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's room, for as long as this lives. Drop it after the client.
#[derive(Debug)]
pub(crate) struct Opened {
    client: usize,
    room: Arc<Room>,
}

/// Gives a client a room. Until it is told how large it is, one batch at a time has room.
pub(crate) fn open(client: *mut rd::rd_kafka_t) -> Opened {
    let (client, room) = (client.addr(), Arc::<Room>::default());
    lock(&ROOMS).insert(client, room.clone());
    Opened { client, room }
}

impl Opened {
    /// From here on the client's room is a part of these credits, of which so many clients have one each.
    pub(crate) fn share(&self, credits: Credits, clients: usize) {
        self.room.share(credits, clients);
    }

    /// Bytes that the client's records take.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.room.held()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut rooms = lock(&ROOMS);
        if rooms.get(&self.client).is_some_and(|room| Arc::ptr_eq(room, &self.room)) {
            rooms.remove(&self.client);
        }
    }
}

/// The room of the client that this thread works for.
fn room_of(client: *const c_void) -> Option<Arc<Room>> {
    ROOM.with_borrow_mut(|known| match known {
        Some((of, room)) if *of == client.addr() => Some(room.clone()),
        _ => {
            let room = lock(&ROOMS).get(&client.addr())?.clone();
            *known = Some((client.addr(), room.clone()));
            Some(room)
        }
    })
}

/// Frees memory that was counted.
unsafe extern "C" fn free_block(memory: *mut c_void) {
    let block = lock(&BLOCKS).remove(&memory.addr());
    let block = block.expect("this function is given out only for memory that is in there until it is freed");
    block.room.free(block.bytes);
    // SAFETY: it is the function that was given for this memory, called once.
    unsafe { (block.free)(memory) }
    if failpoint::planted("overflow.gate") {
        // SAFETY: there is none: this writes to what was freed just now.
        unsafe { memory.cast::<u8>().write_volatile(0) };
    }
}

/// # Safety
/// As `rd_kafka_toppar_fetch_decide`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_rd_kafka_toppar_fetch_decide(
    partition: *mut Toppar,
    broker: *mut Opaque,
    remove: c_int,
) -> i64 {
    // SAFETY: librdkafka's own arguments are passed on. It holds no lock of the partition when it calls this.
    unsafe {
        if room_of(weir_client(broker)).is_some_and(|room| room.is_full()) {
            weir_back_off(partition, BACK_OFF_US);
        }
        __real_rd_kafka_toppar_fetch_decide(partition, broker, remove)
    }
}

/// # Safety
/// As `rd_kafka_buf_new_shadow`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_rd_kafka_buf_new_shadow(
    memory: *const c_void,
    size: usize,
    free: Option<FreeMemory>,
) -> *mut Opaque {
    let counted = PARSING.with_borrow_mut(|parsing| match (parsing, free) {
        (Some(parsing), Some(free)) => {
            count(parsing, memory, size, free);
            true
        }
        _ => false,
    });
    // SAFETY: librdkafka's own arguments are passed on. The other function frees what was counted just now.
    unsafe { __real_rd_kafka_buf_new_shadow(memory, size, if counted { Some(free_block) } else { free }) }
}

/// Counts a decompressed batch.
fn count(parsing: &mut Parsing, memory: *const c_void, size: usize, free: FreeMemory) {
    // SAFETY: the answer is the one that this thread parses, a few frames up.
    let position = unsafe { weir_position(parsing.answer) } - parsing.begin;
    let room = parsing.room.clone();
    let batch = parsing.batches.binary_search_by_key(&position, |batch| batch.end);
    let records = batch.map_or(size / *RECORD_BYTES, |at| parsing.batches[at].records);
    let bytes = size + records * *RECORD_BYTES;
    room.hold(bytes);
    let taken = batch.map_or(0, |at| parsing.batches[at].needs(*RECORD_BYTES)).min(parsing.left);
    parsing.left -= taken;
    room.free(taken);
    lock(&BLOCKS).insert(memory.addr(), Block { room, bytes, size, free });
}

/// # Safety
/// As `rd_kafka_msgset_parse`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_rd_kafka_msgset_parse(
    answer: *mut Answer,
    request: *mut Opaque,
    partition: *mut Toppar,
    aborted: *mut Opaque,
    version: *const Opaque,
) -> RespErr {
    // SAFETY: librdkafka's own arguments are passed on.
    let parse = || unsafe { __real_rd_kafka_msgset_parse(answer, request, partition, aborted, version) };
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: both pointers are librdkafka's; the call fills `set` in where it doesn't answer 0.
    let Some(set) = (unsafe { (weir_set(answer, partition, set.as_mut_ptr()) != 0).then(|| set.assume_init()) }) else {
        return parse();
    };
    let Some(room) = room_of(set.client) else { return parse() };
    // SAFETY: the answer keeps these bytes for as long as it is parsed. librdkafka writes into them only for formats that
    // are not looked into.
    let bytes = unsafe { std::slice::from_raw_parts(set.bytes, set.length) };
    let mut batches = BATCHES.take();
    fetched::batches(bytes, &mut batches);
    if batches.is_empty() {
        BATCHES.set(batches);
        return parse();
    }
    // SAFETY: the partition is librdkafka's, and its broker's thread is this one.
    let fetch_bytes = unsafe { weir_fetch_bytes(partition) };
    let call = CALLS.get() + 1;
    CALLS.set(call);
    let mut of = Partly { answer, call, set: &set, bytes, room, at: 0, own: 0 };
    of.own = of.count_answer(&batches);
    let result = of.parse(&mut batches, &parse, |batch, words| {
        // SAFETY: as above; the text is copied.
        unsafe { weir_tell_too_large(answer, partition, version, batch.first, words.as_ptr()) }
    });
    // SAFETY: as above; what is left of the set is passed over, as librdkafka does after parsing it.
    unsafe {
        weir_narrow(answer, set.end);
        weir_skip(answer);
        // A piece without records would have it ask for twice as much.
        if of.at < batches.len() || result.pieces > 1 {
            weir_set_fetch_bytes(partition, fetch_bytes);
        }
    }
    BATCHES.set(batches);
    result.error
}

/// A set that is parsed piece by piece.
struct Partly<'a> {
    answer: *mut Answer,
    /// Which of the sets that this thread has parsed it is.
    call: u64,
    set: &'a Set,
    bytes: &'a [u8],
    room: Arc<Room>,
    /// The batch that comes next.
    at: usize,
    /// What the answer itself takes.
    own: usize,
}

/// How it went.
struct Parsed {
    error: RespErr,
    pieces: usize,
}

impl Partly<'_> {
    /// Counts the answer's memory, once for all of its sets; gives how much that is.
    fn count_answer(&self, batches: &[Batch]) -> usize {
        let kept = batches.iter().any(|batch| batch.decompressed == 0);
        if self.set.memory_size < ANSWER_LEAST && !kept {
            return 0;
        }
        let mut blocks = lock(&BLOCKS);
        if let Some(block) = blocks.get(&self.set.memory.addr()) {
            return block.size;
        }
        // SAFETY: the answer's memory is freed once, by the function that is put in the place of the one before, which is kept.
        let Some(free) = (unsafe { weir_free_by(self.answer, free_block) }) else { return 0 };
        let (room, size) = (self.room.clone(), self.set.memory_size);
        room.hold(size);
        blocks.insert(self.set.memory.addr(), Block { room, bytes: size, size, free });
        size
    }

    fn parse(
        &mut self,
        batches: &mut Vec<Batch>,
        parse: &dyn Fn() -> RespErr,
        tell: impl Fn(&Batch, CString),
    ) -> Parsed {
        let mut parsed = Parsed { error: RespErr::RD_KAFKA_RESP_ERR_NO_ERROR, pieces: 0 };
        while self.at < batches.len() && parsed.error == RespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            let rest = &batches[self.at..];
            let fitting = rest.iter().position(|batch| self.too_large(batch).is_some()).unwrap_or(rest.len());
            if fitting == 0 {
                // Those before it are handed over first.
                if parsed.pieces == 0 {
                    let words = self.too_large(&rest[0]).unwrap_or_default();
                    tell(&rest[0], CString::new(words).unwrap_or_default());
                    parsed.error = RespErr::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
                }
                break;
            }
            let Some(taken) = self.take(&rest[..fitting]) else {
                parsed.error = RespErr::RD_KAFKA_RESP_ERR__QUEUE_FULL;
                break;
            };
            let next = self.at + taken.batches;
            // What is cut goes with the last batch.
            let end = if next == batches.len() { self.set.length } else { batches[next - 1].end };
            self.keep_records(&batches[self.at..next]);
            // SAFETY: the end is after the batches that are to be parsed, and not after the set's.
            unsafe { weir_narrow(self.answer, self.set.begin + end) };
            self.at = next;
            let (room, begin) = (self.room.clone(), self.set.begin);
            let parsing =
                Parsing { room, answer: self.answer, begin, batches: std::mem::take(batches), left: taken.bytes };
            PARSING.set(Some(parsing));
            parsed.error = parse();
            parsed.pieces += 1;
            if let Some(parsing) = PARSING.take() {
                self.room.free(parsing.left);
                *batches = parsing.batches;
            }
        }
        parsed
    }

    /// Takes memory for as many of these as there is room for, after a while where there is none.
    fn take(&self, batches: &[Batch]) -> Option<super::room::Taken> {
        let (answer, begin) = (self.answer.addr(), self.set.begin);
        let before = WAITED.get();
        // The sets of an answer come in their order. Another answer may have the same address.
        let same = before.call == self.call || (before.answer == answer && before.begin < begin);
        let call = self.call;
        let before = if same { before } else { Waited { answer, call, begin, time: Duration::ZERO, in_vain: false } };
        let may_wait = !before.in_vain && before.time < ANSWER_WAITS;
        let began = Instant::now();
        let taken = self.room.take_or_wait(self.own, batches, *RECORD_BYTES, may_wait);
        WAITED.set(Waited { call, begin, time: before.time + began.elapsed(), in_vain: taken.is_none(), ..before });
        taken
    }

    /// What uncompressed records cost is kept as long as the answer, which they are in.
    fn keep_records(&self, batches: &[Batch]) {
        let records: usize = batches.iter().filter(|batch| batch.decompressed == 0).map(|batch| batch.records).sum();
        let bytes = records * *RECORD_BYTES;
        if bytes > 0
            && let Some(block) = lock(&BLOCKS).get_mut(&self.set.memory.addr())
        {
            block.bytes += bytes;
            self.room.hold(bytes);
        }
    }

    /// Why there is not enough memory for a batch, if there isn't.
    fn too_large(&self, batch: &Batch) -> Option<String> {
        let needs = batch.needs(*RECORD_BYTES);
        if needs < TRIED_BYTES {
            return None;
        }
        // What is in its budget has its place, whatever else came with it.
        let in_budget = !self.room.is_beyond(needs);
        let needs = needs.saturating_add(self.set.memory_size);
        let most = machine::left_for_a_batch();
        let beyond = !in_budget && needs > most;
        let refused = || Vec::<u8>::new().try_reserve_exact(needs).is_err();
        if !beyond && batch.decompressed <= LARGEST && !refused() {
            return None;
        }
        // One that is damaged may say anything.
        let (said, content) = fetched::checksum(&self.bytes[batch.begin..batch.end])?;
        // SAFETY: the call reads so many bytes.
        let found = unsafe { rd_crc32c(0, content.as_ptr().cast(), content.len()) };
        let size = batch.end - batch.begin;
        (said == found).then(|| {
            let (size, needs) = (words::bytes(size as u64), words::bytes(needs as u64));
            if batch.decompressed > LARGEST {
                return format!("it has {size} and needs up to {needs}, and Kafka's client takes 2 GiB at the most");
            }
            if beyond {
                return format!("it has {size} and needs up to {needs}, and there is room for {}", machine::words());
            }
            format!("it has {size} and needs up to {needs}, which the operating system does not give")
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::Consumer as _;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

    use super::super::bulk::Messages;
    use super::super::client::positions;
    use super::super::consumer::Consumer;
    use super::super::context::Context;
    use super::*;
    use crate::model::Partition;

    const WAIT: Duration = Duration::from_secs(60);
    const RECORD: usize = 10_000;
    const BUDGET: usize = 8 << 20;

    /// Reads so many records in batches of so many with a room of [`BUDGET`]; the most that was held.
    fn held_most(codec: &str, records: usize, batch: usize) -> usize {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
        let mut producing = config.clone();
        producing
            .set("compression.type", codec)
            .set("batch.num.messages", batch.to_string())
            .set("batch.size", "100000000")
            .set("message.max.bytes", "100000000")
            .set("queue.buffering.max.messages", "1000000")
            .set("linger.ms", "10000");
        let producer: BaseProducer = producing.create().unwrap();
        let value = vec![b'y'; RECORD];
        for _ in 0..records {
            producer.send(BaseRecord::<(), [u8]>::to("t").payload(&value)).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(WAIT).unwrap();

        config.set("receive.message.max.bytes", "2147483647");
        let consumer = Consumer::new(&config, Context::new(&config)).unwrap();
        let room = consumer.context().room(|| open(consumer.client().native_ptr()));
        room.share(Credits::new(3 * BUDGET), 1);
        let (messages, mut taken) = (Messages::new(&consumer), Vec::new());
        let partition = Partition { topic: "t".into(), partition: 0 };
        messages.follow(&consumer, &partition);
        consumer.assign(&positions([(&partition, rdkafka::Offset::Beginning)])).unwrap();
        let began = Instant::now();
        // It fetches on its own until it is full.
        let (mut next, mut most) = (0, 0);
        while most < BUDGET / 2 {
            most = most.max(room.held());
            assert!(began.elapsed() < WAIT, "{most} bytes");
            std::thread::yield_now();
        }
        while next < records {
            most = most.max(room.held());
            messages.take(&mut taken, 10, Duration::from_millis(20));
            for message in &taken {
                assert!(message.trouble().is_none(), "{:?}", message.trouble());
                assert_eq!((message.offset(), message.value().map(<[u8]>::len)), (next as i64, Some(RECORD)));
                next += 1;
            }
            taken.clear();
            assert!(began.elapsed() < WAIT, "{next} of {records} records");
        }
        // The last answers and batches go when their last record is gone.
        while room.held() > 0 {
            assert!(began.elapsed() < WAIT, "{} bytes are never freed", room.held());
            std::thread::yield_now();
        }
        most
    }

    #[test]
    fn only_what_there_is_room_for_becomes_records() {
        assert_eq!(*RECORD_BYTES, 320);
        for codec in ["gzip", "snappy", "lz4", "zstd"] {
            let most = held_most(codec, 3_000, 100);
            assert!((BUDGET / 2..BUDGET + (2 << 20)).contains(&most), "{codec}: {most} bytes were held");
        }
    }

    #[test]
    fn a_batch_that_is_larger_than_the_room_is_taken_alone() {
        for codec in ["gzip", "snappy", "lz4", "zstd"] {
            let most = held_most(codec, 8_000, 4_000);
            let one = 4_000 * (RECORD + 400);
            assert!((one - one / 10..one + BUDGET).contains(&most), "{codec}: {most} bytes were held");
        }
    }
}
