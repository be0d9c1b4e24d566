//! Ping through a tunnel, at an interval, with ping(8)'s summary.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Serialize;

use super::reply::{Reply, tag_of};
use super::{Complaint, Kind, Machine, Packet, Tunnel, as_millis};

/// How long the last request may wait for its reply.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many requests are remembered: late replies to others do not count.
const REMEMBERED: usize = 1024;

/// Something to tell about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pong {
    /// A reply.
    Reply {
        /// Number of the request, from 1.
        number: u64,
        /// How long it took.
        time: Duration,
    },
    /// One more reply to a request that was answered.
    Duplicate {
        /// Number of the request.
        number: u64,
    },
    /// An ICMP error about a request.
    Error {
        /// Number of the request, if that is clear.
        number: Option<u64>,
        /// What, and by whom.
        complaint: Complaint,
    },
}

/// What came of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Summary {
    /// Requests.
    pub sent: u64,
    /// Requests that were answered.
    pub received: u64,
    /// More replies to the same.
    pub duplicates: u64,
    /// ICMP errors.
    pub errors: u64,
    /// The quickest.
    #[serde(rename = "min_ms", serialize_with = "as_millis")]
    pub min: Option<Duration>,
    /// The mean.
    #[serde(rename = "avg_ms", serialize_with = "as_millis")]
    pub avg: Option<Duration>,
    /// The slowest.
    #[serde(rename = "max_ms", serialize_with = "as_millis")]
    pub max: Option<Duration>,
    /// Standard deviation.
    #[serde(rename = "mdev_ms", serialize_with = "as_millis")]
    pub deviation: Option<Duration>,
}

impl Summary {
    /// Requests without a reply, in per cent.
    pub fn loss(&self) -> f64 {
        match self.sent {
            0 => 0.0,
            sent => (sent - self.received.min(sent)) as f64 * 100.0 / sent as f64,
        }
    }
}

#[derive(Debug)]
struct Asked {
    at: Duration,
    answered: bool,
}

/// Sends echo requests to the host of a tunnel.
#[derive(Debug)]
pub struct Pinger {
    tunnel: Tunnel,
    interval: Duration,
    count: Option<u64>,
    first_tag: u16,
    /// The last requests, the newest at the back.
    asked: VecDeque<Asked>,
    due: Duration,
    end: Option<Duration>,
    over: bool,
    summary: Summary,
    /// Sums of times and of their squares, in seconds.
    sums: (f64, f64),
    news: Vec<Pong>,
}

impl Pinger {
    /// Begins at time 0, and ends after `count` requests, or never.
    pub fn new(tunnel: Tunnel, interval: Duration, count: Option<u64>, first_tag: u16) -> Self {
        Self {
            tunnel,
            interval,
            count,
            first_tag,
            asked: VecDeque::new(),
            due: Duration::ZERO,
            end: None,
            over: false,
            summary: Summary::default(),
            sums: (0.0, 0.0),
            news: Vec::new(),
        }
    }

    /// What happened since the last time.
    pub fn news(&mut self) -> Vec<Pong> {
        std::mem::take(&mut self.news)
    }

    /// The host.
    pub fn host(&self) -> Ipv4Addr {
        self.tunnel.path().host()
    }

    /// How it stands.
    pub fn summary(&self) -> Summary {
        let Summary { received, .. } = self.summary;
        if received == 0 {
            return self.summary;
        }
        let (sum, squares) = (self.sums.0 / received as f64, self.sums.1 / received as f64);
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let deviation = (squares - sum * sum).max(0.0).sqrt();
        Summary { avg: seconds(sum), deviation: seconds(deviation), ..self.summary }
    }

    /// Number and entry of a request that is remembered. Tags repeat after 65,536 requests, so the
    /// newest with this one is meant.
    fn request(&mut self, tag: u16) -> Option<(u64, &mut Asked)> {
        let newest = self.first_tag.wrapping_add(self.summary.sent.wrapping_sub(1) as u16);
        let back = usize::from(newest.wrapping_sub(tag));
        let index = self.asked.len().checked_sub(back + 1)?;
        let number = self.summary.sent.checked_sub(back as u64)?;
        Some((number, self.asked.get_mut(index)?))
    }

    fn reply(&mut self, tag: u16, now: Duration) {
        let Some((number, asked)) = self.request(tag) else { return };
        if asked.answered {
            self.summary.duplicates += 1;
            return self.tell(Pong::Duplicate { number });
        }
        asked.answered = true;
        let time = now.saturating_sub(asked.at);
        self.sums.0 += time.as_secs_f64();
        self.sums.1 += time.as_secs_f64().powi(2);
        let summary = &mut self.summary;
        summary.received += 1;
        summary.min = Some(summary.min.map_or(time, |min| min.min(time)));
        summary.max = Some(summary.max.map_or(time, |max| max.max(time)));
        self.tell(Pong::Reply { number, time });
    }

    fn error(&mut self, number: Option<u64>, complaint: Complaint) {
        self.summary.errors += 1;
        self.tell(Pong::Error { number, complaint });
    }

    /// Whoever does not listen does not make it grow.
    fn tell(&mut self, news: Pong) {
        if self.news.len() < REMEMBERED {
            self.news.push(news);
        }
    }

    fn all_sent(&self) -> bool {
        self.count.is_some_and(|count| self.summary.sent >= count)
    }

    fn all_answered(&self) -> bool {
        self.all_sent() && self.asked.iter().all(|asked| asked.answered)
    }
}

impl Machine for Pinger {
    fn poll(&mut self, now: Duration) -> Option<Packet> {
        self.over |= self.end.is_some_and(|end| now >= end);
        if self.all_sent() || now < self.due {
            return None;
        }
        let tag = self.first_tag.wrapping_add(self.summary.sent as u16);
        self.summary.sent += 1;
        if self.asked.len() >= REMEMBERED {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { at: now, answered: false });
        self.due = now + self.interval;
        if self.all_sent() {
            self.end = Some(now + PATIENCE);
            self.due = now + PATIENCE;
        }
        Some(self.tunnel.probe(Kind::Ping, tag, None).into())
    }

    fn deadline(&self) -> Option<Duration> {
        (!self.over && !self.all_answered()).then_some(self.end.unwrap_or(self.due))
    }

    fn received(&mut self, datagram: &[u8], _: Option<u16>, now: Duration) -> Option<Packet> {
        match self.tunnel.read(datagram)? {
            Reply::Host(reply) => self.reply(reply.tag?, now),
            Reply::Error { tag, complaint, .. } => {
                let number = self.request(tag).map(|(number, _)| number);
                // Not about a request of ours.
                number?;
                self.error(number, complaint);
            }
        }
        None
    }

    fn complained(&mut self, complaint: Complaint, quote: &[u8], _: Duration) {
        let number = tag_of(quote).and_then(|tag| Some(self.request(tag)?.0));
        self.error(number, complaint);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{PATH, Peer, complaint, tunnel};
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn two_of_three_are_answered_one_twice() {
        let tunnel = tunnel(PATH);
        let peer = Peer::of(&tunnel);
        let mut pinger = Pinger::new(tunnel.clone(), INTERVAL, Some(3), 65_535);
        for (second, delay) in [(0, 10), (1, 30)] {
            let sent = pinger.poll(INTERVAL * second).expect("a request");
            assert_eq!(pinger.poll(INTERVAL * second), None, "not before its time");
            let answer = peer.answer(&sent.octets);
            pinger.received(&answer, None, INTERVAL * second + millis(delay));
        }
        let sent = pinger.poll(INTERVAL * 2).expect("a request");
        let complaint = complaint(Ipv4Addr::new(10, 0, 0, 9), 3, 1);
        pinger.received(&peer.error(&sent.octets, 2, complaint), None, INTERVAL * 2);
        let first = peer.answer(&tunnel.probe(Kind::Ping, 65_535, None));
        pinger.received(&first, None, INTERVAL * 2);
        let reply = |number, time| Pong::Reply { number, time: millis(time) };
        let error = Pong::Error { number: Some(3), complaint };
        let news = [reply(1, 10), reply(2, 30), error, Pong::Duplicate { number: 1 }];
        assert_eq!(pinger.news(), news);
        assert_eq!(pinger.deadline(), Some(millis(4000)));
        assert_eq!(pinger.poll(millis(4000)), None);
        assert_eq!(pinger.deadline(), None);
        let summary = pinger.summary();
        assert_eq!(
            (summary.sent, summary.received, summary.duplicates, summary.errors),
            (3, 2, 1, 1)
        );
        let times = [summary.min, summary.avg, summary.max, summary.deviation]
            .map(|time| time.expect("a time").as_millis());
        assert_eq!(times, [10, 20, 30, 10]);
        assert!((summary.loss() - 33.3).abs() < 0.1);
    }

    #[test]
    fn it_ends_with_the_last_reply() {
        let tunnel = tunnel(PATH);
        let mut pinger = Pinger::new(tunnel.clone(), INTERVAL, Some(1), 1);
        let sent = pinger.poll(Duration::ZERO).expect("a request");
        assert_eq!(pinger.deadline(), Some(PATIENCE));
        pinger.received(&Peer::of(&tunnel).answer(&sent.octets), None, millis(1));
        assert_eq!(pinger.deadline(), None);
        assert!(pinger.summary().loss() < 0.1);
    }

    #[test]
    fn replies_to_what_was_not_asked_lately_do_not_count() {
        let tunnel = tunnel(PATH);
        let peer = Peer::of(&tunnel);
        let mut pinger = Pinger::new(tunnel.clone(), INTERVAL, None, 0);
        let first = pinger.poll(Duration::ZERO).expect("a request");
        for second in 1..=REMEMBERED as u32 {
            pinger.poll(INTERVAL * second).expect("a request");
        }
        pinger.received(&peer.answer(&first.octets), None, INTERVAL);
        let stranger = peer.answer(&tunnel.probe(Kind::Ping, 40_000, None));
        pinger.received(&stranger, None, INTERVAL);
        assert_eq!(pinger.news(), []);
        assert_eq!(pinger.summary().received, 0);
    }
}
