//! Payloads made to hurt, each between two good records: weir goes on, its neighbours are rows, and it is a reject byte for
//! byte.

use rdkafka::producer::Producer;

use crate::harness::broker::Broker;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::dataset::{Dataset, Side};
use crate::harness::pipeline::{Cell, Pipeline};
use crate::harness::produce::{send, settle, transactional};
use crate::harness::topics::make_topic;

const GOOD: &str = r#"{"station_id":"IT-01","timestamp":"2004-03-10T18:00:00","co_gt":2.6,"t":13.6}"#;

/// One payload between two good records, in a topic of its own: one row, the payload's class, one row.
fn check(name: &str, payload: Option<&[u8]>, side: Option<Side>) {
    let broker = Broker::shared();
    let topic = format!("hostile-{name}");
    make_topic(broker, &topic, 1, &[("max.message.bytes", "33554432")]);
    let producer = transactional(broker, &topic);
    for value in [Some(GOOD.as_bytes()), payload, Some(GOOD.as_bytes())] {
        send(&producer, &topic, 0, value);
    }
    settle(&producer);
    producer.commit_transaction(PATIENCE).unwrap();

    let case = Case::of(broker, Pipeline::new(broker, &topic));
    case.finish();
    case.verify();
    let dataset = Dataset::read(&case.dataset());
    let rows = dataset.partitions().get(&(topic, 0)).unwrap();
    let found: Vec<(i64, Side)> = rows.iter().map(|row| (row.offset, row.side)).collect();
    let of_the_payload = side.map(|side| (1, side));
    let expected: Vec<(i64, Side)> =
        [Some((0, Side::Data)), of_the_payload, Some((2, Side::Data))].into_iter().flatten().collect();
    assert_eq!(found, expected, "{name}");
    if side == Some(Side::Rejects) {
        assert!(dataset.bytes(rows[1], "payload") == payload, "{name}: rejects/ has other bytes");
    }
}

fn rejected(name: &str, payload: &[u8]) {
    check(name, Some(payload), Some(Side::Rejects));
}

/// A good record with one more field.
fn with(field: &str) -> Vec<u8> {
    format!("{},{field}}}", GOOD.strip_suffix('}').unwrap()).into_bytes()
}

#[test]
fn truncated_json() {
    rejected("truncated", &GOOD.as_bytes()[..GOOD.len() - 7]);
}

#[test]
fn two_values_in_a_payload() {
    rejected("two-objects", format!("{GOOD}{GOOD}").as_bytes());
    rejected("two-lines", format!("{GOOD}\n{GOOD}").as_bytes());
}

#[test]
fn a_hundred_thousand_brackets() {
    rejected("brackets", &[b'['; 100_000]);
    rejected("brackets-inside", &with(&format!("\"rh\":{}", "[".repeat(100_000))));
    rejected("brackets-ignored", &with(&format!("\"other\":{}", "[".repeat(100_000))));
}

#[test]
fn invalid_utf8() {
    rejected("not-utf8", b"{\"station_id\":\"IT-\xff1\",\"timestamp\":\"2004-03-10T18:00:00\"}");
    rejected("bytes", &[0xff, 0xfe, 0x00, 0x80]);
}

#[test]
fn duplicate_keys() {
    rejected("duplicate-keys", &with("\"co_gt\":3"));
}

#[test]
fn a_number_beyond_all_numbers() {
    rejected("huge-number", &with("\"rh\":1e400"));
}

#[test]
fn an_empty_payload() {
    rejected("empty", b"");
    rejected("space", b"  \n");
}

#[test]
fn ten_megabytes_in_a_string() {
    rejected("ten-megabytes", &with(&format!("\"rh\":\"{}\"", "x".repeat(10 << 20))));
}

#[test]
fn nul_bytes() {
    rejected("nuls", &[0; 64]);
    rejected("nul-in-a-string", b"{\"station_id\":\"IT-01\0\",\"timestamp\":\"2004-03-10T18:00:00\"}");
}

#[test]
fn a_tombstone() {
    check("tombstone", None, None);
}

#[test]
#[allow(unsafe_code)]
fn headers_that_are_no_text() {
    use std::ffi::{CStr, CString};
    use std::ptr;

    use rdkafka::bindings as rd;

    let broker = Broker::shared();
    let topic = "hostile-headers";
    make_topic(broker, topic, 1, &[]);
    let producer = transactional(broker, topic);
    send(&producer, topic, 0, Some(GOOD.as_bytes()));
    // rust-rdkafka takes names of UTF-8 only; other producers send what they like.
    let (mut value, names) = (*b"broken", [c"plain".to_owned(), CString::new(b"a\xff\xfe").unwrap()]);
    let part = |vtype, u| rd::rd_kafka_vu_s { vtype, u };
    let header = |name: &CStr, val: &[u8]| rd::rd_kafka_vu_s__bindgen_ty_1 {
        header: rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
            name: name.as_ptr(),
            val: if val.is_empty() { ptr::null() } else { val.as_ptr().cast() },
            size: val.len() as isize,
        },
    };
    let payload = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: value.as_mut_ptr().cast(), size: value.len() };
    let topic_name = CString::new(topic).unwrap();
    let parts = [
        part(rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC, rd::rd_kafka_vu_s__bindgen_ty_1 { cstr: topic_name.as_ptr() }),
        part(rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION, rd::rd_kafka_vu_s__bindgen_ty_1 { i32_: 0 }),
        part(rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE, rd::rd_kafka_vu_s__bindgen_ty_1 { mem: payload }),
        // Copies the value.
        part(rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS, rd::rd_kafka_vu_s__bindgen_ty_1 { i: 2 }),
        part(rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADER, header(&names[0], &[0xff, 0])),
        part(rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADER, header(&names[1], &[])),
    ];
    // SAFETY: every part has the member that its type says, and outlives the call, which copies all of them.
    let failed = unsafe { rd::rd_kafka_produceva(producer.client().native_ptr(), parts.as_ptr(), parts.len()) };
    assert!(failed.is_null());
    send(&producer, topic, 0, Some(GOOD.as_bytes()));
    settle(&producer);
    producer.commit_transaction(PATIENCE).unwrap();

    let case = Case::of(broker, Pipeline::new(broker, topic));
    case.finish();
    let verdict = case.judge();
    assert_eq!((verdict.rows, verdict.rejects), (2, 1));
    let dataset = Dataset::read(&case.dataset());
    let reject = dataset.partitions().values().flatten().find(|row| row.side == Side::Rejects).unwrap();
    let expected = "[{\"key\":\"plain\",\"base64\":\"/wA=\"},{\"key\":\"a\u{fffd}\u{fffd}\",\"value\":null}]";
    assert_eq!(dataset.cell(*reject, "_kafka_headers"), Some(Cell::Text(expected.into())));
}
