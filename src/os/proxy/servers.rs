//! Who is asked: those of the configuration, or those of /etc/resolv.conf at the time.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use crate::dns::upstreams::{Attempt, Upstreams};
use crate::os::nameserver;
use crate::time::Time;

/// How often /etc/resolv.conf is read: networks come and go.
const READ_EVERY: Duration = Duration::from_secs(5);

/// The servers, and what is known of them.
pub(super) struct Servers {
    upstreams: RefCell<Upstreams>,
    /// None where the configuration names the servers.
    from_host: Option<FromHost>,
}

struct FromHost {
    /// Never asked.
    ourselves: Vec<SocketAddr>,
    read_again: Cell<Time>,
}

impl Servers {
    /// `configured`, or if there is none those of this host that are not `ourselves`.
    pub(super) fn new(configured: Vec<SocketAddr>, ourselves: Vec<SocketAddr>) -> Self {
        let from_host = configured
            .is_empty()
            .then(|| FromHost { ourselves, read_again: Cell::new(Time::default()) });
        let mut upstreams = Upstreams::default();
        upstreams.replace(configured);
        Self { upstreams: RefCell::new(upstreams), from_host }
    }

    /// Whether there is nobody to ask now.
    pub(super) fn none_yet(&self) -> bool {
        self.plan(Time::default()).is_empty()
    }

    /// Whom to ask, one after the other.
    pub(super) fn plan(&self, now: Time) -> Vec<Attempt> {
        if let Some(from_host) = &self.from_host
            && from_host.read_again.get() <= now
        {
            from_host.read_again.set(now + READ_EVERY);
            let found = from_host.read();
            // resolv.conf may name nobody but us by now: those that it named before are still there.
            if !found.is_empty() {
                self.upstreams.borrow_mut().replace(found);
            }
        }
        self.upstreams.borrow().plan(now)
    }

    pub(super) fn failed(&self, server: SocketAddr, now: Time) {
        self.upstreams.borrow_mut().failed(server, now);
    }

    pub(super) fn answered(&self, server: SocketAddr) {
        self.upstreams.borrow_mut().answered(server);
    }
}

impl FromHost {
    fn read(&self) -> Vec<SocketAddr> {
        let mut servers = nameserver::sockets_of_this_host().unwrap_or_default();
        servers.retain(|server| !self.ourselves.contains(server));
        servers
    }
}
