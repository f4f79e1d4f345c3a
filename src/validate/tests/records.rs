//! Whole records: what is absent, unknown, first at fault, and where a record stands.

use super::*;

#[test]
fn absent_fields_are_null_default_or_a_fault() {
    let columns = [
        column("a", ColumnType::Int(32)),
        Column { default: Some(Value::Int(7)), ..column("b", ColumnType::Int(32)) },
        Column { required: true, ..column("c", ColumnType::String) },
    ];
    let checked = run(&columns, &[r#"{"c":"x"}"#, "{}", r#"{"a":1,"b":2,"c":"y"}"#]);
    assert_eq!(cells(&checked.rows, "a"), ["null", "1"]);
    assert_eq!(cells(&checked.rows, "b"), ["7", "2"]);
    assert_eq!(cells(&checked.rejects, "column"), ["c"]);
    assert_eq!(cells(&checked.rejects, "reason"), ["expected a value, found no such field"]);
}

#[test]
fn the_first_column_at_fault_is_reported() {
    let columns = [
        Column { required: true, ..column("a", ColumnType::Int(32)) },
        column("b", ColumnType::Int(32)),
        Column { required: true, ..column("c", ColumnType::Int(32)) },
    ];
    let payloads = [
        r#"{"c":"x","b":"y"}"#,
        r#"{"c":"x","b":"y","a":1}"#,
        r#"{"b":"y","c":"x","a":1}"#,
        r#"{"a":1,"b":2}"#,
        r#"{"c":"x","b":1,"a":1"#,
    ];
    let checked = run(&columns, &payloads);
    assert_eq!(cells(&checked.rejects, "column"), ["a", "b", "b", "c", "null"]);
    assert_eq!(cells(&checked.rejects, "rule"), ["required", "type", "type", "required", "json"]);
    assert_eq!(cells(&checked.rejects, "stage"), ["validate", "decode", "decode", "validate", "decode"]);
}

#[test]
fn unknown_fields_are_ignored_rejected_or_kept() {
    let columns = [
        column("a", ColumnType::Int(32)),
        Column { from: vec!["m".into(), "u".into()], ..column("u", ColumnType::String) },
    ];
    let payload = r#"{"x" : [1, 2],"a":1,"m":{"u":"C","w":0},"é":"\n","x":{"y":null}}"#;

    let ignored = run_with(UnknownFields::Ignore, &columns, &[payload]);
    assert_eq!(cells(&ignored.rows, "u"), ["C"]);

    let rejected =
        run_with(UnknownFields::Reject, &columns, &[payload, r#"{"a":1,"m":{"w":0}}"#, r#"{"x":1,"a":"1"}"#]);
    assert_eq!(rejected.rows.num_rows(), 1);
    assert_eq!(cells(&rejected.rejects, "rule"), ["unknown_field", "type"]);
    assert_eq!(cell(&rejected.rejects, "reason", 0), "expected only fields that a column reads, found the field `x`");

    let kept = run_with(UnknownFields::Keep, &columns, &[payload, r#"{"a":1}"#, r#"{"y":1,"a":1.5}"#, r#"{"z":0}"#]);
    let expected = [r#"{"x" : [1, 2],"é":"\n","x":{"y":null}}"#, "null", r#"{"z":0}"#];
    assert_eq!(cells(&kept.rows, "_extra"), expected);
}

#[test]
fn reasons_say_what_and_where() {
    let columns = [
        Column { min: Some(Value::Int(0)), max: Some(Value::Int(9)), ..column("a", ColumnType::Int(16)) },
        Column { one_of: vec![Value::Text("x".into())], max_length: Some(3), ..column("b", ColumnType::String) },
        column("at", instant(TimeEncoding::Rfc3339, None)),
    ];
    let payloads = [
        r#"{"a":"17"}"#,
        r#"{"a":-1}"#,
        r#"{"a":70000}"#,
        r#"{"b":"yy"}"#,
        r#"{"at":"yesterday"}"#,
        r#"{"a":1"#,
        r#"{"a" 1}"#,
        r#"{"a":1}}"#,
        r#"{"a":1,"a":2}"#,
        "[1,2]",
        "",
        "{\"b\":\"\u{1}\"}",
        &format!("{{\"a\":\"{}\"}}", "long ".repeat(1000)),
        &"[".repeat(200),
    ];
    insta::assert_snapshot!(cells(&run(&columns, &payloads).rejects, "reason").join("\n"));
}

#[test]
fn coordinates_and_schemas() {
    let columns = [Column { required: true, ..column("a", ColumnType::Int(32)) }, column("b", ColumnType::String)];
    let pipeline = pipeline(columns.to_vec(), UnknownFields::Keep);
    let mut records = RawRecords::default();
    records.push(5, Some(1), Some(b"k"), Some(b"{}"));
    records.headers.push((0, vec![("h".to_owned(), None)]));
    records.push(7, None, None, Some(br#"{"a":1}"#));
    records.push(8, Some(i64::MAX), None, Some(br#"{"a":2}"#));
    records.push(9, Some(3), None, None);
    let checked = Checker::new(&pipeline).check(&partition(), &records);
    assert_eq!(checked.rows.schema(), data_schema(&pipeline));
    assert_eq!(checked.rejects.schema(), rejects_schema());
    let names: Vec<_> =
        checked.rows.schema().fields().iter().map(|field| (field.name().clone(), field.is_nullable())).collect();
    let expected = [
        ("a", false),
        ("b", true),
        ("_extra", true),
        ("_kafka_topic", false),
        ("_kafka_partition", false),
        ("_kafka_offset", false),
        ("_kafka_timestamp", true),
    ];
    assert_eq!(names, expected.map(|(name, nullable)| (name.to_owned(), nullable)));
    assert_eq!(cells(&checked.rows, "_kafka_topic"), ["t", "t"]);
    assert_eq!(cells(&checked.rows, "_kafka_partition"), ["3", "3"]);
    assert_eq!(cells(&checked.rows, "_kafka_offset"), ["7", "8"]);
    assert_eq!(cells(&checked.rows, "_kafka_timestamp"), ["null", "null"]);
    assert_eq!(cells(&checked.rejects, "_kafka_timestamp"), ["1000"]);
    assert_eq!(cells(&checked.rejects, "_kafka_offset"), ["5"]);
    assert_eq!(checked.rejects.column_by_name("_kafka_key").unwrap().as_binary::<i32>().value(0), b"k");
    assert_eq!(cells(&checked.rejects, "_kafka_headers"), [r#"[{"key":"h","value":null}]"#]);
    assert_eq!(checked.tombstones, [9]);
}

#[test]
fn an_empty_batch_has_the_schemas() {
    let checked = run(&[column("a", ColumnType::String)], &[]);
    assert_eq!((checked.rows.num_rows(), checked.rejects.num_rows()), (0, 0));
}

#[test]
fn a_key_that_no_folder_can_be_named_by_is_rejected() {
    let key = Column { required: true, ..column("k", ColumnType::String) };
    let (fits, long, wide) = ("x".repeat(253), "x".repeat(254), "€".repeat(29));
    let values = [&*fits, &long, "__HIVE_DEFAULT_PARTITION__", "_", &wide, "a", "a"];
    let payloads: Vec<String> = values.iter().map(|value| format!(r#"{{"k":"{value}"}}"#)).collect();
    let batch = records(payloads.iter().map(|payload| Some(payload.as_bytes())));
    let mut keyed = pipeline(vec![key.clone()], UnknownFields::Ignore);
    keyed.sink.partition_by = vec!["k".to_owned()];
    let checked = Checker::new(&keyed).check(&partition(), &batch);
    assert_eq!(cells(&checked.rows, "k"), [&*fits, "_", "a", "a"]);
    assert_eq!(cells(&checked.rejects, "rule"), ["folder_name"; 3]);
    assert_eq!(cells(&checked.rejects, "stage"), ["validate"; 3]);
    assert!(cell(&checked.rejects, "reason", 0).starts_with("expected a value that can be whole in a folder's name"));
    // Beside other rules.
    keyed.columns = vec![Column { max_length: Some(1_000), ..key }];
    let checked = Checker::new(&keyed).check(&partition(), &batch);
    assert_eq!(cells(&checked.rejects, "rule"), ["folder_name"; 3]);
    // Where it is no key, it is a value like any other.
    keyed.sink.partition_by.clear();
    assert_eq!(Checker::new(&keyed).check(&partition(), &batch).rejects.num_rows(), 0);
}
