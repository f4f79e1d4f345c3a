//! What becomes of a value by its column's type and rules, a line a case.

use super::*;

#[test]
fn integers_are_exact_and_in_range() {
    table(
        column("v", ColumnType::Int(8)),
        r#"
        127 => 127
        -128 => -128
        128 => !range
        -129 => !range
        -0 => 0
        1.0 => !type
        1.9 => !type
        1e2 => !type
        "17" => !type
        true => !type
        [1] => !type
        {} => !type
        null => null
        01 => !json
        +1 => !json
        NaN => !json
        , => !json
        "#,
    );
    table(
        column("v", ColumnType::Int(64)),
        "
        9223372036854775807 => 9223372036854775807
        9223372036854775808 => !range
        -9223372036854775808 => -9223372036854775808
        -9223372036854775809 => !range
        100000000000000000000000000000000000000000000000000 => !range
        ",
    );
    table(
        column("v", ColumnType::Uint(64)),
        "
        18446744073709551615 => 18446744073709551615
        18446744073709551616 => !range
        -1 => !range
        -0 => 0
        ",
    );
    for (kind, largest) in [
        (ColumnType::Uint(8), "255"),
        (ColumnType::Uint(16), "65535"),
        (ColumnType::Uint(32), "4294967295"),
        (ColumnType::Int(16), "32767"),
        (ColumnType::Int(32), "2147483647"),
    ] {
        table(column("v", kind), &format!("{largest} => {largest}\n9999999999 => !range"));
    }
}

#[test]
fn floats_take_what_they_can_hold() {
    table(
        column("v", ColumnType::Float(64)),
        r#"
        2.6 => 2.6
        17 => 17.0
        -0 => -0.0
        0.1e1 => 1.0
        1e-400 => 0.0
        1e400 => !range
        -1e400 => !range
        "1" => !type
        .5 => !json
        1. => !json
        Infinity => !json
        "#,
    );
    table(
        column("v", ColumnType::Float(32)),
        "
        0.1 => 0.1
        3.4e38 => 3.4e38
        1e39 => !range
        ",
    );
}

#[test]
fn texts_are_unescaped() {
    table(
        column("v", ColumnType::String),
        r#"
        "a b" => a b
        "" => (empty)
        "\u00e9\n\"" => é\n\"
        "\u0000" => \0
        "\ud83d\ude00" => 😀
        "\ud83d" => !json
        "\x" => !json
        "a	b" => !json
        17 => !type
        true => !type
        [] => !type
        null => null
        "#,
    );
}

#[test]
fn json_is_kept_as_written() {
    table(
        column("v", ColumnType::Json),
        r#"
        [1,  2] => [1,  2]
        1.50 => 1.50
        {'a':1,'a':2} => !json
        [1,] => !json
        null => null
        "#,
    );
    assert_eq!(value_of(&column("v", ColumnType::Json), r#""a\n""#), r#""a\n""#);
    assert_eq!(value_of(&column("v", ColumnType::Json), r#"{"a": {"a" :1}}"#), r#"{"a": {"a" :1}}"#);
}

#[test]
fn booleans() {
    table(
        column("v", ColumnType::Bool),
        r#"
        true => true
        false => false
        1 => !type
        "true" => !type
        tru => !json
        trueish => !json
        "#,
    );
}

#[test]
fn coercion_loses_nothing() {
    table(
        coercing(ColumnType::Int(32)),
        r#"
        "17" => 17
        17.0 => 17
        170e-1 => 17
        "17.0" => 17
        1.9 => !type
        "1.9" => !type
        " 17" => !type
        "017" => !type
        "" => !type
        "1e40" => !range
        true => !type
        "#,
    );
    table(
        coercing(ColumnType::Float(64)),
        r#"
        "2.5" => 2.5
        "NaN" => !type
        "1e400" => !range
        "#,
    );
    table(
        coercing(ColumnType::Bool),
        r#"
        "true" => true
        "false" => false
        "True" => !type
        1 => !type
        "#,
    );
    table(
        coercing(ColumnType::String),
        r#"
        1.50 => 1.50
        true => true
        "a" => a
        [] => !type
        null => null
        "#,
    );
    table(
        coercing(instant(TimeEncoding::UnixSeconds, None)),
        r#"
        "1.5" => 1500000
        "x" => !type
        "#,
    );
}

#[test]
fn instants_as_text() {
    table(
        column("v", instant(TimeEncoding::Rfc3339, Some(Zone::Fixed(3600)))),
        r#"
        "1970-01-01T01:00:00" => 0
        "1970-01-01T00:00:00Z" => 0
        "1970-01-01T00:00:00.0000019\u005a" => 1
        "9999-12-31T23:59:59Z" => 253402300799000000
        "0000-01-01T00:00:00Z" => !range
        "1970-01-01" => !time
        0 => !type
        "#,
    );
    table(
        column("v", instant(TimeEncoding::Rfc3339, None)),
        r#"
        "1970-01-01T01:00:00" => !time
        "#,
    );
    table(
        column("v", ColumnType::Date(None)),
        r#"
        "1970-01-02" => 1970-01-02
        "1970-02-30" => !time
        1 => !type
        "#,
    );
}

#[test]
fn instants_as_numbers() {
    table(
        column("v", instant(TimeEncoding::UnixSeconds, None)),
        r#"
        1 => 1000000
        1.0000019 => 1000001
        -0.0000001 => -1
        1e12 => !range
        1e400 => !range
        "1" => !type
        "#,
    );
    table(
        column("v", instant(TimeEncoding::UnixMillis, None)),
        "
        -1 => -1000
        1.5 => !type
        1e3 => !type
        9223372036854775807 => !range
        ",
    );
    table(
        column("v", instant(TimeEncoding::UnixMicros, None)),
        "
        1 => 1
        18446744073709551616 => !range
        ",
    );
    table(
        column("v", instant(TimeEncoding::UnixNanos, None)),
        "
        1999 => 1
        -1 => -1
        ",
    );
}

#[test]
fn rules_of_numbers() {
    let co = Column {
        missing: vec![Value::Float(-200.0)],
        min: Some(Value::Float(0.0)),
        max: Some(Value::Float(50.0)),
        ..column("v", ColumnType::Float(64))
    };
    table(
        co.clone(),
        "
        -200 => null
        -200.0 => null
        -2e2 => null
        0 => 0.0
        -0.1 => !min
        50 => 50.0
        50.1 => !max
        ",
    );
    table(
        Column { required: true, ..co.clone() },
        "
        -200 => !required
        null => !required
        1 => 1.0
        ",
    );
    table(
        Column { default: Some(Value::Float(7.5)), ..co },
        "
        -200 => 7.5
        null => 7.5
        1 => 1.0
        ",
    );
}

#[test]
fn rules_may_lie_outside_of_the_width() {
    let small = || column("v", ColumnType::Uint(8));
    table(Column { min: Some(Value::Int(300)), ..small() }, "255 => !min");
    table(Column { missing: vec![Value::Int(-1)], ..small() }, "255 => 255");
    let listed = Column { one_of: vec![Value::Int(5), Value::Int(-3)], ..small() };
    table(
        listed,
        "
        5 => 5
        4 => !one_of
        ",
    );
    // 0.1 as a 32-bit float is above 0.1 as a 64-bit one, but it is the largest value that the definition means.
    let narrow = Column { max: Some(Value::Float(0.1)), ..column("v", ColumnType::Float(32)) };
    table(
        narrow,
        "
        0.1 => 0.1
        0.2 => !max
        ",
    );
}

#[test]
fn rules_of_text() {
    let text = |text: &str| Value::Text(text.to_owned());
    let any = || column("v", ColumnType::String);
    let pattern = regex::Regex::new("^[A-Z]{2}-[0-9]{2}$").ok();
    table(
        Column { pattern, ..any() },
        r#"
        "IT-01" => IT-01
        "\u0049T-01" => IT-01
        "IT-1" => !pattern
        "#,
    );
    table(
        Column { max_length: Some(2), ..any() },
        r#"
        "éé" => éé
        "abc" => !max_length
        "#,
    );
    table(
        Column { one_of: vec![text("b"), text("a")], missing: vec![text("x"), text("n/a")], ..any() },
        r#"
        "a" => a
        "b" => b
        "c" => !one_of
        "x" => null
        "n/a" => null
        "#,
    );
    table(
        Column { default: Some(text("none")), ..any() },
        r#"
        null => none
        "x" => x
        "#,
    );
}

#[test]
fn rules_of_the_rest() {
    table(
        Column { one_of: vec![Value::Bool(true)], ..column("v", ColumnType::Bool) },
        "
        true => true
        false => !one_of
        ",
    );
    table(
        Column { min: Some(Value::Days(0)), ..column("v", ColumnType::Date(None)) },
        r#"
        "1969-12-31" => !min
        "1970-01-01" => 1970-01-01
        "#,
    );
    table(
        Column { max: Some(Value::Micros(0)), ..column("v", instant(TimeEncoding::UnixMicros, None)) },
        "
        0 => 0
        1 => !max
        ",
    );
    table(
        Column { required: true, ..column("v", ColumnType::Json) },
        "
        null => !required
        [null] => [null]
        ",
    );
}
