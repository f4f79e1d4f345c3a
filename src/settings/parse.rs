//! A pipeline file's text to a [`Pipeline`], or to every mistake in it.
//!
//! All of the file is read before anything is reported: a section that can't be read leaves the others to be checked.
//! Only broken TOML ends it at once. Nothing is opened or asked but the file itself, the
//! environment, and the files of secrets that it names.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::column::columns;
use super::mask::mask;
use super::mistake::{Broken, Mistake, Mistakes};
use super::resolved::resolved;
use super::section::{Section, choice, refuse, text};
use super::sink::sink;
use super::source::source;
use super::tree;
use super::tree::Node;
use super::window::window;
use crate::model::pipeline::{Pipeline, UnknownFields, Validate, defaults};

/// A pipeline file is written by hand: what is longer than this was meant to be something else.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The name is a folder and part of the group's name.
const NAME_LENGTH_MAX: usize = 100;

const UNKNOWN_FIELDS: &[(&str, UnknownFields)] =
    &[("ignore", UnknownFields::Ignore), ("reject", UnknownFields::Reject), ("keep", UnknownFields::Keep)];

impl Pipeline {
    /// Reads a pipeline file, variables filled in from the process's environment.
    pub fn load(path: &Path) -> Result<Pipeline, Broken> {
        let name_of_file = path.display().to_string();
        let text = read(path).map_err(|error| {
            Broken::new(&name_of_file, "", vec![Mistake::of_file(format!("can't be read: {error}"))])
        })?;
        let read = Pipeline::parse(&name_of_file, &text, &|name| std::env::var(name).ok());
        match elsewhere(path) {
            Some(target) if read.is_err() => Err(Broken::new(&name_of_file, "", vec![of_a_link(&target)])),
            _ => read,
        }
    }

    /// Reads the text of a pipeline file; `name_of_file` is for messages, `environment` tells variables' values.
    pub fn parse(
        name_of_file: &str,
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Pipeline, Broken> {
        let mistakes = Mistakes::default();
        let pipeline =
            tree::parse(text, environment, &mistakes).and_then(|root| pipeline(&root, name_of_file, text, &mistakes));
        match pipeline {
            Some(pipeline) if mistakes.is_empty() => Ok(pipeline),
            _ => Err(Broken::new(name_of_file, text, mistakes.into_inner())),
        }
    }
}

/// Where a link leads, if it leads out of its folder. Those that container platforms mount stay in
/// it.
fn elsewhere(path: &Path) -> Option<PathBuf> {
    if !path.is_symlink() {
        return None;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(".".as_ref());
    let target = path.canonicalize().ok()?;
    (!target.starts_with(folder.canonicalize().ok()?)).then_some(target)
}

/// The only mistake that is told of a file which a link leads to: it may be anybody's, and no
/// pipeline file.
fn of_a_link(target: &Path) -> Mistake {
    let target = target.display();
    let message = format!("is a link to {target}, which is no pipeline file or has mistakes: nothing of it is shown");
    Mistake::of_file(message).help(format!("`weir check {target}` shows them"))
}

/// The text of a pipeline file, which is a file and no larger than one can be.
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    // Before it is opened: to open a pipe would wait for whoever writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    let bytes = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if bytes as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

fn pipeline(root: &Node, file: &str, text: &str, mistakes: &Mistakes) -> Option<Pipeline> {
    let section = Section::open("", root, mistakes)?;
    let name = section.must("name", "name = \"my-pipeline\", at the top").and_then(|node| name(node, mistakes));
    let source = section
        .must("source", "a section [source] with type, brokers, topics and format")
        .and_then(|node| source(node, name, mistakes));
    let columns = section
        .must("columns", "a section [columns] with a line for each column: co = { type = \"float64\" }")
        .and_then(|node| columns(node, mistakes));
    let validate = section.node("validate").and_then(|node| validate(node, mistakes));
    let window = section
        .must(
            "window",
            "a section [window] with type = \"count\" and rows = 100, or type = \"tumbling\", size and time",
        )
        .and_then(|node| window(node, columns.as_deref(), mistakes));
    let sink = section
        .must("sink", "a section [sink] with type = \"parquet\"")
        .and_then(|node| sink(node, columns.as_deref(), window.as_ref(), mistakes));
    if !mistakes.is_empty() {
        return None;
    }
    let (masked, resolved) = (mask(text), mask(&resolved(root)));
    Some(Pipeline {
        name: name?.to_owned(),
        source: source?,
        columns: columns?.into_iter().map(|known| known.column).collect::<Option<_>>()?,
        validate: validate.unwrap_or(Validate { unknown_fields: defaults::UNKNOWN_FIELDS }),
        window: window?,
        sink: sink?,
        hash: hash(&masked),
        resolved_hash: hash(&resolved),
        fingerprint: fingerprint(text, root),
        text: masked,
        resolved,
        file: file.into(),
    })
}

fn name<'a>(node: &'a Node, mistakes: &Mistakes) -> Option<&'a str> {
    let name = text(node, mistakes)?;
    let legal = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.chars().all(legal) {
        let help = "use 1 to 100 letters, digits, - and _: it names a folder";
        return refuse(node, format!("{name:?} can't be a pipeline's name"), help, mistakes);
    }
    Some(name)
}

fn validate(node: &Node, mistakes: &Mistakes) -> Option<Validate> {
    let section = Section::open("validate", node, mistakes)?;
    let unknown_fields = section.node("unknown_fields").and_then(|node| choice(node, UNKNOWN_FIELDS, mistakes));
    Some(Validate { unknown_fields: unknown_fields.unwrap_or(defaults::UNKNOWN_FIELDS) })
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Begins with bytes that only this process knows: without them a short password could be guessed from it.
fn fingerprint(text: &str, root: &Node) -> String {
    static SALT: OnceLock<[u8; 32]> = OnceLock::new();
    let salt = SALT.get_or_init(|| {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).expect("the operating system gives random bytes");
        salt
    });
    let mut digest = Sha256::new_with_prefix(salt);
    // Each with its length before it: no text can pass for another one and a value.
    let mut add = |part: &str| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(text);
    tree::filled_in(root, &mut add);
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
