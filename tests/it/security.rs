//! Who may read what, on a broker that asks: right, wrong and missing credentials, each with a message that says which; the
//! least rights that suffice; and no secret in anything that weir writes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use weir::model::Pipeline;

use crate::harness::case::{Case, PATIENCE};
use crate::harness::dataset::files;
use crate::harness::oracle::judge;
use crate::harness::produce::{Load, produce};
use crate::harness::secured::{KEY_PASSWORD, Right, Secured};
use crate::harness::topics::end;
use crate::harness::until;

/// The environment variable that the tests' pipelines take the password from.
const PASSWORD_VARIABLE: &str = "WEIR_TEST_PASSWORD";
const PASSWORD: &str = "right-password-90b2";
/// What a start may take that needs no answer: less than it waits for brokers that don't answer.
const AT_ONCE: Duration = Duration::from_secs(18);

fn broker() -> &'static Secured {
    Secured::shared()
}

/// A pipeline on the port for passwords, and its user, who has no right yet.
fn with_password(name: &str) -> (Case<'static>, String) {
    let case = Case::new(&broker().broker, name, 2);
    let user = case.pipeline.topic.clone();
    broker().user(&user, PASSWORD);
    let case = connecting(case, broker().sasl(), &sasl(&user));
    (case, user)
}

fn connecting(case: Case<'static>, brokers: String, client: &[(&str, &str)]) -> Case<'static> {
    let lines: Vec<String> = client.iter().map(|(name, value)| format!("{name:?} = {value:?}")).collect();
    case.with(|pipeline| {
        pipeline.brokers = brokers;
        pipeline.source = format!("[source.client]\n{}", lines.join("\n"));
        pipeline.roll = r#"age = "200ms""#.into();
    })
}

/// A file of the certificates' folder, for as long as the tests run.
fn file(name: &str) -> &'static str {
    broker().file(name).display().to_string().leak()
}

fn sasl(user: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", file("ca.pem")),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", user),
        ("sasl.password", "${WEIR_TEST_PASSWORD}"),
    ]
}

fn mutual() -> Vec<(&'static str, &'static str)> {
    vec![
        ("security.protocol", "SSL"),
        ("ssl.ca.location", file("ca.pem")),
        ("ssl.certificate.location", file("client.pem")),
        ("ssl.key.location", file("client.key")),
        ("ssl.key.password", KEY_PASSWORD),
    ]
}

/// The same properties with other values; an empty one leaves the property out.
fn but<'a>(
    mut client: Vec<(&'static str, &'a str)>,
    other: &[(&'static str, &'a str)],
) -> Vec<(&'static str, &'a str)> {
    client.retain(|(name, _)| !other.iter().any(|(changed, _)| changed == name));
    client.extend(other.iter().filter(|(_, value)| !value.is_empty()));
    client
}

fn allow(principal: &str, operation: &str, kind: &str, name: &str) {
    broker().allow(Right { principal, operation, kind, name });
}

/// READ on the topic and on the group.
fn allow_least(case: &Case, principal: &str) {
    allow(principal, "READ", "TOPIC", &case.pipeline.topic);
    allow(principal, "READ", "GROUP", &format!("weir-{}", case.pipeline.name));
}

fn send_readings(case: &Case, seed: u64) {
    produce(case.broker, &case.pipeline.topic, 2, &Load { records: 400, seed, ..Load::default() });
}

fn ends(case: &Case) -> Vec<i64> {
    (0..2).map(|partition| end(case.broker, &case.pipeline.topic, partition)).collect()
}

fn everything_is_committed(case: &Case) -> bool {
    case.dataset().join("ledger/dataset.json").exists() && case.positions().into_values().eq(ends(case))
}

/// The dataset is what the topic must become; for that nobody needs a password.
fn judge_without_password(case: &Case) {
    let dataset = case.dataset();
    let args = ["verify", "--dataset", dataset.to_str().unwrap()];
    case.workspace.run(args, PATIENCE).expect_code(0);
    case.assert_chains();
    judge(&dataset, case.broker, &case.pipeline);
}

// The least that suffices.

/// Up to the end, and in the group, whose offsets are committed.
fn reads_and_commits(case: &Case, password: &str) {
    let environment = [(PASSWORD_VARIABLE, password)];
    send_readings(case, 1);
    let finished = case.to_end_with(&environment).wait(PATIENCE).expect_code(0);
    assert!(!finished.stderr.contains("denies"), "{}", finished.stderr);
    send_readings(case, 2);
    let run = case.workspace.spawn_with(["run", &case.file()], &environment);
    until("everything is committed", PATIENCE, || everything_is_committed(case));
    until("so are the group's offsets", PATIENCE, || case.committed_offsets() == case.positions());
    run.signal("TERM");
    let finished = run.wait(PATIENCE).expect_code(0);
    assert!(!finished.stderr.contains("denies"), "{}", finished.stderr);
    judge_without_password(case);
}

#[test]
fn a_password_and_the_least_rights() {
    let (case, user) = with_password("least");
    allow_least(&case, &format!("User:{user}"));
    reads_and_commits(&case, PASSWORD);
}

#[test]
fn a_certificate_and_the_least_rights() {
    let case = connecting(Case::new(&broker().broker, "mutual", 2), broker().mutual(), &mutual());
    allow_least(&case, "User:CN=weir");
    reads_and_commits(&case, "");
}

// What is said without them.

/// Everything that is wrong at a start, by name; where the message is expected, ports and paths are masked.
fn refused_starts() -> Vec<(&'static str, Case<'static>)> {
    let plain = || Case::new(&broker().broker, "refused", 2);
    let (sasl_port, mutual_port) = (broker().sasl(), broker().mutual());
    let user = "known";
    broker().user(user, PASSWORD);
    let known = || sasl(user);
    let sasl_with =
        |other: &[(&'static str, &'static str)]| connecting(plain(), sasl_port.clone(), &but(known(), other));
    let mutual_with =
        |other: &[(&'static str, &'static str)]| connecting(plain(), mutual_port.clone(), &but(mutual(), other));
    let other_host = sasl_port.replace("localhost", "127.0.0.1");
    let no_certificate = [("ssl.certificate.location", ""), ("ssl.key.location", ""), ("ssl.key.password", "")];
    let of_a_stranger = [
        ("ssl.certificate.location", file("stranger.pem")),
        ("ssl.key.location", file("stranger.key")),
        ("ssl.key.password", ""),
    ];
    vec![
        ("wrong password", sasl_with(&[("sasl.password", "wrong-password")])),
        ("unknown user", sasl_with(&[("sasl.username", "nobody")])),
        ("wrong mechanism", sasl_with(&[("sasl.mechanism", "PLAIN")])),
        ("no user", sasl_with(&[("sasl.username", ""), ("sasl.password", "")])),
        ("no SASL", sasl_with(&[("security.protocol", "SSL"), ("sasl.mechanism", "")])),
        ("no TLS", sasl_with(&[("security.protocol", "SASL_PLAINTEXT")])),
        ("neither", connecting(plain(), sasl_port.clone(), &[])),
        ("TLS to a plain listener", connecting(plain(), broker().broker.address(), &mutual())),
        ("untrusted authority", sasl_with(&[("ssl.ca.location", file("stranger.pem"))])),
        ("another host name", connecting(plain(), other_host, &known())),
        ("no certificate", mutual_with(&no_certificate)),
        ("a stranger's certificate", mutual_with(&of_a_stranger)),
        ("wrong key password", mutual_with(&[("ssl.key.password", "wrong-password")])),
    ]
}

/// What starts say that may not read, by name.
fn denied_starts() -> Vec<(&'static str, Case<'static>)> {
    let (nothing, _) = with_password("denied");
    let (describe, user) = with_password("denied");
    allow(&format!("User:{user}"), "DESCRIBE", "TOPIC", &describe.pipeline.topic);
    let (no_group, user) = with_password("denied");
    allow(&format!("User:{user}"), "READ", "TOPIC", &no_group.pipeline.topic);
    let (no_topic, user) = with_password("denied");
    allow(&format!("User:{user}"), "READ", "GROUP", &format!("weir-{}", no_topic.pipeline.name));
    let certificate = connecting(Case::new(&broker().broker, "denied", 2), broker().mutual(), &mutual());
    vec![
        ("no right at all", nothing),
        ("only the group", no_topic),
        ("the topic is visible", describe),
        ("only the topic", no_group),
        ("no right by certificate", certificate),
    ]
}

/// Each ends with 3, soon, and without a dataset; what they say.
fn say(starts: Vec<(&str, Case)>) -> String {
    let run = |(name, case): (&str, Case)| {
        let started = Instant::now();
        let run = case.to_end_with(&[(PASSWORD_VARIABLE, PASSWORD)]);
        let finished = run.wait(PATIENCE).expect_code(3);
        let late = if started.elapsed() < AT_ONCE { "" } else { " (after too long)" };
        assert!(!case.dataset().exists(), "{name}: a refused run must change nothing");
        format!("{name}{late}:\n{}\n", masked(&finished.stdout, &case))
    };
    let run = &run;
    // Most of the time they wait.
    std::thread::scope(|scope| {
        let runs: Vec<_> = starts.into_iter().map(|start| scope.spawn(move || run(start))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

/// Without what differs from run to run.
fn masked(said: &str, case: &Case) -> String {
    let port = |address: String| address.rsplit_once(':').unwrap().1.to_owned();
    let certificates = file("ca.pem").replace("/ca.pem", "");
    let masked = said
        .replace(&certificates, "CERTIFICATES")
        .replace(&case.pipeline.topic, "TOPIC")
        .replace(&port(broker().sasl()), "SASL_PORT")
        .replace(&port(broker().mutual()), "MUTUAL_PORT")
        .replace(&port(broker().broker.address()), "PLAIN_PORT")
        // OpenSSL 3.0, as newer ones say it.
        .replace("sslv3 alert", "ssl/tls alert");
    masked.trim().to_owned()
}

#[test]
fn refusals_say_why() {
    insta::assert_snapshot!(say(refused_starts()));
}

#[test]
fn missing_rights_are_named() {
    insta::assert_snapshot!(say(denied_starts()));
}

// While it runs.

#[test]
fn rights_that_are_withdrawn_while_it_runs() {
    let (case, user) = with_password("withdrawn");
    let principal = format!("User:{user}");
    allow_least(&case, &principal);
    // So that only fetches tell that the right to read is gone.
    allow(&principal, "DESCRIBE", "TOPIC", &case.pipeline.topic);
    let (topic, group) = (&case.pipeline.topic, &format!("weir-{}", case.pipeline.name));
    send_readings(&case, 1);
    let environment = [
        (PASSWORD_VARIABLE, PASSWORD),
        ("WEIR__RESTART__BACKOFF_MAX", "500ms"),
        ("WEIR__RESTART__FAILURES_UNTIL_PARKED", "1000000"),
    ];
    let run = case.workspace.spawn_with(["run", &case.file()], &environment);
    until("everything is committed", PATIENCE, || everything_is_committed(&case));
    for (kind, name, denied) in [("TOPIC", topic, "to READ topic"), ("GROUP", group, "to READ group")] {
        let right = Right { principal: &principal, operation: "READ", kind, name };
        broker().withdraw(right);
        // In the group, the next offset to be committed tells.
        send_readings(&case, if kind == "TOPIC" { 2 } else { 3 });
        let words = format!("allow {principal} {denied} {name:?}");
        until("it says which", PATIENCE, || run.stderr().replace("\\\"", "\"").contains(&words));
        broker().allow(right);
        until("it goes on", PATIENCE, || everything_is_committed(&case));
    }
    run.signal("TERM");
    run.wait(PATIENCE).expect_code(0);
    judge_without_password(&case);
}

/// The broker asks for the password again every few seconds.
#[test]
fn a_password_that_is_changed_while_it_runs() {
    let (case, user) = with_password("changed");
    allow_least(&case, &format!("User:{user}"));
    send_readings(&case, 1);
    let run = case.workspace.spawn_with(["run", &case.file()], &[(PASSWORD_VARIABLE, PASSWORD)]);
    until("everything is committed", PATIENCE, || everything_is_committed(&case));
    broker().user(&user, "another-password");
    until("it says so", PATIENCE, || run.stderr().contains(&format!("refuses user {user:?}")));
    broker().user(&user, PASSWORD);
    send_readings(&case, 2);
    until("it goes on", PATIENCE, || everything_is_committed(&case));
    run.signal("TERM");
    run.wait(PATIENCE).expect_code(0);
    judge_without_password(&case);
}

// Secrets.

/// A file that weir takes for a secret.
fn secret_file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    format!("${{file:{}}}", path.display())
}

/// Every file below `folder` that has one of the secrets in it.
fn leaks(folder: &Path, secrets: &[&str]) -> Vec<String> {
    let has = |path: &Path| {
        let content = fs::read(path).unwrap();
        let found = |secret: &&&str| content.windows(secret.len()).any(|window| window == secret.as_bytes());
        secrets.iter().find(found).map(|secret| format!("{secret} in {}", path.display()))
    };
    files(folder).iter().filter_map(|path| has(path)).collect()
}

#[test]
fn no_secret_in_anything_that_is_written() {
    let (case, user) = with_password("secrets");
    allow_least(&case, &format!("User:{user}"));
    send_readings(&case, 1);
    let secrets = tempfile::tempdir().unwrap();
    let key = fs::read_to_string(file("client.key")).unwrap();
    let (key_password, key_pem) =
        (secret_file(secrets.path(), "password", KEY_PASSWORD), secret_file(secrets.path(), "key", &key));
    let good = but(
        sasl(&user),
        &[
            ("ssl.certificate.location", file("client.pem")),
            ("ssl.key.pem", &key_pem),
            ("ssl.key.password", &key_password),
            ("debug", "all"),
        ],
    );
    let case = connecting(case, broker().sasl(), &good);
    let planted = [PASSWORD, KEY_PASSWORD, "wrong-password-77aa", key.lines().nth(1).unwrap()];
    let environment = |password| {
        [(PASSWORD_VARIABLE, password), ("WEIR__LOG__LEVEL", "trace,librdkafka=trace"), ("RUST_LOG", "trace")]
    };
    let run = |case: &Case, password, code| {
        let finished = case.to_end_with(&environment(password)).wait(PATIENCE).expect_code(code);
        for format in ["text", "json"] {
            let check = ["check", &case.file(), "--format", format];
            case.workspace.spawn_with(check, &environment(password)).wait(PATIENCE).expect_code(0);
        }
        finished
    };
    let finished = run(&case, PASSWORD, 0);
    for words in ["SCRAM", "sasl.password"] {
        assert!(finished.stderr.contains(words), "the client's own debug lines are missing: no {words}");
    }
    run(&case, "wrong-password-77aa", 3);
    // A key where its path should be.
    let case = connecting(case, broker().sasl(), &but(good, &[("ssl.key.pem", ""), ("ssl.key.location", &key_pem)]));
    run(&case, PASSWORD, 3);

    let text = case.pipeline.toml();
    let pipeline = Pipeline::parse("p.toml", &text, &|_| Some(PASSWORD.into())).unwrap();
    fs::write(case.workspace.path().join("debug"), format!("{pipeline:?}")).unwrap();
    assert!(files(case.workspace.path()).len() > 15, "something must have been written");
    assert_eq!(leaks(case.workspace.path(), &planted), Vec::<String>::new());
}
