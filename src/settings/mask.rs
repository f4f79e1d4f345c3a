//! What of a pipeline file may be shown or kept: all of it but secrets that are written in it.
//!
//! A secret is what stands under a name that has one of [`SECRET_WORDS`] in it, and under a name in
//! `[source.client]` that librdkafka doesn't know: it may be a misspelt one. Each of its bytes
//! becomes a star, so that every place in the text stays right. Variables are shown: they are no
//! secrets, what they hold is.
//!
//! A file that is TOML is masked value by value, and stays TOML. In one that isn't, nobody knows
//! where a value ends: there everything after such a name is masked, up to the next line that
//! begins a value. Comments are masked where they look like a setting.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::client;

/// What is in the names of properties whose values are secrets, and in their usual misspellings.
const SECRET_WORDS: [&str; 8] = ["pas", "pwd", "secret", "token", "pem", "credential", "oauthbearer.config", "jaas"];

/// Whether what stands under this name is a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Whether a property of `[source.client]` may be a secret.
fn may_be_secret(property: &str) -> bool {
    is_secret(property) || !client::is_known(property)
}

/// Returns the text with its secrets as stars, in as many bytes.
pub(super) fn mask(text: &str) -> String {
    let mut masked = Masked { text, bytes: text.as_bytes().to_vec(), values: Vec::new() };
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        masked.table(root.get_ref(), &mut Vec::new(), false);
        masked.comments();
    } else {
        masked.lines();
    }
    String::from_utf8(masked.bytes).expect("whole characters were replaced")
}

struct Masked<'a> {
    text: &'a str,
    bytes: Vec<u8>,
    /// Where keys and values stand: a `#` in one begins no comment.
    values: Vec<Range<usize>>,
}

impl<'a> Masked<'a> {
    /// Masks the secrets of a table that `keys` lead to; all its values if it stands under a
    /// secret's name.
    fn table<'k>(&mut self, table: &'k DeTable<'_>, keys: &mut Vec<&'k str>, secret: bool) {
        for (key, value) in table {
            self.values.push(key.span());
            keys.push(key.get_ref());
            let secret = secret
                || match keys.as_slice() {
                    // A column's name says nothing of its options.
                    ["columns", _] => is_secret(key.get_ref()) && !matches!(value.get_ref(), DeValue::Table(_)),
                    ["source", "client", property @ ..] if !matches!(value.get_ref(), DeValue::Table(_)) => {
                        may_be_secret(&property.join("."))
                    }
                    _ => is_secret(key.get_ref()),
                };
            self.value(value, keys, secret);
            keys.pop();
        }
    }

    fn value<'k>(&mut self, value: &'k Spanned<DeValue<'_>>, keys: &mut Vec<&'k str>, secret: bool) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, keys, secret),
            DeValue::Array(items) => items.iter().for_each(|item| self.value(item, keys, secret)),
            DeValue::String(_) => {
                self.values.push(value.span());
                if secret {
                    self.string(value.span());
                }
            }
            _ if secret => self.scalar(value.span()),
            _ => {}
        }
    }

    /// A string with its quotes, which stay.
    fn string(&mut self, span: Range<usize>) {
        let quoted = &self.text[span.clone()];
        let quotes = if quoted.starts_with("\"\"\"") || quoted.starts_with("'''") { 3 } else { 1 };
        self.stars(span.start + quotes..span.end - quotes);
    }

    /// A number, a flag or a time becomes text of stars, so that it stays a value.
    fn scalar(&mut self, span: Range<usize>) {
        let (quote, length) = (b"\""[0], span.len());
        self.bytes[span.clone()].fill(b'*');
        if length == 1 {
            self.bytes[span.start] = b'0';
        } else {
            self.bytes[span.start] = quote;
            self.bytes[span.end - 1] = quote;
        }
    }

    /// A comment is mostly prose: masked is what follows a name that a value could stand under.
    fn comments(&mut self) {
        static SETTING: LazyLock<Regex> = LazyLock::new(|| {
            let words = words();
            let name = format!(r#"(?:{words})[\w.\-]*["']?\s*"#);
            Regex::new(&format!(r#"(?i)^#\s*["']?[\w.\-]*{name}[:=]|{name}="#)).expect("the pattern is valid")
        });
        let values = std::mem::take(&mut self.values);
        let in_value = |at: usize| values.iter().any(|value| value.contains(&at));
        for line in lines(self.text) {
            let hashes = self.text[line.clone()].match_indices('#').map(|(at, _)| line.start + at);
            let Some(comment) = hashes.into_iter().find(|at| !in_value(*at)) else { continue };
            if let Some(setting) = SETTING.find(&self.text[comment..line.end]) {
                self.after(comment + setting.end()..line.end);
            }
        }
    }

    /// Line by line, where nothing is sure.
    fn lines(&mut self) {
        static BEGINS_A_VALUE: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r#"^\s*(\[|["']?([\w.\- ]+?)["']?\s*=\s*["'\[{\dtf$+-])"#).expect("the pattern is valid")
        });
        let (mut in_client, mut goes_on) = (false, false);
        for line in lines(self.text) {
            let content = &self.text[line.clone()];
            let begins = BEGINS_A_VALUE.captures(content);
            if content.trim_start().starts_with('[') {
                in_client = content.contains("client");
            }
            let property = begins.as_ref().and_then(|begins| begins.get(2));
            if self.after_a_name(line.clone()) {
                goes_on = true;
            } else if begins.is_none() && goes_on {
                self.stars(line);
            } else if let Some(property) = property.filter(|name| in_client && may_be_secret(name.as_str())) {
                self.after(line.start + property.end()..line.end);
                goes_on = true;
            } else {
                goes_on = false;
            }
        }
    }

    /// Masks what comes after a secret's name in part of a line, if there is one.
    fn after_a_name(&mut self, line: Range<usize>) -> bool {
        static NAME: LazyLock<Regex> = LazyLock::new(|| {
            let words = words();
            Regex::new(&format!(r"(?i)(?:{words})[\w.\-]*")).expect("the pattern is valid")
        });
        let found = NAME.find(&self.text[line.clone()]);
        if let Some(name) = &found {
            self.after(line.start + name.end()..line.end);
        }
        found.is_some()
    }

    /// Masks a value that may not have been written as one: what is around it stays.
    fn after(&mut self, rest: Range<usize>) {
        let text = &self.text[rest.clone()];
        let value = text.trim_start_matches([' ', '\t', '=', ':', '"', '\'']);
        let start = rest.end - value.len();
        self.stars(start..start + value.trim_end_matches(['"', '\'']).len());
    }

    /// Makes stars of all but variables and line ends.
    fn stars(&mut self, span: Range<usize>) {
        static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"\$\{(?:file:[^}\n]*|\w+(?::-(?<default>[^}\n]*))?)\}").expect("the pattern is valid")
        });
        let mut shown = Vec::new();
        for found in VARIABLE.captures_iter(&self.text[span.clone()]) {
            let at = |range: Range<usize>| span.start + range.start..span.start + range.end;
            let all = at(found.get(0).expect("a match has all of itself").range());
            match found.name("default").map(|default| at(default.range())) {
                Some(default) => shown.extend([all.start..default.start, default.end..all.end]),
                None => shown.push(all),
            }
        }
        for at in span {
            if !matches!(self.bytes[at], b'\n' | b'\r') && !shown.iter().any(|range| range.contains(&at)) {
                self.bytes[at] = b'*';
            }
        }
    }
}

/// The words of secrets as a pattern.
fn words() -> String {
    SECRET_WORDS.join("|").replace('.', r"\.")
}

/// Where each line is, without its end.
fn lines(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    text.split('\n').map(move |line| {
        let range = start..start + line.len();
        start = range.end + 1;
        range
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        assert_eq!(masked, expected);
    }

    #[test]
    fn secrets_are_stars_and_nothing_moves() {
        check(
            "# sasl.password = \"a\"\n\"sasl.pasword\" = 'x'\n\"sasl.password\" = \"hünter2\" # why\nsasl.username = \"ana\"\n\
             'ssl.key.pem' = \"\"\"\n-----\nabc\"\"\"\nSASL.PASSWORD='p'\nssl.key.password = \"${KEY}\"\n",
            "# sasl.password = \"*\"\n\"sasl.pasword\" = '*'\n\"sasl.password\" = \"********\" # why\nsasl.username = \"ana\"\n\
             'ssl.key.pem' = \"\"\"\n*****\n***\"\"\"\nSASL.PASSWORD='*'\nssl.key.password = \"${KEY}\"\n",
        );
    }

    #[test]
    fn also_where_they_are_not_where_they_belong() {
        let inline = r#"source.client = { "sasl.password" = "hunter2", "client.id" = "x" }"#;
        check(inline, &inline.replace("hunter2", "*******"));
        check("\"sasl.password \" = \"hunter2\"", "\"sasl.password \" = \"*******\"");
        check("\"sasl.password\" = \"a\\\"b\\\\\"", "\"sasl.password\" = \"******\"");
        check("\"sasl.jaas.config\" = 'X password=\"hunter2\";'", "\"sasl.jaas.config\" = '*********************'");
        check(
            "password = 123456\ntoken = 1\nsecrets = [true, \"x\"]",
            "password = \"****\"\ntoken = 0\nsecrets = [\"**\", \"*\"]",
        );
        check("[password]\nvalue = \"x\"", "[password]\nvalue = \"*\"");
        // A name that librdkafka doesn't know may be a misspelt one.
        check(
            "[source.client]\n\"sasl.pw\" = \"x\"\n\"client.id\" = \"y\"",
            "[source.client]\n\"sasl.pw\" = \"*\"\n\"client.id\" = \"y\"",
        );
        check("# sasl.password: hunter2", "# sasl.password: *******");
        check("# About passwords: none is here.", "# About passwords: none is here.");
        // A column's options are no secrets, whatever it is called.
        check("[columns]\npassengers = { type = \"int64\" }", "[columns]\npassengers = { type = \"int64\" }");
        check("[columns]\npassword = \"x\"", "[columns]\npassword = \"*\"");
        check("a = 1 # password = hunter2\nb = \"# no\"", "a = 1 # password = *******\nb = \"# no\"");
    }

    #[test]
    fn variables_are_shown_and_their_defaults_are_not() {
        check("password = \"a${X}b\"", "password = \"*${X}*\"");
        check("password = \"${X:-hunter2}\"", "password = \"${X:-*******}\"");
        check("password = \"${file:/run/key}\"", "password = \"${file:/run/key}\"");
        check("password = \"${X\"", "password = \"***\"");
    }

    #[test]
    fn where_the_file_is_no_toml_all_that_may_be_one_is_masked() {
        let secret = "hunter2";
        for broken in [
            "\"sasl.password\" = \"hunter2\nclient.id = \"x\"",
            "\"sasl.password\" = hunter2\nclient.id = \"x\"",
            "\"sasl.password\" =\n  \"hunter2\nclient.id = \"x\"",
            "sasl.password: hunter2\nclient.id = \"x\"",
            "[source]\nclient = { \"sasl.password\" = \"hunter2\", \nclient.id = \"x\"",
            "\"sasl.password \" = \"hunter2\nclient.id = \"x\"",
            "\"sasl.jaas.config\" = \"Plain password=\\\"hunter2\\\";\nclient.id = \"x\"",
            "'ssl.key.pem' = \"-----BEGIN\nhunter2==\nhunter2=\n-----END\nclient.id = \"x\"",
            "'ssl.key.pem' = '''-----BEGIN\nhunter2==\nhunter2=\n\n-----END\nclient.id = \"x\"",
            "client.id = \"x\nSASL.Password=hunter2\nclient.id = \"x\"",
            "[source.client]\n\"sasl.pw\" = \"hunter2\nclient.id = \"x\"",
            "[source.client]\n# hunter2 is the password hunter2\nx\nclient.id = \"x\"",
        ] {
            let masked = mask(broken);
            assert_eq!(masked.len(), broken.len(), "{broken}");
            let shown = if broken.contains("# hunter2") { 1 } else { 0 };
            assert_eq!(masked.matches(secret).count(), shown, "{broken}\n{masked}");
            assert!(masked.ends_with("\nclient.id = \"x\""), "the rest is shown: {masked}");
        }
    }

    #[test]
    fn what_was_toml_stays_toml() {
        let text = "[source.client]\n\"sasl.password\" = \"\"\"a\\\"\"\"\"\n\"ssl.key.password\" = -1\nx = { y = 1979-05-27 }\n";
        let masked = mask(text);
        let table: toml::Table = masked.parse().unwrap_or_else(|error| panic!("{error}\n{masked}"));
        assert_eq!(table["source"]["client"]["sasl.password"].as_str(), Some("***"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_keeps_its_length_and_its_lines(
            text in "([ -~\n]|sasl\\.password|ü|\"\"\"|= \"|\n[a-c] = |(password|x) = (1|\"#\"|'#'|\\[1, \"a\"\\]) *(# pwd x)?\n){0,30}",
        ) {
            let masked = mask(&text);
            assert_eq!(masked.len(), text.len());
            assert_eq!(masked.matches('\n').count(), text.matches('\n').count());
            assert!(masked.parse::<toml::Table>().is_ok() || text.parse::<toml::Table>().is_err(), "{masked}");
        }
    }
}
