//! Fails when the layering that `ARCHITECTURE.md` describes is broken.
//!
//! It reads the text of `src/**/*.rs`, not the compiler's view of it: simple enough to trust, and it
//! says where. Comments are left out, and so is test code, which may start threads and read clocks:
//! inline test modules (the attribute and `mod tests {`, always last in a file), and files and
//! folders named `tests`, `*_tests` or `testing`.

use std::fs;
use std::path::Path;

/// Every module of the crate, and which others it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    // Pure: bytes and `now` in, bytes and a named outcome out.
    ("time", &[]),
    ("counters", &[]),
    ("path", &[]),
    ("wire", &[]),
    ("expiring", &["time"]),
    ("config", &["dns", "path"]),
    ("mapping", &["expiring", "path", "time"]),
    ("dns", &["counters", "expiring", "path", "time"]),
    ("record", &["dns", "path"]),
    ("rules", &["config"]),
    ("control", &["counters", "mapping", "path", "time"]),
    ("tunnel", &["config", "counters", "mapping", "path", "time", "wire"]),
    ("doctor", &["config", "control", "path", "rules"]),
    ("explain", &["control", "path"]),
    ("metrics", &["control", "doctor"]),
    ("probe", &["path", "wire"]),
    ("bugreport", &["rules"]),
    // The kernel and the OS, for the pure modules' data types and traits.
    (
        "os",
        &[
            "config", "control", "counters", "dns", "doctor", "explain", "metrics", "path",
            "probe", "record", "rules", "time", "tunnel", "wire",
        ],
    ),
    // Threads; the `nattt` command; the two binaries (which say `nattt::`).
    (
        "daemon",
        &[
            "config", "control", "counters", "dns", "doctor", "mapping", "metrics", "os", "path",
            "probe", "rules", "time", "tunnel", "wire",
        ],
    ),
    (
        "cli",
        &[
            "bugreport",
            "config",
            "control",
            "dns",
            "doctor",
            "explain",
            "metrics",
            "os",
            "path",
            "probe",
            "record",
            "rules",
        ],
    ),
    ("bin", &["cli", "config", "daemon"]),
    ("lib", &[]),
];

/// Modules that never touch the world.
const PURE: &[&str] = &[
    "time",
    "counters",
    "path",
    "wire",
    "expiring",
    "config",
    "mapping",
    "dns",
    "record",
    "rules",
    "control",
    "tunnel",
    "doctor",
    "explain",
    "metrics",
    "probe",
    "bugreport",
];

/// What pure modules do not mention: a path's beginning, or a name anywhere in it. `include_str!` is
/// no file system; `env!` and the atomics of `std::sync` are no clock, socket or thread.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::os",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "UnixDatagram",
    "UnixListener",
    "UnixStream",
    "dbg!",
    "eprint!",
    "eprintln!",
    "print!",
    "println!",
];

/// Every dependency, and the modules that may use it.
const CRATES: &[(&str, &[&str])] = &[
    ("clap", &["bin", "cli"]),
    ("clap_complete", &["cli"]),
    ("crc32c", &["wire"]),
    ("crossbeam_channel", &["daemon", "os"]),
    ("data_encoding", &["record"]),
    ("env_logger", &["daemon"]),
    ("etherparse", &["dns", "wire"]),
    ("hickory_proto", &["record"]),
    ("hickory_resolver", &["os"]),
    ("ipnet", &["config", "control", "daemon", "doctor", "mapping", "os", "tunnel"]),
    ("libc", &["daemon", "os"]),
    ("log", &["bin", "daemon", "os"]),
    ("mnl", &["os"]),
    ("nfq", &["os"]),
    ("nftnl", &["os"]),
    ("nftnl_sys", &["os"]),
    ("resolv_conf", &["os"]),
    ("rustix", &["daemon", "os"]),
    ("sd_notify", &["daemon"]),
    (
        "serde",
        &["cli", "config", "control", "dns", "doctor", "explain", "mapping", "probe", "record"],
    ),
    ("serde_json", &["bugreport", "control", "doctor", "mapping", "record"]),
    ("signal_hook", &["daemon", "os"]),
    ("socket2", &["os"]),
    ("tokio", &["os"]),
    ("toml", &["config"]),
];

#[test]
fn the_layers_are_as_described() {
    let mut wrong = Vec::new();
    for file in rust_files(Path::new("src")) {
        let text = fs::read_to_string(&file).expect("a source file");
        wrong.extend(violations(&file, &text));
    }
    assert!(wrong.is_empty(), "ARCHITECTURE.md forbids:\n{}", wrong.join("\n"));
}

#[test]
fn every_dependency_has_its_place() {
    let manifest = fs::read_to_string("Cargo.toml").expect("the manifest");
    let (_, rest) = manifest.split_once("\n[dependencies]\n").expect("dependencies");
    let (dependencies, _) = rest.split_once("\n[").expect("another section");
    for line in dependencies.lines().filter(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().expect("a name").replace('-', "_");
        assert!(CRATES.iter().any(|(known, _)| *known == name), "{name} is not in CRATES");
    }
}

#[test]
fn the_check_finds_what_it_looks_for() {
    let found = |file: &str, text: &str| !violations(Path::new(file), text).is_empty();
    for (file, text) in [
        ("src/wire/ecn.rs", "use crate::path::Path;"),
        ("src/wire/mod.rs", "use super::tunnel::Client;"),
        ("src/dns/hold/lookup.rs", "fn f() { super::super::super::os::clock::Clock::start(); }"),
        ("src/tunnel/client/mod.rs", "use crate::{\n    path::Path,\n    os::clock::Clock,\n};"),
        ("src/tunnel/client/mod.rs", "let now = std::time::Instant::now();"),
        ("src/tunnel/client/mod.rs", "use std::{fs, time::Duration};"),
        ("src/mapping/table.rs", "std::thread::sleep(pause);"),
        ("src/dns/name.rs", "println!(\"{name}\");"),
        ("src/dns/name.rs", "log::debug!(\"{name}\");"),
        ("src/dns/name.rs", "use std::net::{Ipv4Addr, UdpSocket};"),
        ("src/rules/nft.rs", "use nftnl::Batch;"),
        ("src/os/ports.rs", "use crate::daemon::Roles;"),
        ("src/os/ports.rs", "use crate::cli;"),
        ("src/cli/mod.rs", "crate::daemon::run(config)"),
        ("src/daemon/worker.rs", "let x = unsafe { *pointer };"),
        ("src/new/mod.rs", ""),
    ] {
        assert!(found(file, text), "{file}: {text}");
    }
    for (file, text) in [
        ("src/wire/ecn.rs", "// std::thread, crate::os and unsafe are mentioned only\n"),
        ("src/wire/ecn.rs", "#[cfg(test)]\nmod tests {\n    use std::thread;\n}\n"),
        ("src/tunnel/tests/net.rs", "use std::thread;"),
        ("src/mapping/table_tests.rs", "std::thread::scope(|scope| {});"),
        ("src/config/mod.rs", "const X: &str = include_str!(\"../../packaging/nattt.toml\");"),
        ("src/os/ports.rs", "unsafe { libc::getpid() };"),
        ("src/dns/hold/lookup.rs", "use super::super::Name;"),
    ] {
        assert!(!found(file, text), "{file}: {text}");
    }
}

/// What one file does that its module must not, one line each.
fn violations(file: &Path, text: &str) -> Vec<String> {
    let names: Vec<&str> =
        file.iter().skip(1).filter_map(|name| name.to_str()).map(strip_rs).collect();
    if names.iter().any(|name| is_test(name)) {
        return Vec::new();
    }
    let module = names[0];
    let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: module `{module}` is not in MAY_USE", file.display())];
    };
    let depth = names.iter().filter(|name| **name != "mod").count();
    let code = without_comments(without_tests(text));
    let mut wrong = Vec::new();
    for (offset, path) in paths(&code) {
        let line = code[..offset].matches('\n').count() + 1;
        let mut report = |why: &str| {
            wrong.push(format!("{}:{line}: `{}`: {why}", file.display(), path.join("::")));
        };
        if let Some(used) = crate_module(&path, depth)
            && used != module
            && MAY_USE.iter().any(|(name, _)| *name == used)
            && !may_use.contains(&used)
        {
            report("not among the modules that this one may use");
        }
        let place = CRATES.iter().find(|(name, _)| path.len() > 1 && path[0] == *name);
        if place.is_some_and(|(_, modules)| !modules.contains(&module)) {
            report("this crate is for other modules");
        }
        if PURE.contains(&module) && IMPURE.iter().any(|impure| mentions(&path, impure)) {
            report("pure modules get bytes and times, and touch nothing else");
        }
        if path.contains(&"unsafe") && module != "os" {
            report("`unsafe` is for src/os");
        }
    }
    wrong
}

/// The crate's module that a path leads into, if it says so.
fn crate_module<'a>(path: &[&'a str], depth: usize) -> Option<&'a str> {
    let supers = path.iter().take_while(|name| **name == "super").count();
    match path.first() {
        Some(&("crate" | "nattt")) => path.get(1).copied(),
        // So many steps up lead to the crate's root.
        Some(&"super") if supers >= depth => path.get(supers).copied(),
        _ => None,
    }
}

fn mentions(path: &[&str], impure: &str) -> bool {
    let impure: Vec<&str> = impure.split("::").collect();
    match impure.len() {
        1 => path.contains(&impure[0]),
        _ => path.starts_with(&impure),
    }
}

/// Every path in the code with its place: `a::b::c`, or a single name. Groups are taken apart:
/// `a::{b::c, d}` is `a::b::c` and `a::d`. A macro's name keeps its `!`.
fn paths(code: &str) -> Vec<(usize, Vec<&str>)> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = code[at..].find(is_path).map(|skipped| at + skipped) {
        let end = code[start..].find(|c| !is_path(c)).map_or(code.len(), |length| start + length);
        let end = if code[end..].starts_with('!') { end + 1 } else { end };
        let path: Vec<&str> =
            code[start..end].split("::").filter(|name| !name.is_empty()).collect();
        if code[start..end].ends_with("::") && code[end..].starts_with('{') {
            for item in group(&code[end + 1..]) {
                let mut whole = path.clone();
                whole.extend(item.trim().split("::").map(str::trim));
                found.push((start, whole));
            }
        }
        found.push((start, path));
        at = end;
    }
    found
}

/// The items of a group, whose opening brace is already read.
fn group(code: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                items.push(&code[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    items
}

fn is_test(name: &str) -> bool {
    name == "tests" || name == "testing" || name.ends_with("_tests")
}

fn strip_rs(name: &str) -> &str {
    name.strip_suffix(".rs").unwrap_or(name)
}

fn without_tests(text: &str) -> &str {
    text.split_once("#[cfg(test)]\nmod tests {").map_or(text, |(code, _)| code)
}

/// Comments become nothing; lines stay where they are.
fn without_comments(text: &str) -> String {
    let code = |line: &str| match line.trim_start().starts_with("//") {
        true => String::new(),
        false => line.split(" // ").next().unwrap_or_default().to_owned(),
    };
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
