//! The template of a topic's records: what they have beside their values, learned from one and expected of the next.
//!
//! Producers write the same fields in the same order, so that most records differ in their values alone. A template is
//! everything else of one record that was read by the grammar: the bytes before each value and after the last. Where a
//! payload has the same bytes (and perhaps more whitespace before a value), no key, bracket or comma is looked at again. With
//! other values in the places of its values an object is still an object (JSON's grammar is free of context), it has the same
//! keys, of which none stands twice, and each value belongs to the same column. Whatever differs is read by the grammar,
//! from the beginning.

use crate::decode::json::reader::{Fields, Segment};
use crate::decode::json::scan::{Scanner, begins};
use crate::decode::json::token::Token;

/// How well a template has served, at the most.
const TRUST_MAX: u32 = 16;
/// With how much a new one begins, and what a record that is written otherwise costs it.
const TRUST_NEW: u32 = 8;
const TRUST_LOST: u32 = 4;
/// Records that are read without one, at the most, before the next is learned.
const PAUSE_MAX: u32 = 1024;
/// Bytes that a template takes at the most, about: some two thousand values. Records with more are read by the grammar.
const BYTES_MAX: usize = 256 << 10;

/// The template there is, whether it is worth trying, and when the next one is learned.
#[derive(Debug, Default)]
pub(super) struct Habit {
    template: Option<Template>,
    lesson: Option<Lesson>,
    trust: u32,
    /// Records until the next lesson, and how many they will be next time.
    wait: u32,
    pause: u32,
}

#[derive(Debug, Default)]
struct Template {
    slots: Vec<Slot>,
    paths: Vec<Path>,
    end: Literal,
}

/// A value's place.
#[derive(Debug)]
struct Slot {
    before: Literal,
    reads: Reads,
    /// Objects and arrays around it.
    depth: usize,
}

/// Who reads a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reads {
    Column(usize),
    /// Nobody; it belongs to a top-level field, whose key begins so many bytes before it and has a name of this length.
    Unread {
        key: usize,
        name: usize,
    },
    /// Nobody; it is told with the way to the object or array that it is in. What is told begins so many bytes before it.
    Below {
        start: usize,
        path: usize,
    },
    /// Nobody, and nobody asks.
    Nothing,
}

/// Bytes that stand in each record.
#[derive(Debug, Default)]
struct Literal {
    bytes: Box<[u8]>,
    /// The first of them, up to 16, and which bits these are.
    head: u128,
    mask: u128,
}

/// The way to the object or array that holds an unread value, and the value's index where it is an element.
type Path = (Box<[Segment]>, Option<usize>);

/// A template in the making.
#[derive(Debug, Default)]
struct Lesson {
    slots: Vec<Slot>,
    paths: Vec<Path>,
    /// Where the last value ended.
    end: usize,
    /// Bytes that the slots take.
    bytes: usize,
    /// Whether something was read that no template can tell.
    void: bool,
}

impl Habit {
    /// Reads a payload that is as the template has it. After `false` nothing is reported.
    #[inline]
    pub(super) fn read(&mut self, payload: &str, fields: &mut impl Fields) -> bool {
        let Some(template) = &self.template else { return false };
        if template.read(payload, fields) {
            if self.trust < TRUST_MAX {
                self.trust += 1;
                if self.trust == TRUST_MAX {
                    self.pause = 0;
                }
            }
            return true;
        }
        fields.again();
        match self.trust.checked_sub(TRUST_LOST) {
            Some(trust) => self.trust = trust,
            None => {
                self.template = None;
                self.hold_off();
            }
        }
        false
    }

    /// Learns nothing for a while, and for longer the next time.
    fn hold_off(&mut self) {
        self.wait = self.pause;
        self.pause = (self.pause * 2 + 1).min(PAUSE_MAX);
    }

    /// Before a record is read by the grammar: whether a template is to be learned from it.
    pub(super) fn begin(&mut self) {
        if self.template.is_some() {
            return;
        }
        match self.wait.checked_sub(1) {
            Some(wait) => self.wait = wait,
            None => self.lesson = Some(Lesson::default()),
        }
    }

    /// A value was read.
    #[inline]
    pub(super) fn value(&mut self, token: &Token<'_>, scanner: &Scanner<'_>, reads: Reads) {
        if let Some(lesson) = &mut self.lesson {
            lesson.value(token, scanner, reads);
            if lesson.bytes > BYTES_MAX {
                self.void();
            }
        }
    }

    /// The number of a way in the lesson, if there is one.
    pub(super) fn path(&mut self, path: &[Segment], element: Option<usize>) -> usize {
        let Some(lesson) = &mut self.lesson else { return 0 };
        let before = lesson.paths.last().is_some_and(|(last, of)| **last == *path && *of == element);
        if !before && !lesson.void {
            lesson.bytes += size_of::<Path>() + size_of_val(path);
            lesson.paths.push((path.into(), element));
        }
        lesson.paths.len().saturating_sub(1)
    }

    /// What was read can't be told by a template.
    pub(super) fn void(&mut self) {
        if let Some(lesson) = &mut self.lesson {
            *lesson = Lesson { void: true, ..Lesson::default() };
        }
    }

    /// A record was read by the grammar, to its end where it is a good one.
    pub(super) fn end(&mut self, payload: &str, good: bool) {
        let Some(lesson) = self.lesson.take() else { return };
        let end = &payload[lesson.end..];
        if good && !lesson.void && lesson.bytes + end.len() <= BYTES_MAX {
            self.template = Some(Template { slots: lesson.slots, paths: lesson.paths, end: Literal::new(end) });
            self.trust = TRUST_NEW;
        } else {
            self.hold_off();
        }
    }
}

impl Lesson {
    fn value(&mut self, token: &Token<'_>, scanner: &Scanner<'_>, reads: Reads) {
        if self.void {
            return;
        }
        let (start, end) = token.place();
        let before = Literal::new(scanner.between(self.end, start));
        self.bytes += size_of::<Slot>() + before.bytes.len();
        self.slots.push(Slot { before, reads, depth: scanner.depth });
        self.end = end;
    }
}

impl Template {
    /// Reads a payload, if it is like this; else something may have been reported.
    fn read(&self, payload: &str, fields: &mut impl Fields) -> bool {
        let mut scanner = Scanner::new(payload);
        let mut token = scanner.token();
        for slot in &self.slots {
            if !slot.before.is_prefix_of(scanner.rest()) {
                return false;
            }
            scanner.at += slot.before.bytes.len();
            let start = scanner.at;
            scanner.depth = slot.depth;
            // What is wrong is found again by the grammar, which says it in the words of the whole record.
            if scanner.value(&mut token).is_err() {
                return false;
            }
            match slot.reads {
                Reads::Column(column) => fields.value(column, &token),
                Reads::Unread { key, name } => {
                    let member = scanner.since(start - key);
                    fields.unread(&member[1..=name], member);
                }
                Reads::Below { start: before, path } => {
                    let (path, element) = &self.paths[path];
                    // An element is told without the whitespace before it, of which another record may have more.
                    let from = if before == 0 { token.place().0 } else { start - before };
                    fields.unread_below(path, *element, scanner.since(from));
                }
                Reads::Nothing => {}
            }
        }
        scanner.rest() == &*self.end.bytes
    }
}

impl Literal {
    fn new(text: &str) -> Literal {
        let bytes: Box<[u8]> = text.as_bytes().into();
        let (mut head, mut mask) = ([0; 16], [0; 16]);
        for (at, byte) in bytes.iter().take(16).enumerate() {
            (head[at], mask[at]) = (*byte, u8::MAX);
        }
        Literal { bytes, head: u128::from_le_bytes(head), mask: u128::from_le_bytes(mask) }
    }

    /// Whether a text begins with these bytes.
    #[inline]
    fn is_prefix_of(&self, text: &[u8]) -> bool {
        match text.split_first_chunk::<16>() {
            Some((head, rest)) if (u128::from_le_bytes(*head) ^ self.head) & self.mask == 0 => {
                self.bytes.len() <= 16 || begins(rest, &self.bytes[16..])
            }
            Some(_) => false,
            None => begins(text, &self.bytes),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::decode::json::broken::Broken;
    use crate::decode::json::reader::tests::Log;
    use crate::decode::json::reader::{self, Reader};
    use crate::model::schema::DEPTH_MAX;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn reader() -> Reader {
        reader::tests::reader(&["a", "bb", "m/u", "m/v/0", "m/v/1/x", "n", "n/o"]).keeping()
    }

    fn read(reader: &mut Reader, payload: &str) -> Result<Vec<String>, Broken> {
        let mut log = Log::default();
        reader.read(payload, &mut log).map(|()| log.lines)
    }

    /// Whether a payload is read by the template of another one, with the same result as without.
    fn is_like(first: &str, payload: &str) -> bool {
        let mut reader = reader();
        read(&mut reader, first).unwrap();
        assert!(reader.habit.template.is_some(), "{first}");
        let mut log = Log::default();
        assert_eq!(reader.read(payload, &mut log).map(|()| log.lines), read(&mut self::reader(), payload), "{payload}");
        log.again == 0
    }

    #[test]
    fn records_that_differ_in_their_values_are_alike() {
        let first = r#"{"a":1,"x":[7], "m":{"v":[2,{"x":3},4],"w":"","u":"C"}}"#;
        for payload in [
            first,
            r#"{"a":-20.5e3,"x":{"a":1,"a":2}, "m":{"v":[null,{"x":[3]},"4"],"w":{},"u":"\"C"}}"#,
            r#"{"a":"é","x":"}", "m":{"v":[[],{"x":true},{}],"w":[[]],"u":null}}"#,
        ] {
            assert!(is_like(first, payload), "{payload}");
        }
    }

    #[test]
    fn whitespace_before_a_value_may_differ() {
        for (first, payload) in [
            (r#"{"é":1,"a":2}"#, r#"{"é": 1,"a":2}"#),
            (r#"{"é": 1,"a": 2}"#, "{\"é\":   1,\"a\": \n2}"),
            (r#"{"zz":1}"#, "{\"zz\":\t\r\n1}"),
            (r#"{"m":{"v":[1,{"x":2},3]}}"#, r#"{"m":{"v":[1,{"x":2}, 3]}}"#),
        ] {
            assert!(is_like(first, payload), "{payload}");
            is_like(payload, first);
        }
    }

    #[test]
    fn templates_are_small() {
        let array = |values: usize| format!(r#"{{"zz":[1],"m":{{"v":[1,{{"x":1}}{}]}}}}"#, ",1".repeat(values - 3));
        let padded = |bytes| format!(r#"{{"a":1{}}}"#, " ".repeat(bytes));
        let has_template = |payload: String| {
            let mut reader = reader();
            read(&mut reader, &payload).unwrap();
            reader.habit.template.is_some()
        };
        assert!(has_template(array(1_500)) && !has_template(array(BYTES_MAX / size_of::<Slot>())));
        assert!(has_template(padded(BYTES_MAX / 2)) && !has_template(padded(BYTES_MAX)));
        let key = |bytes| format!(r#"{{"{}":1}}"#, "k".repeat(bytes));
        assert!(has_template(key(BYTES_MAX / 2)) && !has_template(key(BYTES_MAX)));
    }

    #[test]
    fn whatever_else_differs_is_read_by_the_grammar() {
        let first = r#"{"a":1,"bb":"x"}"#;
        for payload in [
            r#"{"a":1,"bb":"x"} "#,
            r#"{"a":1,"bb":"x"}}"#,
            r#"{"a":1,"bb":"x""#,
            r#"{"a":1,"bb":}"#,
            r#"{"a":1,"a":"x"}"#,
            r#"{"a":1, "bb":"x"}"#,
            r#"{"a":1}"#,
            r#"{"a":1,"bb":"x","c":2}"#,
            r#"{"a":1.,"bb":"x"}"#,
            r#"{"a":01,"bb":"x"}"#,
            "{}",
            "",
        ] {
            assert!(!is_like(first, payload), "{payload}");
        }
    }

    #[test]
    fn nesting_is_counted_from_the_record() {
        let payload = |levels| format!(r#"{{"m":{{"u":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(is_like(&payload(1), &payload(DEPTH_MAX - 2)));
        assert!(!is_like(&payload(1), &payload(DEPTH_MAX - 1)));
    }

    #[test]
    fn what_no_template_can_tell_is_none() {
        for payload in [r#"{"n":{"o":1}}"#, r#"{"m":null}"#, r#"{"m":[1]}"#, r#"{"a":1"#, r#"{"a":1,"a":2}"#, "[]"] {
            let mut reader = reader();
            let _ = read(&mut reader, payload);
            assert!(reader.habit.template.is_none(), "{payload}");
        }
    }

    #[test]
    fn records_without_a_habit_cost_few_lessons() {
        let shapes = [r#"{"a":1,"bb":2}"#, r#"{"bb":1,"a":2}"#, r#"{"a":1}"#];
        let mut reader = reader();
        let mut log = Log::default();
        for record in 0..30_000 {
            reader.read(shapes[record % 3], &mut log).unwrap();
        }
        assert!(log.again < 200, "{} records of 30,000 were read twice", log.again);
        // But once they have one, it is found.
        (0..2 * PAUSE_MAX).for_each(|_| reader.read(shapes[0], &mut log).unwrap());
        assert!(reader.habit.template.is_some());
        // Of which one record in ten that is written otherwise takes nothing.
        log.again = 0;
        for record in 0..1000 {
            reader.read(shapes[usize::from(record % 10 == 0)], &mut log).unwrap();
        }
        assert_eq!(log.again, 100);
    }

    const SHAPES: [&str; 7] = [
        r#"{"a":@,"bb":@,"m":{"u":@,"v":[@,{"x":@}]},"é":@}"#,
        r#"{"bb": @, "a": @}"#,
        r#" { "m" : {"v":[@,@],"u":@,"w":@} , "a":@ } "#,
        r#"{"zz":@,"a":@,"zz":@}"#,
        r#"{"n":@,"m":{},"bb":@}"#,
        r#"{"n":{"o":@},"a":@}"#,
        r#"{"m":{"z":@,"v":[@,{"y":@,"x":@},@],"w":@}}"#,
    ];
    const GOOD: [&str; 12] =
        ["1", "-200", "0.5", "1e3", r#""x""#, r#""é\n""#, "null", "true", "[1,2]", r#"{"k":[{}]}"#, "[]", r#"{"x":1}"#];
    const BAD: [&str; 6] = ["01", "1.", "\"", "tru", "[1", ""];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// A reader that has read others reads a record as one that has read none.
        #[test]
        fn records_before_change_nothing(
            runs in proptest::collection::vec((select(&SHAPES), proptest::collection::vec((
                proptest::collection::vec(prop_oneof![40 => select(&GOOD), 1 => select(&BAD)], 6),
                proptest::option::weighted(0.2, (0usize..60, 0usize..2, select(vec!["", "\"", "}", ",", " ", "1", "a", "é"]))),
            ), 1..12)), 1..8),
        ) {
            let mut taught = reader();
            for (shape, records) in runs {
                for (values, mutation) in records {
                    let mut parts = shape.split('@');
                    let mut payload = parts.next().unwrap().to_owned();
                    parts.zip(values).for_each(|(part, value)| payload.extend([value, part]));
                    if let Some((at, length, text)) = mutation
                        && let Some((start, old)) = payload.char_indices().nth(at)
                    {
                        payload.replace_range(start..start + length * old.len_utf8(), text);
                    }
                    prop_assert_eq!(read(&mut taught, &payload), read(&mut reader(), &payload), "{}", payload);
                }
            }
        }
    }
}
