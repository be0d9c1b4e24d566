//! Paths as people type them: `203.0.113.1 192.168.0.2` in separate words, or each path in quotes.

use super::usage;
use crate::cli::Failure;
use crate::path::{Path, PathSet};

/// The paths that the arguments say.
pub(super) fn parse(arguments: &[String]) -> Result<PathSet, Failure> {
    let parse = |text: &String| {
        text.parse::<Path>().map_err(|error| usage(format!("{text:?} is no path: {error}")))
    };
    let paths = each(arguments).iter().map(parse).collect::<Result<_, _>>()?;
    PathSet::new(paths).ok_or_else(|| usage("give at least one path"))
}

/// One text for each argument if any of them has blanks in it, so that it was quoted; otherwise one
/// text of all.
pub(super) fn each(arguments: &[String]) -> Vec<String> {
    match arguments.iter().any(|argument| argument.trim().contains(char::is_whitespace)) {
        true => arguments.to_vec(),
        false => vec![arguments.join(" ")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Vec<String>, u8> {
        let arguments: Vec<_> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let paths = parse(&arguments).map_err(|failure| failure.status)?;
        Ok(paths.paths().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn words_are_one_path_and_quotes_make_several() {
        let one = || Ok(vec!["203.0.113.1:100 192.168.0.2".to_owned()]);
        assert_eq!(parsed(&["203.0.113.1", "192.168.0.2"]), one());
        assert_eq!(parsed(&["203.0.113.1:100 192.168.0.2"]), one());
        let two = parsed(&["203.0.113.1 192.168.0.2", "203.0.113.2:7 192.168.0.2"]);
        let second = "203.0.113.2:7 192.168.0.2".to_owned();
        assert_eq!(two, Ok(vec!["203.0.113.1:100 192.168.0.2".to_owned(), second]));
    }

    #[test]
    fn what_is_no_path_is_wrong_usage() {
        let nine = ["192.0.2.1"; 10];
        let mixed = ["203.0.113.1 192.168.0.2", "203.0.113.2", "192.168.0.2"];
        for bad in [&["203.0.113.1"][..], &["203.0.113.1", "b"], &mixed, &nine, &[""]] {
            assert_eq!(parsed(bad), Err(2), "{bad:?}");
        }
    }
}
