//! `[source]`.

use std::collections::BTreeMap;

use super::client::client;
use super::mistake::Mistakes;
use super::pipeline::{Format, Source, Start, Value, defaults};
use super::section::{Section, array, choice, closest, filled_text, integer, refuse, text};
use super::tree::{Node, Toml};
use super::value::instant;

/// Consumers that one process may run: each has its own connections and threads.
const CONSUMERS_MAX: usize = 64;
/// Kafka's own limit.
const TOPIC_LENGTH_MAX: usize = 249;

const STARTS: &[(&str, Start)] =
    &[("earliest", Start::Earliest), ("latest", Start::Latest), ("committed", Start::Committed)];

/// Reads the section; `name` is the pipeline's, when it has a good one.
pub(super) fn source(node: &Node, name: Option<&str>, mistakes: &Mistakes) -> Option<Source> {
    let section = Section::open("source", node, mistakes)?;
    let kind = section.must("type", "type = \"kafka\"").and_then(|node| choice(node, &[("kafka", ())], mistakes));
    let brokers = section.must("brokers", "brokers = \"localhost:9092\"").and_then(|node| brokers(node, mistakes));
    let topics = section.must("topics", "topics = [\"readings\"]").and_then(|node| topics(node, mistakes));
    let format =
        section.must("format", "format = \"json\"").and_then(|node| choice(node, &[("json", Format::Json)], mistakes));
    let start = section.node("start").and_then(|node| start(node, mistakes));
    let group = section.node("group").and_then(|node| filled_text(node, mistakes));
    let consumers = section.node("consumers").and_then(|node| integer(node, 1..=CONSUMERS_MAX, mistakes));
    let client = match section.node("client") {
        Some(node) => client(node, mistakes),
        None => Some(BTreeMap::new()),
    };
    kind?;
    Some(Source {
        brokers: brokers?,
        topics: topics?,
        format: format?,
        start: start.unwrap_or(defaults::START),
        group: group.map_or_else(|| defaults::group(name.unwrap_or_default()), str::to_owned),
        consumers,
        client: client?,
    })
}

fn brokers(node: &Node, mistakes: &Mistakes) -> Option<String> {
    let brokers = filled_text(node, mistakes)?;
    for broker in brokers.split(',').map(str::trim) {
        let (host, port) = match broker.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (broker, None),
        };
        let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        if host.is_empty() || !port_is_good || broker.contains(char::is_whitespace) {
            let message = format!("{broker:?} is no broker's address");
            return refuse(node, message, "write host:port, several separated by commas", mistakes);
        }
    }
    Some(brokers.to_owned())
}

fn topics(node: &Node, mistakes: &Mistakes) -> Option<Vec<String>> {
    let items = array(node, mistakes)?;
    if items.is_empty() {
        return refuse(node, "there is no topic to read", "name one: topics = [\"readings\"]", mistakes);
    }
    let mut topics: Vec<String> = Vec::new();
    for item in items {
        let topic = topic(item, mistakes)?;
        if topics.iter().any(|other| other == topic) {
            return refuse(item, format!("`{topic}` is listed twice"), "list each topic once", mistakes);
        }
        topics.push(topic.to_owned());
    }
    Some(topics)
}

fn topic<'a>(node: &'a Node, mistakes: &Mistakes) -> Option<&'a str> {
    let topic = text(node, mistakes)?;
    if topic.starts_with('^') {
        let help = "name each topic: topics = [\"readings\", \"alarms\"]";
        return refuse(node, "a topic's name can't be a pattern", help, mistakes);
    }
    let legal = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let fits = (1..=TOPIC_LENGTH_MAX).contains(&topic.len()) && ![".", ".."].contains(&topic);
    if !fits || !topic.chars().all(legal) {
        let help = "Kafka's topics have names of 1 to 249 letters, digits, '.', '_' and '-'";
        return refuse(node, format!("{topic:?} can't be a topic's name"), help, mistakes);
    }
    Some(topic)
}

fn start(node: &Node, mistakes: &Mistakes) -> Option<Start> {
    const HELP: &str = "write \"earliest\", \"latest\", \"committed\" or an instant such as \"2004-03-10T18:00:00Z\"";
    let word = match &node.toml {
        Toml::Datetime(_) => "",
        _ => text(node, mistakes)?,
    };
    if let Some((_, start)) = STARTS.iter().find(|(name, _)| *name == word) {
        return Some(*start);
    }
    // Only what looks like a date is meant as one.
    if word.is_empty() && !matches!(node.toml, Toml::Datetime(_))
        || word.starts_with(|first: char| first.is_alphabetic())
    {
        let help = match closest(word, STARTS.iter().map(|(name, _)| *name)) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None => HELP.to_owned(),
        };
        return refuse(node, format!("a partition can't start at {word:?}"), help, mistakes);
    }
    match instant(node, mistakes)? {
        Value::Micros(micros) => Some(Start::Timestamp(micros.div_euclid(1000))),
        _ => None,
    }
}
