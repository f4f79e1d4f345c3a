//! How a run is told: who did what, a line a step, with names that a person can read.

use std::path::Path;

use super::tasks;

/// The instance that runs, and its task.
pub(super) fn who() -> String {
    let (instance, task) = tasks::current();
    format!("{} {} {}: ", instance_name(instance), task.name, task.partition)
}

/// `A`, `B` …
pub(super) fn instance_name(instance: u8) -> char {
    char::from(b'A' + instance)
}

/// A path without what is the same in all of them, and without most zeros and random digits.
pub(super) fn short(path: &Path) -> String {
    let path = path.to_string_lossy();
    let path = path.strip_prefix(super::world::ROOT).unwrap_or(&path).trim_start_matches('/');
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    let last = parts.last_mut().expect("a split has a part");
    if path.starts_with("staging/") {
        let fields: Vec<&str> = last.split('.').collect();
        if let [_, _, partition, sequence, what, .., random, _] = fields[..] {
            *last = format!("{partition}:{} {what} {}", digits(sequence), &random[..random.len().min(4)]);
        }
    } else if let Some(stem) = last.strip_suffix(".parquet") {
        let fields: Vec<&str> = stem.rsplitn(4, '-').collect();
        if let [random, n, sequence, partition] = fields[..] {
            *last = format!("{partition}:{} {n} {}", digits(sequence), &random[..random.len().min(4)]);
        }
    } else if let Some((number, rest)) = last.split_once('.') {
        *last = format!("{}.{rest}", digits(number));
    }
    parts.join("/")
}

fn digits(number: &str) -> &str {
    let short = number.trim_start_matches('0');
    if short.is_empty() && !number.is_empty() { "0" } else { short }
}
