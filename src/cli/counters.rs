//! `nattt counters`.

use clap::Args;

use super::table::{Align, Table};
use crate::control::Counter;

/// What is shown.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Say what each counter means
    #[arg(long)]
    pub(super) explain: bool,
    /// Show the counters that are zero, too
    #[arg(long)]
    pub(super) all: bool,
}

/// One counter a line.
pub(super) fn render(counters: &[Counter], options: &Options) -> String {
    let shown: Vec<_> = counters.iter().filter(|c| options.all || c.value > 0).collect();
    if shown.is_empty() {
        return "Nothing was counted since the daemon started.\n".into();
    }
    if options.explain { explained(&shown) } else { plain(&shown) }
}

fn plain(counters: &[&Counter]) -> String {
    let mut table = Table::new([("COUNTER", Align::Left), ("VALUE", Align::Right)]);
    for counter in counters {
        table.row([counter.name.clone(), counter.value.to_string()]);
    }
    table.render()
}

fn explained(counters: &[&Counter]) -> String {
    let columns = [("COUNTER", Align::Left), ("VALUE", Align::Right), ("MEANING", Align::Left)];
    let mut table = Table::new(columns);
    for counter in counters {
        let (name, meaning) = (counter.name.clone(), counter.explanation.clone());
        table.row([name, counter.value.to_string(), meaning]);
    }
    table.render()
}
