//! Payloads that mean harm, each between two good records.

use super::*;

const GOOD: [&str; 2] =
    [r#"{"f":1.5,"s":"first é","m":[{"i":-7}],"j":{"k":[]}}"#, r#"{"s":"second","f":2.5,"m":[{"i":8}],"j":null}"#];

/// Whatever stands between two good records: they are as they should be, and it is in the rejects, byte for byte.
fn hostile(payload: &[u8], rule: Rule) {
    let mut checker = Checker::new(&pipeline(mixed(), UnknownFields::Keep));
    let batch = records([Some(GOOD[0].as_bytes()), Some(payload), Some(GOOD[1].as_bytes())]);
    // The second time the checker has been through it once already.
    for _ in 0..2 {
        let checked = checker.check(&partition(), &batch);
        assert_eq!(cells(&checked.rows, "s"), ["first é", "second"]);
        assert_eq!(cells(&checked.rows, "f"), ["1.5", "2.5"]);
        assert_eq!(cells(&checked.rows, "i"), ["-7", "8"]);
        assert_eq!(cells(&checked.rows, "j"), [r#"{"k":[]}"#, "null"]);
        assert_eq!(cells(&checked.rows, "_extra"), ["null", "null"]);
        assert_eq!(cells(&checked.rows, "_kafka_offset"), ["10", "12"]);
        let rejected = checked.rejects.column_by_name("payload").unwrap().as_binary::<i32>();
        assert_eq!(rejected.len(), 1);
        assert!(rejected.value(0) == payload, "the payload must be in the rejects byte for byte");
        assert_eq!(cells(&checked.rejects, "rule"), [rule.name()]);
        assert!(cell(&checked.rejects, "reason", 0).len() < 1000);
    }
}

#[test]
fn hostile_payloads_leave_their_neighbours_alone() {
    for end in 0..GOOD[0].len() {
        let rule = if GOOD[0].is_char_boundary(end) { Rule::Json } else { Rule::Utf8 };
        hostile(&GOOD[0].as_bytes()[..end], rule);
    }
    hostile(GOOD.concat().as_bytes(), Rule::Trailing);
    hostile(&b"[".repeat(100_000), Rule::Depth);
    hostile(&br#"{"m":"#.repeat(100_000), Rule::Depth);
    hostile(&[br#"{"unread":"#.as_slice(), &b"[".repeat(100_000)].concat(), Rule::Depth);
    hostile(b"{\"s\":\"\xff\"}", Rule::Utf8);
    hostile(b"{\"s\":\"x\",\"unread\":\"\xc3\x28\"}", Rule::Utf8);
    hostile(b"{\"s\":\"x\",\"\xed\xa0\x80\":1}", Rule::Utf8);
    hostile(br#"{"s":"x","f":1,"s":"y"}"#, Rule::Duplicate);
    hostile(br#"{"s":"x","f":1e400}"#, Rule::Range);
    hostile(br#"{"f":1,"s":"that breaks a rule!"}"#, Rule::Pattern);
    hostile(br#"{"f":"1","s":"that breaks a rule!"}"#, Rule::Pattern);
    hostile(b"", Rule::Json);
    hostile(b" ", Rule::Json);
    hostile(b"null", Rule::Type);
    hostile(b"\0\0\0\0", Rule::Json);
    hostile(b"{\"s\":\"a\0b\"}", Rule::Json);
    hostile(b"{\"s\":\"a\"}\0", Rule::Trailing);
    hostile(b"{\"s\":\"a\",\"m\":[{\"i\":1}],\"j\":[1,{\"x\":\"\\ud800\"}]}", Rule::Json);
    hostile(br#"{"s":"x","zzz":1,"m":[{"i":1.5}]}"#, Rule::Type);
    hostile(br#"{"s":"x","zzz":1,"m":[3]}"#, Rule::Type);
    hostile(format!(r#"{{"s":"{}","f":"x"}}"#, "y".repeat(10 << 20)).as_bytes(), Rule::Type);
    hostile(format!(r#"{{"f":"{}"}}"#, "é".repeat(5 << 20)).as_bytes(), Rule::Type);
}

#[test]
fn a_character_does_not_reach_into_the_next_record() {
    let whole = GOOD[0].as_bytes();
    let middle = GOOD[0].find('é').unwrap() + 1;
    let batch =
        records([Some(GOOD[1].as_bytes()), Some(&whole[..middle]), Some(&whole[middle..]), Some(GOOD[1].as_bytes())]);
    let checked = Checker::new(&pipeline(mixed(), UnknownFields::Keep)).check(&partition(), &batch);
    assert_eq!(cells(&checked.rows, "_kafka_offset"), ["10", "13"]);
    assert_eq!(cells(&checked.rejects, "rule"), ["utf8", "utf8"]);
}

#[test]
fn a_text_that_passed_lets_no_other_pass() {
    let columns = [
        Column { pattern: Some(regex::Regex::new("^[a-z]+$").unwrap()), ..column("s", ColumnType::String) },
        column("i", ColumnType::Int(32)),
    ];
    let payload = |text: &str, number: &str| format!(r#"{{"s":"{text}","i":{number}}}"#);
    // Where `ok` stood until its row was given up, others come to stand.
    let payloads =
        [payload("ok", "1"), payload("ok", "1.5"), payload("OK", "1"), payload("ok", "2"), payload("okay", "1.5")];
    let payloads = [&payloads[..], &[payload("OK", "3"), payload("ok", "4"), payload("oK", "5")]].concat();
    let checked = run(&columns, &payloads.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(cells(&checked.rows, "i"), ["1", "2", "4"]);
    assert_eq!(cells(&checked.rejects, "rule"), ["type", "pattern", "type", "pattern", "pattern"]);
}

#[test]
fn large_and_odd_values_that_are_fine() {
    let text = "y".repeat(10 << 20);
    let unread = r#"{"s":"a","unread":[1e400,-1e400,{"x":1,"x":2}],"f":1}"#;
    let checked = run(&mixed(), &[GOOD[0], &format!(r#"{{"s":"{text}"}}"#), unread, " \t\r\n{} \n"]);
    assert_eq!(checked.rejects.num_rows(), 0);
    assert_eq!(cell(&checked.rows, "s", 1).len(), text.len());
    assert_eq!(cells(&checked.rows, "f"), ["1.5", "null", "1.0", "null"]);
}
