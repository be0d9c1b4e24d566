//! What became of calls to read the configuration again, for `nattt` to tell.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::control::{Reload, ReloadState};

/// The last of them.
#[derive(Debug, Default)]
pub(super) struct Reloads(Mutex<Option<Reload>>);

impl Reloads {
    /// Another call, and what came of it so far.
    pub(super) fn called(&self, state: ReloadState) {
        let mut last = self.lock();
        let number = last.as_ref().map_or(0, |last| last.number) + 1;
        *last = Some(Reload { number, state });
    }

    /// The configuration that waited for its rules is in effect.
    pub(super) fn done(&self) {
        if let Some(last) = &mut *self.lock() {
            last.state = ReloadState::Done;
        }
    }

    pub(super) fn last(&self) -> Option<Reload> {
        self.lock().clone()
    }

    /// What an administrator should know who believes that the file is in effect.
    pub(super) fn warning(&self) -> Option<String> {
        match self.last()?.state {
            ReloadState::Done => None,
            ReloadState::Waiting(rules) => Some(format!(
                "the changed configuration takes effect when its rules ({rules}) are loaded: \
                 `nattt rules apply`"
            )),
            ReloadState::Refused(why) => Some(format!(
                "the changed configuration is not in effect: {why}; correct it, then `nattt reload`"
            )),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Reload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_shown_until_another_call_does_better() {
        let reloads = Reloads::default();
        assert_eq!((reloads.last(), reloads.warning()), (None, None));
        reloads.called(ReloadState::Refused("line 3: `pol`".into()));
        assert!(reloads.warning().is_some_and(|text| text.contains("line 3: `pol`")));
        reloads.called(ReloadState::Waiting("0123456789abcdef".into()));
        assert!(reloads.warning().is_some_and(|text| text.contains("0123456789abcdef")));
        reloads.done();
        assert_eq!(reloads.warning(), None);
        assert_eq!(reloads.last(), Some(Reload { number: 2, state: ReloadState::Done }));
    }
}
