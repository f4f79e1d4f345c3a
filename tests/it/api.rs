//! What the service's port withstands: large values behind small answers, requests that are no
//! HTTP, a program that tries whatever the API's description allows and forbids, and files that are
//! not to be shown.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

use crate::harness::broker::Broker;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::dataset::files;
use crate::harness::pipeline::Pipeline;
use crate::harness::produce::{Load, produce};
use crate::harness::python;
use crate::harness::service::{Service, lines};
use crate::harness::topics::make_topic;
use crate::harness::until;
use crate::harness::weir::Workspace;
use crate::memory::peak_bytes;

/// Bytes that no codec makes smaller, the same ones each time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}

/// Begins a process's peak of memory anew, and gives it.
fn peak_from_now(pid: u32) -> u64 {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    peak_bytes(pid).unwrap()
}

#[test]
fn a_large_reject_costs_little_more_than_itself() {
    const LARGE: usize = 40_000_000;
    let broker = Broker::shared();
    make_topic(broker, "api-large-reject", 1, &[("max.message.bytes", "60000000")]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("message.max.bytes", "60000000")
        .create()
        .unwrap();
    let large = noise(LARGE);
    for payload in [&b"small"[..], &large, &large, b"small, too"] {
        producer.send(BaseRecord::<(), _>::to("api-large-reject").payload(payload)).ok().unwrap();
        // One a batch, which has a limit of its own.
        producer.flush(PATIENCE).unwrap();
    }
    let case = Case::of(broker, Pipeline::new(broker, "api-large-reject"));
    case.finish();
    let home = case.workspace.path();
    fs::create_dir(home.join("pipelines")).unwrap();
    fs::rename(home.join(case.file()), home.join("pipelines").join(case.file())).unwrap();
    let service = Service::start(&case.workspace, &[]);
    let name = case.pipeline.name.as_str();
    service.until("it runs", name, |now| now["phase"] == "running");

    let path = format!("/api/v1/pipelines/{name}/rejects?limit=1000");
    let before = peak_from_now(service.run.pid());
    let rejects = service.get(&path);
    let once = peak_bytes(service.run.pid()).unwrap() - before;
    let shown: Vec<_> = rejects
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["payload_bytes"].as_u64(), row["truncated"].as_bool()))
        .collect();
    let (small, large) = ((Some(5), Some(false)), (Some(LARGE as u64), Some(true)));
    assert_eq!(shown, [(Some(10), Some(false)), large, large, small]);
    assert!(rejects.to_string().len() < 64 << 10, "the answer has {} bytes", rejects.to_string().len());

    let before = peak_from_now(service.run.pid());
    thread::scope(|scope| {
        let asked: Vec<_> = (0..12).map(|_| scope.spawn(|| service.text(&path).0.as_u16())).collect();
        let answers: Vec<_> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
        // On a slow machine some wait for too long until it is their turn.
        assert!(answers.contains(&200) && answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    });
    let at_once = peak_bytes(service.run.pid()).unwrap() - before;
    println!("a reject of {LARGE} bytes took {once} bytes, and {at_once} for 12 at once");
    // The page as it is stored, the page as it was, and the row: each once, and no two at the same
    // time.
    let allowed = 4 * LARGE as u64;
    assert!(once < allowed && at_once < allowed, "{once} and {at_once}, {allowed} are allowed");
    service.stop();
    let finished = case.workspace.run(["verify", "--dataset", case.dataset().to_str().unwrap()], PATIENCE);
    finished.expect_code(0);
}

/// A service without pipelines.
fn empty(environment: &[(&str, &str)]) -> (Workspace, Service) {
    let workspace = Workspace::new();
    fs::create_dir(workspace.path().join("pipelines")).unwrap();
    let service = Service::start(&workspace, environment);
    (workspace, service)
}

/// Everything that comes back for these bytes, which are all that the client has to say.
fn answers(service: &Service, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(service.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The service may end the connection before it has read everything.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn what_is_no_http_is_counted_and_harms_nothing() {
    let (_workspace, service) = empty(&[]);
    let before = lines(&service.run).len();
    let noise = noise(1 << 20);
    let mut requests: Vec<Vec<u8>> = vec![
        b"\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"G\0T / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x01\x02\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n".repeat(200).as_bytes(), b"\r\n"].concat(),
        [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", "y".repeat(300_000).as_bytes(), b"\r\n\r\n"].concat(),
        [b"GET /", "x".repeat(300_000).as_bytes(), b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat(),
        [b"GET / HTTP/1.1\r\n", &noise[..2_000], b"\r\n\r\n"].concat(),
    ];
    requests.extend(noise.chunks(1 << 16).map(<[u8]>::to_vec));
    // As many as made a line each before; what is random in them is the same each time.
    requests.extend(noise.chunks(512).map(|chunk| [b"GET /", chunk, b" HTTP/1.1\r\n\r\n"].concat()));
    let sent = requests.len();
    assert!(sent > 2_000, "{sent}");
    for request in &requests {
        let answer = answers(&service, request);
        assert!(!answer.contains("HTTP/1.1 5") && !answer.contains("HTTP/1.0 5"), "{answer}");
    }
    // Many good requests on one connection are answered one after the other, and bad ones end it.
    let good = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    assert_eq!(answers(&service, good.as_bytes()).matches("HTTP/1.1 200").count(), 50);
    let then_bad = [good.as_bytes(), &noise[..100], good.as_bytes()].concat();
    assert!(answers(&service, &then_bad).matches("HTTP/1.1 200").count() <= 50);
    // A method that nobody knows is a request that would change something: it is one line of the
    // audit log.
    let odd = format!("{} / HTTP/1.1\r\nHost: localhost\r\n\r\n", "X".repeat(5_000));
    let answer = answers(&service, odd.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(service.text("/healthz").0.as_u16(), 200);

    let finished = service.stop();
    let said: Vec<Value> = finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(said.len() < before + 40, "{sent} requests made {} lines", said.len() - before);
    assert!(said.iter().all(|line| line["level"] != "ERROR"), "{}", finished.stderr);
    assert!(said.iter().all(|line| line.to_string().len() < 2_000), "a line is as long as a client wants");
    let counted: u64 = said.iter().filter_map(|line| line["requests"].as_u64()).sum();
    assert!(counted > 1_000, "only {counted} of {sent} were counted");
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

#[test]
fn pages_of_other_sites_get_nothing_and_the_front_page_is_the_documentation() {
    let (_workspace, service) = empty(&[]);
    let get = |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        answers(&service, request.as_bytes())
    };
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    for path in ["/metrics", "/api/v1/pipelines", "/docs/", "/", "/readyz", "/nothing"] {
        for site in ["cross-site", "same-site"] {
            assert_eq!(status(&get(path, &format!("Sec-Fetch-Site: {site}\r\n"))), "403", "{path} {site}");
        }
        assert_ne!(status(&get(path, "Sec-Fetch-Site: same-origin\r\n")), "403", "{path}");
    }
    assert_eq!(status(&get("/healthz", "Sec-Fetch-Site: cross-site\r\n")), "200");
    let front = get("/", "");
    assert!(status(&front) == "307" && front.to_lowercase().contains("location: /docs/\r\n"), "{front}");
    assert!(service.text("/").1.to_lowercase().contains("swagger"));
    // A path that there is says which methods it has.
    let answer = answers(&service, b"DELETE /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(status(&answer) == "405" && answer.to_lowercase().contains("allow: get\r\n"), "{answer}");
    assert_eq!(status(&get("/api/v1/pipelines/a/b/c", "")), "404");
    service.stop();
}

#[test]
fn schemathesis_finds_nothing() {
    const TOKENS: [(&str, &str); 2] =
        [("WEIR__HTTP__READ_TOKEN", "read-read-read-read"), ("WEIR__HTTP__CONTROL_TOKEN", "control-control-cont")];
    let broker = Broker::shared();
    let roll = r#"windows = 100, age = "200ms""#;
    let case = Case::new(broker, "api-schemathesis", 2).with(|pipeline| pipeline.roll = roll.to_owned());
    let mut hours = case.pipeline.clone();
    hours.name = format!("{}-hours", hours.name);
    hours.window = Some("type = \"tumbling\"\nsize = \"1h\"\ntime = \"measured_at\"".to_owned());
    produce(broker, &case.pipeline.topic, 2, &Load { records: 3_000, broken: 50, ..Load::default() });
    let folder = case.workspace.path().join("pipelines");
    fs::create_dir(&folder).unwrap();
    for pipeline in [&case.pipeline, &hours] {
        fs::write(folder.join(format!("{}.toml", pipeline.name)), pipeline.toml()).unwrap();
    }
    fs::write(folder.join("refused.toml"), "name = 1").unwrap();
    let dataset = case.workspace.path().join("processed_data").join(&hours.name);
    let service = Service::start(&case.workspace, &TOKENS);
    let has = |folder: &Path, side: &str| folder.join(side).is_dir() && !files(&folder.join(side)).is_empty();
    until("there are data and rejects", PATIENCE, || {
        [case.dataset(), dataset.clone()].iter().all(|folder| has(folder, "data") && has(folder, "rejects"))
    });
    let names = [case.pipeline.name.as_ref(), hours.name.as_ref()];
    let found = python::run("api.py", &[service.url.as_ref(), TOKENS[1].1.as_ref(), names[0], names[1]]);
    assert_eq!(
        (&found["failures"], &found["code"]),
        (&Value::Array(Vec::new()), &0.into()),
        "{}",
        found["report"].as_str().unwrap()
    );
    assert!(found["operations"].as_u64().unwrap() >= 18 && found["cases"].as_u64().unwrap() > 500, "{found:#}");
    println!("schemathesis: {} cases of {} operations", found["cases"], found["operations"]);
    service.stop();
}

/// Whatever is written in a file that is refused: nobody who asks the service, or reads its log,
/// sees a secret of it.
#[test]
fn no_secret_of_a_refused_file_is_shown() {
    const PLANTED: &str = "planted-5c21";
    let workspace = Workspace::new();
    let folder = workspace.path().join("pipelines");
    fs::create_dir(&folder).unwrap();
    let broken = [
        "\"sasl.password\" = \"planted-5c21",
        "\"sasl.password\" = planted-5c21",
        "\"sasl.password\" planted-5c21",
        "sasl.password: planted-5c21",
        "\"sasl.password\" =\n\"planted-5c21",
        "[source]\nclient = { \"sasl.password\" = \"planted-5c21\" }",
        "[source]\nclient = { \"sasl.password\" = \"planted-5c21\"",
        "[source.client]\n\"sasl.password \" = \"planted-5c21\"",
        "[source.client]\n\"sasl.pw\" = \"planted-5c21\"",
        "[source.client]\n\"sasl.jaas.config\" = 'Plain password=\"planted-5c21\";'",
        "[source.client]\n\"ssl.key.pem\" = \"-----BEGIN\nplanted-5c21==\n",
        "[source.client]\n\"ssl.key.pem\" = '''\nplanted-5c21==\n",
        "[source]\n\"sasl.password\" = \"planted-5c21\"",
        "# sasl.password = \"planted-5c21\"\nnonsense",
    ];
    for (number, text) in broken.iter().enumerate() {
        fs::write(folder.join(format!("{number}.toml")), text).unwrap();
    }
    // Links to what is no pipeline file: the shadow of passwords, and settings of something else.
    let outside = tempfile::tempdir().unwrap();
    for (name, text) in
        [("shadow", "planted-5c21:$y$planted-5c21:1::\n"), ("other.toml", "[planted-5c21]\nx = \"planted-5c21\"\n")]
    {
        fs::write(outside.path().join(name), text).unwrap();
        symlink(outside.path().join(name), folder.join(format!("link-to-{name}.toml"))).unwrap();
    }
    let service = Service::start(&workspace, &[("RUST_LOG", "trace")]);
    until("all files are refused", PATIENCE, || service.reasons().len() == broken.len() + 2);
    let pipelines = service.get("/api/v1/pipelines");
    assert_eq!(pipelines["problems"].as_array().unwrap().len(), broken.len() + 2);
    assert!(!pipelines.to_string().contains(PLANTED), "{pipelines:#}");
    assert!(!service.text("/readyz").1.contains(PLANTED) && !service.text("/metrics").1.contains(PLANTED));
    let finished = service.stop();
    assert!(!finished.stderr.contains(PLANTED), "{}", finished.stderr);
    for file in files(&folder) {
        let checked = workspace.run(["check", file.to_str().unwrap()], PATIENCE).expect_code(1);
        assert!(!(checked.stdout + &checked.stderr).contains(PLANTED), "{}", file.display());
    }
}

/// A secret that stands in the file itself, which runs.
#[test]
fn a_secret_in_a_definition_stays_there() {
    const PLANTED: &str = "planted-literal-88";
    let broker = Broker::shared();
    let case = Case::new(broker, "api-literal", 1).with(|pipeline| {
        pipeline.source = format!("[source.client]\n\"ssl.key.password\" = \"{PLANTED}\"");
    });
    produce(broker, &case.pipeline.topic, 1, &Load { records: 300, ..Load::default() });
    case.finish();
    let kept = case.dataset().join("ledger/pipelines");
    let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
    // As written and resolved.
    let definitions = files(&kept);
    assert_eq!(definitions.iter().map(|file| mode(file)).collect::<Vec<_>>(), [0o600; 2]);
    let [resolved, written] = [true, false].map(|resolved| {
        let is = |file: &&PathBuf| file.to_str().unwrap().ends_with(".resolved.toml") == resolved;
        fs::read_to_string(definitions.iter().find(is).unwrap()).unwrap()
    });
    assert!(written.contains("\"ssl.key.password\" = \"******************\""), "{written}");
    assert!(!resolved.contains("ssl.key.password") && !resolved.contains(&broker.address()), "{resolved}");
    let leaks = |folder: &Path| {
        let has = |file: &Path| fs::read(file).unwrap().windows(PLANTED.len()).any(|part| part == PLANTED.as_bytes());
        files(folder).into_iter().filter(|file| has(file)).count()
    };
    assert_eq!(leaks(&case.dataset()), 0);
    // A copy of before is for everybody to read until the next start; a backup's never is.
    fs::set_permissions(&definitions[0], fs::Permissions::from_mode(0o644)).unwrap();
    let backup = case.workspace.path().join("backup");
    case.workspace.run(["backup", &case.file(), backup.to_str().unwrap()], PATIENCE).expect_code(0);
    assert_eq!(files(&backup.join("ledger/pipelines")).iter().map(|file| mode(file)).collect::<Vec<_>>(), [0o600; 2]);
    case.finish();
    assert_eq!(mode(&definitions[0]), 0o600);
    case.judge();
}

#[test]
fn the_audit_log_does_not_depend_on_the_level() {
    let workspace = Workspace::new();
    fs::create_dir(workspace.path().join("pipelines")).unwrap();
    for (variable, level) in [("RUST_LOG", "warn"), ("RUST_LOG", "off"), ("WEIR__LOG__LEVEL", "off,weir::audit=off")] {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let run = workspace.spawn_with(["serve"], &[("WEIR__HTTP__LISTEN", &address), (variable, level)]);
        let asked = || ureq::post(format!("http://{address}/api/v1/reload")).send_empty().is_ok();
        until("it answers", PATIENCE, asked);
        run.signal("TERM");
        let finished = run.wait(PATIENCE).expect_code(0);
        let said = lines_of(&finished.stderr);
        assert!(said.iter().any(|line| line["target"] == "weir::audit" && line["status"] == 200), "{level}: {said:?}");
        assert!(said.iter().all(|line| line["target"] == "weir::audit"), "{level}: {said:?}");
    }
}

fn lines_of(stderr: &str) -> Vec<Value> {
    stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_log_file_that_cannot_be_made_is_the_environments_fault() {
    let broker = Broker::shared();
    let case = Case::new(broker, "api-log-file", 1);
    fs::create_dir(case.workspace.path().join("pipelines")).unwrap();
    for args in [vec!["serve"], vec!["run", &case.file(), "--until-end"]] {
        let finished = case.workspace.spawn_with(args, &[("WEIR__LOG__FILE", "/dev/null/weir.log")]).wait(PATIENCE);
        assert!(finished.expect_code(3).stderr.contains("log.file /dev/null/weir.log can't be made"));
    }
}

/// What waits for a slow reader must not be a second copy of every answer.
#[test]
fn large_answers_that_nobody_reads_are_few() {
    const CLIENTS: usize = 40;
    let (_workspace, service) = empty(&[]);
    let pid = service.run.pid();
    // Several on a connection: the system takes the first one for the client.
    let requests = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(10);
    assert!(service.text("/docs/swagger-ui-bundle.js").1.len() > 1_000_000);
    let before = peak_from_now(pid);
    let idle: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = TcpStream::connect(service.url.trim_start_matches("http://")).unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
            stream.write_all(requests.as_bytes()).unwrap();
            stream
        })
        .collect();
    // What tells whether it lives does not wait for them; a large answer that finds no place says
    // so.
    let busy = || service.text("/api/v1/pipelines").0.as_u16();
    until("all places are taken", PATIENCE, || busy() == 503);
    assert_eq!((service.text("/healthz").0.as_u16(), service.text("/readyz").0.as_u16()), (200, 200));
    let grown = peak_bytes(pid).unwrap() - before;
    println!("{CLIENTS} clients that don't read took {grown} bytes");
    assert!(grown < 32 << 20, "{grown}");
    drop(idle);
    until("they give their places back", PATIENCE, || busy() == 200);
    service.stop();
}
