//! The seam to decoders, seen from a format that is nothing like JSON: binary, and its values have
//! types of their own.

use super::*;
use crate::decode::WithDecoder as _;
use crate::decode::shared::{Decoder, Misfit, Problem, Record, RecordValue, Values};
use crate::validate::checker::Checks;

/// Records of fields, each a name and a value: `[length, name…, tag, value…]`.
struct Tagged {
    names: Vec<String>,
}

#[derive(Clone, Copy)]
enum Typed<'r> {
    Null,
    Bool(bool),
    Long(i64),
    Double(f64),
    Text(&'r str),
}

impl Decoder for Tagged {
    type Value<'r> = Typed<'r>;

    const TEXT: bool = false;

    fn decode(&mut self, record: &Record<'_>, values: &mut impl Values<Tagged>) -> Result<(), Problem> {
        assert_eq!(record.text, None, "nobody asks whether binary records are UTF-8");
        let mut rest = record.bytes;
        while !rest.is_empty() {
            let (name, value) = field(&mut rest).ok_or_else(|| Problem::new(Rule::Trailing, "cut short".to_owned()))?;
            match self.names.iter().position(|known| known == name) {
                Some(column) => values.value(column, &value),
                None if name == "again" => values.again(),
                None => values.unknown(name),
            }
        }
        Ok(())
    }

    fn unread(&mut self) -> Option<&str> {
        None
    }
}

/// Takes a field from the beginning of a record.
fn field<'r>(rest: &mut &'r [u8]) -> Option<(&'r str, Typed<'r>)> {
    let mut take = |bytes: usize| {
        let (taken, left) = rest.split_at_checked(bytes)?;
        *rest = left;
        Some(taken)
    };
    let length = usize::from(take(1)?[0]);
    let name = std::str::from_utf8(take(length)?).ok()?;
    let value = match take(1)?[0] {
        b'n' => Typed::Null,
        b'b' => Typed::Bool(take(1)?[0] == 1),
        b'l' => Typed::Long(i64::from_le_bytes(take(8)?.try_into().ok()?)),
        b'd' => Typed::Double(f64::from_le_bytes(take(8)?.try_into().ok()?)),
        _ => {
            let length = usize::from(take(1)?[0]);
            Typed::Text(std::str::from_utf8(take(length)?).ok()?)
        }
    };
    Some((name, value))
}

impl RecordValue for Typed<'_> {
    fn is_null(&self) -> bool {
        matches!(self, Typed::Null)
    }
    fn boolean(&self, _: bool) -> Result<bool, Misfit> {
        if let Typed::Bool(value) = self { Ok(*value) } else { Err(Misfit::Type) }
    }
    fn integer(&self, _: bool) -> Result<i128, Misfit> {
        if let Typed::Long(value) = self { Ok((*value).into()) } else { Err(Misfit::Type) }
    }
    fn float64(&self, _: bool) -> Result<f64, Misfit> {
        match self {
            Typed::Double(value) => Some(*value).filter(|value| value.is_finite()).ok_or(Misfit::Range),
            Typed::Long(value) => Ok(*value as f64),
            _ => Err(Misfit::Type),
        }
    }
    fn float32(&self, coerce: bool) -> Result<f32, Misfit> {
        self.float64(coerce).map(|value| value as f32)
    }
    fn seconds_as_micros(&self, coerce: bool) -> Result<i128, Misfit> {
        self.integer(coerce).map(|seconds| seconds * 1_000_000)
    }
    fn with_text<T>(&self, read: impl Fn(&str) -> T) -> Result<T, Misfit> {
        if let Typed::Text(text) = self { Ok(read(text)) } else { Err(Misfit::Type) }
    }
    fn write_text(&self, _: bool, out: &mut Vec<u8>) -> Result<(), Misfit> {
        self.with_text(|text| text.to_owned()).map(|text| out.extend(text.into_bytes()))
    }
    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend(self.describe().into_bytes());
    }
    fn describe(&self) -> String {
        match self {
            Typed::Null => "null".to_owned(),
            Typed::Bool(value) => value.to_string(),
            Typed::Long(value) => format!("the long {value}"),
            Typed::Double(value) => format!("the double {value}"),
            Typed::Text(text) => format!("the text {text:?}"),
        }
    }
}

/// A record of such fields.
fn record(fields: &[(&str, Typed<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(name.len() as u8);
        bytes.extend(name.bytes());
        match value {
            Typed::Null => bytes.push(b'n'),
            Typed::Bool(value) => bytes.extend([b'b', u8::from(*value)]),
            Typed::Long(value) => bytes.extend([&b"l"[..], &value.to_le_bytes()].concat()),
            Typed::Double(value) => bytes.extend([&b"d"[..], &value.to_le_bytes()].concat()),
            Typed::Text(text) => bytes.extend([&[b't', text.len() as u8], text.as_bytes()].concat()),
        }
    }
    bytes
}

/// What a checker makes of such records.
fn check(unknown_fields: UnknownFields, payloads: &[Vec<u8>]) -> CheckedRecords {
    let columns = vec![
        column("b", ColumnType::Bool),
        Column { min: Some(Value::Int(0)), ..column("i", ColumnType::Int(8)) },
        column("f", ColumnType::Float(64)),
        column("s", ColumnType::String),
        column("t", instant(TimeEncoding::Rfc3339, None)),
        column("u", instant(TimeEncoding::UnixSeconds, None)),
    ];
    let decoder = Tagged { names: columns.iter().map(|column| column.name.clone()).collect() };
    let mut checker = Checks(&pipeline(columns, unknown_fields)).with(decoder);
    checker.check(&partition(), &records(payloads.iter().map(|payload| Some(payload.as_slice()))))
}

#[test]
fn a_formats_own_types_become_columns() {
    let full = [
        ("u", Typed::Long(1)),
        ("t", Typed::Text("1970-01-01T00:00:02Z")),
        ("s", Typed::Text("é")),
        ("f", Typed::Double(0.5)),
        ("i", Typed::Long(0)),
        ("b", Typed::Bool(true)),
    ];
    let checked = check(UnknownFields::Reject, &[record(&full), record(&[]), record(&[("s", Typed::Null)])]);
    assert_eq!(checked.rejects.num_rows(), 0);
    let first = ["b", "i", "f", "s", "t", "u"].map(|name| cell(&checked.rows, name, 0));
    assert_eq!(first, ["true", "0", "0.5", "é", "2000000", "1000000"]);
    assert_eq!(cells(&checked.rows, "s"), ["é", "null", "null"]);
}

#[test]
fn rejects_say_what_was_found_in_the_formats_words() {
    let good = record(&[("i", Typed::Long(7)), ("s", Typed::Text("stays"))]);
    let checked = check(
        UnknownFields::Reject,
        &[
            good.clone(),
            record(&[("s", Typed::Text("goes")), ("i", Typed::Long(300))]),
            record(&[("s", Typed::Text("goes")), ("i", Typed::Double(1.0))]),
            record(&[("f", Typed::Double(f64::INFINITY))]),
            record(&[("i", Typed::Long(-1)), ("b", Typed::Long(1))]),
            record(&[("x", Typed::Null)]),
            good[..good.len() - 1].to_vec(),
            good,
        ],
    );
    assert_eq!(cells(&checked.rows, "i"), ["7", "7"]);
    assert_eq!(cells(&checked.rows, "s"), ["stays", "stays"]);
    assert_eq!(
        cells(&checked.rejects, "reason"),
        [
            "expected a number in the range of int8, found the long 300",
            "expected an integer, found the double 1",
            "expected a number in the range of float64, found the double inf",
            "expected true or false, found the long 1",
            "expected only fields that a column reads, found the field `x`",
            "cut short",
        ]
    );
    assert_eq!(cells(&checked.rejects, "rule"), ["range", "type", "range", "type", "unknown_field", "trailing"]);
}

#[test]
fn what_was_reported_before_a_record_is_read_again_is_void() {
    let void = [("s", Typed::Text("void")), ("i", Typed::Text("void")), ("x", Typed::Null), ("again", Typed::Null)];
    let checked = check(UnknownFields::Reject, &[record(&[&void[..], &[("i", Typed::Long(1))]].concat())]);
    assert_eq!(checked.rejects.num_rows(), 0);
    assert_eq!([cell(&checked.rows, "i", 0), cell(&checked.rows, "s", 0)], ["1", "null"]);
}
