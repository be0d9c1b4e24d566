//! The thread that measures what paths carry, as `nattt trace` does: several paths at once, few packets
//! each.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, info, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::counters::{Counter, Counters};
use crate::os::clock::Clock;
use crate::os::nfqueue::Wake;
use crate::os::probe::{Socket, random};
use crate::probe::{Kind, LEAST_MTU, Survey, Tunnel, Working};
use crate::time::Time;
use crate::tunnel::PathMtus;
use crate::tunnel::path_mtu::{Measured, Question, UNMEASURED};
use crate::wire::datagram::protocol;

use super::stop::Stop;

/// Measurements at the same time; others wait.
const AT_ONCE: usize = 8;
/// So many of them; what there is no room for is asked again by later flows.
const WAITING: usize = 64;
/// Between two lines in the log.
const SILENCE: Duration = Duration::from_secs(60);

/// What the thread needs.
pub(super) struct Measuring {
    pub(super) path_mtus: Arc<PathMtus>,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Clock,
    pub(super) stop: Arc<Stop>,
    pub(super) wake: Arc<Wake>,
    /// When something was logged last.
    pub(super) said: Cell<Option<Time>>,
}

/// One path's.
struct Measurement {
    question: Question,
    socket: Socket,
    survey: Survey,
}

impl Measuring {
    /// Goes on until a stop is requested. What is not finished then is begun again with the next flow.
    pub(super) fn run(self) -> io::Result<()> {
        let (mut waiting, mut running) = (VecDeque::new(), Vec::new());
        while !self.stop.requested() {
            self.wake.clear();
            for question in self.path_mtus.take() {
                self.queue(question, &mut waiting, &running);
            }
            while running.len() < AT_ONCE
                && let Some(question) = waiting.pop_front()
            {
                running.extend(self.begin(question));
            }
            let patience = self.send(&mut running);
            // What has ended made room.
            if waiting.is_empty() || running.len() == AT_ONCE {
                self.wait(&mut running, patience)?;
            }
        }
        let unfinished = running.into_iter().map(|Measurement { question, .. }| question);
        for question in unfinished.chain(waiting).chain(self.path_mtus.take()) {
            self.path_mtus.abandon(question.path.hops());
        }
        Ok(())
    }

    /// A path may be asked about again while it waits.
    fn queue(&self, question: Question, waiting: &mut VecDeque<Question>, running: &[Measurement]) {
        let boxes = question.path.hops();
        let is_same = |other: &Question| other.path.hops() == boxes;
        if waiting.iter().any(is_same) || running.iter().any(|other| is_same(&other.question)) {
            return;
        }
        if waiting.len() == WAITING {
            return self.path_mtus.abandon(boxes);
        }
        waiting.push_back(question);
    }

    fn begin(&self, question: Question) -> Option<Measurement> {
        match Socket::open_from(question.source, question.path.first()) {
            Ok(socket) => {
                let [secret, tag] = [random() as u16, random() as u16];
                let tunnel = Tunnel::new(question.path.clone(), socket.here(), secret);
                let survey = Survey::of_sizes(tunnel, kind(&question), question.most, tag);
                Some(Measurement { question, socket, survey })
            }
            Err(error) => {
                self.end(&question, Err(error));
                None
            }
        }
    }

    /// Sends what is due; ends what is over. How long to wait then: for ever, if nothing runs.
    fn send(&self, running: &mut Vec<Measurement>) -> Option<Duration> {
        let mut patience: Option<Duration> = None;
        running.retain_mut(|Measurement { question, socket, survey }| {
            match socket.send_due(survey) {
                Ok(Some(wait)) => {
                    patience = Some(patience.map_or(wait, |least| least.min(wait)));
                    true
                }
                Ok(None) => {
                    self.end(question, Ok(survey));
                    false
                }
                Err(error) => {
                    self.end(question, Err(error));
                    false
                }
            }
        });
        patience
    }

    fn wait(&self, running: &mut Vec<Measurement>, patience: Option<Duration>) -> io::Result<()> {
        let timeout = patience.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let sockets = running.iter().map(|measurement| &measurement.socket);
        let mut fds =
            vec![PollFd::new(&*self.stop, PollFlags::IN), PollFd::new(&*self.wake, PollFlags::IN)];
        fds.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<_> = fds.iter().skip(2).map(|fd| !fd.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        running.retain_mut(|Measurement { question, socket, survey }| {
            let taken = if ready.next() == Some(true) { socket.take(survey) } else { Ok(()) };
            taken.map_err(|error| self.end(question, Err(error))).is_ok()
        });
        Ok(())
    }

    fn end(&self, question: &Question, result: io::Result<&mut Survey>) {
        let path = &question.path;
        let sizes = match result {
            Ok(survey) => survey.sizes(),
            Err(error) => {
                debug!("measuring the MTU to {path}: {error}");
                None
            }
        };
        let boxes = path.hops();
        let working = sizes.as_ref().and_then(|sizes| sizes.working(boxes.len()));
        let learned = working.map(|Working { there, back }| (there, back));
        let before = self.path_mtus.learn(boxes, learned, self.clock.now());
        self.counters.add(Counter::PathsMeasured);
        let (Some(sizes), Some(Working { there, .. })) = (sizes, working) else {
            return debug!("what gets through to {path} is not clear");
        };
        let known = self.path_mtus.measured(boxes);
        let counts = |known: Option<Measured>| known.map(|known| (known.octets, known.tcp));
        let changed = counts(before) != counts(known);
        debug!("to {path}: {}", sizes.sentence(path));
        match known {
            Some(_) if changed && there < UNMEASURED => self.say(|| {
                warn!(
                    "a path carries less than the {UNMEASURED} octets that natttd counts on at least: write \
                     `mtu = {}` under [client] if a link is that small (`nattt trace NAME` shows where)",
                    there.max(LEAST_MTU)
                );
            }),
            Some(known) if changed && known.tcp < question.most => self.say(|| {
                info!(
                    "a path carries {} octets, not the {} of its first link: TCP connections fit from now \
                     on (`nattt explain NAME`, `nattt trace NAME`)",
                    known.tcp, question.most
                );
            }),
            _ => {}
        }
    }

    /// Names and addresses of others are at debug level only, and zones of others may hold many paths.
    fn say(&self, log: impl FnOnce()) {
        let now = self.clock.now();
        if self.said.get().is_none_or(|said| now.since(said) >= SILENCE) {
            self.said.set(Some(now));
            log();
        }
    }
}

/// What the last box lets in, for one that answers with ICMP's "time exceeded".
fn kind(question: &Question) -> Kind {
    match question.protocol {
        protocol::TCP => Kind::Tcp(question.port),
        protocol::UDP => Kind::Udp(question.port),
        _ => Kind::Ping,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{Hop, Path};
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Instant;

    /// What nobody answers ends, too, and makes room for the next.
    #[test]
    fn every_question_has_its_turn() {
        let path_mtus = Arc::new(PathMtus::default());
        let counters = Arc::new(Counters::default());
        let clock = Clock::start();
        let stop = Arc::new(Stop::new().expect("an eventfd"));
        let wake = Arc::new(Wake::new().expect("an eventfd"));
        // Closed ports: the kernel refuses at once, and all end at the same time.
        let closed: Vec<_> = (0..2 * AT_ONCE + 1)
            .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"))
            .collect();
        let ports = closed.iter().map(|socket| socket.local_addr().expect("bound").port());
        for port in ports {
            let hop = Hop { addr: Ipv4Addr::LOCALHOST, port };
            let path = Path::new(vec![hop], Ipv4Addr::new(192, 168, 0, 2)).expect("a path");
            let (source, protocol) = (None, protocol::TCP);
            let question = Question { path, source, protocol, port: 80, most: 1500 };
            path_mtus.used(question, clock.now());
        }
        drop(closed);
        let measuring = Measuring {
            path_mtus,
            counters: Arc::clone(&counters),
            clock,
            stop: Arc::clone(&stop),
            wake,
            said: Cell::default(),
        };
        let thread = std::thread::spawn(move || measuring.run());
        let began = Instant::now();
        let all = 2 * AT_ONCE as u64 + 1;
        while counters.value(Counter::PathsMeasured) < all {
            assert!(began.elapsed() < Duration::from_secs(60), "some wait for ever");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        stop.request();
        thread.join().expect("no panic").expect("no error");
    }
}
