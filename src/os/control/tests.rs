//! The socket as a whole: a server and its clients in a directory of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use std::{env, fs, process, thread};

use super::*;
use crate::control::{Dated, MAX_REQUEST_OCTETS, Reply, Request, decode};

/// No such group: the tests may run as any user.
const NO_GROUP: &str = "no-such-group-for-tests";

/// A directory that goes with the test.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("nattt-test-{}-{}", process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Answers flows with their limit, anything else with an error.
fn echo(request: Request) -> Reply {
    match request {
        Request::Flows { limit } => Reply::Flows { total: limit, flows: Vec::new() },
        other => Reply::Error { message: format!("{other:?}") },
    }
}

/// Runs `client` while a server with `handler` listens, then stops the server.
fn with_server(
    patience: Option<Duration>,
    handler: impl Fn(Request) -> Reply + Sync,
    client: impl FnOnce(&Path),
) {
    let directory = TempDir::new();
    let socket = directory.socket();
    let mut server = Server::bind(&socket, NO_GROUP).expect("a free path");
    server.patience = patience.unwrap_or(server.patience);
    let (stop, stopped) = UnixStream::pair().expect("a pair");
    thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(&handler, &stopped));
        // Stops the server also when the client's assertion fails.
        let stop = stop;
        client(&socket);
        drop(stop);
        serving.join().expect("no panic").expect("no error");
    });
    drop(server);
    assert!(!socket.exists());
}

fn flows(limit: usize) -> Request {
    Request::Flows { limit }
}

fn send(stream: &mut UnixStream, octets: &[u8]) -> Reply {
    // The server may close before it has read everything.
    let _ = stream.write_all(octets);
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line).expect("a reply");
    decode(&line).expect("a reply line")
}

#[test]
fn a_question_is_answered() {
    with_server(None, echo, |socket| {
        let answer = ask(socket, &flows(7)).expect("an answer");
        assert_eq!(answer, Reply::Flows { total: 7, flows: Vec::new() });
        assert!(matches!(ask(socket, &Request::Status), Err(AskError::Refused(_))));
        let mode = fs::metadata(socket).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

#[test]
fn members_of_the_group_may_ask() {
    // A group of this process: the tests may run as any user.
    let own = rustix::process::getegid().as_raw().to_string();
    let groups = fs::read_to_string("/etc/group").expect("readable");
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let Some(group) = lines.find(|fields| fields.get(2) == Some(&own.as_str())) else { return };
    let directory = TempDir::new();
    let _server = Server::bind(&directory.socket(), group[0]).expect("a free path");
    let file = fs::metadata(directory.socket()).expect("a socket");
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
    assert_eq!(file.gid().to_string(), own);
}

#[test]
fn a_slow_client_does_not_block_a_fast_one() {
    with_server(None, echo, |socket| {
        let mut slow = UnixStream::connect(socket).expect("connected");
        slow.write_all(br#"{"version":1,"requ"#).expect("sent");
        let deaf = UnixStream::connect(socket).expect("connected");
        assert!(ask(socket, &flows(1)).is_ok());
        let slow_reply = send(&mut slow, b"est\":\"flows\",\"limit\":3}\n");
        assert_eq!(slow_reply, Reply::Flows { total: 3, flows: Vec::new() });
        drop(deaf);
    });
}

#[test]
fn a_client_that_reads_no_reply_is_dropped() {
    let long = |_| Reply::Error { message: "x".repeat(1 << 22) };
    with_server(Some(Duration::from_millis(50)), long, |socket| {
        let mut deaf = UnixStream::connect(socket).expect("connected");
        deaf.write_all(b"{\"version\":1,\"request\":\"status\"}\n").expect("sent");
        while !is_hung_up(&deaf) {}
        let mut got = Vec::new();
        let _ = deaf.read_to_end(&mut got);
        assert!(got.len() < 1 << 22);
    });
}

/// Waits, without reading, until the other side has closed.
fn is_hung_up(stream: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    poll(&mut fds, None).expect("a poll") > 0 && fds[0].revents().contains(PollFlags::HUP)
}

#[test]
fn a_client_that_sends_nothing_is_dropped() {
    with_server(Some(Duration::from_millis(50)), echo, |socket| {
        let mut silent = UnixStream::connect(socket).expect("connected");
        let mut half = UnixStream::connect(socket).expect("connected");
        half.write_all(b"{").expect("sent");
        for stream in [&mut silent, &mut half] {
            assert_eq!(stream.read(&mut [0; 1]).expect("closed"), 0);
        }
    });
}

#[test]
fn too_many_clients_are_told_so_and_places_become_free() {
    with_server(None, echo, |socket| {
        let crowd: Vec<_> =
            (0..16).map(|_| UnixStream::connect(socket).expect("connected")).collect();
        match ask(socket, &flows(1)) {
            Err(AskError::Refused(message)) => assert!(message.contains("16 clients"), "{message}"),
            other => panic!("{other:?}"),
        }
        drop(crowd);
        while ask(socket, &flows(1)).is_err() {
            thread::yield_now();
        }
    });
}

#[test]
fn stopping_does_not_wait_for_clients() {
    with_server(None, echo, |socket| {
        let silent = UnixStream::connect(socket).expect("connected");
        assert!(ask(socket, &flows(1)).is_ok());
        std::mem::forget(silent);
    });
}

#[test]
fn hostile_lines_get_an_error_and_the_connection_goes_on() {
    with_server(None, echo, |socket| {
        let mut stream = UnixStream::connect(socket).expect("connected");
        for line in [&b"\n"[..], b"\0\xff\n", b"[[[[\n", b"{\"version\":9}\n", b"GET / HTTP/1.1\n"]
        {
            assert!(matches!(send(&mut stream, line), Reply::Error { .. }), "{line:?}");
        }
        let fine = send(&mut stream, b"{\"version\":1,\"request\":\"flows\",\"limit\":2}\n");
        assert_eq!(fine, Reply::Flows { total: 2, flows: Vec::new() });
    });
}

#[test]
fn the_length_of_a_line_is_bounded() {
    let request = "{\"version\":1,\"request\":\"flows\",\"limit\":2}";
    let padded = |octets: usize| {
        let spaces = " ".repeat(octets - request.len());
        format!(
            "{request}{spaces}
"
        )
        .into_bytes()
    };
    with_server(None, echo, |socket| {
        let mut stream = UnixStream::connect(socket).expect("connected");
        let longest = send(&mut stream, &padded(MAX_REQUEST_OCTETS));
        assert_eq!(longest, Reply::Flows { total: 2, flows: Vec::new() });
        match send(&mut stream, &padded(MAX_REQUEST_OCTETS + 1)) {
            Reply::Error { message } => assert!(message.contains("65536"), "{message}"),
            other => panic!("{other:?}"),
        }
        let mut endless = UnixStream::connect(socket).expect("connected");
        assert!(matches!(send(&mut endless, &vec![b'x'; 1 << 20]), Reply::Error { .. }));
    });
}

#[test]
fn a_stale_socket_is_replaced() {
    let directory = TempDir::new();
    drop(UnixListener::bind(directory.socket()).expect("bound"));
    assert!(directory.socket().exists());
    assert!(matches!(ask(&directory.socket(), &flows(1)), Err(AskError::NoDaemon(_))));
    Server::bind(&directory.socket(), NO_GROUP).expect("replaced");
}

#[test]
fn a_running_daemon_is_not_pushed_away() {
    let directory = TempDir::new();
    let _first = Server::bind(&directory.socket(), NO_GROUP).expect("a free path");
    let second = Server::bind(&directory.socket(), NO_GROUP);
    assert!(matches!(second, Err(ServerError::AnotherDaemon(_))));
    assert!(directory.socket().exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = TempDir::new();
    fs::write(directory.socket(), "precious").expect("written");
    let refused = Server::bind(&directory.socket(), NO_GROUP);
    assert!(matches!(refused, Err(ServerError::NotASocket(_))));
    assert_eq!(fs::read(directory.socket()).expect("still there"), b"precious");
}

#[test]
fn no_daemon_and_no_directory_are_named() {
    let directory = TempDir::new();
    assert!(matches!(ask(&directory.socket(), &flows(1)), Err(AskError::NoDaemon(_))));
    fs::write(directory.path().join("file"), "in the way").expect("written");
    let nowhere = directory.path().join("file/control.sock");
    assert!(matches!(Server::bind(&nowhere, NO_GROUP), Err(ServerError::Io(..))));
}

#[test]
fn a_missing_directory_is_made() {
    let directory = TempDir::new();
    let made = directory.path().join("run/nattt");
    let _server = Server::bind(&made.join("control.sock"), NO_GROUP).expect("a free path");
    assert_eq!(fs::metadata(&made).expect("made").permissions().mode() & 0o7777, 0o755);
}

/// A daemon that is well, whose counter goes up and whose flows are others at every look.
fn lively(looks: &AtomicUsize, flows: usize) -> impl Fn(Request) -> Reply {
    const STATUS: &str = r#"{"version":1,"reply":"status","daemon_version":"0","pid":1,"uptime_s":1,
        "roles":[],"rules":{"state":"loaded","expected":"x"},"queues":[]}"#;
    const FLOW: &str = r#"{"version":1,"reply":"flows","total":1,"flows":[{"protocol":"tcp",
        "state":"opening","role":"gateway","client":"192.0.2.1:PORT","inner":"10.0.0.1:1",
        "host":"192.168.0.2:80","seen_as":"192.0.2.1:1","to_host":{"packets":0,"octets":0},
        "to_client":{"packets":0,"octets":0},"idle_s":0,"expires_in_s":9}]}"#;
    let counters = crate::counters::Counters::default();
    move |request| match request {
        Request::Status => decode(STATUS.as_bytes()).expect("a status"),
        Request::Mappings => Reply::Mappings { mappings: Vec::new() },
        Request::Counters => {
            counters.add(crate::counters::Counter::Malformed);
            Reply::counters(&counters)
        }
        Request::Flows { .. } => {
            let first = looks.fetch_add(1, Relaxed) * flows;
            let one = |number: usize| {
                let line = FLOW.replace("PORT", &(number % 65_535 + 1).to_string());
                match decode(line.as_bytes()) {
                    Ok(Reply::Flows { mut flows, .. }) => flows.pop(),
                    _ => None,
                }
            };
            let flows: Vec<_> = (first..first + flows).filter_map(one).collect();
            Reply::Flows { total: flows.len(), flows }
        }
        other => Reply::Error { message: format!("{other:?}") },
    }
}

#[test]
fn events_come_until_the_client_goes() {
    let looks = AtomicUsize::new(0);
    with_server(None, lively(&looks, 1), |socket| {
        let mut names = Vec::new();
        let told = watch(socket, |Dated { event, .. }| {
            names.push(format!("{event:?}").split(' ').next().expect("a name").to_owned());
            names.len() < 4
        });
        assert!(told.is_ok());
        assert_eq!(names, ["Watching", "FlowEnded", "FlowOpened", "Counted"]);
    });
}

#[test]
fn a_place_to_watch_becomes_free() {
    let looks = AtomicUsize::new(0);
    with_server(None, lively(&looks, 0), |socket| {
        let watcher = |_| {
            let mut stream = UnixStream::connect(socket).expect("connected");
            let first = send(&mut stream, b"{\"version\":1,\"request\":\"events\"}\n");
            assert!(matches!(first, Reply::Event(_)), "{first:?}");
            stream
        };
        let crowd: Vec<_> = (0..4).map(watcher).collect();
        match watch(socket, |_| false) {
            Err(AskError::Refused(message)) => assert!(message.contains("4 others"), "{message}"),
            other => panic!("{other:?}"),
        }
        assert!(ask(socket, &flows(1)).is_ok());
        drop(crowd);
        while watch(socket, |_| false).is_err() {
            thread::yield_now();
        }
    });
}

#[test]
fn a_reader_that_takes_nothing_loses_its_place() {
    let looks = AtomicUsize::new(0);
    with_server(Some(Duration::from_millis(50)), lively(&looks, 500), |socket| {
        let deaf = |_| {
            let mut stream = UnixStream::connect(socket).expect("connected");
            stream.write_all(b"{\"version\":1,\"request\":\"events\"}\n").expect("sent");
            stream
        };
        let crowd: Vec<_> = (0..4).map(deaf).collect();
        // All of them: else some place would have been free all the time.
        while looks.load(Relaxed) < 4 {
            thread::yield_now();
        }
        let mut others: Vec<UnixStream> = Vec::new();
        while others.len() < 4 {
            let mut stream = UnixStream::connect(socket).expect("connected");
            if let Reply::Event(_) = send(&mut stream, b"{\"version\":1,\"request\":\"events\"}\n")
            {
                others.push(stream);
            }
        }
        drop(crowd);
    });
}

#[test]
fn a_reader_that_stops_reading_stops_the_looks_and_nothing_else() {
    let looks = AtomicUsize::new(0);
    with_server(None, lively(&looks, 500), |socket| {
        let mut deaf = UnixStream::connect(socket).expect("connected");
        deaf.write_all(b"{\"version\":1,\"request\":\"events\"}\n").expect("sent");
        // 1,000 events fill the socket's buffer.
        while looks.load(Relaxed) < 2 {
            assert!(ask(socket, &Request::Counters).is_ok());
        }
        std::mem::forget(deaf);
    });
    assert!(looks.load(Relaxed) < 10);
}
