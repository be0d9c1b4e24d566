//! Lookups of NAT records, and of the A records that emulate them, on a thread of their own (crate
//! `hickory-resolver` is asynchronous).
//!
//! The server asked is the one whose reply waits, so that split-horizon DNS keeps working; ID and
//! source port are random (RFC 5452). The replies pass the queue of replies like any other, but
//! those to questions for the NAT type never wait for a question of that type, and names that
//! emulate a NAT record are never followed up: our own lookups cannot loop.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::proto::serialize::binary::BinDecodable;
use hickory_resolver::{Resolver, lookup::Lookup};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, LocalSet, spawn_local};

use crate::dns::hold::{LookupKey, MAX_LOOKUPS, NatAnswer, Wanted};
use crate::path::Path;

use super::nfqueue::Wake;
use super::scoped::Scoped;

/// How long a server is given; the reply that waits is released earlier.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The TTL of negative answers that tell none, in seconds: they are remembered for the least time
/// there is (without an SOA record not at all, says RFC 2308 §5).
const NEGATIVE_TTL: u32 = 0;
/// The most questions in flight. Who asks may have forgotten half of them, but takes their answers.
const MAX_IN_FLIGHT: usize = 2 * MAX_LOOKUPS;
/// Resolvers kept, one a server.
const MAX_RESOLVERS: usize = 64;

/// An answer to a lookup, and how many NAT records in it were malformed.
#[derive(Debug)]
pub struct Answered {
    /// What was asked.
    pub key: LookupKey,
    /// The answer.
    pub answer: NatAnswer,
    /// Records that were no path.
    pub malformed: u64,
}

/// Asks for records. If too many questions are in flight, the oldest fails.
pub struct Lookups(UnboundedSender<LookupKey>);

/// The other end of [`Lookups`], for a thread of its own.
pub struct Asker {
    runtime: Runtime,
    record_type: u16,
    questions: UnboundedReceiver<LookupKey>,
    answers: Sender<Answered>,
    wake: Arc<Wake>,
}

impl Lookups {
    /// Where questions go in, and what asks them. Each answer goes into `answers`, and then `wake`
    /// is used.
    pub fn new(
        record_type: u16,
        answers: Sender<Answered>,
        wake: Arc<Wake>,
    ) -> io::Result<(Self, Asker)> {
        let (sender, questions) = unbounded_channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok((Self(sender), Asker { runtime, record_type, questions, answers, wake }))
    }

    /// Asks; the answer comes through the channel.
    pub fn ask(&self, key: LookupKey) {
        // The asker ends only with the daemon.
        let _ = self.0.send(key);
    }
}

impl Asker {
    /// Asks until the [`Lookups`] are dropped; what is still open then is given up.
    pub fn run(self) {
        let Self { runtime, record_type, questions, answers, wake } = self;
        let answered = move |answer| {
            // The other side is gone only while the daemon stops.
            let _ = answers.send(answer);
            wake.wake();
        };
        LocalSet::new().block_on(&runtime, serve(record_type, MAX_IN_FLIGHT, questions, answered));
    }
}

pub(super) type TokioResolver = Resolver<Scoped>;

async fn serve(
    record_type: u16,
    most: usize,
    mut questions: UnboundedReceiver<LookupKey>,
    answered: impl Fn(Answered) + Clone + 'static,
) {
    let (mut resolvers, mut in_flight) = (HashMap::new(), VecDeque::new());
    while let Some(key) = questions.recv().await {
        let Some(resolver) = resolver_for(&mut resolvers, key.server.socket_addr()) else {
            answered(Answered { key, answer: NatAnswer::Failed, malformed: 0 });
            continue;
        };
        make_room(&mut in_flight, most);
        // In a task of its own: what a server says may be hostile, and a panic of the resolver's
        // about it shall fail this question only, not leave it open.
        let asked = spawn_local(ask(resolver, record_type, key.clone()));
        in_flight.push_back(asked.abort_handle());
        let answered = answered.clone();
        spawn_local(async move {
            let (answer, malformed) = asked.await.unwrap_or((NatAnswer::Failed, 0));
            answered(Answered { key, answer, malformed });
        });
    }
}

/// Gives up the oldest question if there are `most` already.
fn make_room(in_flight: &mut VecDeque<AbortHandle>, most: usize) {
    if in_flight.len() >= most {
        in_flight.retain(|one| !one.is_finished());
    }
    if in_flight.len() >= most
        && let Some(oldest) = in_flight.pop_front()
    {
        oldest.abort();
    }
}

fn resolver_for(
    resolvers: &mut HashMap<SocketAddr, Arc<TokioResolver>>,
    server: SocketAddr,
) -> Option<Arc<TokioResolver>> {
    if let Some(resolver) = resolvers.get(&server) {
        return Some(Arc::clone(resolver));
    }
    if resolvers.len() >= MAX_RESOLVERS {
        resolvers.clear();
    }
    let resolver = Arc::new(new_resolver(server).ok()?);
    resolvers.insert(server, Arc::clone(&resolver));
    Some(resolver)
}

pub(super) fn new_resolver(server: SocketAddr) -> Result<TokioResolver, NetError> {
    let mut server_config = NameServerConfig::udp_and_tcp(server.ip());
    server_config.connections.iter_mut().for_each(|one| one.port = server.port());
    let servers = vec![server_config];
    let config = ResolverConfig::from_name_servers(servers);
    let mut builder = Resolver::builder_with_config(config, Scoped::of(server));
    *builder.options_mut() = options();
    builder.build()
}

/// One question to one server; what is remembered is for the caller to decide.
pub(super) fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.ndots = 0;
    options.timeout = TIMEOUT;
    options.attempts = 1;
    options.edns0 = true;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.num_concurrent_reqs = 1;
    options.try_tcp_on_error = false;
    options
}

async fn ask(resolver: Arc<TokioResolver>, record_type: u16, key: LookupKey) -> (NatAnswer, u64) {
    // The wire form of a name that was already parsed ends with the root: it is fully qualified.
    let Ok(name) = Name::from_bytes(key.name.as_wire()) else { return (NatAnswer::Failed, 0) };
    let rtype = match key.wanted {
        Wanted::Nat => RecordType::from(record_type),
        Wanted::Address => RecordType::A,
    };
    match resolver.lookup(name, rtype).await {
        Ok(lookup) if key.wanted == Wanted::Address => (read_addresses(&lookup), 0),
        Ok(lookup) => read(&lookup, record_type),
        Err(NetError::Timeout) => (NatAnswer::Silent, 0),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            (NatAnswer::None { ttl: none.negative_ttl.unwrap_or(NEGATIVE_TTL) }, 0)
        }
        Err(error) => {
            log::debug!("{rtype} of {} from {}: {error}", key.name, key.server.socket_addr());
            (NatAnswer::Failed, 0)
        }
    }
}

/// The addresses at the end of a chain of aliases, if there is one; its TTLs count too.
fn read_addresses(lookup: &Lookup) -> NatAnswer {
    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    let address = |data: &RData| if let RData::A(addr) = data { Some(addr.0) } else { None };
    let addrs: Vec<_> = lookup.answers().iter().filter_map(|one| address(&one.data)).collect();
    match addrs.is_empty() {
        true => NatAnswer::None { ttl: NEGATIVE_TTL },
        false => NatAnswer::Addresses { addrs, ttl },
    }
}

fn read(lookup: &Lookup, record_type: u16) -> (NatAnswer, u64) {
    let (mut paths, mut malformed, mut ttl) = (Vec::new(), 0, u32::MAX);
    for record in lookup.answers() {
        let RData::Unknown { code, rdata } = &record.data else { continue };
        if u16::from(*code) != record_type {
            continue;
        }
        match Path::from_rdata(&rdata.anything) {
            Ok(path) => {
                paths.push(path);
                ttl = ttl.min(record.ttl);
            }
            Err(_) => malformed += 1,
        }
    }
    let answer = match paths.is_empty() {
        true => NatAnswer::None { ttl: NEGATIVE_TTL },
        false => NatAnswer::Found { paths, ttl },
    };
    (answer, malformed)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use tokio::sync::mpsc;

    use super::*;
    use crate::dns::hold::Server;

    /// The oldest of too many questions to a silent server fails long before its time.
    #[test]
    fn too_many_questions_in_flight() {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let server = Server::at(silent.local_addr().expect("an address"));
        let (sender, questions) = unbounded_channel();
        let (told, mut answers) = mpsc::unbounded_channel();
        for name in ["a.example", "b.example", "c.example"] {
            let name = name.parse().expect("a name");
            sender.send(LookupKey { server, name, wanted: Wanted::Nat }).expect("it is there");
        }
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let began = Instant::now();
        let first = LocalSet::new().block_on(&runtime, async move {
            spawn_local(serve(65324, 2, questions, move |answered| {
                let _ = told.send(answered);
            }));
            answers.recv().await
        });
        let first = first.expect("an answer");
        assert_eq!(
            (first.key.name.to_string().as_str(), first.answer),
            ("a.example", NatAnswer::Failed)
        );
        assert!(began.elapsed() < TIMEOUT);
        drop(sender);
    }
}
