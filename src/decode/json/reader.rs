//! Reads a payload in one pass and hands each value that a column wants to whoever keeps the columns.
//!
//! What is wanted is a tree of steps (a field's name or an array's index), made from the columns' `from`. Producers write
//! the same keys in the same order again and again, so each object guesses its next key from what followed last time and
//! compares bytes; a wrong guess costs a binary search by length and bytes. (No hashing: the tree is fixed, so nobody
//! can make it slow, and for tens of columns the search is as fast.) Where all but the values is as in a record before,
//! its [template](crate::decode::json::template) is read instead.
//!
//! Duplicates: in the top-level object, and in objects on the way to a column, a field that is read or passed through may
//! stand only once. Fields that nobody reads are not compared with each other; where unknown fields are kept, they are
//! kept as written, twice if need be. A path that ends early because there is no such field, element, or only null on
//! the way has no value; one that meets another kind of value on the way is at fault (rule `type`).

use crate::decode::json::broken::Broken;
use crate::decode::json::escape::unescape;
use crate::decode::json::scan::{Scanner, Syntax};
use crate::decode::json::template::{Habit, Reads};
use crate::decode::json::token::{Token, TokenKind};
use crate::decode::shared::{RecordValue as _, Rule};

/// What a reader reports of a record.
pub(crate) trait Fields {
    /// The value of a column.
    fn value(&mut self, column: usize, token: &Token<'_>);
    /// A value on the way to a column that cannot contain it.
    fn misplaced(&mut self, column: usize, token: &Token<'_>);
    /// A top-level field that no column reads: its name and all of it, both as written.
    fn unread(&mut self, name: &str, member: &str);
    /// What no column reads in an object or array on the way to one, as written: a field, or the element of this index. Only
    /// a reader that was made [`keeping`](Reader::keeping) tells it.
    fn unread_below(&mut self, path: &[Segment], element: Option<usize>, member: &str);
    /// The record is read again from its beginning: what was reported is void.
    fn again(&mut self);
}

/// A step of the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A field: its key as written, in its quotes.
    Key(Box<str>),
    /// An element of an array.
    Element(usize),
}

/// Reads payloads, and remembers in which order their keys come.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The tree; the first is the payload itself.
    nodes: Vec<Node>,
    /// The number of the record being read: marks the nodes that it has reached.
    record: u64,
    /// A key without its escapes.
    key: Vec<u8>,
    /// Whether unread values below the top level are told, too.
    keeps: bool,
    /// The way to the object or array that is being read, while `keeps`.
    path: Vec<Segment>,
    pub(super) habit: Habit,
}

/// A place in a record.
#[derive(Debug, Default)]
struct Node {
    /// The columns that read this value.
    columns: Vec<usize>,
    /// Steps to the places below, sorted by length and bytes.
    steps: Vec<Step>,
    /// By the position of the last step taken (at the end: of none), which one came next the last time.
    follow: Vec<usize>,
    /// The steps that are array indices: index and position in `steps`, ascending.
    indices: Vec<(usize, usize)>,
    /// The first column below.
    first_below: usize,
    /// The first column below a step that is no array index, if there is one.
    first_named_below: Option<usize>,
}

#[derive(Debug)]
struct Step {
    name: Box<str>,
    /// `name` and its closing quote, as it stands in payloads that escape nothing; empty where it can't stand like that.
    quoted: Box<[u8]>,
    node: usize,
    /// The column that alone reads this value, where nothing below it is read.
    leaf: Option<usize>,
    /// The last record that had this step.
    record: u64,
}

impl Reader {
    /// A reader for columns at these paths; the column's number is the path's position.
    pub(crate) fn new<'p>(paths: impl IntoIterator<Item = &'p [String]>) -> Self {
        let mut reader = Reader {
            nodes: vec![Node::default()],
            record: 0,
            key: Vec::new(),
            keeps: false,
            path: Vec::new(),
            habit: Habit::default(),
        };
        for (column, path) in paths.into_iter().enumerate() {
            let node = path.iter().fold(0, |node, name| reader.step(node, name));
            reader.nodes[node].columns.push(column);
        }
        reader.finish(0);
        reader
    }

    /// Tells all that no column reads, wherever it stands.
    pub(crate) fn keeping(self) -> Self {
        Reader { keeps: true, ..self }
    }

    /// The node below `node` at `name`, made if there is none.
    fn step(&mut self, node: usize, name: &str) -> usize {
        if let Some(step) = self.nodes[node].steps.iter().find(|step| &*step.name == name) {
            return step.node;
        }
        let below = self.nodes.len();
        self.nodes.push(Node::default());
        let plain = name.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
        let quoted = if plain { format!("{name}\"").into_bytes().into() } else { Box::default() };
        let step = Step { name: name.into(), quoted, node: below, leaf: None, record: 0 };
        self.nodes[node].steps.push(step);
        below
    }

    /// Sorts the steps of a node and all below; answers with the first column at or below it.
    fn finish(&mut self, node: usize) -> usize {
        let mut steps = std::mem::take(&mut self.nodes[node].steps);
        steps.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        let firsts: Vec<usize> = steps.iter().map(|step| self.finish(step.node)).collect();
        for step in &mut steps {
            let below = &self.nodes[step.node];
            if let ([column], []) = (&*below.columns, &*below.steps) {
                step.leaf = Some(*column);
            }
        }
        let this = &mut self.nodes[node];
        let index = |step: &Step| array_index(&step.name);
        this.indices = steps.iter().enumerate().filter_map(|(at, step)| Some((index(step)?, at))).collect();
        this.indices.sort_unstable();
        let named = steps.iter().zip(&firsts).filter(|(step, _)| index(step).is_none());
        this.first_named_below = named.map(|(_, first)| *first).min();
        this.first_below = firsts.into_iter().min().unwrap_or(usize::MAX);
        this.follow = (1..steps.len()).chain([0, 0]).take(steps.len() + 1).collect();
        this.steps = steps;
        this.columns.iter().copied().fold(this.first_below, usize::min)
    }

    /// Reads one payload, which must be one object. What was reported before an `Err` is void.
    pub(crate) fn read(&mut self, payload: &str, fields: &mut impl Fields) -> Result<(), Broken> {
        if self.habit.read(payload, fields) {
            return Ok(());
        }
        self.habit.begin();
        let read = self.read_by_grammar(payload, fields);
        self.habit.end(payload, read.is_ok());
        read
    }

    fn read_by_grammar(&mut self, payload: &str, fields: &mut impl Fields) -> Result<(), Broken> {
        self.record += 1;
        self.path.clear();
        let mut scanner = Scanner::new(payload);
        let mut token = scanner.token();
        if scanner.next() != b'{' {
            scanner.skip_into(&mut token)?;
            scanner.end()?;
            return Err(Broken::NoObject(token.describe()));
        }
        self.object(0, &mut scanner, &mut token, fields)?;
        Ok(scanner.end()?)
    }

    /// Reads the object whose opening brace is here. Recursion is bounded by the longest path and the nesting limit.
    fn object<'a>(
        &mut self,
        node: usize,
        scanner: &mut Scanner<'a>,
        token: &mut Token<'a>,
        fields: &mut impl Fields,
    ) -> Result<(), Box<Syntax>> {
        scanner.open()?;
        if scanner.next() == b'}' {
            scanner.close();
            return Ok(());
        }
        let mut last = self.nodes[node].steps.len();
        loop {
            scanner.next();
            let start = scanner.at;
            let step = self.known_key(node, last, scanner)?;
            let key_end = scanner.at;
            scanner.expect(b':', "`:`")?;
            match step {
                Some(position) => {
                    let this = &mut self.nodes[node];
                    this.follow[last] = position;
                    last = position;
                    let step = &mut this.steps[position];
                    if step.record == self.record {
                        return scanner.break_rule(Rule::Duplicate, start, "each field once");
                    }
                    step.record = self.record;
                    match step.leaf {
                        Some(column) => {
                            scanner.value(token)?;
                            self.habit.value(token, scanner, Reads::Column(column));
                            fields.value(column, token);
                        }
                        None => {
                            let (below, depth) = (step.node, self.path.len());
                            self.step_into(|| Segment::Key(scanner.between(start, key_end).into()));
                            self.place(below, scanner, token, fields)?;
                            self.path.truncate(depth);
                        }
                    }
                }
                None => {
                    scanner.skip_into(token)?;
                    let mut reads = Reads::Nothing;
                    if node == 0 {
                        let (name, member) = (key_end - start - 2, scanner.since(start));
                        fields.unread(&member[1..=name], member);
                        reads = Reads::Unread { key: token.place().0 - start, name };
                    } else if self.keeps {
                        fields.unread_below(&self.path, None, scanner.since(start));
                        let path = self.habit.path(&self.path, None);
                        reads = Reads::Below { start: token.place().0 - start, path };
                    }
                    self.habit.value(token, scanner, reads);
                }
            }
            match scanner.next() {
                b',' => scanner.at += 1,
                b'}' => break,
                _ => return scanner.fault("`,` or `}`"),
            }
        }
        scanner.close();
        Ok(())
    }

    /// Passes a key: the step that it is, if it is one.
    #[inline]
    fn known_key(&mut self, node: usize, last: usize, scanner: &mut Scanner<'_>) -> Result<Option<usize>, Box<Syntax>> {
        let Node { steps, follow, .. } = &self.nodes[node];
        if scanner.peek() == b'"'
            && let Some(guess) = steps.get(follow[last])
            && !guess.quoted.is_empty()
            && scanner.follows(&guess.quoted)
        {
            scanner.at += 1 + guess.quoted.len();
            return Ok(Some(follow[last]));
        }
        let start = scanner.at + 1;
        let escaped = scanner.key()?;
        let raw = scanner.since(start);
        let raw = &raw[..raw.len() - 1];
        let mut name = raw.as_bytes();
        if escaped {
            self.key.clear();
            unescape(raw, &mut self.key);
            name = &self.key;
        }
        let order = |step: &Step| (step.name.len(), step.name.as_bytes()).cmp(&(name.len(), name));
        Ok(steps.binary_search_by(order).ok())
    }

    /// Reads the value here, which stands at a place of the tree.
    fn place<'a>(
        &mut self,
        node: usize,
        scanner: &mut Scanner<'a>,
        token: &mut Token<'a>,
        fields: &mut impl Fields,
    ) -> Result<(), Box<Syntax>> {
        if self.nodes[node].steps.is_empty() {
            scanner.skip_into(token)?;
            match *self.nodes[node].columns {
                [column] => self.habit.value(token, scanner, Reads::Column(column)),
                _ => self.habit.void(),
            }
        } else {
            // A column that reads all of it reads what is below, too.
            let keeps = self.keeps;
            self.keeps &= self.nodes[node].columns.is_empty();
            let passed = self.passage(node, scanner, token, fields);
            self.keeps = keeps;
            passed?;
            if !self.nodes[node].columns.is_empty() {
                self.habit.void();
            }
        }
        for &column in &self.nodes[node].columns {
            fields.value(column, token);
        }
        Ok(())
    }

    /// Reads a value that columns below it come from.
    fn passage<'a>(
        &mut self,
        node: usize,
        scanner: &mut Scanner<'a>,
        token: &mut Token<'a>,
        fields: &mut impl Fields,
    ) -> Result<(), Box<Syntax>> {
        let byte = scanner.next();
        let start = scanner.at;
        match byte {
            b'{' => {
                self.object(node, scanner, token, fields)?;
                token.set(TokenKind::Object, start, scanner.at);
            }
            b'[' => {
                self.array(node, scanner, token, fields)?;
                token.set(TokenKind::Array, start, scanner.at);
                if let Some(column) = self.nodes[node].first_named_below {
                    self.habit.void();
                    fields.misplaced(column, token);
                }
            }
            _ => {
                scanner.skip_into(token)?;
                self.habit.void();
                if !token.is_null() {
                    fields.misplaced(self.nodes[node].first_below, token);
                }
            }
        }
        Ok(())
    }

    fn step_into(&mut self, segment: impl FnOnce() -> Segment) {
        if self.keeps {
            self.path.push(segment());
        }
    }

    /// Reads the array whose opening bracket is here.
    fn array<'a>(
        &mut self,
        node: usize,
        scanner: &mut Scanner<'a>,
        token: &mut Token<'a>,
        fields: &mut impl Fields,
    ) -> Result<(), Box<Syntax>> {
        scanner.open()?;
        if scanner.next() == b']' {
            scanner.close();
            return Ok(());
        }
        let mut wanted = 0;
        for element in 0.. {
            match self.nodes[node].indices.get(wanted) {
                Some(&(index, step)) if index == element => {
                    wanted += 1;
                    let depth = self.path.len();
                    self.step_into(|| Segment::Element(element));
                    self.place(self.nodes[node].steps[step].node, scanner, token, fields)?;
                    self.path.truncate(depth);
                }
                _ => {
                    scanner.skip_into(token)?;
                    let mut reads = Reads::Nothing;
                    if self.keeps {
                        fields.unread_below(&self.path, Some(element), token.raw());
                        reads = Reads::Below { start: 0, path: self.habit.path(&self.path, Some(element)) };
                    }
                    self.habit.value(token, scanner, reads);
                }
            }
            match scanner.next() {
                b',' => scanner.at += 1,
                b']' => break,
                _ => return scanner.fault("`,` or `]`"),
            }
        }
        scanner.close();
        Ok(())
    }
}

/// The array index that a JSON pointer's step is (RFC 6901: digits without leading zeros), if it is one.
fn array_index(step: &str) -> Option<usize> {
    let digits = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = step == "0" || !step.starts_with('0');
    if digits && canonical { step.parse().ok() } else { None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// What is reported, a line each, and how often it was void.
    #[derive(Default)]
    pub(in crate::decode::json) struct Log {
        pub(in crate::decode::json) lines: Vec<String>,
        pub(in crate::decode::json) again: usize,
    }

    impl Fields for Log {
        fn value(&mut self, column: usize, token: &Token<'_>) {
            self.lines.push(format!("{column}={}", token.raw()));
        }
        fn misplaced(&mut self, column: usize, token: &Token<'_>) {
            self.lines.push(format!("{column}!{}", token.raw()));
        }
        fn unread(&mut self, name: &str, member: &str) {
            self.lines.push(format!("{name}?{member}"));
        }
        fn unread_below(&mut self, path: &[Segment], element: Option<usize>, member: &str) {
            self.lines.push(format!("{path:?} {element:?}?{member}"));
        }
        fn again(&mut self) {
            self.lines.clear();
            self.again += 1;
        }
    }

    pub(in crate::decode::json) fn reader(pointers: &[&str]) -> Reader {
        let paths: Vec<Vec<String>> = pointers.iter().map(|p| p.split('/').map(str::to_owned).collect()).collect();
        Reader::new(paths.iter().map(Vec::as_slice))
    }

    fn check(pointers: &[&str], payload: &str, expected: &[&str]) {
        let mut reader = reader(pointers);
        // Twice: once with the order that the columns have, once with the payload's.
        for _ in 0..2 {
            let mut log = Log::default();
            reader.read(payload, &mut log).unwrap();
            assert_eq!(log.lines, expected, "{payload}");
        }
    }

    fn broken(pointers: &[&str], payload: &str) -> Rule {
        match reader(pointers).read(payload, &mut Log::default()).unwrap_err() {
            Broken::Syntax(fault) => fault.rule,
            Broken::NoObject(_) => Rule::Type,
        }
    }

    #[test]
    fn keys_come_in_any_order() {
        check(&["a", "bb", "c"], r#"{"a":1,"bb":2,"c":3}"#, &["0=1", "1=2", "2=3"]);
        check(&["a", "bb", "c"], r#" { "c" : 3 , "x" : [1] , "a" : 1 } "#, &["2=3", r#"x?"x" : [1]"#, "0=1"]);
        check(&["a"], "{}", &[]);
    }

    #[test]
    fn keys_may_be_escaped() {
        check(&["a\"b", "é"], r#"{"a\"b":1,"\u00e9":2}"#, &["0=1", "1=2"]);
        // The bytes `a"` stand in the name, but in the payload the quote ends the key.
        assert_eq!(broken(&["a\"b"], r#"{"a"b":1}"#), Rule::Json);
    }

    #[test]
    fn pointers_go_through_objects_and_arrays() {
        let payload = r#"{"m":{"u":"C","v":[10,{"x":20},30]},"n":null}"#;
        check(&["m/u", "m/v/1/x", "m/v/2", "m/w", "n/o"], payload, &[r#"0="C""#, "1=20", "2=30"]);
        check(&["m/v/0", "m/v", "n"], payload, &["0=10", r#"1=[10,{"x":20},30]"#, "2=null"]);
        check(&["m/0"], r#"{"m":{"0":1}}"#, &["0=1"]);
        check(&["m/01"], r#"{"m":[1,2]}"#, &["0![1,2]"]);
        check(&["z", "m/u", "m/v"], r#"{"m":5}"#, &["1!5"]);
    }

    #[test]
    fn two_columns_may_read_one_field() {
        check(&["a", "a"], r#"{"a":1}"#, &["0=1", "1=1"]);
    }

    #[test]
    fn read_fields_stand_once() {
        assert_eq!(broken(&["a"], r#"{"a":1,"a":1}"#), Rule::Duplicate);
        assert_eq!(broken(&["a"], r#"{"a":1,"\u0061":1}"#), Rule::Duplicate);
        assert_eq!(broken(&["m/u"], r#"{"m":{"u":1},"m":{}}"#), Rule::Duplicate);
        assert_eq!(broken(&["m/u"], r#"{"m":{"u":1,"u":1}}"#), Rule::Duplicate);
        check(&["a"], r#"{"x":1,"x":2}"#, &[r#"x?"x":1"#, r#"x?"x":2"#]);
    }

    #[test]
    fn a_payload_is_one_object() {
        for (payload, rule) in [
            ("", Rule::Json),
            (" ", Rule::Json),
            ("{", Rule::Json),
            (r#"{"a""#, Rule::Json),
            (r#"{"a":"#, Rule::Json),
            (r#"{"a":1"#, Rule::Json),
            (r#"{"a":1,}"#, Rule::Json),
            (r#"{a:1}"#, Rule::Json),
            ("{,}", Rule::Json),
            ("\u{feff}{}", Rule::Json),
            ("{}{}", Rule::Trailing),
            ("{} x", Rule::Trailing),
            ("{}\0", Rule::Trailing),
            ("[1]", Rule::Type),
            ("1 2", Rule::Trailing),
            ("[1", Rule::Json),
        ] {
            assert_eq!(broken(&["a"], payload), rule, "{payload:?}");
        }
    }
}
