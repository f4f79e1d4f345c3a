//! `[http]`: where the service answers, and to whom.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::secret;
use super::service::Reader;

/// A token shorter than this could be guessed.
const TOKEN_LENGTH_MIN: usize = 16;

/// Where the service answers, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The address and port.
    pub listen: SocketAddr,
    /// Who has it may read.
    pub read_token: Option<Token>,
    /// Who has it may read and control.
    pub control_token: Option<Token>,
    /// The certificate with its chain, and its key: PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Names it may be asked by, beside localhost and addresses.
    pub hosts: Vec<String>,
}

/// A secret that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The secret itself.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Default for Http {
    fn default() -> Self {
        let listen = (Ipv4Addr::LOCALHOST, 8321).into();
        Http { listen, read_token: None, control_token: None, tls: None, hosts: Vec::new() }
    }
}

impl Http {
    /// Whether nobody needs a token.
    pub fn is_open(&self) -> bool {
        self.read_token.is_none() && self.control_token.is_none()
    }

    /// Reads `[http]`; none inside for nowhere, none outside where something is wrong.
    pub(super) fn read(reader: &mut Reader) -> Option<Option<Http>> {
        let listen = reader.get("http.listen", "an address and a port such as \"127.0.0.1:8321\", or \"\"", |text| {
            if text.is_empty() { Some(None) } else { text.parse::<SocketAddr>().ok().map(Some) }
        });
        let read_token = token(reader, "http.read_token");
        let control_token = token(reader, "http.control_token");
        let path = |reader: &mut Reader, key| reader.get(key, "a path", |text| Some(PathBuf::from(text)));
        let (certificate, key) = (path(reader, "http.tls_certificate")?, path(reader, "http.tls_key")?);
        let plaintext = reader.get("http.plaintext", "true or false", |text| text.parse::<bool>().ok())?;
        let hosts = reader.get("http.hosts", "names separated by commas", |text| {
            let names = text.split(',').map(|name| name.trim().to_ascii_lowercase());
            Some(names.filter(|name| !name.is_empty()).collect())
        })?;
        let (listen, read_token, control_token) = (listen?, read_token?, control_token?);
        let tls = match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
            (true, true) => None,
            (false, false) => Some((certificate, key)),
            _ => {
                reader.mistakes.push("http.tls_certificate and http.tls_key must be given together".to_owned());
                return None;
            }
        };
        let Some(listen) = listen else { return Some(None) };
        let http = Http { listen, read_token, control_token, tls, hosts };
        if !listen.ip().is_loopback() {
            let origin = reader.origin("http.listen");
            if http.is_open() {
                reader.mistakes.push(format!(
                    "http.listen is {listen} (from {origin}): where others can reach it weir needs http.control_token or \
                     http.read_token"
                ));
            }
            if http.tls.is_none() && !plaintext {
                reader.mistakes.push(format!(
                    "http.listen is {listen} (from {origin}): where others can reach it weir needs http.tls_certificate and \
                     http.tls_key, or http.plaintext = true where something in front of it has TLS"
                ));
            }
        }
        Some(Some(http))
    }
}

#[cfg(test)]
pub(crate) fn token_for_tests(secret: &str) -> Token {
    Token(secret.to_owned())
}

/// A token; none inside where there is none. Its value is in no message.
fn token(reader: &mut Reader, key: &str) -> Option<Option<Token>> {
    let written = reader.text(key);
    let text = match written.strip_prefix("${file:").and_then(|rest| rest.strip_suffix('}')) {
        Some(path) => match secret::read(Path::new(path)) {
            Ok(text) => text,
            Err(error) => {
                let origin = reader.origin(key);
                reader.mistakes.push(format!("{key}: {error}; {} (from {origin})", error.help()));
                return None;
            }
        },
        None => written,
    };
    // A misspelt ${file:…} is no token.
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'$';
    match text.len() {
        0 => Some(None),
        TOKEN_LENGTH_MIN.. if text.bytes().all(legal) => Some(Some(Token(text))),
        length => {
            let origin = reader.origin(key);
            reader.mistakes.push(format!(
                "{key} must be at least {TOKEN_LENGTH_MIN} letters, digits or signs without spaces, not {length} characters of \
                 which some may be others (from {origin})"
            ));
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::Service;
    use crate::settings::service::ServiceError;

    const TOKEN: &str = "planted-planted-planted";

    /// What comes of these settings: what is read, or the mistakes.
    fn read(settings: &[(&str, &str)]) -> Result<Option<Http>, Vec<String>> {
        let variables = settings.iter().map(|(key, value)| (format!("WEIR__HTTP__{key}"), (*value).to_owned()));
        match Service::read(Path::new("nowhere"), variables.collect()) {
            Ok(service) => Ok(service.http),
            Err(ServiceError::Wrong(mistakes)) => Err(mistakes),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn on_loopback_nothing_is_needed() {
        assert_eq!(read(&[]), Ok(Some(Http::default())));
        assert_eq!(read(&[("LISTEN", "")]), Ok(None));
        let hosts = read(&[("LISTEN", "[::1]:80"), ("HOSTS", "A.example.com, b.example.com")]).unwrap().unwrap();
        assert_eq!(hosts.hosts, ["a.example.com", "b.example.com"]);
    }

    #[test]
    fn elsewhere_a_token_and_tls_are() {
        let mistakes = |settings: &[(&str, &str)]| read(settings).unwrap_err().join("\n");
        let open = mistakes(&[("LISTEN", "0.0.0.0:80")]);
        assert!(open.contains("needs http.control_token") && open.contains("needs http.tls_certificate"), "{open}");
        assert!(open.contains("WEIR__HTTP__LISTEN"), "{open}");
        let plain = mistakes(&[("LISTEN", "0.0.0.0:80"), ("READ_TOKEN", TOKEN)]);
        assert!(!plain.contains("control_token") && plain.contains("http.plaintext = true"), "{plain}");
        let allowed = read(&[("LISTEN", "0.0.0.0:80"), ("READ_TOKEN", TOKEN), ("PLAINTEXT", "true")]).unwrap().unwrap();
        assert!(!format!("{allowed:?}").contains("planted"), "{allowed:?}");
        let half = mistakes(&[("TLS_KEY", "key.pem")]);
        assert!(half.contains("together"), "{half}");
        let tls = [("LISTEN", "0.0.0.0:80"), ("CONTROL_TOKEN", TOKEN), ("TLS_KEY", "k"), ("TLS_CERTIFICATE", "c")];
        assert_eq!(read(&tls).unwrap().unwrap().tls, Some(("c".into(), "k".into())));
    }

    #[test]
    fn a_wrong_token_is_refused_and_not_shown() {
        for token in ["${flie:/planted/planted}", "short-planted", "planted planted planted", "planted-planted-plantéd"]
        {
            let mistakes = read(&[("READ_TOKEN", token)]).unwrap_err();
            assert!(mistakes.len() == 1 && !mistakes[0].contains("plant"), "{mistakes:?}");
        }
    }
}
