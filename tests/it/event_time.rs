//! Windows of event time on a real broker: the readings by day and week, late rows, the guard against the future, quiet
//! partitions, kills, and thousands of windows at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use serde_json::Value;

use crate::harness::broker::Broker;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::dataset::{Dataset, Side};
use crate::harness::pipeline::{Cell, Pipeline};
use crate::harness::produce::{Acknowledgements, Load, produce, random, send, settle, transactional};
use crate::harness::topics::topic;
use crate::harness::weir::Workspace;
use crate::harness::{setup, until};

/// Days of the readings' own clocks.
const DAYS: &str = r#"
type = "tumbling"
size = "1d"
time = "measured_at"
time_zone = "+01:00"
"#;

/// A case with windows of time, in folders of their own.
fn case<'a>(name: &str, partitions: i32, window: &str) -> Case<'a> {
    Case::new(Broker::shared(), name, partitions).with(|pipeline| {
        pipeline.window = Some(format!("{DAYS}{window}"));
        pipeline.partition_by = &["window"];
    })
}

/// Sends a reading at each of these times to one partition.
fn readings(case: &Case, partition: i32, times: &[&str]) {
    let producer: BaseProducer<Acknowledgements> = ClientConfig::new()
        .set("bootstrap.servers", case.broker.address())
        .create_with_context(Acknowledgements::default())
        .unwrap();
    for time in times {
        let value = format!(r#"{{"station_id":"IT-01","timestamp":"{time}","co_gt":2.6}}"#);
        send(&producer, &case.pipeline.topic, partition, Some(value.as_bytes()));
    }
    settle(&producer);
}

/// What `weir windows --format json` says.
#[track_caller]
fn windows(case: &Case) -> Value {
    let args = ["windows", &case.file(), "--format", "json"];
    serde_json::from_str(&case.workspace.run(args, PATIENCE).expect_code(0).stdout).unwrap()
}

/// State, rows, reopened, late, rejected and files of each window.
type Seen = BTreeMap<String, (String, u64, u64, u64, u64, usize)>;

#[track_caller]
fn seen(case: &Case) -> Seen {
    let text = |window: &Value, key: &str| window[key].as_str().unwrap().to_owned();
    let number = |window: &Value, key: &str| window[key].as_u64().unwrap();
    let windows = windows(case)["windows"].as_array().unwrap().clone();
    let of = |window: &Value| {
        let files = window["files"].as_array().unwrap().len();
        let counts = ["rows", "reopened", "late", "rejected"].map(|key| number(window, key));
        (text(window, "window"), (text(window, "state"), counts[0], counts[1], counts[2], counts[3], files))
    };
    windows.iter().map(of).collect()
}

#[track_caller]
fn check(case: &Case, expected: &[(&str, &str, u64, u64, u64, u64, usize)]) {
    let expected = expected.iter().map(|(window, state, rows, reopened, late, rejected, files)| {
        ((*window).to_owned(), ((*state).to_owned(), *rows, *reopened, *late, *rejected, *files))
    });
    assert_eq!(seen(case), expected.collect::<Seen>());
    case.verify();
}

/// The exit code of `weir wait`, and what it says.
fn waited(case: &Case, until: &str) -> (Option<i32>, String) {
    let args = ["wait", &case.file(), "--until", until, "--timeout", "10ms"];
    let finished = case.workspace.run(args, PATIENCE);
    (finished.status.code(), finished.stderr)
}

/// The shipped daily pipeline, or a weekly one, on the shipped readings is the published CSV by days or weeks.
fn is_the_csv(name: &str, frequency: &str, windows: usize, change: impl Fn(&str) -> String) {
    let broker = Broker::shared();
    let topic = topic(broker, name, 3);
    let workspace = Workspace::new();
    let shipped = fs::read_to_string(setup::root().join("pipelines/air_quality_daily.toml")).unwrap();
    assert_eq!(shipped.matches("\"air-quality-data\"").count(), 1);
    let text = change(&shipped.replace("\"air-quality-data\"", &format!("\"{topic}\"")));
    fs::write(workspace.path().join("p.toml"), text).unwrap();
    let address = broker.address();
    let kafka = [("KAFKA_BROKERS", address.as_str())];
    let run = |args: &[&str]| workspace.spawn_with(args.iter().copied(), &kafka).wait(PATIENCE).expect_code(0).stdout;
    run(&["produce", "--topic", &topic, "--broken"]);
    let summary = run(&["run", "p.toml", "--until-end", "--close"]);
    assert!(summary.contains("rejected                10") && !summary.contains("late"), "{summary}");
    run(&["wait", "p.toml", "--until", "2005-04-05"]);
    let files = run(&["windows", "p.toml", "--files"]);

    setup::provision("python");
    let mut python = Command::new(setup::target().join("venv/bin/python"))
        .arg(setup::root().join("tests/python/windows.py"))
        .arg(workspace.path().join("processed_data/air-quality-daily"))
        .arg(setup::root().join("src/cli/readings/air_quality.csv.gz"))
        .args([frequency, "co=CO(GT)", "temperature=T", "humidity=RH"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(files.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "the windows are not those of the CSV");
    let compared: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!([&compared["windows"], &compared["rows"]], [&Value::from(windows), &9_357.into()]);
}

#[test]
fn days_of_the_readings_are_the_csvs() {
    is_the_csv("days", "D", 391, str::to_owned);
}

#[test]
fn weeks_of_the_readings_are_the_csvs() {
    is_the_csv("weeks", "W-MON", 57, |text| text.replace("size = \"1d\"", "size = \"7d\"\norigin = \"1970-01-05\""));
}

/// Two days, then a reading of the first one, which is closed by then.
fn with_a_late_reading(policy: &str) -> Case<'static> {
    let case = case("late", 1, &format!("late = \"{policy}\""));
    readings(&case, 0, &["2004-03-10T12:00:00", "2004-03-10T13:00:00", "2004-03-11T01:30:00"]);
    case.finish();
    check(&case, &[("2004-03-10", "complete", 2, 0, 0, 0, 1), ("2004-03-11", "open", 1, 0, 0, 0, 1)]);
    readings(&case, 0, &["2004-03-10T14:00:00", "2004-03-11T00:10:00"]);
    case.finish();
    case
}

#[test]
fn a_late_row_reopens_its_window() {
    let case = with_a_late_reading("accept");
    check(&case, &[("2004-03-10", "reopened", 3, 1, 0, 0, 2), ("2004-03-11", "open", 2, 0, 0, 0, 2)]);
    case.judge();
}

#[test]
fn a_late_row_is_set_aside() {
    let case = with_a_late_reading("side");
    check(&case, &[("2004-03-10", "complete", 2, 0, 1, 0, 1), ("2004-03-11", "open", 2, 0, 0, 0, 2)]);
    assert_eq!(case.judge().late, 1);
    let dataset = Dataset::read(&case.dataset());
    let late: Vec<_> = dataset.partitions().values().flatten().filter(|row| row.side == Side::Late).collect();
    assert_eq!(late.len(), 1);
    // The watermark was at 01:30 of the next day.
    assert_eq!(dataset.cell(*late[0], "_late_by_us"), Some(Cell::Int(90 * 60 * 1_000_000)));
    assert_eq!(dataset.cell(*late[0], "window"), Some(Cell::Text("2004-03-10".into())));
}

#[test]
fn a_late_row_is_counted() {
    let case = with_a_late_reading("drop");
    check(&case, &[("2004-03-10", "complete", 2, 0, 1, 0, 1), ("2004-03-11", "open", 2, 0, 0, 0, 2)]);
    let counts = &case.verify()["counts"];
    assert_eq!([&counts["row"], &counts["late"], &counts["dropped"]], [4, 1, 1]);
}

#[test]
fn the_far_future_closes_nothing() {
    let case = case("future", 1, "max_ahead = \"1h\"\n");
    readings(&case, 0, &["2004-03-10T12:00:00", "9999-12-31T23:00:00", "2004-03-10T13:00:00"]);
    case.finish();
    check(&case, &[("2004-03-10", "open", 2, 0, 0, 1, 1)]);
    let dataset = Dataset::read(&case.dataset());
    let reject = dataset.partitions().values().flatten().find(|row| row.side == Side::Rejects).unwrap();
    let text = |column| dataset.cell(*reject, column);
    assert_eq!(text("rule"), Some(Cell::Text("max_ahead".into())));
    assert_eq!(text("column"), Some(Cell::Text("measured_at".into())));
    let Some(Cell::Text(reason)) = text("reason") else { panic!("a reject has a reason") };
    assert!(reason.contains("9999-12-31T22:00:00Z"), "{reason}");
}

#[test]
fn waiting_for_windows() {
    let case = case("waiting", 1, "");
    assert_eq!(waited(&case, "2004-03-11").0, Some(1));
    readings(&case, 0, &["2004-03-10T12:00:00", "2004-03-11T12:00:00"]);
    // What is committed but not in place is not there yet.
    let crash = case.to_end_with(&[("WEIR_FAILPOINT", "publish.before_link:1")]).wait(PATIENCE);
    assert!(!crash.status.success());
    let (code, said) = waited(&case, "2004-03-11");
    assert!(code == Some(1) && said.contains("committed but not in place"), "{said}");
    case.finish();
    assert_eq!(waited(&case, "2004-03-11").0, Some(0));
    assert_eq!(waited(&case, "2004-03-10T23:00:00Z").0, Some(0));
    // Into the next day, which is open.
    let (code, said) = waited(&case, "2004-03-11T00:00:01");
    assert!(code == Some(1) && said.contains("held back by") && said.contains("2004-03-11T11:00:00Z"), "{said}");
    assert_eq!(waited(&case, "soon").0, Some(2));
    // A wait without a timeout ends when a later run has closed the window.
    let waiting = case.workspace.spawn(["wait", &case.file(), "--until", "2004-03-12"]);
    case.workspace.run(["run", &case.file(), "--until-end", "--close"], PATIENCE).expect_code(0);
    waiting.wait(PATIENCE).expect_code(0);
    check(&case, &[("2004-03-10", "complete", 1, 0, 0, 0, 1), ("2004-03-11", "complete", 1, 0, 0, 0, 1)]);
    assert_eq!(windows(&case)["windows"][1]["closed_early"][0]["by"], "hand");
}

#[test]
fn a_silent_partition_holds_nobody_back() {
    let case = case("silent", 5, "idle = \"4s\"").with(|pipeline| pipeline.roll = "age = \"200ms\"".into());
    let hours = ["2004-03-10T12:00:00", "2004-03-10T13:00:00"];
    for partition in 0..3 {
        readings(&case, partition, &hours);
    }
    // Partitions 3 and 4 never get a record.
    let run = case.endless();
    until("the first day is there", PATIENCE, || {
        case.dataset().join("ledger/dataset.json").exists() && seen(&case).values().any(|window| window.1 == 6)
    });
    // Partitions 0 and 1 go on, hour by hour; 2 is silent from now on.
    let going_on = || (0..96u32).map(|hour| format!("2004-03-{:02}T{:02}:00:00", 10 + hour / 24, hour % 24)).skip(14);
    let hours: Vec<String> = going_on().collect();
    for some in hours.chunks(8) {
        for partition in 0..2 {
            readings(&case, partition, &some.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    until("days are complete though a partition is silent", PATIENCE, || {
        // So that the live ones stay alive; rows of one time move nothing.
        for partition in 0..2 {
            readings(&case, partition, &["2004-03-13T23:00:00"]);
        }
        let seen = seen(&case);
        ["2004-03-10", "2004-03-11", "2004-03-12"]
            .iter()
            .all(|day| seen.get(*day).is_some_and(|day| day.0 == "complete"))
    });
    let said = windows(&case);
    let states: Vec<_> =
        said["partitions"].as_array().unwrap().iter().map(|partition| &partition["closed_by"]).collect();
    assert_eq!(states, [&Value::Null, &Value::Null, &"idle".into(), &"idle".into(), &"idle".into()], "{said:#}");
    let last = &said["windows"][3];
    assert_eq!([&last["window"], &last["state"]], [&Value::from("2004-03-13"), &"open".into()], "{said:#}");
    let table = case.workspace.run(["windows", &case.file()], PATIENCE).expect_code(0).stdout;
    let idle = format!("closed by idle: {0}:2, {0}:3, {0}:4", case.pipeline.topic);
    assert!(table.lines().any(|line| line.starts_with("2004-03-11  complete") && line.contains(&idle)), "{table}");
    assert!(table.contains("held back by") && table.contains("(watermark 2004-03-13T22:00:00Z)"), "{table}");
    // It wakes up: what is too old for what it has closed is late.
    readings(&case, 2, &["2004-03-11T12:00:00", "2004-03-13T12:00:00"]);
    until("the late row is there", PATIENCE, || seen(&case)["2004-03-11"].3 == 1);
    run.signal("TERM");
    run.wait(PATIENCE).expect_code(0);
    assert_eq!(case.judge().late, 1);
}

/// Where each record is, as far as event time decides it: side and window, by partition and offset.
fn places(case: &Case) -> BTreeMap<(i32, i64), (Side, Option<Cell>)> {
    let dataset = Dataset::read(&case.dataset());
    let mut found = BTreeMap::new();
    for ((_, partition), rows) in dataset.partitions() {
        for row in rows {
            let window = dataset.cell(*row, "window");
            if let Some(Cell::Micros(time)) = dataset.cell(*row, "measured_at") {
                // Days since 1970 of the readings' clocks, by arithmetic that shares nothing with weir's.
                let day = (time / 1_000_000 + 3_600) / 86_400;
                let date = arrow::temporal_conversions::date32_to_datetime(day as i32).unwrap().date().to_string();
                assert_eq!(window, Some(Cell::Text(date)), "offset {}", row.offset);
            }
            assert!(found.insert((*partition, row.offset), (row.side, window)).is_none());
        }
    }
    found
}

#[test]
fn kills_change_no_window_and_no_class() {
    const SEED: u64 = 20_050_404;
    // Readings in any order: most come within 100 days of the largest so far, and many don't.
    let calm = case("kills", 3, "out_of_order = \"100d\"\n")
        .with(|pipeline| pipeline.roll = "windows = 20, age = \"300ms\"".into());
    let load = Load { records: 30_000, aborted: 50, broken: 5, tombstones: 2, seed: SEED, ..Load::default() };
    produce(calm.broker, &calm.pipeline.topic, 3, &load);
    calm.finish();
    let verdict = calm.judge();
    println!("{verdict:?}");
    assert!(verdict.late > 100 && verdict.rows > 100, "{verdict:?}");

    let killed = Case::of(
        calm.broker,
        Pipeline {
            name: format!("{}-killed", calm.pipeline.name),
            source: "consumers = 2".into(),
            ..calm.pipeline.clone()
        },
    );
    let mut kills = 0;
    for moment in 0..200 {
        let mut run = if moment % 3 == 0 { killed.endless() } else { killed.to_end() };
        let entries = killed.entries();
        if moment % 4 > 0 {
            // One without an end has nothing more to commit when those before it got everything.
            let began = Instant::now();
            until("a commit", PATIENCE, || {
                let waited = moment % 3 == 0 && began.elapsed() > Duration::from_secs(5);
                killed.entries() > entries || !run.is_running() || waited
            });
        }
        thread::sleep(Duration::from_millis(random(SEED, "wait", moment) % 50));
        if !run.is_running() {
            break;
        }
        run.kill();
        kills += 1;
    }
    println!("{kills} kills");
    assert!(kills >= 3);
    killed.finish();
    killed.judge();
    assert_eq!(places(&killed), places(&calm));
    let without_files = |case: &Case| {
        seen(case)
            .into_iter()
            .map(|(window, seen)| (window, (seen.0, seen.1, seen.2, seen.3, seen.4)))
            .collect::<Vec<_>>()
    };
    assert_eq!(without_files(&killed), without_files(&calm));
}

#[test]
fn rows_and_quiet_close_windows_apart_in_the_ledger() {
    let case = case("apart", 3, "idle = \"1s\"").with(|pipeline| pipeline.roll = "windows = 1000, age = \"1h\"".into());
    for partition in 0..2 {
        readings(&case, partition, &["2004-03-10T12:00:00", "2004-03-11T12:00:00", "2004-03-12T12:00:00"]);
    }
    let run = case.endless();
    until("all days are complete", PATIENCE, || {
        case.dataset().join("ledger/dataset.json").exists()
            && seen(&case).len() == 3
            && seen(&case).values().all(|window| window.0 == "complete")
    });
    run.kill();
    let said = windows(&case);
    let early = |day: usize| -> Vec<String> {
        let closed = said["windows"][day]["closed_early"].as_array().unwrap().iter();
        closed.map(|closed| closed["partition"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()).collect()
    };
    // The empty partition closes nothing but what it is quiet about.
    assert_eq!([early(0), early(1), early(2)], [vec!["2"], vec!["2"], vec!["0", "1", "2"]], "{said:#}");
    // A restart finds what was closed.
    let before = seen(&case);
    readings(&case, 0, &["2004-03-12T13:00:00"]);
    case.finish();
    assert_eq!((before["2004-03-12"].3, seen(&case)["2004-03-12"].3), (0, 1));
    case.judge();
}

#[test]
fn nothing_is_quiet_while_the_broker_is_gone() {
    let broker = Broker::own();
    let Case { pipeline, workspace, .. } = Case::new(&broker, "gone", 1).with(|pipeline| {
        pipeline.window = Some(format!("{DAYS}idle = \"1s\""));
        pipeline.partition_by = &["window"];
        pipeline.roll = "age = \"100ms\"".into();
    });
    // Partition 0 gets a reading right before the broker goes.
    let case = Case { broker: &broker, pipeline, workspace };
    readings(&case, 0, &["2004-03-10T12:00:00"]);
    let run = case.endless();
    until("it is committed", PATIENCE, || {
        case.dataset().join("ledger/dataset.json").exists() && seen(&case).len() == 1
    });
    let Case { pipeline, workspace, .. } = case;
    let file = format!("{}.toml", pipeline.name);
    let state = || {
        let args = ["windows", &file, "--format", "json"];
        let said: Value = serde_json::from_str(&workspace.run(args, PATIENCE).expect_code(0).stdout).unwrap();
        said["windows"][0]["state"].as_str().unwrap().to_owned()
    };
    broker.stop();
    if state() == "open" {
        // Four times as long as idle; nothing but time can show that nothing happens.
        thread::sleep(Duration::from_secs(4));
        assert_eq!(state(), "open");
    }
    broker.start();
    until("the day is complete", PATIENCE, || state() == "complete");
    run.signal("TERM");
    run.wait(PATIENCE).expect_code(0);
}

#[test]
fn a_dataset_keeps_its_windows() {
    let case = case("keeps", 1, "");
    readings(&case, 0, &["2004-03-10T12:00:00"]);
    case.finish();
    let case = case.with(|pipeline| pipeline.window = Some(DAYS.replace("1d", "2d")));
    let finished = case.to_end().wait(PATIENCE).expect_code(3);
    let said = finished.stdout + &finished.stderr;
    assert!(said.contains("window is tumbling 1d") && said.contains("and tumbling 2d"), "{said}");
    let case = case.with(|pipeline| pipeline.window = Some(format!("{DAYS}out_of_order = \"1h\"\nlate = \"drop\"")));
    case.finish();
}

#[test]
fn a_window_beside_another_key() {
    let case = Case::new(Broker::shared(), "two-keys", 3).with(|pipeline| {
        pipeline.window =
            Some(format!("{}out_of_order = \"366d\"", DAYS.replace("\"measured_at\"", "\"_kafka_timestamp\"")));
        pipeline.partition_by = &["station_id", "window"];
    });
    produce(case.broker, &case.pipeline.topic, 3, &Load { records: 1_000, stations: 3, broken: 5, ..Load::default() });
    case.finish();
    assert!(case.judge().rows > 900);
    let csv = case.workspace.run(["windows", &case.file(), "--format", "csv"], PATIENCE).expect_code(0).stdout;
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((lines[0][0], lines[0][3], lines[1].len()), ("window", "state", 11), "{csv}");
    let rows: u64 = lines[1..].iter().map(|line| line[4].parse::<u64>().unwrap()).sum();
    assert_eq!(Value::from(rows), case.verify()["counts"]["row"]);
}

#[test]
fn ten_thousand_windows_of_twenty_columns() {
    const WINDOWS: u64 = 10_000;
    let topic = topic(Broker::shared(), "many-windows", 1);
    let workspace = Workspace::new();
    let columns: String = (0..19).map(|n| format!("c{n} = {{ type = \"float64\" }}\n")).collect();
    let text = format!(
        "name = \"many\"\n[source]\ntype = \"kafka\"\nbrokers = \"{}\"\ntopics = [\"{topic}\"]\nformat = \"json\"\n[columns]\n\
         t = {{ type = \"timestamp\", format = \"unix_s\" }}\n{columns}[window]\ntype = \"tumbling\"\nsize = \"1m\"\n\
         time = \"t\"\nout_of_order = \"366d\"\n[sink]\ntype = \"parquet\"\nroll = {{ age = \"1h\" }}\n",
        Broker::shared().address()
    );
    fs::write(workspace.path().join("p.toml"), text).unwrap();
    let producer = transactional(Broker::shared(), &topic);
    // Ten rows a window, none of them beside another of its window.
    let fields: String = (0..19).map(|n| format!(",\"c{n}\":{n}.5")).collect();
    for row in 0..10 * WINDOWS {
        let time = 1_000_000_000 + random(7, "window", row) % WINDOWS * 60 + row / WINDOWS;
        send(&producer, &topic, 0, Some(format!("{{\"t\":{time}{fields}}}").as_bytes()));
    }
    settle(&producer);
    producer.commit_transaction(PATIENCE).unwrap();

    let mut run = workspace.spawn_with(["run", "p.toml", "--until-end"], &[("WEIR__LIMITS__MEMORY", "384MiB")]);
    let mut peak = 0;
    until("all windows are written", PATIENCE, || {
        peak = crate::memory::peak_bytes(run.pid()).unwrap_or(peak);
        !run.is_running()
    });
    let finished = run.wait(PATIENCE).expect_code(0);
    println!("{}\npeak {} MiB", finished.stdout, peak >> 20);
    let report = workspace.run(["verify", "p.toml", "--format", "json"], PATIENCE).expect_code(0);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report["counts"]["row"], 10 * WINDOWS);
    // Every file has one window, and windows are not shattered: most are in one file.
    let files = report["files"].as_u64().unwrap();
    assert!((9_990..=30_000).contains(&files), "{files} files");
    assert!(peak < (384 + 64) << 20, "{} MiB", peak >> 20);
}

#[test]
fn the_chart_is_drawn_from_a_run() {
    let folder = setup::folder("chart");
    let picture = folder.path().join("completeness.png");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_weir"));
    setup::provision("python");
    let output = Command::new(setup::target().join("venv/bin/python"))
        .arg(setup::root().join("docs/completeness.py"))
        .args([binary.as_os_str(), Broker::shared().address().as_ref(), picture.as_os_str()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let drawn: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(drawn, serde_json::json!({ "windows": 61, "complete": 59, "late": 60 }));
    assert!(fs::read(picture).unwrap().starts_with(b"\x89PNG"));
}
