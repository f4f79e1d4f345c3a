//! What is wrong with a pipeline file: every mistake, with its place and what to type instead.
//!
//! A message never holds the value of a variable in `[source.client]`: passwords stand there.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::LazyLock;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteHandlerOpts, MietteSpanContents, ReportHandler, SourceCode, SourceSpan,
    SpanContents,
};
use regex::Regex;

use super::client::SECRET_WORDS;

/// So many mistakes are told; whoever mends these finds the others.
const MISTAKES_MAX: usize = 100;
/// So many bytes of a line are shown before and after what is wrong in it.
const BESIDE_MAX: usize = 400;

/// A pipeline file that can't be used: its mistakes, in the file's order.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{} has {}", file.name, count(mistakes.len()))]
pub struct Broken {
    #[source_code]
    file: File,
    /// The mistakes, as many as are told; never empty.
    #[related]
    pub mistakes: Vec<Mistake>,
}

#[derive(Debug)]
struct File {
    name: String,
    text: String,
}

/// One mistake in a pipeline file.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct Mistake {
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to type instead.
    #[help]
    pub help: Option<String>,
    /// Where it stands, the place to change first; empty when the file as a whole is meant.
    #[label(collection)]
    labels: Vec<LabeledSpan>,
}

impl Broken {
    pub(super) fn new(name_of_file: &str, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        let text = &mask(text);
        mistakes.sort_by_key(|mistake| mistake.labels.first().map(LabeledSpan::offset));
        if let Some(more @ 1..) = mistakes.len().checked_sub(MISTAKES_MAX) {
            mistakes.truncate(MISTAKES_MAX);
            mistakes.push(Mistake::of_file(format!("{} like these are not told", count(more))));
        }
        Broken { file: File { name: name_of_file.to_owned(), text: text.to_owned() }, mistakes }
    }

    /// The line and the column (in characters) of a mistake, both counted from 1.
    pub fn position(&self, mistake: &Mistake) -> Option<(usize, usize)> {
        let before = self.file.text.get(..mistake.labels.first()?.offset())?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// Everything for a person to read: each mistake with its line.
    pub fn report(&self) -> impl std::fmt::Display + '_ {
        Report { broken: self, style: MietteHandlerOpts::new() }
    }

    /// [`Broken::report`] as it looks without a terminal.
    pub fn plain_report(&self) -> String {
        let style = MietteHandlerOpts::new().color(false).unicode(true).width(120).terminal_links(false);
        Report { broken: self, style }.to_string()
    }
}

struct Report<'a> {
    broken: &'a Broken,
    style: MietteHandlerOpts,
}

impl std::fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.style.clone().context_lines(1).build().debug(self.broken, f)
    }
}

impl File {
    /// Where the first character begins that begins here or later.
    fn character_at(&self, place: usize) -> usize {
        (place..self.text.len()).find(|place| self.text.is_char_boundary(*place)).unwrap_or(self.text.len())
    }
}

impl SourceCode for File {
    /// Where context is asked for, gives the span's own lines and none beside them: those may hold a
    /// password. Of a long line it gives what is near: a file may be one line with many mistakes.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let mut span = *span;
        if lines_before > 0 {
            let bytes = self.text.as_bytes();
            let end = (span.offset() + span.len()).min(bytes.len());
            let start = bytes[..span.offset().min(end)].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let start = self.character_at(start.max(span.offset().saturating_sub(BESIDE_MAX)));
            let near = bytes.len().min(end + BESIDE_MAX);
            let end = bytes[end..near].iter().position(|byte| *byte == b'\n').map_or(near, |at| end + at);
            span = (start..self.character_at(end)).into();
        }
        let contents = self.text.read_span(&span, 0, 0)?;
        let (line, column, lines) = (contents.line(), contents.column(), contents.line_count());
        let named =
            MietteSpanContents::new_named(self.name.clone(), contents.data(), *contents.span(), line, column, lines);
        Ok(Box::new(named))
    }
}

/// The text with the values of what is called as secrets are written as stars, in as many bytes, so that every span stays right. Variables
/// are shown: they are no secrets, what they hold is.
fn mask(text: &str) -> String {
    static SECRETS: LazyLock<Regex> = LazyLock::new(|| {
        let value = r#"(?s:\"{3}.*?\"{3}|'{3}.*?'{3})|"[^"\n]*"|'[^'\n]*'"#;
        let name = SECRET_WORDS.join("|").replace('.', r"\.");
        Regex::new(&format!(r#"(?mi)^[ \t]*["']?[\w.\-]*(?:{name})[\w.\-]*["']?[ \t]*=[ \t]*({value})"#))
            .expect("the pattern is valid")
    });
    let mut masked = text.as_bytes().to_vec();
    for found in SECRETS.captures_iter(text) {
        let value = found.get(1).expect("the pattern has this group");
        if !value.as_str().contains("${") {
            let hidden = masked[value.range()].iter_mut().filter(|byte| !matches!(byte, b'"' | b'\'' | b'\n' | b'\r'));
            hidden.for_each(|byte| *byte = b'*');
        }
    }
    String::from_utf8(masked).expect("whole characters were replaced")
}

fn count(mistakes: usize) -> String {
    if mistakes == 1 { "a mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

impl Mistake {
    pub(super) fn new(span: &Range<usize>, message: impl Into<String>) -> Self {
        let labels = vec![LabeledSpan::new_primary_with_span(None, span.clone())];
        Mistake { message: message.into(), help: None, labels }
    }

    pub(super) fn of_file(message: impl Into<String>) -> Self {
        Mistake { message: message.into(), help: None, labels: Vec::new() }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Marks a second place, and says what it has to do with the mistake.
    pub(super) fn also(mut self, span: &Range<usize>, text: &str) -> Self {
        self.labels.push(LabeledSpan::new_with_span(Some(text.to_owned()), span.clone()));
        self
    }
}

/// Collects mistakes while a file is read on.
#[derive(Debug, Default)]
pub(super) struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    pub(super) fn add(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(super) fn into_inner(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_stars_and_nothing_moves() {
        let text = "# sasl.password = \"a\"\n\"sasl.pasword\" = 'x'\n\"sasl.password\" = \"hünter2\" # why\nsasl.username = \"ana\"\n\
                    'ssl.key.pem' = \"\"\"\n-----\nabc\"\"\"\nSASL.PASSWORD='p'\nssl.key.password = \"${KEY}\"\n";
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        assert_eq!(
            masked,
            "# sasl.password = \"a\"\n\"sasl.pasword\" = '*'\n\"sasl.password\" = \"********\" # why\nsasl.username = \"ana\"\n\
             'ssl.key.pem' = \"\"\"\n*****\n***\"\"\"\nSASL.PASSWORD='*'\nssl.key.password = \"${KEY}\"\n"
        );
    }
}
