//! `[source]`.

use std::collections::BTreeMap;

use super::client::client;
use super::mistake::Mistakes;
use super::section::{Section, array, choice, closest, filled_text, integer, refuse, text};
use super::tree::{Node, Toml};
use super::value::instant;
use crate::model::pipeline::{Format, Source, Start, Value, defaults};

/// Consumers that one process may run: each has its own connections and threads.
const CONSUMERS_MAX: usize = 64;
/// Kafka's own limit.
const TOPIC_LENGTH_MAX: usize = 249;

/// What librdkafka knows before `://`.
const SECURITY_PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

const STARTS: &[(&str, Start)] =
    &[("earliest", Start::Earliest), ("latest", Start::Latest), ("committed", Start::Committed)];

/// Reads the section; `name` is the pipeline's, when it has a good one.
pub(super) fn source(node: &Node, name: Option<&str>, mistakes: &Mistakes) -> Option<Source> {
    let section = Section::open("source", node, mistakes)?;
    let kind = section.must("type", "type = \"kafka\"").and_then(|node| choice(node, &[("kafka", ())], mistakes));
    let brokers = section.must("brokers", "brokers = \"localhost:9092\"").and_then(|node| brokers(node, mistakes));
    let topics = section.must("topics", "topics = [\"readings\"]").and_then(|node| topics(node, mistakes));
    let format = section.must("format", "format = \"json\"").and_then(|node| format_of(node, mistakes));
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

fn format_of(node: &Node, mistakes: &Mistakes) -> Option<Format> {
    if let Toml::Text(word) = &node.toml
        && ["avro", "protobuf", "csv"].contains(&word.text.to_lowercase().as_str())
    {
        let message = format!("records of format {:?} can't be read yet", word.text);
        return refuse(node, message, "weir reads JSON: \"json\"", mistakes);
    }
    choice(node, &[("json", Format::Json)], mistakes)
}

fn brokers(node: &Node, mistakes: &Mistakes) -> Option<String> {
    let brokers = filled_text(node, mistakes)?;
    let refused: Vec<_> = brokers.split(',').filter_map(|broker| no_broker(broker.trim())).collect();
    for (message, help) in &refused {
        refuse::<()>(node, message, help, mistakes);
    }
    refused.is_empty().then(|| brokers.to_owned())
}

/// What is wrong with a broker's address, and what to write instead; none where nothing is.
///
/// librdkafka takes `PLAINTEXT://host:port`, too, if `security.protocol` says the same. weir doesn't: one place says how
/// brokers are spoken to. All else before `://` librdkafka passes over, and then has no broker.
fn no_broker(broker: &str) -> Option<(String, String)> {
    const ADDRESS: &str = "write host:port, several separated by commas: \"kafka-1:9092,kafka-2:9092\"";
    if let Some((scheme, address)) = broker.split_once("://") {
        let mut help = format!("write {:?}", address.trim_end_matches('/'));
        if SECURITY_PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            let protocol = scheme.to_ascii_uppercase();
            help = format!("{help}, and \"security.protocol\" = \"{protocol}\" in [source.client]");
        }
        return Some((format!("{broker:?} is a URL, but a broker's address is host:port"), help));
    }
    let (host, port) = match broker.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (broker, None),
    };
    // An address of IPv6 has colons of its own: without brackets its last part would be taken for a port.
    let host_is_good = match host.strip_prefix('[') {
        Some(rest) => rest.ends_with(']'),
        None => !host.contains([':', '[', ']']),
    };
    if host.is_empty() || !host_is_good || host.contains(|letter: char| letter.is_whitespace() || letter == '/') {
        return Some((format!("{broker:?} is no broker's address"), ADDRESS.to_owned()));
    }
    match port.map(str::parse::<u16>) {
        Some(Ok(1..)) => None,
        Some(_) => {
            let help = format!("write a port from 1 to 65535, such as \"{host}:9092\"");
            Some((format!("{broker:?} has no valid port"), help))
        }
        None => {
            Some((format!("{broker:?} has no port"), format!("write \"{host}:9092\", or the port that the broker has")))
        }
    }
}

fn topics(node: &Node, mistakes: &Mistakes) -> Option<Vec<String>> {
    let items = array(node, mistakes)?;
    if items.is_empty() {
        return refuse(node, "there is no topic to read", "name one: topics = [\"readings\"]", mistakes);
    }
    let mut topics: Vec<String> = Vec::new();
    for item in items {
        let Some(topic) = topic(item, mistakes) else { continue };
        if topics.iter().any(|other| other == topic) {
            refuse::<()>(item, format!("`{topic}` is listed twice"), "list each topic once", mistakes);
        }
        topics.push(topic.to_owned());
    }
    // Where one was refused there is a mistake, and no pipeline.
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
