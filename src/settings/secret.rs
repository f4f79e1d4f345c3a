//! Secrets in files, such as those that Docker, Kubernetes or systemd put into a folder for one service.
//!
//! A secret is all of a file's text but for the newline at its end. It is refused where the other users of the machine may
//! read it too. The folders above it are not looked at, and nothing here keeps or shows what was read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Keys and certificates have a few KiB: what is longer was meant to be something else.
const BYTES_MAX: u64 = 64 << 10;
/// The permission that everybody has.
const READABLE_BY_OTHERS: u32 = 0o004;

/// Why a file can't be a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("there is no file {0}")]
    Missing(PathBuf),
    #[error("{0} can't be read: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("{0} is not a file")]
    NotAFile(PathBuf),
    #[error("everybody on this machine may read {0}")]
    OpenToAll(PathBuf),
    #[error("{0} is larger than 64 KiB")]
    TooLarge(PathBuf),
    #[error("{0} is not UTF-8 text")]
    NotText(PathBuf),
}

impl SecretError {
    /// What to do about it.
    pub(crate) fn help(&self) -> String {
        match self {
            SecretError::Missing(_) => {
                "create it, or correct the path; a relative one begins where weir is started".into()
            }
            SecretError::Unreadable(..) => "let the user that weir runs as read it, and nobody else".into(),
            SecretError::NotAFile(_) => "name a file that holds the secret and nothing else".into(),
            SecretError::OpenToAll(path) => {
                let path = path.display();
                format!("chmod o-r {path} (where it is mounted: mode 0400 in the secret's definition)")
            }
            SecretError::TooLarge(_) => "a secret is a password, a key or a certificate: is it the right file?".into(),
            SecretError::NotText(_) => "write keys and certificates as PEM, which is text".into(),
        }
    }
}

/// Whether a file is there that everybody on this machine may read.
pub(crate) fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & READABLE_BY_OTHERS != 0)
}

/// The secret in a file.
///
/// # Errors
/// When it is not there, not readable, readable by everybody, not a file, too large, or not text.
pub(crate) fn read(path: &Path) -> Result<String, SecretError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SecretError::Missing(path.to_owned()),
        _ => SecretError::Unreadable(path.to_owned(), error),
    };
    // Before it is opened: to open a pipe would wait for whoever writes to it.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(SecretError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(unreadable)?;
    // Of the open file: another one may have its name by now.
    if file.metadata().map_err(unreadable)?.permissions().mode() & READABLE_BY_OTHERS != 0 {
        return Err(SecretError::OpenToAll(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(SecretError::TooLarge(path.to_owned()));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| SecretError::NotText(path.to_owned()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What `read` says about a file with this content and mode, the folder's name left out.
    fn check(content: &[u8], mode: u32) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        said(read(&path), folder.path())
    }

    fn said(read: Result<String, SecretError>, folder: &Path) -> Result<String, String> {
        let folder = format!("{}/", folder.display());
        read.map_err(|error| format!("{error}: {}", error.help()).replace(&folder, ""))
    }

    #[test]
    fn a_secret_is_the_file_without_its_last_newline() {
        for (content, secret) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            (" a b\n\n", " a b\n"),
            ("hunter2\r", "hunter2\r"),
            ("", ""),
        ] {
            assert_eq!(check(content.as_bytes(), 0o640).as_deref(), Ok(secret), "{content:?}");
        }
        assert_eq!(check(&[b'x'; 64 << 10], 0o400).map(|secret| secret.len()), Ok(64 << 10));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let open = "everybody on this machine may read secret: chmod o-r secret (where it is mounted: mode 0400 in the secret's definition)";
        assert_eq!(check(b"x", 0o644), Err(open.into()));
        assert_eq!(check(b"x", 0o604), Err(open.into()));
        let large =
            "secret is larger than 64 KiB: a secret is a password, a key or a certificate: is it the right file?";
        assert_eq!(check(&[b'x'; (64 << 10) + 1], 0o600), Err(large.into()));
        let text = "secret is not UTF-8 text: write keys and certificates as PEM, which is text";
        assert_eq!(check(b"\xff", 0o600), Err(text.into()));
        let folder = tempfile::tempdir().unwrap();
        let missing =
            "there is no file secret: create it, or correct the path; a relative one begins where weir is started";
        assert_eq!(said(read(&folder.path().join("secret")), folder.path()), Err(missing.into()));
        assert!(matches!(read(folder.path()), Err(SecretError::NotAFile(_))));
        // A name that is too long: tests may run as root, who may read anything.
        assert!(matches!(read(&folder.path().join("x".repeat(300))), Err(SecretError::Unreadable(..))));
    }
}
