//! JSON, strictly after RFC 8259: where a value ends and what it is, without building anything.
//!
//! The scanner runs over text that is already known to be UTF-8, skips containers without recursion, and checks
//! everything that it skips: grammar, escapes (also surrogates without their other half), nesting. It does not look for
//! duplicate keys; that is up to the reader of an object.

use crate::decode::json::escape::unicode_escape;
use crate::decode::json::token::{Token, TokenKind};
use crate::decode::shared::Rule;
use crate::model::schema::DEPTH_MAX;

/// Why a payload could not be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) rule: Rule,
    /// The byte of the payload.
    pub(crate) at: usize,
    /// What would have been right there.
    pub(crate) expected: &'static str,
}

/// A place in a payload.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    pub(crate) at: usize,
    /// Objects and arrays that are open around this place.
    pub(crate) depth: usize,
}

const VALUE: &str = "a value";
const KEY: &str = "a field's name in quotes";
const CONTROL: &str = "an escape instead of a control character";

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Scanner { text, at: 0, depth: 0 }
    }

    /// The byte here; 0, which no grammar rule accepts, at the end.
    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// Passes whitespace; then [`Scanner::peek`].
    #[inline]
    pub(crate) fn next(&mut self) -> u8 {
        let byte = self.peek();
        if byte > b' ' { byte } else { self.pass_whitespace() }
    }

    fn pass_whitespace(&mut self) -> u8 {
        while let b' ' | b'\n' | b'\r' | b'\t' = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    /// Whether the rest of the payload begins with `bytes`.
    #[inline]
    pub(crate) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.text.as_bytes()[self.at..].starts_with(bytes)
    }

    /// Whether `bytes` follow the byte here.
    #[inline]
    pub(crate) fn follows(&self, bytes: &[u8]) -> bool {
        begins(&self.text.as_bytes()[self.at + 1..], bytes)
    }

    /// The text from a byte up to here.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The text between two bytes.
    pub(crate) fn between(&self, start: usize, end: usize) -> &'a str {
        &self.text[start..end]
    }

    /// What is still to be read.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    #[cold]
    pub(crate) fn fault<T>(&self, expected: &'static str) -> Result<T, Box<Syntax>> {
        self.break_rule(Rule::Json, self.at, expected)
    }

    #[cold]
    pub(crate) fn break_rule<T>(&self, rule: Rule, at: usize, expected: &'static str) -> Result<T, Box<Syntax>> {
        Err(Box::new(Syntax { rule, at, expected }))
    }

    /// Passes `byte`, before which whitespace may stand.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Box<Syntax>> {
        if self.next() != byte {
            return self.fault(expected);
        }
        self.at += 1;
        Ok(())
    }

    /// After the payload's value: nothing but whitespace may follow.
    pub(crate) fn end(&mut self) -> Result<(), Box<Syntax>> {
        self.next();
        if self.at == self.text.len() {
            return Ok(());
        }
        self.break_rule(Rule::Trailing, self.at, "the end of the payload")
    }

    /// Passes the opening bracket of an object or array.
    pub(crate) fn open(&mut self) -> Result<(), Box<Syntax>> {
        self.pass_opening(0)?;
        self.depth += 1;
        Ok(())
    }

    /// Passes the closing bracket of an object or array.
    pub(crate) fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// A token for the values of this payload.
    pub(crate) fn token(&self) -> Token<'a> {
        Token::new(self.text, TokenKind::Null)
    }

    /// Passes a value, before which whitespace may stand.
    // Inlined, with all that makes up a number: this is most of what reading a record is.
    #[inline(always)]
    pub(crate) fn value(&mut self, token: &mut Token<'a>) -> Result<(), Box<Syntax>> {
        let byte = self.next();
        match byte {
            b'{' | b'[' => {
                let start = self.at;
                self.skip_container()?;
                let kind = if byte == b'{' { TokenKind::Object } else { TokenKind::Array };
                token.set(kind, start, self.at);
                Ok(())
            }
            _ => self.scalar(byte, token),
        }
    }

    /// [`Scanner::value`], not inlined.
    pub(crate) fn skip_into(&mut self, token: &mut Token<'a>) -> Result<(), Box<Syntax>> {
        self.value(token)
    }

    #[inline(always)]
    fn scalar(&mut self, byte: u8, token: &mut Token<'a>) -> Result<(), Box<Syntax>> {
        let start = self.at;
        match byte {
            b'"' => {
                let escaped = self.string()?;
                token.set(TokenKind::Text { escaped }, start, self.at);
                Ok(())
            }
            b'-' | b'0'..=b'9' => match token.number.read(self.text, start) {
                Ok(end) => {
                    self.at = end;
                    token.set(TokenKind::Number, start, end);
                    Ok(())
                }
                Err(at) => {
                    self.at = at;
                    self.fault("a number as JSON writes it")
                }
            },
            b't' => self.literal("true", TokenKind::Bool(true), token),
            b'f' => self.literal("false", TokenKind::Bool(false), token),
            b'n' => self.literal("null", TokenKind::Null, token),
            _ => self.fault(VALUE),
        }
    }

    fn literal(&mut self, word: &'static str, kind: TokenKind, token: &mut Token<'a>) -> Result<(), Box<Syntax>> {
        if !self.starts_with(word.as_bytes()) {
            return self.fault("true, false, null, a number, a text, an array or an object");
        }
        let start = self.at;
        self.at += word.len();
        token.set(kind, start, self.at);
        Ok(())
    }

    /// Passes a string, whose opening quote is here; answers whether it has escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<bool, Box<Syntax>> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at = special(self.text.as_bytes(), self.at);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ if self.at == self.text.len() => return self.fault("the text's closing quote"),
                _ => return self.fault(CONTROL),
            }
        }
    }

    /// Passes an escape, whose backslash is here.
    fn escape(&mut self) -> Result<(), Box<Syntax>> {
        let rest = &self.text.as_bytes()[self.at..];
        match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match unicode_escape(rest) {
                Some((_, length)) => self.at += length,
                None => {
                    return self.fault("an escaped character: \\u and four hex digits, surrogates in pairs");
                }
            },
            _ => return self.fault("an escape that JSON knows"),
        }
        Ok(())
    }

    /// Passes an object or array, whose opening bracket is here, without recursion.
    fn skip_container(&mut self) -> Result<(), Box<Syntax>> {
        // One bit a level, the innermost lowest: whether it is an object. `DEPTH_MAX` bits are enough.
        let mut objects: u128 = 0;
        let mut levels = 0;
        let mut ignored = self.token();
        loop {
            let byte = self.next();
            let empty = match byte {
                b'{' | b'[' => {
                    self.pass_opening(levels)?;
                    levels += 1;
                    objects = objects << 1 | u128::from(byte == b'{');
                    match (byte, self.next()) {
                        (b'{', b'}') | (b'[', b']') => true,
                        (b'{', _) => {
                            self.skip_key()?;
                            continue;
                        }
                        _ => continue,
                    }
                }
                _ => {
                    self.scalar(byte, &mut ignored)?;
                    false
                }
            };
            if empty {
                self.at += 1;
                levels -= 1;
                objects >>= 1;
            }
            // After a value: closing brackets, and then a comma if anything is still open.
            while levels > 0 {
                match (self.next(), objects & 1 == 1) {
                    (b',', object) => {
                        self.at += 1;
                        if object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        levels -= 1;
                        objects >>= 1;
                    }
                    (_, true) => return self.fault("`,` or `}`"),
                    (_, false) => return self.fault("`,` or `]`"),
                }
            }
            if levels == 0 {
                return Ok(());
            }
        }
    }

    /// Passes an opening bracket inside `levels` more than are counted.
    #[inline]
    fn pass_opening(&mut self, levels: usize) -> Result<(), Box<Syntax>> {
        if self.depth + levels == DEPTH_MAX {
            return self.break_rule(Rule::Depth, self.at, DEPTH_TEXT);
        }
        self.at += 1;
        Ok(())
    }

    fn skip_key(&mut self) -> Result<(), Box<Syntax>> {
        self.key()?;
        self.expect(b':', "`:`")
    }

    /// Passes a key, before which whitespace may stand; answers whether it has escapes.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<bool, Box<Syntax>> {
        if self.next() != b'"' {
            return self.fault(KEY);
        }
        self.string()
    }
}

/// Whether `bytes` begin with these few. To call memcmp, which must find out how many they are, takes longer.
#[inline]
pub(crate) fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let Some(bytes) = bytes.get(..with.len()) else { return false };
    match with.len() {
        2..=3 => ends_are_same::<2>(bytes, with),
        4..=7 => ends_are_same::<4>(bytes, with),
        8..=16 => ends_are_same::<8>(bytes, with),
        _ => bytes == with,
    }
}

/// Whether the first and the last bytes are the same, so many each: all of them, where there are up to twice as many.
#[inline]
fn ends_are_same<const BYTES: usize>(one: &[u8], other: &[u8]) -> bool {
    debug_assert!(one.len() == other.len() && (BYTES..=2 * BYTES).contains(&one.len()), "else more or less would do");
    one.first_chunk::<BYTES>() == other.first_chunk() && one.last_chunk::<BYTES>() == other.last_chunk()
}

/// The first byte from `at` on that ends a run of plain text: a quote, a backslash, a control character, or the end.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> usize {
    // Most texts are short; what is longer than this is worth wider steps.
    let wide = at + 32;
    while at < wide
        && let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>())
    {
        match special_in_word(*chunk) {
            Some(found) => return at + found,
            None => at += 8,
        }
    }
    special_far(bytes, at)
}

/// [`special`], by steps that the compiler makes vectors of.
fn special_far(bytes: &[u8], mut at: usize) -> usize {
    let is_special = |byte: &u8| (*byte == b'"') | (*byte == b'\\') | (*byte < 0x20);
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<64>()) {
        if chunk.iter().fold(false, |any, byte| any | is_special(byte)) {
            break;
        }
        at += 64;
    }
    bytes[at..].iter().position(is_special).map_or(bytes.len(), |found| at + found)
}

/// The first special byte of eight.
#[inline]
fn special_in_word(chunk: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // A byte's highest bit is set where it is zero (or below 0x20) after the subtraction and was not set before. A borrow can
    // only spoil bytes above the first hit, and the first is all that is asked for.
    let word = u64::from_le_bytes(chunk);
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let hits = (quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash)
        | (word.wrapping_sub(ONES * 0x20) & !word);
    let hits = hits & HIGHS;
    (hits != 0).then(|| (hits.trailing_zeros() / 8) as usize)
}

const DEPTH_TEXT: &str = "128";
const _: () = assert!(DEPTH_MAX == 128 && DEPTH_MAX <= u128::BITS as usize);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(text: &str) -> Result<&str, Rule> {
        let mut scanner = Scanner::new(text);
        let mut token = scanner.token();
        scanner.value(&mut token).and_then(|()| scanner.end()).map_err(|fault| fault.rule)?;
        Ok(token.raw())
    }

    #[test]
    fn nesting_is_limited_not_recursive() {
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert!(scan(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(scan(&nested(DEPTH_MAX + 1)), Err(Rule::Depth));
        assert_eq!(scan(&"[".repeat(100_000)), Err(Rule::Depth));
        assert_eq!(scan(&r#"{"a":"#.repeat(100_000)), Err(Rule::Depth));
        assert_eq!(scan(&"[".repeat(DEPTH_MAX)), Err(Rule::Json));
    }

    #[test]
    fn containers_are_closed_as_they_were_opened() {
        for good in [r#"[1,{"a":[],"b":{}},[[]]]"#, " [ ] ", r#" { "a" : [ 1 , 2 ] } "#] {
            assert_eq!(scan(good), Ok(good.trim()), "{good}");
        }
        for bad in [
            "[1}",
            r#"{"a":1]"#,
            "[}",
            "{]",
            "[[1},2]",
            r#"[{"a":1]}"#,
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1",
            "{",
            "[",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a",1}"#,
            "{1:2}",
            "{,}",
            "{a:1}",
        ] {
            assert_eq!(scan(bad), Err(Rule::Json), "{bad}");
        }
    }

    #[test]
    fn few_bytes_are_compared_to_the_last() {
        let text = b"the keys of records are short, as a rule";
        for length in 0..text.len() {
            let with = &text[..length];
            assert!(begins(text, with) && begins(with, with), "{length}");
            assert!(!begins(&text[..length.saturating_sub(1)], with) || length == 0, "{length}");
            for at in 0..length {
                let mut other = with.to_vec();
                other[at] ^= 1;
                assert!(!begins(text, &other), "{length}, byte {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_first_special_byte_is_found(plain in "[a-zé]{0,300}", text in "[ -~é\\x00-\\x1f\"\\\\]{0,40}", skip in 0usize..8) {
            let text = plain + &text;
            let plain = |byte: &u8| *byte != b'"' && *byte != b'\\' && *byte >= 0x20;
            let skip = skip.min(text.len());
            let slow = text.as_bytes()[skip..].iter().take_while(|byte| plain(byte)).count();
            prop_assert_eq!(special(text.as_bytes(), skip), skip + slow);
        }
    }
}
