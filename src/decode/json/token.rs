//! A value of a payload: where it stands and what it is.

use crate::decode::json::number::Number;

/// A value where it stands in a payload.
///
/// One token is filled again and again, and never returned: it would go through memory at each call otherwise, which
/// costs as much as reading the value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    /// What it stands in, and where it starts and ends: cut out only where it is needed.
    payload: &'a str,
    start: usize,
    end: usize,
    pub(crate) kind: TokenKind,
    /// What is written, where it is a number.
    pub(crate) number: Number,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Null,
    Bool(bool),
    Number,
    Text {
        /// Whether there are escapes in it.
        escaped: bool,
    },
    Array,
    Object,
}

impl<'a> Token<'a> {
    /// A token that is no number, and all of a text.
    pub(crate) fn new(text: &'a str, kind: TokenKind) -> Self {
        Token { payload: text, start: 0, end: text.len(), kind, number: Number::default() }
    }

    /// The value as written.
    #[inline]
    pub(crate) fn raw(&self) -> &'a str {
        &self.payload[self.start..self.end]
    }

    /// What stands between a text's quotes.
    #[inline]
    pub(crate) fn inner(&self) -> &'a str {
        &self.payload[self.start + 1..self.end - 1]
    }

    /// A number as written, also where it is a text.
    pub(crate) fn digits(&self) -> &'a str {
        if self.kind == TokenKind::Number { self.raw() } else { self.inner() }
    }

    /// Where it starts and ends.
    #[inline]
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.start, self.end)
    }

    /// Makes it what stands between two bytes of the payload.
    #[inline]
    pub(crate) fn set(&mut self, kind: TokenKind, start: usize, end: usize) {
        (self.kind, self.start, self.end) = (kind, start, end);
    }
}
