//! Sees to it that the kernel knows the connections of live flows, and who opened them.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use crate::counters::{Counter, Counters};
use crate::os::conntrack::Conntrack;
use crate::time::Time;
use crate::tunnel::{Connection, Fate};

use super::Roles;

/// How many connections of each role are looked at in a second, at least, and how many once something was
/// wrong. Each takes the kernel some microseconds.
const FEW: usize = 1024;
const MANY: usize = 16_384;

/// What was looked at last.
pub(super) struct Connections {
    roles: Arc<Roles>,
    counters: Arc<Counters>,
    mark: u32,
    /// Opened when there is something to look at, and after an error.
    kernel: Option<Conntrack>,
    turns: (usize, usize),
}

impl Connections {
    pub(super) fn new(roles: Arc<Roles>, counters: Arc<Counters>, mark: u32) -> Self {
        Self { roles, counters, mark, kernel: None, turns: (0, 0) }
    }

    /// A round; call it about once a second. Where the kernel cannot be asked, all is as without it.
    pub(super) fn look(&mut self) {
        let turned = self.turn_round(FEW).and_then(|turned| match turned {
            0 => Ok(()),
            // One is seldom alone: somebody has flushed them all.
            _ => self.turn_round(MANY).map(drop),
        });
        if let Err(error) = turned {
            log::debug!("asking for connections: {error}");
            self.kernel = None;
        }
    }

    fn turn_round(&mut self, least: usize) -> io::Result<u64> {
        let (client, gateway) = (self.roles.client.as_ref(), self.roles.gateway.as_ref());
        let client = client.map(|role| role.some_connections(&mut self.turns.0, least));
        let gateway = gateway.map(|role| role.some_connections(&mut self.turns.1, least));
        let mut turned = 0;
        for connection in client.into_iter().flatten().chain(gateway.into_iter().flatten()) {
            let kernel = match &mut self.kernel {
                Some(kernel) => kernel,
                none => none.insert(Conntrack::open()?),
            };
            if kernel.turn_round(connection, self.mark)? {
                self.counters.add(Counter::ConnectionsTurned);
                turned += 1;
            }
        }
        Ok(turned)
    }
}

/// Makes connections known again to a kernel that forgot them. Each worker has its own.
pub(super) struct Forgotten {
    roles: Arc<Roles>,
    counters: Arc<Counters>,
    mark: u32,
    /// Opened with the first one, and after an error.
    kernel: RefCell<Option<Conntrack>>,
}

impl Forgotten {
    pub(super) fn new(roles: Arc<Roles>, counters: Arc<Counters>, mark: u32) -> Self {
        Self { roles, counters, mark, kernel: RefCell::new(None) }
    }

    /// Of a packet of an exported host in the middle of a TCP connection that the kernel does not know: it is
    /// about to believe that the host opens one. The firewall lets it pass.
    ///
    /// It ends here only if it is a flow's and the kernel knows the flow's connection from now on: the host
    /// sends it again, and then it is an answer.
    pub(super) fn fate(&self, packet: &[u8], now: Time) -> Fate {
        let Some(connection) = self.roles.standing(packet, now) else {
            return Fate::Passed(Counter::GatewayMiddlePassed);
        };
        match self.make_known(connection) {
            Ok(false) => Fate::Passed(Counter::GatewayMiddlePassed),
            Ok(true) => Fate::Dropped(Counter::GatewayMiddleDropped),
            // It would leave outside the tunnel; TCP sends it again.
            Err(error) => {
                log::debug!("making a connection known: {error}");
                *self.kernel.borrow_mut() = None;
                Fate::Dropped(Counter::GatewayMiddleDropped)
            }
        }
    }

    /// Whether the kernel knows it now.
    fn make_known(&self, connection: Connection) -> io::Result<bool> {
        let mut kernel = self.kernel.borrow_mut();
        let kernel = match &mut *kernel {
            Some(kernel) => kernel,
            none => none.insert(Conntrack::open()?),
        };
        if kernel.make_known(connection, self.mark)? {
            self.counters.add(Counter::ConnectionsTurned);
            return Ok(true);
        }
        // Both sides may have spoken at once.
        kernel.knows(connection)
    }
}
