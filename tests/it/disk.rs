//! A disk that fails, fills up, or is tidied up by somebody, under a weir that runs. The dataset is judged in the end, as
//! everywhere.

use std::fs;

use crate::harness::broker::Broker;
use crate::harness::case::{Case, PATIENCE};
use crate::harness::dataset::files;
use crate::harness::produce::{Load, produce};
use crate::harness::service::Service;
use crate::harness::shim::{Shim, Switch};
use crate::harness::topics::end;
use crate::harness::until;

/// Waits until everything of a topic with one partition is committed.
fn until_all_is_committed(case: &Case<'_>) {
    let end = end(case.broker, &case.pipeline.topic, 0);
    until("everything is committed", PATIENCE, || case.positions().values().sum::<i64>() == end);
}

fn restless(name: &str) -> Case<'static> {
    Case::new(Broker::shared(), name, 1).with(|pipeline| pipeline.roll = r#"windows = 5, age = "200ms""#.into())
}

/// The kernel tells of a failed fsync once. What a stop and a start make anew must not believe the next one.
#[test]
fn a_failed_fsync_is_believed_by_no_later_start() {
    let case = restless("fsync-once");
    let (name, shim, load) = (case.pipeline.name.clone(), Shim::new(), Load { records: 2_000, ..Load::default() });
    let file = case.workspace.path().join("pipelines").join(case.file());
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, case.pipeline.toml()).unwrap();
    produce(case.broker, &case.pipeline.topic, 1, &load);
    let environment = shim.environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let service = Service::start(&case.workspace, &environment);
    until_all_is_committed(&case);
    shim.set(Switch::FolderSyncsFail, 1);
    produce(case.broker, &case.pipeline.topic, 1, &Load { seed: 2, ..load.clone() });
    let parked = || service.run.stderr().matches("lane is parked").count();
    until("the lane is parked", PATIENCE, || parked() == 1);
    assert!(service.run.stderr().contains("an earlier fsync of"), "{}", service.run.stderr());
    assert_eq!(shim.get(Switch::FolderSyncsFail), 0, "the disk is well again, or says so");
    let before = case.positions();
    service.order(&name, "stop");
    service.order(&name, "start");
    until("the lane is parked again", PATIENCE, || parked() == 2);
    assert_eq!(case.positions(), before, "nothing is committed on what may not be durable");
    service.run.kill();
    // A person has looked at the disk, and started weir again.
    let service = Service::start(&case.workspace, &[]);
    until_all_is_committed(&case);
    service.stop();
    case.judge();
}

#[test]
fn a_full_disk_keeps_no_more_than_one_attempt() {
    const ROOM: i64 = 100_000;
    let case = Case::new(Broker::shared(), "full-disk", 1).with(|pipeline| {
        pipeline.roll = r#"windows = 1000000, age = "1h""#.into();
        pipeline.sink = r#"compression = "none""#.into();
    });
    produce(case.broker, &case.pipeline.topic, 1, &Load { records: 6_000, ..Load::default() });
    let shim = Shim::new();
    let environment = shim.environment();
    let mut environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    environment.extend([("WEIR__RESTART__BACKOFF_MIN", "50ms"), ("WEIR__RESTART__BACKOFF_MAX", "50ms")]);
    environment.push(("WEIR__RESTART__FAILURES_UNTIL_PARKED", "1000"));
    shim.set(Switch::Room, ROOM + 1);
    let run = case.to_end_with(&environment);
    let failed = || run.stderr().matches("lane ended, it starts again").count();
    for attempt in 1..=3 {
        let before = failed();
        shim.set(Switch::Room, ROOM + 1);
        until("an attempt has met the end of the disk", PATIENCE, || failed() > before && shim.get(Switch::Room) == 1);
        let staged: u64 = files(&case.dataset().join("staging"))
            .iter()
            .filter_map(|path| path.metadata().ok())
            .map(|found| found.len())
            .sum();
        assert!(staged <= ROOM as u64, "{staged} bytes in staging/ after attempt {attempt}");
    }
    // Somebody makes room: it goes on by itself.
    shim.set(Switch::Room, 0);
    run.wait(PATIENCE).expect_code(0);
    assert_eq!(files(&case.dataset().join("staging")), Vec::<std::path::PathBuf>::new());
    case.judge();
}

#[test]
fn a_staging_folder_that_is_removed_comes_back() {
    let case = restless("no-staging");
    let run = case.endless();
    for seed in 1..4 {
        produce(case.broker, &case.pipeline.topic, 1, &Load { records: 2_000, seed, ..Load::default() });
        until_all_is_committed(&case);
        fs::remove_dir_all(case.dataset().join("staging")).unwrap();
    }
    produce(case.broker, &case.pipeline.topic, 1, &Load { records: 2_000, seed: 4, ..Load::default() });
    until_all_is_committed(&case);
    run.signal("TERM");
    run.wait(PATIENCE).expect_code(0);
    case.judge();
}

/// Somebody moves a folder of the dataset to another disk, and leaves a link.
#[test]
fn a_folder_that_became_a_link_is_refused_and_left_alone() {
    let case = restless("linked");
    produce(case.broker, &case.pipeline.topic, 1, &Load { records: 1_000, ..Load::default() });
    case.finish();
    let (folder, elsewhere) = (case.dataset().join("data/station_id=IT-00"), case.workspace.path().join("elsewhere"));
    let folder = if folder.exists() {
        folder
    } else {
        fs::read_dir(case.dataset().join("data")).unwrap().next().unwrap().unwrap().path()
    };
    fs::rename(&folder, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
    let before = (case.inventory(), files(&elsewhere));
    produce(case.broker, &case.pipeline.topic, 1, &Load { records: 1_000, seed: 2, ..Load::default() });
    let name = folder.file_name().unwrap().to_str().unwrap();
    let backup = case.workspace.path().join("backup").display().to_string();
    let file = case.file();
    for command in [
        vec!["run", &file, "--until-end"],
        vec!["verify", &file],
        vec!["repair", &file],
        vec!["backup", &file, &backup],
    ] {
        let said = case.workspace.run(command.iter().copied(), PATIENCE).expect_code(3);
        let text = said.stdout + &said.stderr;
        assert!(text.contains("is a symbolic link") && text.contains(name), "{command:?}: {text}");
    }
    assert_eq!((case.inventory(), files(&elsewhere)), before, "nothing is moved or removed");
    fs::remove_file(&folder).unwrap();
    fs::rename(&elsewhere, &folder).unwrap();
    case.finish();
    case.judge();
}
