//! `weir serve` on real Kafka: pipelines that come, change, break, are mended and go; what people may ask, and what is
//! answered. What the datasets hold is judged as everywhere.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::Value;

use crate::harness::broker::Broker;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::oracle::committed;
use crate::harness::pipeline::Pipeline;
use crate::harness::produce::{Load, produce};
use crate::harness::python;
use crate::harness::service::{Service, lines};
use crate::harness::setup;
use crate::harness::topics::end;
use crate::harness::until;
use crate::harness::weir::Workspace;

/// Makes a case's pipeline one of the service's in the workspace of `home`.
fn publish(home: &Workspace, case: &Case<'_>) -> PathBuf {
    let file = home.path().join("pipelines").join(case.file());
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, case.pipeline.toml()).unwrap();
    file
}

/// A case whose dataset is written by the service in the workspace of `home`.
fn at_home<'a>(home: &'a Case<'a>, case: Case<'a>) -> Case<'a> {
    let link = case.workspace.path().join("processed_data");
    std::os::unix::fs::symlink(home.workspace.path().join("processed_data"), link).unwrap();
    case
}

/// Everything of the topic is committed.
fn all_committed(case: &Case<'_>, partitions: i32) -> impl Fn(&Value) -> bool {
    let ends: i64 = (0..partitions).map(|partition| end(case.broker, &case.pipeline.topic, partition)).sum();
    let dataset = case.dataset();
    move |_| {
        let chains = crate::harness::ledger::chains(&dataset);
        chains.values().map(|chain| crate::harness::ledger::to(chain.last().unwrap())).sum::<i64>() == ends
    }
}

fn is(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |pipeline| pipeline["phase"] == phase
}

const SOON: &str = r#"windows = 100, age = "200ms""#;

#[test]
fn pipelines_come_change_break_and_go() {
    let broker = Broker::shared();
    let one = Case::new(broker, "serve-one", 3).with(|pipeline| pipeline.roll = SOON.to_owned());
    let two = at_home(&one, Case::new(broker, "serve-two", 2).with(|pipeline| pipeline.roll = SOON.to_owned()));
    let load = Load { records: 6_000, ..Load::default() };
    produce(broker, &one.pipeline.topic, 3, &load);
    produce(broker, &two.pipeline.topic, 2, &load);
    let (name, other) = (one.pipeline.name.as_str(), two.pipeline.name.as_str());

    // One good file and one with a mistake: the good one runs, and the other is named.
    let file_one = publish(&one.workspace, &one);
    let file_two = publish(&one.workspace, &two);
    fs::write(&file_two, two.pipeline.toml().replace("format =", "fromat =")).unwrap();
    let service = Service::start(&one.workspace, &[]);
    service.until("the good one has committed everything", name, all_committed(&one, 3));
    let reasons = service.reasons();
    assert!(reasons.len() == 1 && reasons[0].contains(&format!("{other}.toml: the file was refused")), "{reasons:?}");
    let problems = service.get("/api/v1/pipelines")["problems"].clone();
    assert!(problems[0]["text"].as_str().unwrap().contains("did you mean `format`?"), "{problems}");

    // Mended, it is noticed without a word.
    publish(&one.workspace, &two);
    service.until("the mended one has committed everything", other, all_committed(&two, 2));
    assert_eq!(service.reasons(), Vec::<String>::new());

    // An edit drains, and goes on from the ledger; the other one is left alone.
    fs::write(&file_one, one.pipeline.toml().replace("windows = 100,", "windows = 7,")).unwrap();
    let (status, reloaded) = service.ask("/api/v1/reload");
    // Unless it was seen already, in the moment before.
    let seen = reloaded["changed"].to_string() + &reloaded["unchanged"].to_string();
    assert!(status == 200 && seen.contains(name) && seen.contains(other), "{reloaded}");
    service.until("the edited one runs again", name, |now| now["phase"] == "running" && now["starts"] == 2);
    produce(broker, &one.pipeline.topic, 3, &load);
    service.until("the edited one has committed everything", name, all_committed(&one, 3));
    assert_eq!(service.pipeline(other).unwrap()["starts"], 1);

    // What the dataset can't follow is refused, and the definition from before runs on.
    fs::write(&file_two, two.pipeline.toml().replace(r#"co = { type = "float64""#, r#"co = { type = "float32""#))
        .unwrap();
    service.ask("/api/v1/reload");
    service.until("the edit is refused", other, |now| now["problem"].is_string());
    let now = service.pipeline(other).unwrap();
    assert!(now["problem"].as_str().unwrap().contains("the column co is float64 there and float32"), "{now:#}");
    assert_eq!((&now["phase"], &now["starts"]), (&"running".into(), &1.into()));
    produce(broker, &two.pipeline.topic, 2, &load);
    service.until("it has committed everything all the same", other, all_committed(&two, 2));

    // A file that goes takes its pipeline along, drained.
    fs::remove_file(&file_two).unwrap();
    service.run.signal("HUP");
    service.until("it is gone", other, Value::is_null);
    let restarts = service.pipeline(name).unwrap()["run"]["restarts"].clone();
    assert_eq!(restarts, 0, "no lane was restarted");
    service.stop();
    one.judge();
    two.judge();
}

#[test]
fn stop_start_pause_resume_and_flush() {
    let broker = Broker::shared();
    let case = Case::new(broker, "serve-orders", 3).with(|pipeline| pipeline.roll = r#"age = "1h""#.to_owned());
    let name = case.pipeline.name.as_str();
    publish(&case.workspace, &case);
    let load = Load { records: 3_000, ..Load::default() };
    produce(broker, &case.pipeline.topic, 3, &load);
    let service = Service::start(&case.workspace, &[]);
    let read = |at_least: u64| move |now: &Value| now["run"]["read"].as_u64().is_some_and(|read| read >= at_least);
    service.until("it has read", name, read(1_000));

    // Paused: what was read is committed, and nothing more is read.
    service.order(name, "pause");
    let before = service.pipeline(name).unwrap()["run"].clone();
    assert_eq!(before["read"], sum(&before["records"]), "all that was read is committed: {before:#}");
    produce(broker, &case.pipeline.topic, 3, &load);
    // Whoever reads has it all before a second dataset of the same records has.
    let witness = at_home(
        &case,
        Case::of(broker, Pipeline { name: format!("{name}-witness"), roll: SOON.to_owned(), ..case.pipeline.clone() }),
    );
    publish(&case.workspace, &witness);
    service.until("the witness has read everything", &witness.pipeline.name, all_committed(&witness, 3));
    assert_eq!(service.pipeline(name).unwrap()["run"]["read"], before["read"], "a paused pipeline reads nothing");
    assert_eq!(service.reasons(), Vec::<String>::new(), "it is as people want it");

    // Resumed it reads on; a flush commits without an end of age or windows.
    service.order(name, "resume");
    let more = before["read"].as_u64().unwrap() + 500;
    service.until("it reads on", name, read(more));
    let flushed = |_: &Value| {
        service.order(name, "flush");
        all_committed(&case, 3)(&Value::Null)
    };
    service.until("everything is committed after flushes", name, flushed);
    // Paused where there is nothing more to read, it goes on with what comes first.
    service.order(name, "pause");
    produce(broker, &case.pipeline.topic, 3, &load);
    service.order(name, "resume");
    service.until("what came meanwhile is committed", name, flushed);
    let reasons: Vec<_> = case.chains().values().flatten().map(|entry| entry["reason"].to_string()).collect();
    assert!(reasons.iter().all(|reason| ["\"start\"", "\"flush\""].contains(&&**reason)), "{reasons:?}");

    // Stopped it has left its group; a restart goes on from the ledger.
    service.order(name, "stop");
    let (status, answer) = service.ask(&format!("/api/v1/pipelines/{name}/flush"));
    assert!(status == 409 && answer["error"].as_str().unwrap().contains("stopped"), "{answer}");
    service.order(name, "start");
    assert_eq!(service.pipeline(name).unwrap()["starts"], 2);
    assert_eq!(service.ask("/api/v1/pipelines/nobody/stop").0, 404);
    assert_eq!(service.ask(&format!("/api/v1/pipelines/{name}/stop?wait=soon")).0, 400);
    let audit: Vec<_> = lines(&service.run).into_iter().filter(|line| line["target"] == "weir::audit").collect();
    assert!(audit.iter().any(|line| line["path"].as_str().unwrap().ends_with("/pause") && line["status"] == 200));
    service.stop();
    case.judge();
}

/// The sum of an object's numbers.
fn sum(counts: &Value) -> u64 {
    counts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

#[test]
fn a_secret_that_was_rotated_is_noticed_by_a_reload() {
    let broker = Broker::shared();
    let case = Case::new(broker, "serve-rotated", 1).with(|pipeline| {
        pipeline.roll = SOON.to_owned();
        pipeline.source = "[source.client]\n\"client.id\" = \"${file:secret}\"".to_owned();
    });
    let name = case.pipeline.name.as_str();
    let secret = case.workspace.path().join("secret");
    let rotate = |to: &str| {
        fs::write(&secret, to).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    };
    rotate("first");
    publish(&case.workspace, &case);
    let service = Service::start(&case.workspace, &[]);
    service.until("it runs", name, is("running"));
    assert_eq!(service.ask("/api/v1/reload").1["unchanged"][0], name);
    rotate("second");
    assert_eq!(service.ask("/api/v1/reload").1["changed"][0], name);
    service.until("it runs with the new one", name, |now| now["phase"] == "running" && now["starts"] == 2);
    fs::remove_file(&secret).unwrap();
    assert!(service.ask("/api/v1/reload").1["refused"][0].as_str().unwrap().ends_with(&case.file()));
    assert_eq!(service.pipeline(name).unwrap()["phase"], "running");
    service.stop();
}

#[test]
fn names_and_groups_belong_to_one() {
    let broker = Broker::shared();
    let one = Case::new(broker, "serve-clash", 1);
    let name = one.pipeline.name.as_str();
    publish(&one.workspace, &one);
    let folder = one.workspace.path().join("pipelines");
    fs::write(folder.join("z-twin.toml"), one.pipeline.toml()).unwrap();
    let thief = one.pipeline.toml().replace(&format!("name = {name:?}"), "name = \"thief\"");
    fs::write(folder.join("z-thief.toml"), thief.replace("[source]", &format!("[source]\ngroup = \"weir-{name}\"")))
        .unwrap();
    let service = Service::start(&one.workspace, &[]);
    service.until("the first one runs", name, is("running"));
    let problems = service.get("/api/v1/pipelines")["problems"].to_string();
    assert!(
        problems.contains("has a pipeline named") && problems.contains("use the same consumer group"),
        "{problems}"
    );
    assert_eq!(service.pipeline("thief"), None);
    service.stop();
}

#[test]
fn a_broker_that_goes_and_comes_back() {
    let broker = Broker::own();
    let at = broker.address();
    let topic = crate::harness::topics::topic(&broker, "serve-broker", 3);
    produce(&broker, &topic, 3, &Load { records: 3_000, ..Load::default() });
    let mut pipeline = Pipeline::new(&broker, &topic);
    pipeline.roll = SOON.to_owned();
    let home = Workspace::new();
    fs::create_dir_all(home.path().join("pipelines")).unwrap();
    fs::write(home.path().join("pipelines/p.toml"), pipeline.toml()).unwrap();
    let service = Service::start(&home, &[]);
    let has = |at_least: u64| move |now: &Value| sum_of(now) >= at_least;
    service.until("it has committed some", &topic, has(1_000));
    broker.stop();
    until("the missing broker is named", PATIENCE, || {
        service.reasons().iter().any(|reason| reason.contains("no connection to any broker"))
    });
    // A pipeline that starts meanwhile waits for the broker, and says so.
    let (second, text) = ("second", pipeline.toml().replace(&format!("name = {topic:?}"), "name = \"second\""));
    fs::write(home.path().join("pipelines/second.toml"), text).unwrap();
    service.until("the new one fails", second, |now| now["reason"].to_string().contains("no broker answered"));
    assert!(service.reasons().iter().any(|reason| reason.starts_with("second: failed: no broker answered")));
    broker.start();
    assert_eq!(broker.address(), at);
    produce(&broker, &topic, 3, &Load { records: 3_000, ..Load::default() });
    let truth = committed(&broker, &[&topic]).len() as u64;
    for name in [topic.as_str(), second] {
        service.until("everything is committed", name, has(truth));
    }
    until("it is ready again", PATIENCE, || service.reasons().is_empty());
    let now = service.pipeline(&topic).unwrap();
    assert_eq!(
        (&now["starts"], &now["run"]["restarts"]),
        (&1.into(), &0.into()),
        "nothing was restarted needlessly: {now:#}"
    );
    service.stop();
    let case = Case { broker: &broker, pipeline, workspace: home };
    fs::write(case.workspace.path().join(case.file()), case.pipeline.toml()).unwrap();
    case.judge();
}

fn sum_of(pipeline: &Value) -> u64 {
    let records = &pipeline["run"]["records"];
    ["row", "rejected", "late", "tombstone"].iter().filter_map(|class| records[class].as_u64()).sum()
}

#[test]
fn a_named_instance_has_its_partitions_back_at_once() {
    let broker = Broker::shared();
    let case = Case::new(broker, "serve-instance", 3).with(|pipeline| {
        pipeline.roll = SOON.to_owned();
        // Far more than it may take.
        pipeline.source = "[source.client]\n\"session.timeout.ms\" = 45000".to_owned();
    });
    let name = case.pipeline.name.as_str();
    publish(&case.workspace, &case);
    let load = Load { records: 2_000, ..Load::default() };
    let named = [("WEIR__SERVE__INSTANCE", "host-1")];
    produce(broker, &case.pipeline.topic, 3, &load);
    let service = Service::start(&case.workspace, &named);
    service.until("all is committed", name, all_committed(&case, 3));
    service.run.kill();
    produce(broker, &case.pipeline.topic, 3, &load);
    let service = Service::start(&case.workspace, &named);
    let started = Instant::now();
    service.until("all is committed again", name, all_committed(&case, 3));
    let took = started.elapsed();
    println!("partitions back and read after {took:?}");
    assert!(took < Duration::from_secs(30), "it waited for the dead member's session: {took:?}");
    service.stop();
    case.judge();
}

#[test]
fn metrics_are_the_ledgers_counts_and_the_api_is_as_described() {
    let broker = Broker::shared();
    let case = Case::new(broker, "serve-metrics", 3).with(|pipeline| pipeline.roll = SOON.to_owned());
    let name = case.pipeline.name.as_str();
    publish(&case.workspace, &case);
    produce(broker, &case.pipeline.topic, 3, &Load { records: 9_000, broken: 50, ..Load::default() });
    let service = Service::start(&case.workspace, &[]);
    service.until("all is committed", name, all_committed(&case, 3));
    // The client tells where logs end every five seconds.
    until("the lag is known to be none", PATIENCE, || {
        let lanes = service.get(&format!("/api/v1/pipelines/{name}/lanes"));
        lanes.as_array().unwrap().iter().all(|lane| lane["lag"] == 0) && lanes.as_array().unwrap().len() == 3
    });
    // Validators of their own: Prometheus' client for Python, and one of OpenAPI documents.
    let seen = python::run("service.py", &[service.url.as_ref(), name.as_ref()]);
    let run = &service.pipeline(name).unwrap()["run"];
    let entries: Vec<_> = case.chains().into_values().flatten().collect();
    let count = |class: &str| entries.iter().map(|entry| entry["counts"][class].as_u64().unwrap()).sum::<u64>();
    for class in ["row", "rejected", "late", "tombstone"] {
        assert_eq!(
            (seen["records"][class].as_f64().unwrap() as u64, &run["records"][class]),
            (count(class), &count(class).into())
        );
    }
    assert!(count("row") > 5_000 && count("rejected") > 100, "{run:#}");
    let files = entries.iter().map(|entry| entry["files"].as_array().unwrap().len() as u64).sum::<u64>();
    assert_eq!(seen["files"].as_f64().unwrap() as u64, files);
    assert_eq!(seen["rejected_by_rule"].as_f64().unwrap() as u64, count("rejected"));
    assert_eq!(seen["lag"], 0.0);
    for stage in ["source", "validate", "window", "sink"] {
        assert!(seen["busy"][stage].as_f64().unwrap() > 0.0, "{stage}: {}", seen["busy"]);
    }
    assert!(
        seen["commits_timed"].as_f64().unwrap() > 0.0 && seen["received"].as_f64().unwrap() > 100_000.0,
        "{seen:#}"
    );
    assert!(seen["paths"].as_u64().unwrap() >= 18 && seen["called"].as_u64().unwrap() >= 10, "{seen:#}");

    // The documentation lists them all, and no others.
    let page = fs::read_to_string(setup::root().join("docs/service.md")).unwrap();
    let table = page.split("| metric | what it is |").nth(1).unwrap().split("\n\n").next().unwrap();
    let name_of = Regex::new(r"`((?:weir|process)_\w+)`").unwrap();
    let mut documented: Vec<_> = name_of.captures_iter(table).map(|found| found[1].to_owned()).collect();
    documented.sort();
    documented.dedup();
    let there: Vec<String> = serde_json::from_value(seen["families"].clone()).unwrap();
    assert_eq!(documented, there);

    // The newest rejects, files and entries are those of the dataset.
    let rejects = service.get(&format!("/api/v1/pipelines/{name}/rejects?limit=5"));
    assert!(rejects.as_array().unwrap().len() == 5 && rejects[0]["rule"].is_string(), "{rejects:#}");
    let files = service.get(&format!("/api/v1/pipelines/{name}/files?limit=1000"));
    assert!(files.as_array().unwrap().iter().all(|file| case.dataset().join(file["path"].as_str().unwrap()).is_file()));
    let newest = service.get(&format!("/api/v1/pipelines/{name}/ledger?limit=1"));
    let last = entries.iter().filter_map(|entry| entry["written_at_ms"].as_i64()).max().unwrap();
    let written = newest[0]["written_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(written.as_millisecond(), last);
    service.stop();
    case.judge();
}

#[test]
fn a_real_prometheus_scrapes_it() {
    let broker = Broker::shared();
    let case = Case::new(broker, "serve-prometheus", 2).with(|pipeline| pipeline.roll = SOON.to_owned());
    let name = case.pipeline.name.as_str();
    publish(&case.workspace, &case);
    produce(broker, &case.pipeline.topic, 2, &Load { records: 3_000, ..Load::default() });
    let service = Service::start(&case.workspace, &[]);
    service.until("all is committed", name, all_committed(&case, 2));

    // What the client tells of itself comes every few seconds.
    let told = || service.text("/metrics").1.contains("weir_broker_round_trip_seconds{");
    until("the client has told of its brokers", PATIENCE, told);

    setup::provision("prometheus");
    let tool = |tool: &str| Command::new(setup::target().join("prometheus/usr/bin").join(tool));
    let page = case.workspace.path().join("metrics");
    fs::write(&page, service.text("/metrics").1).unwrap();
    let checked = tool("promtool").args(["check", "metrics"]).stdin(fs::File::open(&page).unwrap()).output().unwrap();
    let said = [checked.stdout, checked.stderr].map(|part| String::from_utf8_lossy(&part).into_owned()).concat();
    assert!(checked.status.success() && said.is_empty(), "promtool has objections: {said}");

    // The documentation's settings for Prometheus, and its alarms.
    let page = fs::read_to_string(setup::root().join("docs/service.md")).unwrap();
    let blocks = Regex::new(r"(?ms)^```yaml\n(.*?)^```$").unwrap();
    let blocks: Vec<_> = blocks.captures_iter(&page).map(|block| block[1].to_owned()).collect();
    for (what, block) in ["config", "rules"].iter().zip(&blocks) {
        let file = case.workspace.path().join(what);
        fs::write(&file, block).unwrap();
        let checked = tool("promtool").args(["check", what]).arg(&file).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
    assert_eq!(blocks.len(), 2);

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = service.url.trim_start_matches("http://");
    let config = format!(
        "global: {{ scrape_interval: 500ms }}\nscrape_configs: [{{ job_name: weir, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
    );
    fs::write(case.workspace.path().join("prometheus.yml"), config).unwrap();
    let prometheus = tool("prometheus")
        .current_dir(case.workspace.path())
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"])
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stderr(fs::File::create(case.workspace.path().join("prometheus.log")).unwrap())
        .spawn()
        .unwrap();
    let _ended = Ended(prometheus);
    let ask = |query: &str| -> Option<f64> {
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        let answer: Value = ureq::get(url).query("query", query).call().ok()?.body_mut().read_json().ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    until("Prometheus has scraped it", PATIENCE, || ask("up{job=\"weir\"}") == Some(1.0));
    let records = format!("sum(weir_records_total{{pipeline={name:?}}})");
    let truth = committed(broker, &[&case.pipeline.topic]).len() as f64;
    until("Prometheus has all records", PATIENCE, || ask(&records) == Some(truth));
    service.stop();
}

/// A process that ends with its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn clients_that_do_not_read_give_their_places_back() {
    let workspace = Workspace::new();
    fs::create_dir(workspace.path().join("pipelines")).unwrap();
    let service = Service::start(&workspace, &[]);
    let stream = || {
        let mut stream = connect(&service);
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    let streams: Vec<_> = (0..16).map(|_| stream()).collect();
    let status = || service.text("/api/v1/events").0.as_u16();
    // All places are taken once the service has seen all requests; until then this one would get one, and read on.
    for mut stream in &streams {
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    assert_eq!(status(), 503);
    drop(streams);
    until("a place is free", PATIENCE, || {
        let mut one = stream();
        let mut first = [0; 12];
        one.read_exact(&mut first).unwrap();
        &first == b"HTTP/1.1 200"
    });
    // A large answer that is asked for again and again, and never taken.
    let mut greedy = connect(&service);
    greedy.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let asked = Instant::now();
    let request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let ended = loop {
        match greedy.write(request) {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break asked.elapsed();
            }
            _ => {}
        }
        assert!(asked.elapsed() < Duration::from_secs(90), "it may keep its connection for ever");
        std::thread::sleep(Duration::from_millis(100));
    };
    println!("the connection of a client that takes nothing ended after {ended:?}");
    service.stop();
}

#[test]
fn live_events_tell_what_changes() {
    let broker = Broker::shared();
    let case = Case::new(broker, "serve-events", 1).with(|pipeline| pipeline.roll = SOON.to_owned());
    publish(&case.workspace, &case);
    let service = Service::start(&case.workspace, &[]);
    let name = case.pipeline.name.as_str();
    service.until("it runs", name, is("running"));
    let mut stream = connect(&service);
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut seen = String::new();
    let mut read_until = |what: &str| {
        let asked = Instant::now();
        while !seen.contains(what) {
            assert!(asked.elapsed() < PATIENCE, "{what} didn't come:\n{seen}");
            let mut part = [0; 4096];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "the stream ended:\n{seen}");
            seen.push_str(&String::from_utf8_lossy(&part[..length]));
        }
    };
    read_until("event: progress\n");
    service.order(name, "stop");
    read_until("event: phase\n");
    read_until("\"phase\":\"stopped\"");
    produce(broker, &case.pipeline.topic, 1, &Load { records: 1_000, ..Load::default() });
    service.order(name, "start");
    service.until("all is committed", name, all_committed(&case, 1));
    let truth = committed(broker, &[&case.pipeline.topic]).len();
    read_until(&format!("\"committed\":{truth},"));
    service.stop();
}

fn connect(service: &Service) -> TcpStream {
    let stream = TcpStream::connect(service.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes, and gives the answer's first line; empty where the connection just ends.
fn raw(service: &Service, request: &[u8]) -> String {
    let mut stream = connect(service);
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while !answer.contains(&b'\n') {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
        }
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn bad_clients_get_an_answer_or_an_end() {
    let broker = Broker::shared();
    let case = Case::new(broker, "serve-abuse", 1).with(|pipeline| pipeline.roll = SOON.to_owned());
    publish(&case.workspace, &case);
    let tokens =
        [("WEIR__HTTP__READ_TOKEN", "read-read-read-read"), ("WEIR__HTTP__CONTROL_TOKEN", "control-control-cont")];
    let service = Service::start(&case.workspace, &tokens);
    let get = |path: &str, headers: &str| raw(&service, format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes());
    let check = |path: &str, headers: &str, status: &str| {
        let line = get(path, headers);
        assert!(line.starts_with(&format!("HTTP/1.1 {status}")), "{path} {headers:?}: {line:?}");
    };
    const HOST: &str = "Host: localhost\r\n";
    const READ: &str = "Host: localhost\r\nAuthorization: Bearer read-read-read-read\r\n";
    check("/healthz", HOST, "200");
    check("/healthz", "Host: evil.example.com\r\n", "421");
    check("/healthz", "Host: localhost\r\nOrigin: http://evil.example.com\r\n", "403");
    check("/healthz", "", "400");
    check("/api/v1/pipelines", HOST, "401");
    check("/api/v1/pipelines", READ, "200");
    for path in [
        "/../../etc/passwd",
        "/docs/../../etc/passwd",
        "/docs/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/pipelines/..%2f..%2fx",
        "//",
        "/docs/%00",
    ] {
        let line = get(path, READ);
        assert!(line.contains("404") || line.contains("400"), "{path}: {line:?}");
    }
    let long = "x".repeat(200_000);
    assert!(!get(&format!("/{long}"), READ).contains("200"), "a head that has no end is refused");
    // A body that nobody wants, promised and sent: the answer comes without it, or the connection ends.
    let mut huge = format!("POST /api/v1/reload HTTP/1.1\r\n{HOST}Content-Length: 1000000000\r\n\r\n").into_bytes();
    huge.resize(8 << 20, b'x');
    let line = raw(&service, &huge);
    assert!(line.contains("401") || line.is_empty(), "{line:?}");
    // A thousand connections that say nothing, and one that says little.
    let idle: Vec<_> =
        (0..1_000).filter_map(|_| TcpStream::connect(service.url.trim_start_matches("http://")).ok()).collect();
    let slow = Instant::now();
    let line = raw(&service, b"GET /healthz HTTP/1.1\r\nHost: loc");
    assert!(line.is_empty() || line.contains("408"), "{line:?}");
    assert!(slow.elapsed() < Duration::from_secs(60), "a head may take as long as it likes");
    println!("{} idle connections, the slow head ended after {:?}", idle.len(), slow.elapsed());
    // The pipeline has not noticed, and whoever asks well gets an answer as soon as the idle ones have been thrown out.
    produce(broker, &case.pipeline.topic, 1, &Load { records: 2_000, ..Load::default() });
    until("everything is committed", PATIENCE, || case.dataset().exists() && all_committed(&case, 1)(&Value::Null));
    check("/healthz", HOST, "200");
    drop(idle);
    let lines = lines(&service.run);
    let refused = lines.iter().find(|line| line["target"] == "weir::audit" && line["by"] == "nobody");
    assert!(refused.is_some_and(|line| line["status"] == 401 && line["from"].is_string()), "{refused:?}");
    assert!(!service.run.stderr().contains("control-control-cont") && !service.run.stderr().contains("read-read-read"));
    service.stop();
    case.judge();
}

#[test]
fn tls_and_secret_files() {
    let workspace = Workspace::new();
    let folder = workspace.path();
    fs::create_dir(folder.join("pipelines")).unwrap();
    python::run("certificates.py", &[folder.as_ref(), "unused".as_ref()]);
    let secret = folder.join("token");
    fs::write(&secret, "from-a-file-from-a-file\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let tls = [
        ("WEIR__HTTP__TLS_CERTIFICATE", "broker.pem"),
        ("WEIR__HTTP__TLS_KEY", "broker.key"),
        ("WEIR__HTTP__READ_TOKEN", "${file:token}"),
    ];
    let service = Service::start(&workspace, &tls);
    assert!(service.url.starts_with("https://"), "{}", service.url);
    let port = service.url.rsplit(':').next().unwrap().to_owned();
    let said =
        python::run("tls.py", &[port.as_ref(), folder.join("ca.pem").as_ref(), "from-a-file-from-a-file".as_ref()]);
    assert_eq!((&said["with"], &said["without"], &said["metrics"]), (&200.into(), &401.into(), &true.into()), "{said}");
    assert!(said["untrusted"].as_str().unwrap().contains("CERTIFICATE_VERIFY_FAILED"), "{said}");
    let config = said["config"].to_string();
    assert!(config.contains("***") && !config.contains("from-a-file"), "{config}");
    service.stop();

    let mode = |file: &str, mode| fs::set_permissions(folder.join(file), fs::Permissions::from_mode(mode)).unwrap();
    mode("broker.key", 0o644);
    let refused = workspace.spawn_with(["serve"], &tls).wait(PATIENCE).expect_code(3);
    assert!(refused.stderr.contains("http.tls_key") && refused.stderr.contains("chmod o-r"), "{}", refused.stderr);
    mode("broker.key", 0o600);

    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = workspace.spawn_with(["serve"], &tls).wait(PATIENCE).expect_code(1);
    assert!(refused.stderr.contains("http.read_token") && refused.stderr.contains("chmod o-r"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("from-a-file"), "{}", refused.stderr);
}

#[test]
fn systemd_is_told_and_fed() {
    let workspace = Workspace::new();
    fs::create_dir(workspace.path().join("pipelines")).unwrap();
    let path = workspace.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = path.display().to_string();
    let service = Service::start(&workspace, &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "400000")]);
    let next = || {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };
    assert_eq!(next(), "READY=1");
    let asked = Instant::now();
    assert_eq!([next(), next(), next()], ["WATCHDOG=1"; 3]);
    assert!(asked.elapsed() < Duration::from_secs(2), "three signs of life took {:?}", asked.elapsed());
    service.stop();
    let rest: Vec<_> = std::iter::from_fn(|| Some(next()).filter(|message| message != "STOPPING=1")).collect();
    assert!(rest.iter().all(|message| message == "WATCHDOG=1"), "{rest:?}");
}

#[test]
fn the_log_goes_to_a_file_and_its_level_changes() {
    let broker = Broker::shared();
    let case = Case::new(broker, "serve-log", 1).with(|pipeline| pipeline.roll = SOON.to_owned());
    let name = case.pipeline.name.as_str();
    publish(&case.workspace, &case);
    // The service's address comes with its log, which is elsewhere here: it is given one that was just free.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let settings =
        [("WEIR__HTTP__LISTEN", &*address), ("WEIR__LOG__FILE", "logs/weir.log"), ("WEIR__LOG__FORMAT", "json")];
    let run = case.workspace.spawn_with(["serve"], &settings);
    let url = format!("http://{address}");
    let put = |level: &str| {
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let answer = agent.put(format!("{url}/api/v1/log")).query("level", level).send_empty();
        answer.map(|answer| answer.status().as_u16()).unwrap_or_default()
    };
    until("it answers", PATIENCE, || put("info,weir::sink=debug") == 204);
    assert_eq!([put("loud"), put("info")], [400, 204]);
    let log = || -> Vec<Value> {
        let files = crate::harness::dataset::files(&case.workspace.path().join("logs"));
        let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    until("a lane starts", PATIENCE, || log().iter().any(|line| line["message"] == "lane starts"));
    let lanes: Vec<_> = log().into_iter().filter(|line| line["message"] == "lane starts").collect();
    assert_eq!(lanes[0]["pipeline"], name);
    assert_eq!((&lanes[0]["topic"], &lanes[0]["partition"]), (&case.pipeline.topic.clone().into(), &0.into()));
    assert_eq!(put("off"), 204);
    let before = log().len();
    run.signal("HUP");
    run.signal("TERM");
    let finished = run.wait(PATIENCE).expect_code(0);
    assert_eq!((log().len(), finished.stderr.as_str()), (before, ""), "nothing is logged when the log is off");
    let audit: Vec<_> = log().into_iter().filter(|line| line["target"] == "weir::audit").collect();
    assert!(audit.last().unwrap()["query"] == "level=off", "but who turned it off: {audit:?}");
}

#[test]
fn what_can_never_work_is_said_at_once() {
    let workspace = Workspace::new();
    let check = |environment: &[(&str, &str)], code: i32, words: &str| {
        let finished = workspace.spawn_with(["serve"], environment).wait(PATIENCE).expect_code(code);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    };
    check(&[], 1, "pipelines is no folder");
    fs::create_dir(workspace.path().join("pipelines")).unwrap();
    check(&[("WEIR__HTTP__LISTEN", "0.0.0.0:0")], 1, "http.control_token or");
    check(&[("WEIR__HTTP__LISTEN", "nowhere")], 1, "http.listen must be an address and a port");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(&[("WEIR__HTTP__LISTEN", &address)], 3, "cannot listen on");
    let tls = [
        ("WEIR__HTTP__LISTEN", "127.0.0.1:0"),
        ("WEIR__HTTP__TLS_CERTIFICATE", "no.pem"),
        ("WEIR__HTTP__TLS_KEY", "no.pem"),
    ];
    check(&tls, 3, "http.tls_certificate no.pem can't be used");
}
