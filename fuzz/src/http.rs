//! Any bytes as a request to the service, which runs in this process and answers on the loopback.
//!
//! No request makes it panic or answer with 500, and no answer is without an end. The first byte
//! decides whether the others are the request, or choose what one of the API's is made of.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use actix::Actor as _;
use weir::service::{Board, Fleet, Server, openapi};
use weir::settings::Service;

use super::bytes::Bytes;
use super::dataset;

/// An answer has fewer bytes than this, but for the page's own files.
const ANSWER_MAX: usize = 256 << 10;
const PAGE_MAX: usize = 4 << 20;
/// So long may an answer take; who asks for one that comes late is not asked.
const PATIENCE: Duration = Duration::from_secs(20);

const READ_TOKEN: &str = "read-read-read-read";
const CONTROL_TOKEN: &str = "control-control-control";

const METHODS: &[&str] = &["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "CONNECT"];
const HOSTS: &[&str] = &["localhost", "127.0.0.1:80", "[::1]:1", "evil.example.com", "", "localhost:x", "[::1", "é"];
const HEADERS: &[&str] = &[
    "Authorization: Bearer read-read-read-read\r\n",
    "Authorization: bearer control-control-control\r\n",
    "Authorization: Basic cmVhZDpyZWFk\r\n",
    "Origin: http://localhost\r\n",
    "Origin: null\r\n",
    "Sec-Fetch-Site: cross-site\r\n",
    "Range: bytes=0-0\r\n",
    "Accept: application/xml\r\n",
    "Accept-Encoding: gzip, br\r\n",
    "If-None-Match: *\r\n",
    "Upgrade: websocket\r\nConnection: Upgrade\r\n",
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Content-Length: 1\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Content-Type: application/json\r\n",
    "Cookie: a=b\r\n",
    "Host: localhost\r\n",
    "Last-Event-ID: 1\r\n",
];
const QUERIES: &[&str] = &[
    "limit=1",
    "limit=1000",
    "limit=0",
    "limit=-1",
    "limit=1001",
    "limit=18446744073709551616",
    "limit=",
    "limit",
    "limit=1&limit=2",
    "wait=",
    "wait=0ms",
    "wait=5ms",
    "wait=11m",
    "wait=-1s",
    "wait=99999999999999999999m",
    "wait",
    "wait=1%00",
    "level=info",
    "level=weir::audit=off",
    "level=%F0%9F%92%A9",
    "level=",
    "token=secret-in-a-query",
    "%",
    "%zz=%",
    "&&&=",
    "=",
    "a[]=1",
    "+=+",
];
/// How values of `wait` begin that are no time, or a short one.
const SHORT: &[&str] = &["0ms", "5ms", "11m", "-1s", "99999999999999999999m", "1%00", "&", " "];
const NAMES: &[&str] =
    &["air", "", "none", "..", "%2e%2e", "%00", "a%2Fb", "air%20", "é", "%F0%9F%92%A9", "%FF", "AIR"];

struct App {
    open: SocketAddr,
    guarded: SocketAddr,
}

/// The service with one pipeline, which is stopped; it runs until the process ends.
static APP: LazyLock<App> = LazyLock::new(start);

/// Methods and paths of the API's description.
static OPERATIONS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let api: serde_json::Value = serde_json::from_str(&openapi()).expect("the description is JSON");
    let paths = api["paths"].as_object().expect("it has paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().expect("a path has operations").keys().map(|method| (method.to_uppercase(), path.clone()))
    });
    let others =
        ["/docs/", "/docs", "/docs/index.html", "/docs/../etc/passwd", "/openapi.json", "/", "*", "//", "/api"];
    operations.chain(others.map(|path| ("GET".to_owned(), path.to_owned()))).collect()
});

pub fn run(data: &[u8]) {
    let app = &*APP;
    let mut bytes = Bytes(data);
    let choice = bytes.byte();
    let address = if choice & 2 == 0 { app.open } else { app.guarded };
    let (request, whole) = if choice & 1 == 0 { (bytes.0.to_vec(), false) } else { (request(&mut bytes), true) };
    if wants_to_wait(&request) {
        return;
    }
    let answer = ask(address, &request);
    check(&request, &answer, whole && !has_a_body(&request));
}

/// A request of the description, with some of everything that can be wrong.
fn request(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let operation = usize::from(bytes.byte()) % OPERATIONS.len();
    let (method, path) = &OPERATIONS[operation];
    let odd = bytes.byte();
    let method = if odd & 1 == 0 { method } else { bytes.of(METHODS) };
    let name = if odd & 2 == 0 { "air" } else { bytes.of(NAMES) };
    let mut out = format!("{method} {}", path.replace("{name}", name)).into_bytes();
    if odd & 4 != 0 {
        out.extend_from_slice(&uri(bytes.some()));
    }
    let queries = bytes.byte() % 4;
    for number in 0..queries {
        out.push(if number == 0 { b'?' } else { b'&' });
        match bytes.byte() {
            255 => out.extend_from_slice(&uri(bytes.some())),
            choice => out.extend_from_slice(QUERIES[usize::from(choice) % QUERIES.len()].as_bytes()),
        }
    }
    let host = if odd & 8 == 0 { "localhost" } else { bytes.of(HOSTS) };
    out.extend_from_slice(format!(" HTTP/1.{}\r\nHost: {host}\r\n", u8::from(odd & 16 == 0)).as_bytes());
    for _ in 0..bytes.byte() % 5 {
        match bytes.byte() {
            255 => out.extend([bytes.some(), b": ", bytes.some(), b"\r\n"].concat()),
            choice => out.extend_from_slice(HEADERS[usize::from(choice) % HEADERS.len()].as_bytes()),
        }
    }
    if odd & 32 != 0 {
        out.extend_from_slice(format!("Content-Length: {}\r\n", bytes.0.len()).as_bytes());
    }
    out.extend_from_slice(b"Connection: close\r\n\r\n");
    out.extend_from_slice(bytes.0);
    out
}

/// Whether more than a head was sent, or announced. What is wrong with a body can end the
/// connection before the answer was read.
fn has_a_body(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let announced = ["transfer-encoding", "content-length", "upgrade"].iter().any(|name| text.contains(name));
    announced || text.split_once("\r\n\r\n").is_none_or(|(_, body)| !body.is_empty())
}

/// Bytes as they may stand in a request's first line.
fn uri(bytes: &[u8]) -> Vec<u8> {
    let plain = |byte: u8| byte.is_ascii_graphic();
    bytes.iter().flat_map(|byte| if plain(*byte) { vec![*byte] } else { format!("%{byte:02X}").into_bytes() }).collect()
}

/// Whether a request wants to be answered late.
fn wants_to_wait(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    text.match_indices("wait=").any(|(at, word)| {
        let value = &text[at + word.len()..];
        !SHORT.iter().any(|short| value.starts_with(short))
    })
}

fn ask(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the service listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a time");
    // It may answer, and close, before it has read everything.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let (mut answer, mut part, begun) = (Vec::new(), vec![0; 64 << 10], Instant::now());
    loop {
        match stream.read(&mut part) {
            Ok(0) => return answer,
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return answer,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                panic!("no end of an answer, {error}, after {:?}:\n{}", begun.elapsed(), shown(request, &answer))
            }
        }
        // Live events end with the service.
        if answer.len() > PAGE_MAX || is_a_stream(&answer) {
            return answer;
        }
    }
}

fn is_a_stream(answer: &[u8]) -> bool {
    let head = &answer[..answer.len().min(1024)];
    head.windows(17).any(|part| part.eq_ignore_ascii_case(b"text/event-stream"))
}

fn check(request: &[u8], answer: &[u8], whole: bool) {
    let first = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
    let Some(status) = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok()) else {
        // A request without an end has no answer.
        assert!(answer.is_empty() && !whole, "no answer:\n{}", shown(request, answer));
        return;
    };
    // 503 is what some routes answer when they cannot; none of those that are asked here fails.
    assert!(status < 500 || status == 503, "{status}:\n{}", shown(request, answer));
    let page = request.windows(6).any(|part| part == b"/docs/");
    let most = if page { PAGE_MAX } else { ANSWER_MAX };
    assert!(answer.len() < most, "{} bytes:\n{}", answer.len(), shown(request, &answer[..1024]));
    let shows = |secret: &str| answer.windows(secret.len()).any(|part| part == secret.as_bytes());
    assert!(!shows("hunter2"), "a password is shown:\n{}", shown(request, answer));
    for token in [READ_TOKEN, CONTROL_TOKEN] {
        let sent = request.windows(token.len()).any(|part| part == token.as_bytes());
        assert!(sent || !shows(token), "a token is shown:\n{}", shown(request, answer));
    }
}

fn shown(request: &[u8], answer: &[u8]) -> String {
    let answer = &answer[..answer.len().min(4096)];
    format!("{}\n--- answered\n{}", request.escape_ascii(), String::from_utf8_lossy(answer))
}

fn start() -> App {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let folder = dataset::folder();
        let pipeline = dataset::pipeline(folder.path());
        dataset::make(&pipeline, 3);
        let pipelines = folder.path().join("pipelines");
        std::fs::create_dir(&pipelines).expect("a new folder");
        std::fs::write(pipelines.join("air.toml"), &pipeline.text).expect("the folder takes it");
        std::fs::write(pipelines.join("broken.toml"), "name = 3\n[source.client]\n\"sasl.password\" = \"hunter2\"\n")
            .expect("the folder takes it");
        let settings = |tokens: &[(&str, &str)]| {
            let listen = ("WEIR__HTTP__LISTEN", "127.0.0.1:0");
            let variables =
                tokens.iter().chain([&listen]).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Service::read(&folder.path().join("config"), variables.collect()).expect("settings without a mistake")
        };
        let tokens = [("WEIR__HTTP__READ_TOKEN", READ_TOKEN), ("WEIR__HTTP__CONTROL_TOKEN", CONTROL_TOKEN)];
        let (open, guarded) = (settings(&[]), settings(&tokens));
        let system = actix::System::new();
        system.block_on(async {
            let board = Board::default();
            let fleet = Fleet::new(pipelines, &open, board.clone()).start();
            let bind = |settings: &Service| {
                let http = settings.http.as_ref().expect("it listens");
                let server = Server::bind(http, settings, board.clone(), fleet.clone()).expect("a port is free");
                let address = server.url().rsplit_once('/').and_then(|(_, address)| address.parse().ok());
                drop(server.start());
                address.expect("an address")
            };
            let app = App { open: bind(&open), guarded: bind(&guarded) };
            sender.send(app).expect("the fuzzer waits for it");
            std::future::pending::<()>().await;
        });
    });
    let app = receiver.recv().expect("the service starts");
    let stop = b"POST /api/v1/pipelines/air/stop?wait=5s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let begun = Instant::now();
    // Until the pipeline files were read there is no such pipeline.
    loop {
        let answer = ask(app.open, stop);
        if answer.starts_with(b"HTTP/1.1 200") {
            break;
        }
        if begun.elapsed() > PATIENCE {
            let list = ask(app.open, b"GET /api/v1/pipelines HTTP/1.0\r\nHost: localhost\r\n\r\n");
            panic!("the pipeline does not stop:\n{}", shown(stop, &[answer, list].concat()));
        }
        std::thread::yield_now();
    }
    app
}
