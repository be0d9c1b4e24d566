//! Signals that the daemon handles.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Error;

/// From now on signals wait for [`until_stop`]; SIGHUP would end the process before.
pub(super) fn catch() -> Result<Signals, Error> {
    Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|e| Error::System("signals", e))
}

/// Returns on SIGTERM and SIGINT, or once the signals are closed.
pub(super) fn until_stop(signals: &mut Signals) {
    for signal in signals.forever() {
        if signal != SIGHUP {
            super::notify(&[sd_notify::NotifyState::Stopping]);
            return;
        }
        log::info!(
            "SIGHUP: natttd does not read its configuration again; if it has changed, \
             `systemctl restart nattt` makes it effective"
        );
    }
}
