//! The house has floors: what a folder may import of others stands in the table of `lib.rs`, and this holds every file against it.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imports::Crate;

/// Which folders a folder may import, in the table's order: from the ground up.
struct Table(Vec<(String, Vec<String>)>);

impl Table {
    /// The table below the heading `# Floors` in a crate's documentation.
    fn of(documentation: &str) -> Table {
        let rows = documentation
            .lines()
            .map(|line| line.trim_start_matches("//!").trim())
            .skip_while(|line| *line != "# Floors")
            .skip(1)
            .take_while(|line| !line.starts_with('#'))
            .filter_map(|line| line.strip_prefix("| `"));
        let row = |line: &str| {
            let mut cells = line.split('|');
            let folder = cells.next().unwrap_or_default().trim().trim_matches('`').to_owned();
            let imports = cells.next().unwrap_or_default();
            (folder, imports.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        };
        Table(rows.map(row).collect())
    }

    /// The folder of a module: the longest that is in the table.
    fn folder(&self, module: &[String]) -> Option<&str> {
        let path = module.join("/");
        let holds =
            |folder: &str| path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.0
            .iter()
            .map(|(folder, _)| folder.as_str())
            .filter(|folder| holds(folder))
            .max_by_key(|folder| folder.len())
    }
}

/// All that is wrong with a crate by a table.
fn faults(documentation: &str, sources: &[(String, String)]) -> Vec<String> {
    let table = Table::of(documentation);
    let read = Crate::read(sources.iter().map(|(file, text)| (file.as_str(), text.as_str())));
    let mut faults = Vec::new();
    let mut above: BTreeSet<&str> = BTreeSet::new();
    for (folder, imports) in &table.0 {
        let early = imports.iter().filter(|import| !above.contains(import.as_str()));
        faults
            .extend(early.map(|import| format!("the table lets {folder} import {import}, which is no floor below it")));
        above.insert(folder);
    }
    for module in read.modules().filter(|module| !module.is_empty() && table.folder(module).is_none()) {
        faults.push(format!("{} is in no folder of the table", module.join("::")));
    }
    for (module, path) in read.passed_on_whole() {
        faults.push(format!("{} passes on {}::*, and nobody sees what", module.join("::"), path.join("::")));
    }
    let mut used: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for import in read.imports() {
        let Some(by) = table.folder(&import.by) else { continue };
        let Some(of) = table.folder(&import.of) else {
            faults.push(format!("{}: {} is at home in no folder", import.by.join("::"), import.written));
            continue;
        };
        if by != of {
            used.entry((by, of)).or_insert_with(|| format!("{}: {}", import.by.join("::"), import.written));
        }
    }
    for ((by, of), example) in &used {
        let allowed =
            table.0.iter().find(|(folder, _)| folder == by).is_some_and(|(_, all)| all.iter().any(|one| one == of));
        if !allowed {
            faults.push(format!("{by} must not import {of} ({example})"));
        }
    }
    for (folder, imports) in &table.0 {
        let unused = imports.iter().filter(|import| !used.contains_key(&(folder.as_str(), import.as_str())));
        faults.extend(unused.map(|import| format!("the table lets {folder} import {import}, and it doesn't")));
    }
    faults.extend(circle(&used.keys().copied().collect()));
    faults
}

/// Folders that import each other, if any do.
fn circle(edges: &BTreeSet<(&str, &str)>) -> Option<String> {
    // What imports nothing that is left is in no circle, and so on; a circle stays.
    let mut left = edges.clone();
    loop {
        let importers: BTreeSet<&str> = left.iter().map(|(by, _)| *by).collect();
        let imported: BTreeSet<&str> = left.iter().map(|(_, of)| *of).collect();
        let kept: BTreeSet<_> =
            left.iter().copied().filter(|(by, of)| importers.contains(of) && imported.contains(by)).collect();
        if kept.len() == left.len() {
            break;
        }
        left = kept;
    }
    let folders: BTreeSet<&str> = left.iter().map(|(by, _)| *by).collect();
    (!left.is_empty()).then(|| format!("a circle is among {}", folders.into_iter().collect::<Vec<_>>().join(", ")))
}

/// The files below a folder, by their paths below it.
fn sources(folder: &Path, below: &str, found: &mut Vec<(String, String)>) {
    for item in std::fs::read_dir(folder).unwrap() {
        let (path, name) = {
            let item = item.unwrap();
            (item.path(), item.file_name().into_string().unwrap())
        };
        if path.is_dir() {
            sources(&path, &format!("{below}{name}/"), found);
        } else if name.ends_with(".rs") && name != "main.rs" {
            found.push((format!("{below}{name}"), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

fn this_crate() -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    found
}

#[test]
fn no_folder_imports_one_above_it() {
    let sources = this_crate();
    let lib = &sources.iter().find(|(file, _)| file == "lib.rs").unwrap().1;
    let faults = faults(lib, &sources);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is said of this crate with some text added to some of its files.
fn with(planted: &[(&str, &str)]) -> Vec<String> {
    let mut sources = this_crate();
    for (file, text) in planted {
        sources.iter_mut().find(|(found, _)| found == file).unwrap().1.push_str(text);
    }
    let lib = sources.iter().find(|(file, _)| file == "lib.rs").unwrap().1.clone();
    faults(&lib, &sources)
}

#[track_caller]
fn found(planted: &[(&str, &str)], words: &[&str]) {
    let faults = with(planted).join("\n");
    assert!(words.iter().all(|words| faults.contains(words)), "{faults:?} does not have all of {words:?}");
}

#[test]
fn what_is_planted_is_found() {
    found(&[("base/words.rs", "use crate::ledger::LedgerError;")], &["base must not import ledger"]);
    found(
        &[("base/words.rs", "#[cfg(test)] mod planted { fn f() { crate::cli::main() } }")],
        &["base must not import cli"],
    );
    found(
        &[("window/mod.rs", "pub(crate) use super::sink::Sink;")],
        &["window must not import sink", "a circle is among"],
    );
    found(
        &[
            ("validate/mod.rs", "pub(crate) fn planted() { println!(\"{}\", crate::window::planted()) }"),
            ("window/mod.rs", "pub(crate) fn planted() -> u8 { crate::validate::planted(); 1 }"),
        ],
        &["a circle is among validate, window"],
    );
    // A floor that both may import passes on what one of them may not.
    found(
        &[
            ("engine/mod.rs", "pub use crate::sink::Sink as Planted;"),
            ("service/mod.rs", "use crate::engine::Planted;"),
        ],
        &["service must not import sink (service: crate::engine::Planted)"],
    );
    found(
        &[("lib.rs", "pub use sink::Sink;"), ("window/mod.rs", "use crate::Sink;")],
        &["window must not import sink"],
    );
    found(&[("flow/mod.rs", "pub use crate::sink::*;")], &["flow passes on crate::sink::*, and nobody sees what"]);
    found(&[("lib.rs", "pub fn planted() {}"), ("window/mod.rs", "use crate::planted;")], &["is at home in no folder"]);
    found(&[("lib.rs", "mod planted { }")], &["planted is in no folder of the table"]);
}
