//! Fails when the documents say what is no longer so: configurations that are refused, output that looks
//! different, counters that do not exist. (`tests/system/t-first-connection.sh` types README.md's commands.)

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use nattt::config::Config;
use nattt::counters::Counter;

const DOCUMENTS: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/coverage.md",
    "docs/firewalls.md",
    "docs/protocol.md",
    "docs/resolvers.md",
    "docs/setups.md",
    "docs/troubleshooting.md",
];

/// A fenced block: its language, its lines without their indentation, and the line where it begins.
struct Block {
    language: String,
    text: String,
    place: String,
}

#[test]
fn configurations_are_right() {
    let mut checked = 0;
    for Block { text, place, .. } in blocks().into_iter().filter(|b| b.language == "toml") {
        // Parts of a configuration are shown, too: the rest is a client with defaults.
        let whole = match text.contains("[client]") || text.contains("[gateway]") {
            true => text,
            false => format!("[client]\n{text}"),
        };
        if let Err(error) = Config::parse(&whole) {
            panic!("{place}: {error}");
        }
        checked += 1;
    }
    assert!(checked >= 5, "{checked} configurations found");
}

#[test]
fn made_records_are_shown_as_they_are_made() {
    let blocks = blocks();
    let mut checked = 0;
    for (shell, shown) in blocks.iter().zip(&blocks[1..]) {
        let command = shell.text.trim_end();
        let made = command.starts_with("nattt record make ") && !command.contains('\n');
        if made && shell.language == "sh" && shown.language.is_empty() {
            assert_eq!(nattt(command), shown.text, "{}", shown.place);
            checked += 1;
        }
    }
    assert!(checked >= 1, "{checked} commands with their output found");
    let page = read("docs/man/nattt-record.7").replace("\\e", "\\");
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(command) = line.strip_prefix("$ ")
            && command.starts_with("nattt record make b.example 2")
        {
            assert_eq!(nattt(command).trim_end(), lines.next().unwrap_or_default(), "{command}");
            return;
        }
    }
    panic!("nattt-record.7 makes no record");
}

#[test]
fn counters_that_are_named_exist() {
    let known: BTreeSet<&str> = Counter::ALL.iter().map(|counter| counter.name()).collect();
    let first = ["client_", "gateway_", "dns_", "flows_", "mappings_", "icmp_", "keepalives_"];
    let mut named = 0;
    for document in ["README.md", "docs/protocol.md", "docs/troubleshooting.md"] {
        let text = without_blocks(&read(document));
        for word in text.split('`').skip(1).step_by(2) {
            let looks_like_one = first.iter().any(|first| word.starts_with(first))
                && word.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_');
            if looks_like_one {
                assert!(known.contains(word), "{document}: there is no counter `{word}`");
                named += 1;
            }
        }
    }
    assert!(named > 10, "{named} counters found");
}

/// "t-NAME" is `tests/system/t-NAME.sh`.
#[test]
fn system_tests_that_are_named_exist() {
    let mut named = 0;
    for document in DOCUMENTS {
        let text = read(document);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        for word in words.filter(|word| word.starts_with("t-") && *word != "t-NAME") {
            let file = format!("tests/system/{word}.sh");
            assert!(Path::new(&file).exists(), "{document}: there is no {file}");
            named += 1;
        }
    }
    assert!(named > 50, "{named} tests found");
}

/// A link to a file leads to one, and behind `#` is one of its headings.
#[test]
fn links_lead_somewhere() {
    let mut followed = 0;
    for document in DOCUMENTS {
        let text = without_blocks(&read(document));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let beside = Path::new(document).parent().unwrap_or(Path::new(""));
            let file = if file.is_empty() { document.into() } else { beside.join(file) };
            assert!(file.exists(), "{document}: {link}");
            if !heading.is_empty() {
                let target = fs::read_to_string(&file).expect("a document");
                let mut headings = target.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(headings.any(|anchor| anchor == heading), "{document}: {link}");
            }
            followed += 1;
        }
    }
    assert!(followed > 30, "{followed} links found");
}

/// What a heading is called in links: lower case, hyphens for spaces, no punctuation.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

fn nattt(command: &str) -> String {
    let words = command.split_whitespace().skip(1);
    let output =
        Command::new(env!("CARGO_BIN_EXE_nattt")).args(words).output().expect("nattt runs");
    String::from_utf8(output.stdout).expect("text")
}

fn read(document: &str) -> String {
    fs::read_to_string(document).expect(document)
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for document in DOCUMENTS {
        let text = read(document);
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(language) = line.trim_start().strip_prefix("```") else { continue };
            let indent = line.len() - line.trim_start().len();
            let inside = lines.by_ref().map(|(_, line)| line);
            let inside = inside.take_while(|line| !line.trim_start().starts_with("```"));
            let text = inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()));
            let place = format!("{document}, line {}", number + 1);
            blocks.push(Block { language: language.into(), text: text.collect(), place });
        }
    }
    blocks
}

/// The text between fenced blocks.
fn without_blocks(text: &str) -> String {
    text.split("```").step_by(2).collect()
}
