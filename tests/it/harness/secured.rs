//! A real broker that wants to know who its clients are: TLS with SCRAM on one port, TLS with clients' certificates on
//! another, and access control lists. On its plain port everybody may do everything: from there tests prepare what they need.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use super::broker::{Broker, free_port};
use super::{python, setup};

/// The password of the clients' private key.
pub const KEY_PASSWORD: &str = "key-password-5c1e";

/// The broker, with its certificates.
pub struct Secured {
    pub broker: Broker,
    sasl: u16,
    access: Mutex<Access>,
}

/// What a principal may do.
#[derive(Debug, Clone, Copy)]
pub struct Right<'a> {
    pub principal: &'a str,
    pub operation: &'a str,
    /// `TOPIC` or `GROUP`.
    pub kind: &'a str,
    pub name: &'a str,
}

impl Secured {
    /// The one of this test binary.
    pub fn shared() -> &'static Secured {
        static SHARED: OnceLock<Secured> = OnceLock::new();
        SHARED.get_or_init(Secured::start)
    }

    fn start() -> Secured {
        let (plain, sasl) = (free_port(), free_port());
        let broker = Broker::with(plain, |folder| {
            python::run("certificates.py", &[folder.as_ref(), KEY_PASSWORD.as_ref()]);
            settings(plain, sasl, folder)
        });
        let access = Mutex::new(Access::of(&broker));
        Secured { broker, sasl, access }
    }

    /// Where clients show a user's name and a password.
    pub fn sasl(&self) -> String {
        format!("localhost:{}", self.sasl)
    }

    /// Where clients show a certificate.
    pub fn mutual(&self) -> String {
        format!("localhost:{}", self.sasl + 1)
    }

    /// A certificate or key: `ca.pem` signed `broker.pem` and `client.pem` (with `client.key`), and
    /// `stranger.pem` signed none of them.
    pub fn file(&self, name: &str) -> PathBuf {
        self.broker.folder().join(name)
    }

    /// Makes a user, or gives it another password.
    pub fn user(&self, name: &str, password: &str) {
        self.access.lock().unwrap().order(&format!("user {name} {password}"));
    }

    pub fn allow(&self, right: Right<'_>) {
        self.access.lock().unwrap().order(&right.words("allow"));
    }

    pub fn withdraw(&self, right: Right<'_>) {
        self.access.lock().unwrap().order(&right.words("withdraw"));
    }
}

impl Right<'_> {
    fn words(&self, order: &str) -> String {
        let Right { principal, operation, kind, name } = self;
        format!("{order} {principal} {operation} {kind} {name}")
    }
}

/// Later settings win over those of deploy/kafka.
fn settings(plain: u16, sasl: u16, certificates: &Path) -> Vec<String> {
    let listeners = format!("PLAINTEXT://localhost:{plain},SASL_SSL://localhost:{sasl},SSL://localhost:{}", sasl + 1);
    let file = |name| certificates.join(name).display().to_string();
    vec![
        format!("listeners={listeners},CONTROLLER://localhost:{}", plain + 1),
        format!("advertised.listeners={listeners}"),
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL".into(),
        "ssl.keystore.type=PEM".into(),
        format!("ssl.keystore.location={}", file("broker.all")),
        "ssl.truststore.type=PEM".into(),
        format!("ssl.truststore.location={}", file("ca.pem")),
        "listener.name.ssl.ssl.client.auth=required".into(),
        "sasl.enabled.mechanisms=SCRAM-SHA-512".into(),
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;"
            .into(),
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".into(),
        "listener.name.sasl_ssl.connections.max.reauth.ms=4000".into(),
        // Nobody shows who he is on the plain port.
        "super.users=User:ANONYMOUS".into(),
    ]
}

/// `Access.java`, running.
struct Access {
    java: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Access {
    fn of(broker: &Broker) -> Access {
        let mut java = Command::new("java")
            .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(setup::target().join("kafka/libs/*"))
            .arg(setup::root().join("tests/security/Access.java"))
            .arg(broker.address())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (orders, answers) = (java.stdin.take().unwrap(), BufReader::new(java.stdout.take().unwrap()));
        Access { java, orders, answers }
    }

    /// Returns when the broker acts on it.
    #[track_caller]
    fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "ok\n", "{line}: {:?}", self.java.try_wait());
    }
}
