//! The binary under test, in a working directory of its own.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::pipeline::Pipeline;
use super::{crash, setup};

/// A working directory; it goes when it is dropped.
pub struct Workspace {
    folder: tempfile::TempDir,
    runs: AtomicU32,
}

impl Workspace {
    pub fn new() -> Workspace {
        Workspace { folder: setup::folder("weir"), runs: AtomicU32::new(0) }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a pipeline file and returns its name.
    pub fn write(&self, pipeline: &Pipeline) -> String {
        let name = format!("{}.toml", pipeline.name);
        fs::write(self.path().join(&name), pipeline.toml()).unwrap();
        name
    }

    /// Where a pipeline's dataset is.
    pub fn dataset(&self, pipeline: &Pipeline) -> PathBuf {
        self.path().join("processed_data").join(&pipeline.name)
    }

    /// Starts `weir` with arguments.
    pub fn spawn<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Run {
        self.spawn_with(args, &[])
    }

    /// Starts `weir` with arguments and environment variables.
    pub fn spawn_with<'a>(&self, args: impl IntoIterator<Item = &'a str>, environment: &[(&str, &str)]) -> Run {
        self.spawn_under(&[], args, environment)
    }

    /// The same as the arguments of another program, which becomes `weir`.
    pub fn spawn_under<'a>(
        &self,
        under: &[&str],
        args: impl IntoIterator<Item = &'a str>,
        environment: &[(&str, &str)],
    ) -> Run {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.path().join(format!("{name}.{number}")));
        let mut words = under.iter().copied().chain([env!("CARGO_BIN_EXE_weir")]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(args).current_dir(self.path()).envs(environment.iter().copied());
        for name in ["KAFKA_BROKERS", "WEIR_ENV", "RUST_LOG"] {
            if !environment.iter().any(|(key, _)| *key == name) {
                command.env_remove(name);
            }
        }
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        // A point at which it aborts is nobody's surprise, and needs no core.
        let aborts = |(name, value): &(&str, &str)| *name == "WEIR_FAILPOINT" && !value.ends_with(":stop");
        let expected = if environment.iter().any(aborts) { vec!["ABRT".to_owned()] } else { Vec::new() };
        let (since, keeps_core) = (SystemTime::now(), expected.is_empty());
        let child = command.spawn().unwrap();
        if keeps_core {
            crash::allow_core(child.id());
        }
        let folder = self.path().to_owned();
        Run { child, stdout, stderr, folder, since, expected: Mutex::new(expected), crash: None }
    }

    /// Runs `weir` to its end, which must come within `timeout`.
    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>, timeout: Duration) -> Finished {
        self.spawn(args).wait(timeout)
    }
}

/// A running `weir`; it is killed when it is dropped.
pub struct Run {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// Its working directory.
    folder: PathBuf,
    since: SystemTime,
    /// Signals by which it may end: those that were sent to it.
    expected: Mutex<Vec<String>>,
    /// What is known of its end by another signal.
    crash: Option<String>,
}

/// A `weir` that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// Where it was when it died by a signal that no test sent; it was printed, too.
    pub crash: Option<String>,
}

impl Finished {
    /// Panics with its output unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Finished {
        assert_eq!(self.status.code(), Some(code), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self
    }
}

impl Run {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// How it ended, if it has. The first one to learn that a signal ended it which nobody sent prints a report.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap()?;
        if let Some(signal) = status.signal()
            && self.crash.is_none()
            && !self.expected.lock().unwrap().contains(&crash::signal_name(signal))
        {
            let report = crash::report(self.pid(), signal, &self.folder, self.since);
            eprintln!("{report}");
            self.crash = Some(report);
        }
        Some(status)
    }

    /// Waits until SIGSTOP has stopped it; after `timeout` this panics with its output.
    #[track_caller]
    pub fn until_stopped(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while !self.is_in_state('T') {
            let may_be = Instant::now() < deadline && !self.is_in_state('Z');
            assert!(may_be, "weir was not stopped within {timeout:?}:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether the operating system says that of its process: `T` stopped, `Z` ended.
    fn is_in_state(&self, state: char) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        status.lines().any(|line| line.starts_with(&format!("State:\t{state}")))
    }

    /// Several signals, one right after the other.
    pub fn signals(&self, names: &[&str]) {
        self.expected.lock().unwrap().extend(names.iter().map(|name| (*name).to_owned()));
        let script: String = names.iter().map(|name| format!("kill -{name} {}\n", self.pid())).collect();
        assert!(Command::new("bash").args(["-c", &script]).status().unwrap().success());
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(mut self) -> Finished {
        self.expected.lock().unwrap().push("KILL".to_owned());
        self.child.kill().unwrap();
        self.wait(Duration::from_secs(10))
    }

    /// Sends a signal by its name, such as `TERM`, `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        self.signals(&[name]);
    }

    /// Waits for its end; after `timeout` it is killed, and this panics with its output.
    pub fn wait(mut self, timeout: Duration) -> Finished {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.ended() {
                let (stdout, stderr) = (fs::read_to_string(&self.stdout).unwrap(), self.stderr());
                return Finished { status, stdout, stderr, crash: self.crash.clone() };
            }
            assert!(Instant::now() < deadline, "weir did not end within {timeout:?}:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // One that has died before is reported, also when its test has failed for another reason.
        let _ = self.ended();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
