//! What README.md and docs/ say is true: their pipelines pass `weir check`, their commands parse and work, their links lead
//! somewhere, and the messages they explain are messages that weir has.
//!
//! It reads Markdown as far as these pages use it. Prose is not checked.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;
use toml::{Table, Value};
use weir::settings::Service;

use crate::harness::broker::Broker;
use crate::harness::dataset::files;
use crate::harness::setup::{folder, root};
use crate::harness::weir::{Finished, Workspace};

const PATIENCE: Duration = Duration::from_secs(120);
/// The sections of a file in config/; a TOML block that begins with another one belongs to a pipeline.
const SERVICE_SECTIONS: [&str; 5] = ["limits", "restart", "log", "http", "serve"];
/// Commands of the README's first steps that a test does in another way, and why.
const DONE_OTHERWISE: [(&str, &str); 3] = [
    ("deploy/kafka start", "the test has a broker of its own, started by the same script on another port"),
    ("cargo install --path . --locked", "the binary under test is there; installing would build it a second time"),
    ("deploy/kafka stop", "the broker ends with the test"),
];

/// README.md and every page of docs/: its path and text.
fn pages() -> Vec<(PathBuf, String)> {
    let markdown = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let docs = files(&root().join("docs")).into_iter().filter(markdown);
    let pages: Vec<_> = docs.chain([root().join("README.md")]).map(|path| (path.clone(), read(&path))).collect();
    assert!(pages.len() >= 3, "pages are missing");
    pages
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = Regex::new(&format!(r"(?ms)^```{language}\n(.*?)^```$")).unwrap();
    fence.captures_iter(page).map(|block| block[1].to_owned()).collect()
}

/// The commands of a page's `sh` blocks: comments, and what follows a pipe or redirection, left out.
fn commands(page: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect::<Vec<_>>();
    let lines = blocks(page, "sh").join("\n").replace("\\\n", " ");
    let command = |line: &str| words(line.split(" #").next().unwrap().split(['|', '>', '<']).next().unwrap());
    lines.lines().map(command).filter(|words| !words.is_empty()).collect()
}

/// The arguments of a `weir` command line, whatever variables stand before it.
fn weir_arguments(command: &[String]) -> Option<Vec<&str>> {
    let command: Vec<&str> = command.iter().map(String::as_str).skip_while(|word| word.contains('=')).collect();
    match command.as_slice() {
        ["weir", arguments @ ..] | ["cargo", "run", "--release", "--", arguments @ ..] => Some(arguments.to_vec()),
        _ => None,
    }
}

/// `weir` with these arguments, which must end with `code`.
#[track_caller]
fn weir(arguments: &[&str], code: i32) -> Finished {
    Workspace::new().run(arguments.iter().copied(), PATIENCE).expect_code(code)
}

/// A block that shows a part of a pipeline, put into the shipped one.
fn completed(block: &str) -> String {
    let mut whole: Table = read(&root().join("pipelines/air_quality.toml")).parse().unwrap();
    for (key, part) in block.parse::<Table>().unwrap_or_else(|error| panic!("{error} in:\n{block}")) {
        match (whole.get_mut(&key).filter(|_| key != "window"), part) {
            (Some(Value::Table(section)), Value::Table(part)) => section.extend(part),
            (_, part) => drop(whole.insert(key, part)),
        }
    }
    whole.to_string()
}

/// A text whose secrets are in a file that is there.
fn with_a_secret(text: &str, folder: &Path) -> String {
    let secret = folder.join("secret");
    fs::write(&secret, "as-long-as-a-token-must-be").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let file = format!("$${{file:{}}}", secret.display());
    Regex::new(r"\$\{file:[^}]+\}").unwrap().replace_all(text, file).into_owned()
}

/// Checks one block as what it is; a whole pipeline stands in it as it is, comments and all.
fn check_toml(page: &Path, block: &str) {
    let table: Table = block.parse().unwrap_or_else(|error| panic!("{}: {error} in:\n{block}", page.display()));
    if table.keys().all(|section| SERVICE_SECTIONS.contains(&section.as_str())) {
        let config = folder("config");
        let block = with_a_secret(block, config.path());
        fs::write(config.path().join("default.toml"), block).unwrap();
        Service::read(config.path(), HashMap::new()).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        return;
    }
    let workspace = Workspace::new();
    let text = if table.contains_key("name") { block.to_owned() } else { completed(block) };
    let text = with_a_secret(&text, workspace.path());
    fs::write(workspace.path().join("p.toml"), &text).unwrap();
    let names = Regex::new(r"\$\{(\w+)\}").unwrap();
    let variables: Vec<_> = names.captures_iter(&text).map(|name| (name.extract::<1>().1[0], "x")).collect();
    let checked = workspace.spawn_with(["check", "p.toml"], &variables).wait(PATIENCE);
    assert!(checked.status.success(), "{} has a block that `weir check` refuses:\n{}", page.display(), checked.stderr);
}

#[test]
fn toml_blocks_are_right() {
    for (page, text) in pages() {
        blocks(&text, "toml").iter().for_each(|block| check_toml(&page, block));
    }
}

#[test]
fn links_lead_to_files_and_headings() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut broken = Vec::new();
    for (page, text) in pages() {
        for target in link.captures_iter(&text).map(|found| found.extract::<1>().1[0]).filter(|to| !to.contains("://"))
        {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            if !file.exists() || !(heading.is_empty() || headings(&read(&file)).contains(&heading.to_owned())) {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

/// The names by which links call a page's headings.
fn headings(page: &str) -> Vec<String> {
    let keep = |character: &char| character.is_alphanumeric() || " -_".contains(*character);
    let name = |line: &str| line.trim_start_matches('#').trim().to_lowercase().chars().filter(keep).collect::<String>();
    page.lines().filter(|line| line.starts_with('#')).map(|line| name(line).replace(' ', "-")).collect()
}

#[test]
fn command_lines_parse() {
    let mut seen = 0;
    for (page, text) in pages() {
        for command in commands(&text) {
            let Some(mut arguments) = weir_arguments(&command) else { continue };
            arguments.push("--help");
            let run = Workspace::new().run(arguments.iter().copied(), PATIENCE);
            assert!(run.status.success(), "{}: {}\n{}", page.display(), command.join(" "), run.stderr);
            seen += 1;
        }
    }
    assert!(seen >= 15, "only {seen} command lines were found");
}

#[test]
fn the_readmes_first_steps_work() {
    let readme = read(&root().join("README.md"));
    let section = readme.split("\n## ").find(|section| section.starts_with("Five minutes")).unwrap();
    // Not the shared one: there the demo's test has a topic of the same name.
    let broker = Broker::own();
    let address = broker.address();
    let workspace = Workspace::new();
    for shipped in ["pipelines/air_quality.toml", "config/default.toml"] {
        fs::create_dir_all(workspace.path().join(shipped).parent().unwrap()).unwrap();
        fs::copy(root().join(shipped), workspace.path().join(shipped)).unwrap();
    }
    let mut otherwise = DONE_OTHERWISE.map(|(command, _)| command).to_vec();
    for command in commands(section) {
        let Some(arguments) = weir_arguments(&command) else {
            let command = command.join(" ");
            assert!(otherwise.contains(&command.as_str()), "`{command}` is tested by nothing");
            otherwise.retain(|known| *known != command);
            continue;
        };
        let run = workspace.spawn_with(arguments, &[("KAFKA_BROKERS", &address)]);
        run.wait(PATIENCE).expect_code(0);
    }
    assert!(otherwise.is_empty(), "the README no longer has {otherwise:?}");
    let verify = ["verify", "pipelines/air_quality.toml", "--format", "json"];
    let report: serde_json::Value =
        serde_json::from_str(&workspace.run(verify, PATIENCE).expect_code(0).stdout).unwrap();
    assert_eq!([&report["counts"]["row"], &report["counts"]["rejected"]], [9_357, 10], "{report}");
}

#[test]
fn the_readme_lists_all_commands() {
    let first_words = |text: &str, line: &str| -> Vec<String> {
        let line = Regex::new(line).unwrap();
        let mut words: Vec<_> = line.captures_iter(text).map(|found| found[1].to_owned()).collect();
        words.sort();
        words
    };
    let documented = first_words(&read(&root().join("README.md")), r"(?m)^\| `weir (\w+)");
    let help = weir(&["--help"], 0).stdout;
    let mut commands = first_words(help.split("Commands:").nth(1).unwrap(), r"(?m)^  ([a-z]+) ");
    commands.retain(|command| command != "help");
    assert_eq!(documented, commands);
}

#[test]
fn exit_codes_are_those_of_the_readme() {
    let readme = read(&root().join("README.md"));
    let workspace = Workspace::new();
    fs::write(workspace.path().join("broken.toml"), "name = 1").unwrap();
    for (words, arguments, code) in [
        ("0 done", &["--version"][..], 0),
        ("1 something was found", &["check", "broken.toml"], 1),
        ("1 something was found", &["run", "broken.toml"], 1),
        ("1 something was found", &["verify", "broken.toml"], 1),
        ("2 usage", &["run"], 2),
        ("2 usage", &["check", "--no-such-option", "broken.toml"], 2),
        ("3 the environment failed", &["verify", "--dataset", "not-there"], 3),
    ] {
        assert!(readme.contains(words), "the README doesn't say {words:?}");
        workspace.run(arguments.iter().copied(), PATIENCE).expect_code(code);
    }
}

#[test]
fn explained_messages_are_in_the_sources() {
    let sources: String = files(&root().join("src")).iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    // A string over several lines ends each with a backslash.
    let sources = Regex::new(r"\\\n\s*").unwrap().replace_all(&sources, "").replace("\\\"", "\"");
    let page = read(&root().join("docs/operations.md"));
    let message = Regex::new(r"(?m)^\| `([^`]+)`").unwrap();
    let table = |title| page.split(title).nth(1).unwrap().split("\n\n").next().unwrap();
    let tables = [table("| weir says |"), table("| it says |")];
    let messages: Vec<_> =
        tables.iter().flat_map(|table| message.captures_iter(table).map(|found| found[1].to_owned())).collect();
    assert!(messages.len() >= 20, "{messages:?}");
    for message in messages {
        let unknown: Vec<_> = message.split('…').map(str::trim).filter(|part| !sources.contains(part)).collect();
        assert!(unknown.is_empty(), "weir has no message {message:?}: no {unknown:?} in src/");
    }
}
