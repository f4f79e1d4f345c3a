//! Rejected records: their bytes, where they stand in Kafka, and why, as rows of `rejects/`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;

use crate::model::pipeline::Column;
use crate::model::time::kafka_instant;
use crate::model::{Headers, Partition, RawRecords};
use crate::validate::row::Fault;

/// Characters of a reason at the most.
const REASON_MAX: usize = 500;

/// The rejected records of a batch: index and fault, ascending.
pub(crate) type Rejects = Vec<(usize, Fault)>;

/// The rows of `rejects/`.
pub(crate) fn reject_rows(
    schema: &SchemaRef,
    columns: &[Column],
    partition: &Partition,
    records: &RawRecords,
    rejects: &Rejects,
) -> RecordBatch {
    if rejects.is_empty() {
        return RecordBatch::new_empty(schema.clone());
    }
    let indices: Vec<usize> = rejects.iter().map(|(index, _)| *index).collect();
    let names = rejects.iter().map(|(_, fault)| fault.column.map(|column| &columns[column].name));
    let headers = indices.iter().map(|index| records.headers(*index).map(headers_text));
    let rules = || rejects.iter().map(|(_, fault)| fault.problem.rule());
    let mut arrays = coordinates(partition, records, &indices);
    arrays.extend([
        Arc::new(BinaryArray::from_iter(indices.iter().map(|index| records.key(*index)))) as ArrayRef,
        Arc::new(BinaryArray::from_iter_values(indices.iter().map(|index| records.value(*index)))),
        Arc::new(StringArray::from_iter(headers)),
        Arc::new(StringArray::from_iter_values(rules().map(|rule| rule.stage()))),
        Arc::new(StringArray::from_iter(names)),
        Arc::new(StringArray::from_iter_values(rules().map(|rule| rule.name()))),
        Arc::new(StringArray::from_iter_values(
            rejects.iter().map(|(_, fault)| first_characters(fault.problem.reason())),
        )),
    ]);
    RecordBatch::try_new(schema.clone(), arrays).expect("the arrays are built after the schema")
}

/// Where records stand in Kafka: the `_kafka_*` columns. A timestamp outside the years 1 to 9999 is none.
pub(crate) fn coordinates(partition: &Partition, records: &RawRecords, indices: &[usize]) -> Vec<ArrayRef> {
    let count = indices.len();
    let offsets = indices.iter().map(|index| records.offsets[*index]);
    let micros = indices.iter().map(|index| records.timestamps[*index].and_then(kafka_instant));
    vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&partition.topic, count))),
        Arc::new(Int32Array::from_value(partition.partition, count)),
        Arc::new(Int64Array::from_iter_values(offsets)),
        Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
    ]
}

fn first_characters(reason: &str) -> &str {
    reason.char_indices().nth(REASON_MAX).map_or(reason, |(end, _)| &reason[..end])
}

/// Headers as JSON text; see [`crate::model::schema::rejects_schema`].
fn headers_text(headers: &Headers) -> String {
    let header = |(key, value): &(String, Option<Vec<u8>>)| match value.as_deref().map(std::str::from_utf8) {
        None => serde_json::json!({ "key": key, "value": null }),
        Some(Ok(text)) => serde_json::json!({ "key": key, "value": text }),
        Some(Err(_)) => {
            serde_json::json!({ "key": key, "base64": base64(value.as_deref().unwrap_or_default()) })
        }
    };
    serde_json::Value::Array(headers.iter().map(header).collect()).to_string()
}

/// Base64 with padding (RFC 4648, 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0, |group, at| group << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for place in 0..4 {
            let six_bits = (group >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[six_bits as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn headers_keep_what_is_no_text() {
        let headers: Headers =
            vec![("a".to_owned(), Some(b"x\"y".to_vec())), ("b".to_owned(), None), ("a".to_owned(), Some(vec![0xff]))];
        let expected = r#"[{"key":"a","value":"x\"y"},{"key":"b","value":null},{"key":"a","base64":"/w=="}]"#;
        assert_eq!(headers_text(&headers), expected);
    }
}
