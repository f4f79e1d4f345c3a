//! `[source.client]`: librdkafka's properties, but for those that weir must own.
//!
//! Names and values are tried on librdkafka itself, which opens nothing for it. A value that came from a variable is
//! never repeated in a message: that includes librdkafka's own words about it.

use std::collections::BTreeMap;
use std::path::Path;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::mask::is_secret;
use super::mistake::{Mistake, Mistakes};
use super::secret;
use super::section::{closest, refuse};
use super::tree::{Entry, Node, Toml};

const EXACT: &str = "what a commit covers depends on it; leave it out";
const LEDGER: &str = "positions come from the ledger and offsets are committed after it; leave it out";
const MEMORY: &str = "it is derived from limits.memory; leave it out";
const EVENTS: &str = "weir takes this client's events itself; leave it out";
const NEXT_PROTOCOL: &str = "it belongs to the `consumer` group protocol, which weir doesn't use yet; leave it out";

/// Properties that weir must own, and why or what to write instead.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "write `brokers` in [source] instead"),
    ("metadata.broker.list", "write `brokers` in [source] instead"),
    ("group.id", "write `group` in [source] instead"),
    ("isolation.level", EXACT),
    ("check.crcs", EXACT),
    ("enable.partition.eof", "it tells weir that a partition has been read to its end; leave it out"),
    ("topic.blacklist", "list the topics to read in `topics` of [source]"),
    ("enable.auto.commit", LEDGER),
    ("auto.commit.enable", LEDGER),
    ("auto.commit.interval.ms", LEDGER),
    ("enable.auto.offset.store", LEDGER),
    ("offset.store.method", LEDGER),
    ("offset.store.path", LEDGER),
    ("offset.store.sync.interval.ms", LEDGER),
    (
        "auto.offset.reset",
        "a lost position must stop the pipeline; `start` in [source] says where an empty ledger begins",
    ),
    ("queued.min.messages", MEMORY),
    ("queued.max.messages.kbytes", MEMORY),
    ("fetch.queue.backoff.ms", MEMORY),
    ("fetch.message.max.bytes", MEMORY),
    ("max.partition.fetch.bytes", MEMORY),
    ("fetch.max.bytes", MEMORY),
    ("message.max.bytes", MEMORY),
    ("receive.message.max.bytes", MEMORY),
    ("group.protocol.type", "weir joins as a consumer; leave it out"),
    ("group.remote.assignor", NEXT_PROTOCOL),
    ("enabled_events", EVENTS),
    ("log.queue", EVENTS),
    ("consume.callback.max.messages", EVENTS),
    ("plugin.library.paths", "a plugin could change the records that weir reads; leave it out"),
    ("interceptors", "an interceptor could change the records that weir reads; leave it out"),
];

/// Properties that weir leaves open, for one value only.
const PINNED: &[(&str, &str, &str)] = &[
    (
        "partition.assignment.strategy",
        "cooperative-sticky",
        "an eager assignor takes every partition away in each rebalance; weir hands them over one by one",
    ),
    ("group.protocol", "classic", "the `consumer` protocol is not supported yet"),
];

/// How librdkafka's words about a property that it doesn't have begin.
const UNKNOWN: &str = "No such configuration property";

/// Properties that name a file with a secret in it.
const SECRET_FILES: [&str; 4] = [
    "ssl.key.location",
    "ssl.keystore.location",
    "sasl.kerberos.keytab",
    "sasl.oauthbearer.assertion.private.key.file",
];

/// Reads the table, in which `"a.b" = 1` and `a.b = 1` mean the same.
pub(super) fn client(node: &Node, mistakes: &Mistakes) -> Option<BTreeMap<String, String>> {
    let Toml::Table(entries) = &node.toml else {
        return refuse(
            node,
            "[source.client] must be a table",
            "write its keys below a line [source.client]",
            mistakes,
        );
    };
    let mut properties = BTreeMap::new();
    flatten("", entries, &mut |name, entry| {
        let Some((value, secret)) = property(entry, mistakes) else {
            return;
        };
        if properties.contains_key(&name) {
            let twice = Mistake::new(&entry.key_span, format!("`{name}` is set twice"));
            mistakes.add(twice.help("leave one of them out"));
        } else if let Some(mistake) = objection(&name, &value, secret, entry) {
            mistakes.add(mistake);
        }
        properties.insert(name, value);
    });
    Some(properties)
}

/// The names of the properties that are refused: the documentation lists them.
#[cfg(test)]
pub(super) fn owned() -> impl Iterator<Item = &'static str> {
    OWNED.iter().map(|(name, _)| *name)
}

fn flatten<'a>(prefix: &str, entries: &'a [Entry], visit: &mut impl FnMut(String, &'a Entry)) {
    for entry in entries {
        let name = format!("{prefix}{}", entry.key);
        match &entry.node.toml {
            Toml::Table(inner) => flatten(&format!("{name}."), inner, visit),
            _ => visit(name, entry),
        }
    }
}

/// A property's value as librdkafka takes it, and whether it must not be shown.
fn property(entry: &Entry, mistakes: &Mistakes) -> Option<(String, bool)> {
    match &entry.node.toml {
        Toml::Text(filled) => Some((filled.text.clone(), filled.any)),
        Toml::Int(number) => Some((number.to_string(), false)),
        Toml::Bool(flag) => Some((flag.to_string(), false)),
        Toml::Nothing => None,
        _ => refuse(
            &entry.node,
            "a property must be text, a whole number, or true or false",
            "write it between quotes, as librdkafka's documentation has it",
            mistakes,
        ),
    }
}

/// Whether librdkafka has a property of this name, whatever its value may be.
pub(super) fn is_known(name: &str) -> bool {
    match ClientConfig::new().set(name, "").create_native_config() {
        Err(KafkaError::ClientConfig(_, words, ..)) => !words.starts_with(UNKNOWN),
        _ => true,
    }
}

fn objection(name: &str, value: &str, secret: bool, entry: &Entry) -> Option<Mistake> {
    if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| *owned == name) {
        return Some(Mistake::new(&entry.key_span, format!("weir sets `{name}` itself")).help(*reason));
    }
    if let Some((_, only, reason)) = PINNED.iter().find(|(pinned, only, _)| *pinned == name && *only != value) {
        let message = format!("`{name}` can only be \"{only}\"");
        return Some(Mistake::new(&entry.node.span, message).help(format!("{reason}; leave it out")));
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) if SECRET_FILES.contains(&name) && secret::is_open_to_all(Path::new(value)) => {
            let message = format!("everybody on this machine may read the file of `{name}`");
            Some(Mistake::new(&entry.node.span, message).help("chmod o-r it: it holds a secret"))
        }
        Ok(_) => None,
        Err(KafkaError::ClientConfig(_, words, ..)) if words.starts_with(UNKNOWN) => {
            let help = match closest(name, OWNED.iter().map(|(owned, _)| *owned).chain(COMMON.iter().copied())) {
                Some(close) => format!("did you mean `{close}`?"),
                None => {
                    "its properties: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md".into()
                }
            };
            Some(Mistake::new(&entry.key_span, format!("librdkafka has no property `{name}`")).help(help))
        }
        Err(error) => {
            let words = match error {
                KafkaError::ClientConfig(_, words, ..) if !secret && !is_secret(name) => format!(": {}", words.trim()),
                _ => String::new(),
            };
            let message = format!("librdkafka doesn't take this value for `{name}`{words}");
            Some(Mistake::new(&entry.node.span, message).help("write a value that its documentation allows"))
        }
    }
}

/// Properties that people set, for advice on misspelt ones.
const COMMON: &[&str] = &[
    "client.id",
    "client.rack",
    "debug",
    "fetch.error.backoff.ms",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "group.instance.id",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "sasl.kerberos.keytab",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "statistics.interval.ms",
];
