//! `${NAME}`, `${NAME:-default}`, `${file:PATH}` and `$$` in the strings of a pipeline file.
//!
//! As in a shell, the default also serves a variable that is set to nothing. A file has none: what stands in one is a secret,
//! and without it a pipeline must not start. A `$` before anything else is just that, so that patterns can end in one.
//! Values are not searched for variables again.

use std::path::Path;

/// Begins the path of a file instead of a variable's name.
const FILE: &str = "file:";

/// A string with its variables filled in.
#[derive(Debug, PartialEq)]
pub(super) struct Filled {
    pub(super) text: String,
    /// Whether any variable was filled in: the text is then not what the file shows, and may be a secret.
    pub(super) any: bool,
    /// Whether the string is one variable and nothing else: it may then stand for a number.
    pub(super) whole: bool,
}

/// Why a string can't be filled in, and what to do.
#[derive(Debug, PartialEq)]
pub(super) struct Unfilled {
    pub(super) message: String,
    pub(super) help: String,
}

/// Where values come from.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    /// A variable's value, if it is set.
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    /// A file's secret.
    pub(super) secret: &'a dyn Fn(&Path) -> Result<String, Unfilled>,
}

/// Fills `written`'s variables and files in.
pub(super) fn fill(written: &str, values: Values<'_>) -> Result<Filled, Unfilled> {
    let mut filled = Filled { text: String::with_capacity(written.len()), any: false, whole: false };
    let mut rest = written;
    while let Some(dollar) = rest.find('$') {
        filled.text.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        rest = match after.as_bytes().first() {
            Some(b'$') => {
                filled.text.push('$');
                &after[1..]
            }
            Some(b'{') => {
                let (variable, after) = after[1..].split_once('}').ok_or_else(unclosed)?;
                filled.text.push_str(&look_up(variable, values)?);
                filled.whole = !filled.any && dollar == 0 && rest.len() == written.len() && after.is_empty();
                filled.any = true;
                after
            }
            _ => {
                filled.text.push('$');
                after
            }
        };
    }
    filled.text.push_str(rest);
    Ok(filled)
}

fn look_up(variable: &str, values: Values<'_>) -> Result<String, Unfilled> {
    if let Some(path) = variable.strip_prefix(FILE) {
        return read(path, values);
    }
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (variable, None),
    };
    if !is_name(name) {
        return Err(Unfilled {
            message: format!("`{name}` is no name for a variable"),
            help:
                "write ${NAME}, ${NAME:-default} or ${file:PATH}, the name in letters, digits and _; $${ is a plain ${"
                    .into(),
        });
    }
    let value = (values.environment)(name);
    match default {
        Some(default) => Ok(value.filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())),
        None => value.ok_or_else(|| Unfilled {
            message: format!("the environment has no variable {name}"),
            help: format!("export {name}, or give it a default here: ${{{name}:-default}}"),
        }),
    }
}

fn read(path: &str, values: Values<'_>) -> Result<String, Unfilled> {
    if path.is_empty() || path.contains(":-") {
        return Err(Unfilled {
            message: "a secret's file is given by its path alone".into(),
            help: "write ${file:/run/secrets/name}; there is no default for a secret".into(),
        });
    }
    (values.secret)(Path::new(path))
}

fn unclosed() -> Unfilled {
    Unfilled {
        message: "${ has no } after it".into(),
        help: "close the variable with }, or write $${ for a plain ${".into(),
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("kafka".into()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("${HOST}".into()),
            _ => None,
        }
    }

    fn values() -> Values<'static> {
        Values {
            environment: &environment,
            secret: &|path| match path.to_str() {
                Some("/run/key") => Ok("${HOST}".into()),
                _ => Err(Unfilled { message: format!("no {}", path.display()), help: String::new() }),
            },
        }
    }

    #[track_caller]
    fn check(written: &str, text: &str, any: bool, whole: bool) {
        let expected = Filled { text: text.into(), any, whole };
        assert_eq!(fill(written, values()).unwrap(), expected, "{written}");
    }

    #[test]
    fn variables_are_filled_in() {
        check("", "", false, false);
        check("plain", "plain", false, false);
        check("${HOST}", "kafka", true, true);
        check("${HOST}:9092", "kafka:9092", true, false);
        check("x${HOST}", "xkafka", true, false);
        check("${HOST}${HOST}", "kafkakafka", true, false);
        check("${NONE:-a:b}", "a:b", true, true);
        check("${EMPTY}", "", true, true);
        check("${EMPTY:-d}", "d", true, true);
        check("${NONE:-}", "", true, true);
        check("${DOLLAR}", "${HOST}", true, true);
        check("${file:/run/key}", "${HOST}", true, true);
        check("x ${file:/run/key}", "x ${HOST}", true, false);
        check("^a$", "^a$", false, false);
        check("$5 $x", "$5 $x", false, false);
        check("$${HOST}", "${HOST}", false, false);
        check("$$${HOST}", "$kafka", true, false);
        check("a$", "a$", false, false);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (written, message) in [
            ("${NONE}", "the environment has no variable NONE"),
            ("${HOST", "${ has no } after it"),
            ("${}", "`` is no name for a variable"),
            ("${1A}", "`1A` is no name for a variable"),
            ("${HOST-x}", "`HOST-x` is no name for a variable"),
            ("${file:/none}", "no /none"),
            ("${file:}", "a secret's file is given by its path alone"),
            ("${file:/run/key:-x}", "a secret's file is given by its path alone"),
        ] {
            assert_eq!(fill(written, values()).unwrap_err().message, message, "{written}");
        }
    }
}
