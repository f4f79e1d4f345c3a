//! Service settings: how weir runs, whatever its pipelines are.
//!
//! Later ones win: the defaults, `config/default.toml`, `config/<WEIR_ENV>.toml`, `WEIR__SECTION__KEY`. The defaults are
//! the shipped `config/default.toml` itself, built in, so that they are written once. Every wrong value is reported with
//! the file or variable that it comes from, and so is every setting that doesn't exist.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, Environment, File, FileFormat, ValueKind};

use super::http::Http;
use super::section::closest;
use crate::base::codes::{Code, Coded};
use crate::base::logging::{Log, LogFormat, log_level};
use crate::base::units::{Amount, DURATION, SIZE};
use crate::model::Restart;

const DEFAULTS: &str = include_str!("../../config/default.toml");

const MEMORY: RangeInclusive<u64> = 64 << 20..=1 << 50;
const DRAIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const BACKOFF: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

/// Service settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What a process may use.
    pub limits: Limits,
    /// How failed lanes start again.
    pub restart: Restart,
    /// What is logged, and how.
    pub log: Log,
    /// Where the service answers, and to whom; none for nowhere.
    pub http: Option<Http>,
    /// This instance's name in consumer groups.
    pub instance: Option<String>,
}

/// What a process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that records may take in this process, from the fetch to the file.
    pub memory: usize,
    /// Deadline of an orderly stop.
    pub drain: Duration,
}

/// Settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// `WEIR_ENV` names no file, or can't be part of one's name.
    #[error("WEIR_ENV is {name:?}, but there is no {file}: create it, or unset the variable")]
    NoSuchEnvironment {
        /// The variable's value.
        name: String,
        /// The file looked for.
        file: String,
    },
    /// A file is not TOML. Nothing of it is shown: tokens may stand there.
    #[error("the settings can't be read: {0}")]
    Unreadable(String),
    /// Every setting that is wrong, each with its source.
    #[error("the settings have mistakes:\n  {}", .0.join("\n  "))]
    Wrong(Vec<String>),
}

impl Coded for ServiceError {
    fn code(&self) -> Code {
        match self {
            ServiceError::NoSuchEnvironment { .. } => Code::NoSuchEnvironment,
            ServiceError::Unreadable(_) => Code::SettingsUnreadable,
            ServiceError::Wrong(_) => Code::SettingsWrong,
        }
    }
}

impl Service {
    /// The settings of this process: files below `config/` in the working directory, and its environment.
    pub fn load() -> Result<Service, ServiceError> {
        // A variable that isn't Unicode is none of weir's.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Service::read(Path::new("config"), variables.collect())
    }

    /// The settings in a folder, overridden by these variables.
    pub fn read(folder: &Path, variables: HashMap<String, String>) -> Result<Service, ServiceError> {
        let mut builder = Config::builder()
            .add_source(File::from_str(DEFAULTS, FileFormat::Toml))
            .add_source(toml_file(&folder.join("default.toml"), false));
        if let Some(name) = variables.get("WEIR_ENV").filter(|name| !name.is_empty()) {
            builder = builder.add_source(toml_file(&environment_file(folder, name)?, true));
        }
        let overrides = Environment::with_prefix("WEIR").separator("__").source(Some(variables));
        let unreadable = |error: config::ConfigError| ServiceError::Unreadable(without_excerpt(&error.to_string()));
        let settings = builder.add_source(overrides).build().map_err(unreadable)?;
        Reader { origins: origins(&settings), settings, mistakes: Vec::new() }.read()
    }
}

/// An error of TOML without the lines that show the file: each has a `|` after its number.
fn without_excerpt(error: &str) -> String {
    error.lines().filter(|line| !line.contains('|')).map(str::trim).collect::<Vec<_>>().join(", ")
}

fn toml_file(path: &Path, required: bool) -> File<config::FileSourceFile, FileFormat> {
    File::from(path).format(FileFormat::Toml).required(required)
}

/// A misspelt WEIR_ENV must not run production on the defaults.
fn environment_file(folder: &Path, name: &str) -> Result<std::path::PathBuf, ServiceError> {
    let file = folder.join(format!("{name}.toml"));
    let legal = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    if name.chars().all(legal) && file.is_file() {
        return Ok(file);
    }
    Err(ServiceError::NoSuchEnvironment { name: name.to_owned(), file: file.display().to_string() })
}

/// Reads settings one by one and keeps what is wrong with them.
pub(super) struct Reader {
    settings: Config,
    origins: Origins,
    pub(super) mistakes: Vec<String>,
}

impl Reader {
    fn read(mut self) -> Result<Service, ServiceError> {
        self.refuse_unknown();
        let service = self.service();
        match service {
            Some(service) if self.mistakes.is_empty() => Ok(service),
            _ => Err(ServiceError::Wrong(self.mistakes)),
        }
    }

    fn service(&mut self) -> Option<Service> {
        let memory = self.within("limits.memory", &SIZE, MEMORY);
        let drain = self.within("limits.drain", &DURATION, DRAIN);
        let backoff_min = self.within("restart.backoff_min", &DURATION, BACKOFF);
        let backoff_max = self.within("restart.backoff_max", &DURATION, BACKOFF);
        let failures = self.get("restart.failures_until_parked", "a whole number from 1", |text| {
            text.parse().ok().filter(|failures| *failures > 0)
        });
        let level = self.get("log.level", "a level such as \"info\" or \"info,weir::sink=debug\"", log_level);
        let format = self.get("log.format", "\"auto\", \"pretty\" or \"json\"", |text| match text {
            "auto" => Some(LogFormat::Auto),
            "pretty" => Some(LogFormat::Pretty),
            "json" => Some(LogFormat::Json),
            _ => None,
        });
        let file = self
            .get("log.file", "a path", |text| Some(PathBuf::from(text)))
            .filter(|path| !path.as_os_str().is_empty());
        let keep = self.get("log.keep", "a whole number from 1", |text| text.parse().ok().filter(|keep| *keep > 0));
        let http = Http::read(self);
        let instance = self.get("serve.instance", "up to 100 letters, digits, - and _", |text| {
            let legal = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
            (text.len() <= 100 && text.chars().all(legal))
                .then(|| Some(text.to_owned()).filter(|text| !text.is_empty()))
        });
        let restart = Restart {
            backoff_min: backoff_min?,
            backoff_max: backoff_max?,
            failures_until_parked: failures?,
            for_ever: false,
        };
        if restart.backoff_min > restart.backoff_max {
            let origin = self.origin("restart.backoff_min");
            self.mistakes.push(format!("restart.backoff_min is above restart.backoff_max (from {origin})"));
        }
        let limits = Limits { memory: usize::try_from(memory?).ok()?, drain: drain? };
        let log = Log { level: level?, format: format?, file: file.zip(keep) };
        Some(Service { limits, restart, log, http: http?, instance: instance? })
    }

    /// Reads a setting; what it can't be is kept as a mistake. Its value is shown in it, so it must be no secret.
    pub(super) fn get<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let written = self.settings.get_string(key);
        let value = written.as_deref().ok().and_then(read);
        if value.is_none() {
            let found = written.map_or_else(|_| "something else".to_owned(), |text| format!("{text:?}"));
            let origin = self.origin(key);
            self.mistakes.push(format!("{key} must be {expected}, not {found} (from {origin})"));
        }
        value
    }

    fn within<T: PartialOrd + Copy>(&mut self, key: &str, kind: &Amount<T>, range: RangeInclusive<T>) -> Option<T> {
        let Amount { what, read, show } = kind;
        let value = self.get(key, what, read)?;
        if !range.contains(&value) {
            let (least, most, origin) = (show(*range.start()), show(*range.end()), self.origin(key));
            self.mistakes.push(format!("{key} must be from {least} to {most}, not {} (from {origin})", show(value)));
        }
        Some(value)
    }

    /// A setting's text, to be read by other means than [`get`](Self::get).
    pub(super) fn text(&self, key: &str) -> String {
        self.settings.get_string(key).unwrap_or_default()
    }

    fn refuse_unknown(&mut self) {
        let built_in = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml)).build();
        let known = origins(&built_in.unwrap_or_default());
        for key in self.origins.keys().filter(|key| !known.contains_key(*key)) {
            let advice = match closest(key, known.keys().map(String::as_str)) {
                Some(close) => format!("did you mean {close}?"),
                None => what_there_is(key, known.keys()),
            };
            self.mistakes.push(format!("there is no setting {key} (from {}): {advice}", self.origin(key)));
        }
    }

    /// The file or variable that a value comes from.
    pub(super) fn origin(&self, key: &str) -> String {
        match self.origins.get(key).and_then(Option::as_deref) {
            Some("the environment") => format!("WEIR__{}", key.to_uppercase().replace('.', "__")),
            Some(file) => file.to_owned(),
            None => "the defaults".to_owned(),
        }
    }
}

/// The settings of a wrong one's section; the sections, if there is none of that name.
fn what_there_is<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> String {
    let section = key.split('.').next().unwrap_or_default();
    let (mut sections, mut settings) = (Vec::new(), Vec::new());
    for (of, name) in known.filter_map(|key| key.split_once('.')) {
        if of == section {
            settings.push(name);
        }
        sections.push(of);
    }
    sections.dedup();
    match settings.is_empty() {
        true => format!("the sections are {}", sections.join(", ")),
        false => format!("{section} has {}", settings.join(", ")),
    }
}

/// The dotted names of all settings, with the files that they come from.
type Origins = BTreeMap<String, Option<String>>;

fn origins(settings: &Config) -> Origins {
    let mut found = Origins::new();
    collect("", &settings.cache, &mut found);
    found
}

fn collect(path: &str, value: &config::Value, found: &mut Origins) {
    let ValueKind::Table(table) = &value.kind else {
        found.insert(path.to_owned(), value.origin().map(str::to_owned));
        return;
    };
    for (name, inner) in table {
        let dotted = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(&dotted, inner, found);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Service, ServiceError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Service::read(folder.path(), variables.collect())
    }

    #[track_caller]
    fn mistakes(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Vec<String> {
        match read(files, variables) {
            Err(ServiceError::Wrong(mistakes)) => {
                // Files are in a folder of their own in each run.
                mistakes.iter().map(|mistake| mask_folder(mistake)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn mask_folder(mistake: &str) -> String {
        let words = mistake.split(' ').map(|word| word.rsplit('/').next().unwrap_or(word));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn without_files_the_shipped_file_holds() {
        let expected = Service {
            limits: Limits { memory: 256 << 20, drain: Duration::from_secs(30) },
            restart: Restart {
                backoff_min: Duration::from_millis(500),
                backoff_max: Duration::from_secs(30),
                failures_until_parked: 5,
                for_ever: false,
            },
            log: Log { level: "info".to_owned(), format: LogFormat::Auto, file: None },
            http: Some(Http::default()),
            instance: None,
        };
        assert_eq!(read(&[], &[]).unwrap(), expected);
        assert_eq!(read(&[("default.toml", DEFAULTS)], &[]).unwrap(), expected);
    }

    #[test]
    fn later_sources_win() {
        let files = [
            ("default.toml", "limits.memory = \"1GiB\"\nlimits.drain = \"1s\"\nlog.level = \"warn\""),
            ("production.toml", "limits.drain = \"2s\"\nlog.level = \"error\""),
        ];
        let variables =
            [("WEIR_ENV", "production"), ("WEIR__LOG__LEVEL", "debug"), ("WEIR__RESTART__FAILURES_UNTIL_PARKED", "7")];
        let service = read(&files, &variables).unwrap();
        assert_eq!(service.limits.memory, 1 << 30);
        assert_eq!(service.limits.drain, Duration::from_secs(2));
        assert_eq!(service.log.level, "debug");
        assert_eq!(service.restart.failures_until_parked, 7);
    }

    #[test]
    fn every_mistake_names_its_source() {
        let files =
            [("default.toml", "limits.memory = 512\nlimits.drain = \"9h\"\nlog.colour = true\nlog.levle = \"info\"")];
        let variables =
            [("WEIR__LOG__FORMAT", "xml"), ("WEIR__RESTART__FAILURES_UNTIL_PARKED", "0"), ("WEIR__LIMIT__X", "1")];
        assert_eq!(
            mistakes(&files, &variables),
            [
                "there is no setting limit.x (from WEIR__LIMIT__X): the sections are http, limits, log, restart, serve",
                "there is no setting log.colour (from default.toml): log has file, format, keep, level",
                "there is no setting log.levle (from default.toml): did you mean log.level?",
                "limits.memory must be a size such as \"128MiB\" (a whole number and B, KiB, MiB, GiB, TiB, kB, MB, GB or TB), \
                 not \"512\" (from default.toml)",
                "limits.drain must be from 1s to 1h, not 9h (from default.toml)",
                "restart.failures_until_parked must be a whole number from 1, not \"0\" \
                 (from WEIR__RESTART__FAILURES_UNTIL_PARKED)",
                "log.format must be \"auto\", \"pretty\" or \"json\", not \"xml\" (from WEIR__LOG__FORMAT)",
            ]
        );
        assert_eq!(
            mistakes(&[], &[("WEIR__RESTART__BACKOFF_MIN", "1m")]),
            ["restart.backoff_min is above restart.backoff_max (from WEIR__RESTART__BACKOFF_MIN)"]
        );
    }

    #[test]
    fn a_file_that_is_no_toml_is_not_shown() {
        for text in
            ["http.read_token = \"planted-planted", "http.read_token planted-planted", "[http\nplanted = \"planted"]
        {
            let error = read(&[("default.toml", text)], &[]).unwrap_err();
            for shown in [error.to_string(), format!("{:#}", anyhow::Error::new(error))] {
                assert!(shown.contains("default.toml") && shown.contains("line "), "{shown}");
                assert!(!shown.contains("plan"), "{shown}");
            }
        }
    }

    #[test]
    fn a_misspelt_environment_is_refused() {
        for name in ["prodution", "../default"] {
            let error = read(&[("default.toml", "")], &[("WEIR_ENV", name)]).unwrap_err();
            assert!(matches!(error, ServiceError::NoSuchEnvironment { .. }), "{error}");
        }
    }
}
