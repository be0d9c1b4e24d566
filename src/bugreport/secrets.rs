//! A configuration without comments and without anything that might be a key.

/// Settings whose names contain one of these are left out. None of today's does; a file may say
/// anything.
const SECRET: [&str; 5] = ["key", "secret", "password", "token", "credential"];

/// A configuration file, apart into what may be shown and what may not.
#[derive(Debug, Default)]
pub struct Redacted {
    /// The file as it is, less comments, empty lines and secrets.
    pub shown: String,
    /// The lines that are left out, or their ends.
    hidden: Vec<String>,
}

impl Redacted {
    /// Takes the file apart.
    pub fn new(toml: &str) -> Self {
        let (mut shown, mut hidden) = (String::new(), Vec::new());
        // Inside a value of several lines that is left out: how it ends.
        let mut until: Option<&str> = None;
        // In a section that is left out as a whole.
        let mut secret_section = false;
        for line in toml.lines() {
            let (line, comment) = apart(line);
            let setting = line.split_once('=');
            // A message may quote the whole line.
            hidden.extend((comment.len() > 1).then(|| comment.to_owned()));
            if let Some(end) = until {
                until = (!line.contains(end)).then_some(end);
                hidden.extend(values(line));
            } else if line.trim_start().starts_with('[') {
                secret_section = is_secret(line);
                shown += &format!("{line}\n");
            } else if let Some((name, value)) =
                secret(line).or_else(|| setting.filter(|_| secret_section))
            {
                shown += &format!("{name}= (left out)\n");
                until = open_end(value);
                hidden.extend(values(value));
            } else if !line.is_empty() {
                shown += &format!("{line}\n");
            }
        }
        Self { shown, hidden }
    }

    /// Another text, such as a message that quotes the file, without what is left out there.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = self
            .hidden
            .iter()
            .fold(text.to_owned(), |text, value| text.replace(value, "(left out)"));
        // A message may quote the beginning of a line.
        let quotes: Vec<String> = clean.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        for quote in &quotes {
            if let Some((name, _)) = secret(quote) {
                clean = clean.replace(&format!("`{quote}`"), &format!("`{name}= (left out)`"));
            }
        }
        clean
    }
}

/// A value with and without its quotes; short ones are too common to be looked for.
fn values(text: &str) -> Vec<String> {
    let quoted = text.split(['"', '\'']).skip(1).step_by(2);
    let whole = text.trim();
    quoted.chain([whole]).filter(|value| value.len() >= 4).map(str::to_owned).collect()
}

/// A setting that is left out: its name, with the spaces behind it, and its value.
fn secret(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    // A table in one line may hold one, too.
    let is_comment = line.trim_start().starts_with('#');
    (!is_comment && is_secret(line)).then_some((name, value))
}

fn is_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    SECRET.iter().any(|word| line.contains(word))
}

/// A line and the comment at its end, from its `#` on, which stands in no string (TOML 1.0, "Comment").
fn apart(line: &str) -> (&str, &str) {
    let (mut string, mut escaped) = (None, false);
    let comment = line.char_indices().find(|&(_, c)| {
        match (string, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                return false;
            }
            (Some(quote), c) if c == quote && !escaped => string = None,
            (None, '"' | '\'') => string = Some(c),
            (None, '#') => return true,
            _ => {}
        }
        escaped = false;
        false
    });
    let (line, comment) = line.split_at(comment.map_or(line.len(), |(at, _)| at));
    (line.trim_end(), comment.trim_end())
}

/// How a value ends that goes on in the next line.
fn open_end(value: &str) -> Option<&'static str> {
    let ends = [("\"\"\"", "\"\"\""), ("'''", "'''"), ("[", "]"), ("{", "}")];
    let opened = ends.into_iter().find(|(begin, _)| value.trim_start().starts_with(begin));
    opened
        .filter(|(begin, end)| !value.trim_start()[begin.len()..].contains(end))
        .map(|(_, end)| end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_comments_are_left_out() {
        let file = "# who\n[client]\npool = \"127.64.0.0/10\" # ours\n\nkey = \"abc\"\nTSIG_Key=\"abc\"\n\
                    tokens = [\n  \"abc\",\n]\nlogin = { user = \"x\", password = \"abc\" }\n\
                    secret = \"\"\"\nabc\n\"\"\"\nmtu = 1500\n";
        let redacted = Redacted::new(file);
        let text = &redacted.shown;
        assert!(!["abc", "who", "ours"].iter().any(|word| text.contains(word)), "{text}");
        assert_eq!(text.lines().next(), Some("[client]"));
        assert!(text.contains("key = (left out)\nTSIG_Key= (left out)\n"), "{text}");
        assert!(text.ends_with("mtu = 1500\n"), "{text}");
        assert_eq!(redacted.clean("no `mtu = 1500`"), "no `mtu = 1500`");
    }

    #[test]
    fn a_comment_ends_a_line_but_not_a_string() {
        for (line, left, comment) in [
            (r##"a = "x#y" # it's"##, r##"a = "x#y""##, "# it's"),
            (r##"a = "\"#" #"##, r##"a = "\"#""##, "#"),
            (r##"a = '\' # c"##, r##"a = '\'"##, "# c"),
            ("# only", "", "# only"),
            ("[a]  ", "[a]", ""),
        ] {
            assert_eq!(apart(line), (left, comment), "{line}");
        }
        let redacted = Redacted::new("pool = 3 # Anna's\n");
        assert_eq!(redacted.clean("line 1: `pool = 3 # Anna's`"), "line 1: `pool = 3 (left out)`");
    }

    #[test]
    fn a_section_of_secrets_is_left_out() {
        let redacted = Redacted::new("[credentials]\nuser = \"anna\"\n[client]\nmtu = 1500\n");
        assert_eq!(redacted.shown, "[credentials]\nuser = (left out)\n[client]\nmtu = 1500\n");
    }

    #[test]
    fn messages_that_quote_a_key_are_cleaned() {
        let redacted = Redacted::new("api_key = \"open sesame\"\npasswords = [\n'abracadabra']\n");
        for message in [
            "line 1: `api_key = \"open sesame\"`: no",
            "line 1: `api_key = \"open ses`",
            "x: 'abracadabra'",
        ] {
            let clean = redacted.clean(message);
            assert!(
                !clean.contains("open") && !clean.contains("abra") && clean.contains("(left out)"),
                "{clean}"
            );
        }
    }
}
