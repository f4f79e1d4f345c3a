//! Whole records: what is absent, unknown, first at fault, and where a record stands.

use proptest::prelude::*;

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

    // Also below objects that a column reads from, as it was nested.
    let kept = run_with(UnknownFields::Keep, &columns, &[payload, r#"{"a":1}"#, r#"{"y":1,"a":1.5}"#, r#"{"z":0}"#]);
    let expected = [r#"{"x" : [1, 2],"m":{"w":0},"é":"\n","x":{"y":null}}"#, "null", r#"{"z":0}"#];
    assert_eq!(cells(&kept.rows, "_extra"), expected);
}

#[test]
fn what_is_kept_is_nested_as_it_was() {
    let at = |name: &str, pointer: &str| Column {
        from: pointer.split('/').map(str::to_owned).collect(),
        ..column(name, ColumnType::Json)
    };
    let columns =
        [at("x", "a/x"), at("z", "a/b/z"), at("one", "v/1"), at("k", "v/2/k"), at("all", "j"), at("o", "j/o")];
    for (payload, extra) in [
        (r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"y":2}}"#),
        (r#"{"a":{"y":2,"b":{"z":1,"u":[{}]},"w":3},"t":4}"#, r#"{"a":{"y":2,"b":{"u":[{}]},"w":3},"t":4}"#),
        (r#"{"a":{"b":{"u":1},"x":2},"v":[0]}"#, r#"{"a":{"b":{"u":1}},"v":[0]}"#),
        (r#"{"v":[0,1,{"k":2,"l":3},4]}"#, r#"{"v":[0,null,{"l":3},4]}"#),
        (r#"{"v":[0,1,{"l":3}]}"#, r#"{"v":[0,null,{"l":3}]}"#),
        (r#"{"a":{"\u0079" : 2,"y":3}}"#, r#"{"a":{"\u0079" : 2,"y":3}}"#),
        // Whoever reads all of it has it all.
        (r#"{"j":{"o":1,"p":2}}"#, "null"),
        (r#"{"a":{"x":1,"b":{"z":2}},"v":[]}"#, "null"),
    ] {
        // The second and third are read by the first one's template.
        let kept = run_with(UnknownFields::Keep, &columns, &[payload; 3]);
        assert_eq!(cells(&kept.rows, "_extra"), [extra; 3], "{payload}");
    }
}

/// A column that reads something below another column's value keeps nothing there, and all around it.
#[test]
fn what_is_kept_around_a_value_that_is_read_twice() {
    let at = |name: &str, pointer: &str| Column {
        from: pointer.split('/').map(str::to_owned).collect(),
        ..column(name, ColumnType::Json)
    };
    for (whole, part, payload, extra) in [
        ("a/0", "a/0/n/x", r#"{"a":[{"n":{"x":1}},5]}"#, r#"{"a":[null,5]}"#),
        ("a/m", "a/m/n/x", r#"{"a":{"m":{"n":{"x":1}},"z":2}}"#, r#"{"a":{"z":2}}"#),
    ] {
        let columns = [at("whole", whole), at("part", part)];
        let kept = run_with(UnknownFields::Keep, &columns, &[payload; 3]);
        assert_eq!(cells(&kept.rows, "_extra"), [extra; 3], "{payload}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// The columns and what is kept beside them are all of the payload.
    #[test]
    fn columns_and_unknown_fields_are_the_whole_record(
        payloads in proptest::collection::vec(object(3), 1..6),
        paths in proptest::collection::btree_set(proptest::collection::vec(step(), 1..4), 0..5),
    ) {
        let paths: Vec<Vec<String>> = paths.into_iter().collect();
        let columns: Vec<Column> = paths.iter().enumerate().map(|(number, path)| Column {
            from: path.clone(),
            ..column(&format!("c{number}"), ColumnType::Json)
        }).collect();
        let columns = if columns.is_empty() { vec![column("c0", ColumnType::Json)] } else { columns };
        let texts: Vec<String> = payloads.iter().chain(&payloads).map(ToString::to_string).collect();
        let checked = run_with(UnknownFields::Keep, &columns, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let parsed = |name: &str, row: usize| match &*cell(&checked.rows, name, row) {
            "null" => None,
            text => Some(serde_json::from_str::<serde_json::Value>(text).unwrap()),
        };
        for (row, at) in cells(&checked.rows, "_kafka_offset").iter().enumerate() {
            let mut whole = parsed("_extra", row).unwrap_or_else(|| serde_json::json!({}));
            for column in &columns {
                if let Some(value) = parsed(&column.name, row) {
                    put(&mut whole, &column.from, value);
                }
            }
            let mut expected = payloads[(at.parse::<usize>().unwrap() - 10) % payloads.len()].clone();
            prune(&mut whole);
            prune(&mut expected);
            prop_assert_eq!(whole, expected);
        }
    }
}

fn step() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["a", "b", "c", "0", "1"]).prop_map(str::to_owned)
}

/// Objects and arrays of numbers, so deep; no null and nothing empty, of which nothing could be left.
fn object(depth: u32) -> impl Strategy<Value = serde_json::Value> {
    let keys = || proptest::sample::select(vec!["a", "b", "c", "0", "1"]).prop_map(str::to_owned);
    let leaf = (1..1000_i32).prop_map(serde_json::Value::from);
    let value = leaf.prop_recursive(depth, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(keys(), inner, 1..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    proptest::collection::btree_map(keys(), value, 0..5)
        .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
}

/// Puts a value where a path leads, into what is there so far.
fn put(into: &mut serde_json::Value, path: &[String], value: serde_json::Value) {
    use serde_json::Value;
    let Some((first, rest)) = path.split_first() else {
        // What a wider column holds holds this.
        if into.is_null() || !into.is_object() && !into.is_array() {
            *into = value;
        } else {
            merge(into, value);
        }
        return;
    };
    if into.is_null() {
        *into = serde_json::json!({});
    }
    match into {
        Value::Array(items) => {
            let at = first.parse::<usize>().unwrap();
            items.resize(items.len().max(at + 1), Value::Null);
            put(&mut items[at], rest, value);
        }
        Value::Object(fields) => put(fields.entry(first.clone()).or_insert(Value::Null), rest, value),
        other => panic!("{other} is on the way"),
    }
}

fn merge(into: &mut serde_json::Value, from: serde_json::Value) {
    use serde_json::Value;
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (Value::Array(into), Value::Array(from)) => {
            into.resize(into.len().max(from.len()), Value::Null);
            into.iter_mut().zip(from).for_each(|(into, value)| merge(into, value));
        }
        (into, from) => *into = from,
    }
}

/// An array of which a column reads one element alone comes back as an object with that index.
fn prune(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(prune);
            let fields = items.iter().enumerate().filter(|(_, item)| !item.is_null());
            *value = Value::Object(fields.map(|(at, item)| (at.to_string(), item.clone())).collect());
        }
        Value::Object(fields) => fields.values_mut().for_each(prune),
        _ => {}
    }
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
    // The years 0, 1, 9999 and 10000, and microseconds in the place of milliseconds: good rows, and a reject.
    for (offset, millis) in
        (10..).zip([-62_135_596_800_001, -62_135_596_800_000, 253_402_300_799_999, 253_402_300_800_000])
    {
        records.push(offset, Some(millis), None, Some(br#"{"a":3}"#));
    }
    records.push(14, Some(1_704_067_200_000_000), None, Some(b"{"));
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
    assert_eq!(cells(&checked.rows, "_kafka_topic"), ["t"; 6]);
    assert_eq!(cells(&checked.rows, "_kafka_partition"), ["3"; 6]);
    assert_eq!(cells(&checked.rows, "_kafka_offset"), ["7", "8", "10", "11", "12", "13"]);
    let expected = ["null", "null", "null", "-62135596800000000", "253402300799999000", "null"];
    assert_eq!(cells(&checked.rows, "_kafka_timestamp"), expected);
    assert_eq!(cells(&checked.rejects, "_kafka_timestamp"), ["1000", "null"]);
    assert_eq!(cells(&checked.rejects, "_kafka_offset"), ["5", "14"]);
    assert_eq!(checked.rejects.column_by_name("_kafka_key").unwrap().as_binary::<i32>().value(0), b"k");
    assert_eq!(cells(&checked.rejects, "_kafka_headers"), [r#"[{"key":"h","value":null}]"#, "null"]);
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
