//! What is wrong with a pipeline file: every mistake, with its place and what to type instead.
//!
//! A message never holds the value of a variable in `[source.client]`: passwords stand there. What
//! is shown of the file has its secrets masked, and is short: a file may have one line of a
//! megabyte, and a mistake in each of its columns.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Range;

use super::mask::mask;
use crate::base::codes::{Code, Coded};
use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteHandlerOpts, MietteSpanContents, ReportHandler, SourceCode, SourceSpan,
    SpanContents,
};

/// Bytes of a line that are shown before and after a mistake in it.
const LINE_BYTES_MAX: usize = 300;
/// Bytes of a report that programs show: the service's log and its answers.
const PLAIN_REPORT_BYTES_MAX: usize = 16 << 10;

/// So many mistakes are told; whoever mends these finds the others.
const MISTAKES_MAX: usize = 100;

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

impl Coded for Broken {
    fn code(&self) -> Code {
        Code::PipelineFile
    }
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

    /// A good file that can't be used for a reason that stands outside of it.
    pub(crate) fn of_file(file: &std::path::Path, message: String, help: String) -> Self {
        Broken::new(&file.display().to_string(), "", vec![Mistake::of_file(message).help(help)])
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

    /// [`Broken::report`] as it looks without a terminal; only its beginning, if it is very long.
    pub fn plain_report(&self) -> String {
        let style = MietteHandlerOpts::new().color(false).unicode(true).width(120).terminal_links(false);
        let mut beginning = Beginning { text: String::new(), is_cut: false };
        // Its only error is that the report is longer than what is kept.
        let _ = write!(beginning, "{}", Report { broken: self, style });
        if beginning.is_cut {
            let name = &self.file.name;
            beginning.text += &format!("\n… and more: `weir check {name}` shows all of it\n");
        }
        beginning.text
    }
}

/// The beginning of a text that is being written.
struct Beginning {
    text: String,
    is_cut: bool,
}

impl std::fmt::Write for Beginning {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        if self.text.len() + part.len() > PLAIN_REPORT_BYTES_MAX {
            self.is_cut = true;
            return Err(std::fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
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

impl SourceCode for File {
    /// Where context is asked for, gives the span's own lines and none beside them: those may hold
    /// a password. Of a long line it gives the part around the span.
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
            let end = bytes[end..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| end + at);
            let start = self.boundary(start.max(span.offset().saturating_sub(LINE_BYTES_MAX)));
            let end = self.boundary(end.min((span.offset() + span.len()).saturating_add(LINE_BYTES_MAX)));
            span = (start..end).into();
        }
        let contents = self.text.read_span(&span, 0, 0)?;
        let (line, column, lines) = (contents.line(), contents.column(), contents.line_count());
        let named =
            MietteSpanContents::new_named(self.name.clone(), contents.data(), *contents.span(), line, column, lines);
        Ok(Box::new(named))
    }
}

impl File {
    /// The first place at or after this one that is between two characters.
    fn boundary(&self, at: usize) -> usize {
        (at..self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or(self.text.len())
    }
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Pipeline;

    #[track_caller]
    fn check(text: &str, words: &str) {
        let report = Pipeline::parse("a.toml", text, &|_| None).unwrap_err().plain_report();
        assert!(report.len() < PLAIN_REPORT_BYTES_MAX + 200, "{} bytes", report.len());
        assert!(report.contains(words), "{report}");
    }

    #[test]
    fn a_report_is_short_whatever_the_file() {
        let long = "é".repeat(400_000);
        check(&format!("x = 1 # {long}"), "the file has no key `x`");
        check(&format!("\"{long}\" = 1\ny = 1"), "… and more: `weir check a.toml` shows all of it");
        check(&format!("a = [\"{long}\", }}"), "a.toml:1:");
        let many: String = (0..2_000).map(|number| format!("k{number} = 1\n")).collect();
        check(&many, "… and more: `weir check a.toml` shows all of it");
    }
}
