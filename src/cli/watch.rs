//! `--watch`: the answer again and again.

use std::io::{self, IsTerminal};
use std::thread::sleep;
use std::time::Duration;

use clap::Args;

use super::table::printable;
use super::{Done, Failure, print};

/// Takes a terminal to its first line and empties it (ECMA-48, CUP and ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Whether the answer is shown once.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct Watch {
    /// Show it again every 2 seconds, or so many, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

impl Watch {
    /// Shows what `answer` says, once or until nobody reads it any more. A daemon that ends
    /// meanwhile is waited for.
    pub(super) fn show(
        self,
        answer: impl Fn() -> Result<String, Failure>,
    ) -> Result<Done, Failure> {
        let first = answer()?;
        let Some(seconds) = self.watch else { return Ok(Done::well(first)) };
        let terminal = io::stdout().is_terminal();
        let mut text = first;
        while print(&frame(&text, terminal))? {
            sleep(Duration::from_secs(seconds));
            text = answer()
                .unwrap_or_else(|failure| format!("nattt: {}\n", printable(&failure.message)));
        }
        Ok(Done::well(String::new()))
    }
}

/// On a terminal an answer takes the place of the last one; elsewhere an empty line parts them.
fn frame(text: &str, terminal: bool) -> String {
    if terminal { format!("{CLEAR}{text}") } else { format!("{text}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_option_the_answer_is_shown_once() {
        let watch = Watch { watch: None };
        let done = watch.show(|| Ok("fine\n".into())).expect("an answer");
        assert_eq!(done.text, "fine\n");
    }

    #[test]
    fn a_daemon_that_never_answered_is_not_waited_for() {
        let failing = || Err(Failure { status: 3, message: "nobody".into() });
        let failure = Watch { watch: Some(1) }.show(failing).expect_err("no daemon");
        assert_eq!(failure.status, 3);
    }

    #[test]
    fn frames() {
        assert_eq!(frame("a\n", false), "a\n\n");
        assert_eq!(frame("a\n", true), "\x1b[H\x1b[2Ja\n");
    }
}
