//! Real Kafka brokers: one that all tests share, and own ones for tests that stop them.
//!
//! A broker's standard input's other end is held by this process, in a shell that waits for its end: however this process
//! ends, the pipe closes, and the shell kills the broker and removes its data.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::produce::random;
use super::setup;

/// `$1` is the data folder, the rest the broker's command line.
const SUPERVISE: &str = r#"
exec 2>/dev/null # Not a word about the broker that it kills.
data=$1
shift
"$@" </dev/null >>"$data/console.log" 2>&1 &
broker=$!
if read -r signal; then
    kill "-$signal" "$broker"
    wait "$broker"
else
    kill -KILL "$broker"
    wait "$broker"
    rm -rf "$data"
fi
"#;

/// Settings beyond deploy/kafka's: nothing waits longer than it must, and large records fit.
const SETTINGS: [&str; 8] = [
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=1000",
    "offsets.topic.num.partitions=1",
    "transaction.state.log.num.partitions=1",
    "auto.create.topics.enable=false",
    "message.max.bytes=33554432",
    "replica.fetch.max.bytes=33554432",
    "file.delete.delay.ms=1000",
];

/// A running broker, or one that was stopped and can be started again.
pub struct Broker {
    port: u16,
    /// Where the clients of its cluster connect.
    address: String,
    data: PathBuf,
    /// Beyond those that all have.
    settings: Vec<String>,
    supervisor: Mutex<Option<Child>>,
}

impl Broker {
    /// The broker of this test binary.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Broker::own)
    }

    /// A broker that no other test sees.
    pub fn own() -> Broker {
        Broker::with(free_port(), |_| Vec::new())
    }

    /// The same with a port and settings that the caller chose; the folder that they may use goes with the broker.
    pub fn with(port: u16, settings: impl FnOnce(&Path) -> Vec<String>) -> Broker {
        let broker = Broker::member(port, format!("localhost:{port}"), settings);
        broker.start();
        broker
    }

    /// One of the brokers that clients reach at `address`; it was never started.
    pub fn member(port: u16, address: String, settings: impl FnOnce(&Path) -> Vec<String>) -> Broker {
        setup::provision("kafka");
        let data = setup::folder("kafka").keep();
        let settings = settings(&data);
        Broker { port, address, data, settings, supervisor: Mutex::default() }
    }

    /// Host and port, of every broker of its cluster.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// The folder that goes with it.
    pub fn folder(&self) -> &Path {
        &self.data
    }

    /// The log of a partition's first segment, as the broker keeps it.
    pub fn log(&self, topic: &str, partition: i32) -> PathBuf {
        let found = super::dataset::files(&self.data);
        let name = format!("{topic}-{partition}/00000000000000000000.log");
        found.into_iter().find(|path| path.ends_with(&name)).expect("the broker keeps the partition's log")
    }

    /// Starts it with the port and the data that it had.
    pub fn start(&self) {
        self.launch();
        self.wait_until_it_answers();
    }

    /// Starts it, and doesn't wait: a member may answer only when another one is there too.
    pub fn launch(&self) {
        let mut supervisor = self.supervisor.lock().unwrap();
        assert!(supervisor.is_none(), "the broker runs");
        let kafka = setup::root().join("deploy/kafka");
        let mut command = Command::new("bash");
        command.args(["-c", SUPERVISE, "supervise"]).arg(&self.data).arg(kafka);
        command.args(["run", "--port", &self.port.to_string(), "--data"]).arg(&self.data);
        for setting in SETTINGS.into_iter().chain(self.settings.iter().map(String::as_str)) {
            command.args(["--set", setting]);
        }
        // A test's broker must start quickly rather than run quickly for weeks.
        let java = "-Xms128m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1";
        command.env("CARGO_TARGET_DIR", setup::target()).env("KAFKA_HEAP_OPTS", java);
        // 22 letters of base64, the same for every member of a cluster.
        command.env("KAFKA_CLUSTER_ID", format!("{:016x}kafkaw", random(0, &self.address, 0)));
        // A process group of its own: Ctrl-C ends this process, and its end the broker.
        *supervisor = Some(command.stdin(Stdio::piped()).process_group(0).spawn().unwrap());
    }

    /// Stops it in an orderly way, as an operator would.
    pub fn stop(&self) {
        self.signal("TERM");
    }

    /// SIGKILL; its data stays.
    pub fn kill(&self) {
        self.signal("KILL");
    }

    fn signal(&self, name: &str) {
        let mut supervisor = self.supervisor.lock().unwrap().take().expect("the broker runs");
        writeln!(supervisor.stdin.take().unwrap(), "{name}").unwrap();
        assert!(supervisor.wait().is_ok());
    }

    pub fn wait_until_it_answers(&self) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < deadline, "the broker does not answer:\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn logs(&self) -> String {
        let read = |name| std::fs::read_to_string(self.data.join(name)).unwrap_or_default();
        read("console.log") + &read("server.log")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(supervisor.stdin.take());
            let _ = supervisor.wait();
        }
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// A port with a free one after it, below those that connections going out get.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time, and so have ids that are close, keep apart.
    let start = (std::process::id() % 200) as u16 * 74;
    loop {
        let port = 15_000 + (start + 2 * NEXT.fetch_add(1, Ordering::Relaxed)) % 15_000;
        if [port, port + 1].iter().all(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return port;
        }
    }
}
