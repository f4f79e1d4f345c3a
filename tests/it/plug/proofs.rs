//! The matrix's own proof: the watcher, the journal and the comparison notice what was planted for them.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::case::PATIENCE;
use crate::harness::feed::{Outcome, Transaction, check};
use crate::harness::oracle::{Record, compare};
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::setup;
use crate::harness::shim::{Shim, Switch};
use crate::harness::until;
use crate::harness::watcher::Seen;
use crate::judge;

/// What a reader sees of a right dataset, after something was done to it between two looks.
fn seen(damage: impl FnOnce(&Path)) -> Seen {
    let folder = setup::folder("watcher");
    judge::write(folder.path(), &judge::truth(), &judge::pipeline());
    let mut seen = Seen::default();
    seen.look(folder.path());
    assert_eq!((seen.wrong.len(), seen.files.len()), (0, 2));
    damage(folder.path());
    seen.look(folder.path());
    seen
}

const FILE: &str = "data/station_id=IT-01/a.parquet";

#[track_caller]
fn check_seen(damage: impl FnOnce(&Path), words: &str) {
    let wrong = seen(damage).wrong;
    assert!(!wrong.is_empty() && wrong.iter().all(|what| what.contains(words)), "expected {words:?} in {wrong:?}");
}

#[test]
fn the_watcher_notices_what_nobody_may_see() {
    assert!(seen(|_| {}).wrong.is_empty());
    check_seen(
        |folder| fs::write(folder.join("data/b.parquet"), &fs::read(folder.join(FILE)).unwrap()[..900]).unwrap(),
        "is not whole",
    );
    check_seen(|folder| fs::write(folder.join("data/_SUCCESS"), "").unwrap(), "is not whole");
    check_seen(|folder| assert!(fs::copy(folder.join(FILE), folder.join("data/b.parquet")).is_ok()), " is in ");
    check_seen(|folder| fs::remove_file(folder.join(FILE)).unwrap(), "is gone");
    check_seen(
        |folder| {
            let bytes = fs::read(folder.join(FILE)).unwrap();
            fs::remove_file(folder.join(FILE)).unwrap();
            fs::write(folder.join(FILE), bytes).unwrap();
        },
        " was ",
    );
}

#[test]
fn the_watcher_counts_what_was_never_committed() {
    let all = seen(|_| {});
    // A tombstone is in no file.
    assert_eq!(all.records.len(), judge::truth().len() - 1);
    assert_eq!(all.never_shown(&judge::truth()), 0);
    assert_eq!(all.never_shown(&judge::truth()[7..]), 7);
}

#[test]
fn the_comparison_counts_lost_doubled_and_aborted_records() {
    let counts = |damage: fn(&mut Vec<Record>)| {
        let (folder, mut written) = (setup::folder("counts"), judge::truth());
        damage(&mut written);
        judge::write(folder.path(), &written, &judge::pipeline());
        let found = compare(folder.path(), &judge::truth(), &judge::pipeline());
        [found.lost, found.twice, found.not_committed]
    };
    assert_eq!(counts(|_| {}), [0, 0, 0]);
    assert_eq!(counts(|written| drop(written.drain(3..5))), [2, 0, 0]);
    assert_eq!(counts(|written| written.push(written[17].clone())), [0, 1, 0]);
    assert_eq!(counts(|written| written.push(Record { offset: 999, ..written[17].clone() })), [0, 0, 1]);
}

#[test]
fn the_journal_notices_what_kafka_should_not_show() {
    let of = |outcome, records| Transaction { outcome, records };
    let journal = [of(Outcome::Committed, 2), of(Outcome::Aborted, 2), of(Outcome::Unknown, 2)];
    let shown = |keys: &[&str]| -> Vec<Record> {
        let record = |key: &&str| Record { key: Some(key.as_bytes().to_vec()), ..judge::truth()[0].clone() };
        keys.iter().map(record).collect()
    };
    let check = |keys: &[&str]| check(&journal, &shown(keys)).err().unwrap_or_default();
    assert_eq!([check(&["0:0", "0:1"]), check(&["0:1", "2:0", "0:0", "2:1"])], ["", ""]);
    let wrong = [
        (&["0:0"][..], "transaction 0 (Committed, 2 records) is shown with [0]"),
        (&["0:0", "0:1", "0:1"], "transaction 0 (Committed, 2 records) is shown with [0, 1, 1]"),
        (&["0:0", "0:1", "1:1"], "transaction 1 (Aborted, 2 records) is shown with [1]"),
        (&["0:0", "0:1", "2:0"], "transaction 2 (Unknown, 2 records) is shown with [0]"),
        (&["0:0", "0:1", "7:0"], "nobody began transaction 7"),
        (&["hello"], "nobody sent a record with key \"hello\""),
    ];
    for (keys, words) in wrong {
        assert_eq!(check(keys), words);
    }
}

/// Sends some bytes through a proxy whose other end echoes them: what comes back within this time.
fn echoed(stream: &mut TcpStream, bytes: &[u8], within: Duration) -> Result<Vec<u8>, ErrorKind> {
    stream.set_read_timeout(Some(within)).unwrap();
    stream.write_all(bytes).map_err(|error| error.kind())?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).map(|()| back).map_err(|error| error.kind())
}

/// A proxy before something that echoes, and what it has heard.
fn echo() -> (Proxy, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().port());
    let heard = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = heard.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, counter) = (stream.unwrap(), counter.clone());
            thread::spawn(move || {
                let mut buffer = [0; 4_096];
                while let Ok(read) = stream.read(&mut buffer) {
                    counter.fetch_add(read, std::sync::atomic::Ordering::SeqCst);
                    if read == 0 || stream.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (proxy, heard)
}

#[test]
fn the_network_fails_as_it_says() {
    // What a connection that was open before gets back, and whether its request arrived.
    let cases = [
        (Mode::Pass, Ok(b"hello".to_vec()), true),
        (Mode::Blackhole, Err(ErrorKind::WouldBlock), false),
        (Mode::HalfOpen, Err(ErrorKind::WouldBlock), false),
        (Mode::NoAnswers, Err(ErrorKind::WouldBlock), true),
        (Mode::NoRequests, Err(ErrorKind::WouldBlock), false),
        (Mode::Reset, Err(ErrorKind::ConnectionReset), false),
    ];
    for (mode, back, arrives) in cases {
        let (proxy, heard) = echo();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        assert_eq!(echoed(&mut stream, b"first", PATIENCE), Ok(b"first".to_vec()), "{mode:?}");
        proxy.set(mode);
        thread::sleep(Duration::from_millis(200));
        // Only time can show that nothing comes back; for what does, any time will do.
        let within = if back == Err(ErrorKind::WouldBlock) { Duration::from_millis(400) } else { PATIENCE };
        let found = echoed(&mut stream, b"hello", within);
        let broken = matches!(found, Err(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
        assert!(found == back || (mode == Mode::Reset && broken), "{mode:?}: {found:?}");
        let has_arrived = || heard.load(std::sync::atomic::Ordering::SeqCst) > 5;
        if arrives {
            until("the request arrives", PATIENCE, has_arrived);
        }
        assert_eq!(has_arrived(), arrives, "{mode:?}");
        // Afterwards new connections are as they were.
        proxy.set(Mode::Pass);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        assert_eq!(echoed(&mut stream, b"again", PATIENCE), Ok(b"again".to_vec()), "{mode:?}");
    }
    let (proxy, _) = echo();
    proxy.set(Mode::Slow);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    let began = Instant::now();
    stream.write_all(&[7; 1_024]).unwrap();
    stream.read_exact(&mut [0; 1_024]).unwrap();
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
}

#[test]
fn the_disk_and_the_clock_fail_as_they_say() {
    let shim = Shim::new();
    let folder = setup::folder("processed_data");
    let sh = |script: &str| {
        let mut command = Command::new("python3");
        command
            .args(["-c", script])
            .current_dir(folder.path())
            .envs(shim.environment())
            .env("F", folder.path().join("f"));
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let write = "import os; open(os.environ['F'], 'w').write('x')";
    let sync = "import os; os.fsync(os.open(os.environ['F'], os.O_RDWR))";
    let now = "import time; print(int(time.time()))";
    assert_eq!([sh(write), sh(sync)], ["", ""]);
    shim.set(Switch::Full, 1);
    assert!(sh(write).contains("No space left on device"));
    shim.set(Switch::Full, 0);
    shim.set(Switch::ReadOnly, 1);
    assert!(sh(write).contains("Read-only file system"));
    assert!(sh("import os; os.unlink(os.environ['F'])").contains("Read-only file system"));
    shim.set(Switch::ReadOnly, 0);
    shim.set(Switch::SyncsFail, 1);
    assert!(sh(sync).contains("Input/output error"));
    assert_eq!([sh(write), sh(sync)], ["", ""]);
    shim.set(Switch::FolderSyncsFail, 1);
    let sync_folder = "import os; os.fsync(os.open(os.path.dirname(os.environ['F']), os.O_RDONLY))";
    assert_eq!(sh(sync), "");
    assert!(sh(sync_folder).contains("Input/output error"));
    assert_eq!(sh(sync_folder), "");
    shim.set(Switch::Room, 3);
    let write_four =
        "import os; f = os.open(os.environ['F'], os.O_RDWR); print(os.write(f, b'four')); os.write(f, b'x')";
    let said = sh(write_four);
    assert!(said.starts_with("2\n") && said.contains("No space left on device"), "{said}");
    shim.set(Switch::Room, 0);
    shim.set(Switch::ClockS, 100_000);
    let ahead: i64 = sh(now).trim().parse().unwrap();
    shim.set(Switch::ClockS, 0);
    let right: i64 = sh(now).trim().parse().unwrap();
    assert!((99_000..101_000).contains(&(ahead - right)), "{ahead} and {right}");
}
