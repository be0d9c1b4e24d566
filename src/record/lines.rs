//! The words of a master file (RFC 1035 §5.1): entries that parentheses spread over several lines,
//! comments, quoted words.

/// One entry of a master file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its first line, from 1.
    pub(super) line: usize,
    /// It begins with a blank, so its owner is that of the entry before.
    pub(super) blank: bool,
    /// Its words, escapes as they were written, quotation marks and parentheses gone.
    pub(super) words: Vec<String>,
}

/// Splits lines into entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    open: Option<Entry>,
    depth: usize,
}

impl Entries {
    /// Takes the line with this number; returns the entry that ends with it. What a quotation mark
    /// opens ends with its line at the latest.
    pub(super) fn push(&mut self, line: usize, text: &str) -> Option<Entry> {
        let blank = text.starts_with([' ', '\t']);
        let entry = self.open.get_or_insert(Entry { line, blank, words: Vec::new() });
        split(text, &mut entry.words, &mut self.depth);
        if self.depth > 0 { None } else { self.finish() }
    }

    /// The entry that is still open.
    pub(super) fn finish(&mut self) -> Option<Entry> {
        self.depth = 0;
        self.open.take().filter(|entry| !entry.words.is_empty())
    }
}

fn split(text: &str, words: &mut Vec<String>, depth: &mut usize) {
    let mut word = String::new();
    let mut quoted = false;
    let mut characters = text.chars();
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
    };
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                word.push(character);
                word.extend(characters.next());
            }
            '"' => {
                quoted = !quoted;
                end(&mut word);
            }
            _ if quoted => word.push(character),
            ';' => break,
            '(' | ')' => {
                *depth = if character == '(' { *depth + 1 } else { depth.saturating_sub(1) };
                end(&mut word);
            }
            _ if character.is_whitespace() => end(&mut word),
            _ => word.push(character),
        }
    }
    end(&mut word);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(usize, bool, Vec<String>)> {
        let mut entries = Entries::default();
        let mut found: Vec<Entry> =
            (1..).zip(text.lines()).filter_map(|(line, text)| entries.push(line, text)).collect();
        found.extend(entries.finish());
        found.into_iter().map(|entry| (entry.line, entry.blank, entry.words)).collect()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn parentheses_comments_and_quotes() {
        let text = "; all\n@ SOA ns (1 ; serial\n  2 )\n\n  TXT \"a;b (c\" d\\;e ;f\nx \\# 1 (0\n0";
        assert_eq!(
            entries(text),
            [
                (2, false, words(&["@", "SOA", "ns", "1", "2"])),
                (5, true, words(&["TXT", "a;b (c", "d\\;e"])),
                (6, false, words(&["x", "\\#", "1", "0", "0"])),
            ]
        );
    }
}
