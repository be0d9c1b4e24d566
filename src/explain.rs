//! `nattt explain`: from what the DNS and the daemon say about a name to what follows from it.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Serialize, Serializer};

use crate::control::{Explanation, Flow, Mapping, NatRecord, RulesState, Subject};
use crate::path::{MAX_PATHS, Path, may_be_mapped};

/// What a name server answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Records, those of aliases included.
    Records {
        /// In the order of the reply.
        records: Vec<Record>,
    },
    /// The name is there, without a record of this type.
    NoData,
    /// There is no such name.
    NoName,
    /// Nothing came back.
    Silent,
    /// The server refused, or could not be asked.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Whose it is, in presentation form.
    pub owner: String,
    /// Seconds.
    pub ttl: u32,
    /// What it says.
    #[serde(flatten)]
    pub data: Data,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// CNAME: the name's other name.
    Alias(String),
    /// A.
    Address(Ipv4Addr),
    /// The octets of a record of the NAT type.
    #[serde(serialize_with = "as_hex")]
    Nat(Vec<u8>),
}

/// What was asked, and what was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The server that answered, or the last that did not.
    pub server: IpAddr,
    /// To the question for an address, as programs ask it.
    pub address: Answer,
    /// To the question for the NAT record.
    pub nat: Answer,
}

/// A name whose A record emulates a part of a NAT record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The name, in presentation form.
    pub name: String,
    /// What the DNS says of its address.
    pub answer: Answer,
}

/// How it stands with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// It leads through a tunnel.
    Tunnelled,
    /// It does, but nothing that is open now has got an answer.
    Unanswered,
    /// It does, but where an earlier NAT record led.
    Outdated,
    /// It is right behind this host, and needs no tunnel.
    Direct,
    /// It has an address of its own, and is never touched.
    Ordinary,
    /// The same, and a NAT record that nobody follows.
    AddressWins,
    /// Another natttd, on the router that serves this host, has mapped it.
    MappedBefore,
    /// There is no such name.
    NoName,
    /// Neither address nor NAT record.
    NoRecord,
    /// The name server does not answer.
    NoAnswer,
    /// The name server answers questions for addresses, not for NAT records.
    NoNatAnswer,
    /// Neither, and not all of the A records that emulate a NAT record.
    HalfEmulated,
    /// Neither, and the name server does not say whether all of them are there.
    EmulationSilent,
    /// No NAT record is well-formed.
    Malformed,
    /// Every NAT record is refused.
    Refused,
    /// The NAT record is right, but the configuration leaves the name alone.
    LeftAlone,
    /// The NAT record is right, yet the reply has no address.
    NotMapped,
    /// The firewall rules are not loaded and whole, so no mapped address leads anywhere.
    NoRules,
    /// The address is of the pool, but natttd does not know it.
    Forgotten,
    /// It would lead through a tunnel, as far as the DNS goes; no daemon says more.
    NoDaemon,
    /// The address may be a mapped one, which only the daemon knows, and it says nothing.
    Unknown,
}

impl Conclusion {
    /// The same with the addresses of the names that emulate the NAT record.
    pub fn with_emulation(self, parts: &[Part]) -> Self {
        let any = |wanted: fn(&Answer) -> bool| parts.iter().any(|part| wanted(&part.answer));
        match self {
            Self::NoName | Self::NoRecord if any(Answer::says_none) => Self::HalfEmulated,
            Self::NoName | Self::NoRecord if any(Answer::is_missing) => Self::EmulationSilent,
            _ => self,
        }
    }

    /// The same with what is known of the firewall rules, without which natttd sees no packet.
    pub fn with_rules(self, rules: RulesState) -> Self {
        match (self, rules) {
            (_, RulesState::Loaded | RulesState::Unknown) => self,
            (
                Self::Tunnelled
                | Self::Unanswered
                | Self::Outdated
                | Self::Direct
                | Self::NotMapped,
                _,
            ) => Self::NoRules,
            _ => self,
        }
    }
}

impl Answer {
    /// The records, if there are any.
    pub fn records(&self) -> &[Record] {
        match self {
            Self::Records { records } => records,
            _ => &[],
        }
    }

    /// Whether the server says that there is none.
    fn says_none(&self) -> bool {
        matches!(self, Self::NoData | Self::NoName)
    }

    /// Whether the server may be asked no more: another one is.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Silent | Self::Failed { .. })
    }
}

impl Asked {
    /// The addresses of the reply.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let address = |record: &Record| match record.data {
            Data::Address(addr) => Some(addr),
            Data::Alias(_) | Data::Nat(_) => None,
        };
        self.address.records().iter().filter_map(address).collect()
    }

    /// Each NAT record with its owner and its path, or why it is none.
    pub fn paths(&self) -> Vec<(&Record, Result<Path, String>)> {
        let path = |record: &'_ Record| match &record.data {
            Data::Nat(rdata) => Some(Path::from_rdata(rdata).map_err(|error| error.to_string())),
            Data::Alias(_) | Data::Address(_) => None,
        };
        let records = self.nat.records().iter();
        records.filter_map(|record| Some((record, path(record)?))).collect()
    }

    /// What the daemon is asked.
    pub fn subject(&self, name: &str) -> Subject {
        let records = self.paths().into_iter().filter_map(|(record, path)| {
            Some(NatRecord { owner: record.owner.clone(), path: path.ok()?.to_string() })
        });
        Subject { name: name.to_owned(), records: records.collect(), addresses: self.addresses() }
    }
}

/// What follows. `known` is what the daemon answered to [`Asked::subject`].
pub fn conclude(asked: &Asked, known: Option<&Explanation>) -> Conclusion {
    let addresses = asked.addresses();
    if !addresses.is_empty() {
        return of_addresses(asked, &addresses, known);
    }
    match (&asked.address, &asked.nat) {
        (Answer::Silent | Answer::Failed { .. }, _) => Conclusion::NoAnswer,
        (Answer::NoName, _) => Conclusion::NoName,
        (_, Answer::Silent | Answer::Failed { .. }) => Conclusion::NoNatAnswer,
        _ => of_records(asked, known),
    }
}

fn of_addresses(asked: &Asked, addresses: &[Ipv4Addr], known: Option<&Explanation>) -> Conclusion {
    let Some(known) = known else { return untold(asked, addresses) };
    match known.mapping.as_ref().filter(|mapping| addresses.contains(&mapping.address)) {
        Some(mapping) if is_outdated(asked, known, mapping) => Conclusion::Outdated,
        Some(_) if known.direct => Conclusion::Direct,
        Some(_) if is_unanswered(&known.flows) => Conclusion::Unanswered,
        Some(_) => Conclusion::Tunnelled,
        None if addresses.iter().all(|addr| known.unmapped.contains(addr)) => Conclusion::Forgotten,
        None => match own_address(asked) {
            Conclusion::AddressWins if addresses.iter().all(is_a_router_s) => {
                Conclusion::MappedBefore
            }
            own => own,
        },
    }
}

/// Whether it is of 198.18/15 (RFC 2544), where routers' pools are and hosts are not. A private address
/// may be the host's own, as a name server beside it says it; 127/8 is given to nobody else.
fn is_a_router_s(addr: &Ipv4Addr) -> bool {
    matches!(addr.octets(), [198, 18 | 19, ..])
}

/// Without the daemon, nobody knows what its pool is.
fn untold(asked: &Asked, addresses: &[Ipv4Addr]) -> Conclusion {
    if addresses.iter().any(|addr| may_be_mapped(*addr)) {
        Conclusion::Unknown
    } else {
        own_address(asked)
    }
}

fn own_address(asked: &Asked) -> Conclusion {
    if asked.paths().iter().any(|(_, path)| path.is_ok()) {
        Conclusion::AddressWins
    } else {
        Conclusion::Ordinary
    }
}

/// Whether the mapping was made of another NAT record than the DNS has now. One that emulates it is
/// not looked at.
fn is_outdated(asked: &Asked, known: &Explanation, mapping: &Mapping) -> bool {
    let records = asked.paths().into_iter().filter_map(|(_, path)| path.ok());
    let judged = records.zip(&known.judgements);
    let accepted = judged.filter(|(_, judgement)| judgement.refused.is_none());
    let mut recorded: Vec<String> = accepted.map(|(path, _)| path.to_string()).collect();
    recorded.sort_unstable();
    recorded.dedup();
    let gone = mapping.paths.iter().any(|path| !recorded.contains(path));
    !recorded.is_empty() && (gone || mapping.paths.len() < recorded.len().min(MAX_PATHS))
}

/// Whether programs have tried for a while, and nothing has come back.
fn is_unanswered(flows: &[Flow]) -> bool {
    let waits = |flow: &Flow| ["opening", "unanswered"].contains(&&*flow.state);
    let silent = |flow: &Flow| waits(flow) && flow.to_client.packets == 0;
    flows.iter().all(silent) && flows.iter().any(|flow| flow.to_host.packets > 1 || flow.idle_s > 0)
}

fn of_records(asked: &Asked, known: Option<&Explanation>) -> Conclusion {
    let paths = asked.paths();
    if paths.is_empty() {
        return Conclusion::NoRecord;
    }
    if paths.iter().all(|(_, path)| path.is_err()) {
        return Conclusion::Malformed;
    }
    match known {
        None => Conclusion::NoDaemon,
        Some(known) if known.left_alone => Conclusion::LeftAlone,
        Some(known) if known.judgements.iter().all(|one| one.refused.is_some()) => {
            Conclusion::Refused
        }
        Some(_) => Conclusion::NotMapped,
    }
}

/// Octets as in a zone file.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

fn as_hex<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Endpoint, Ends, Judgement, Leg, MappingState, Traffic};
    use proptest::prelude::*;

    const NAT: [u8; 10] = [203, 0, 113, 1, 0, 100, 192, 168, 0, 2];
    const MAPPED: Ipv4Addr = Ipv4Addr::new(127, 118, 232, 255);

    fn records(data: Vec<Data>) -> Answer {
        let record = |data| Record { owner: "b.example.".into(), ttl: 300, data };
        Answer::Records { records: data.into_iter().map(record).collect() }
    }

    fn asked(address: Answer, nat: Answer) -> Asked {
        Asked { server: Ipv4Addr::LOCALHOST.into(), address, nat }
    }

    fn nat() -> Answer {
        records(vec![Data::Alias("c.example.".into()), Data::Nat(NAT.into())])
    }

    fn known(refused: Option<&str>, mapped: bool) -> Explanation {
        let mapping = Mapping {
            address: MAPPED,
            names: Vec::new(),
            paths: vec!["203.0.113.1:100 192.168.0.2".into()],
            silent_paths: Vec::new(),
            expires_in_s: 1,
            flows: 0,
            state: MappingState::Live,
        };
        Explanation {
            record_type: 65324,
            left_alone: false,
            emulated_by: Vec::new(),
            direct: false,
            judgements: vec![Judgement {
                refused: refused.map(str::to_owned),
                mtu: 1472,
                link_mtu: Some(1472),
                outer: None,
                path: None,
            }],
            mapping: mapped.then_some(mapping),
            unmapped: if mapped { Vec::new() } else { vec![MAPPED] },
            flows: Vec::new(),
            last_drop: None,
        }
    }

    #[test]
    fn the_daemon_is_asked_about_what_is_well_formed() {
        let nat = records(vec![Data::Nat(NAT.into()), Data::Nat(vec![1])]);
        let asked = asked(records(vec![Data::Address(MAPPED)]), nat);
        let subject = asked.subject("b.example");
        assert_eq!(subject.addresses, [MAPPED]);
        assert_eq!(subject.records.len(), 1);
        assert_eq!(subject.records[0].path, "203.0.113.1:100 192.168.0.2");
        assert_eq!(
            asked.paths()[1].1,
            Err("a NAT record has 6n+4 octets (n = 1 to 8), not 1".into())
        );
    }

    fn flow(state: &str, to_host: u64, to_client: u64) -> Flow {
        let end = Endpoint { addr: MAPPED, port: Some(80) };
        let leg = Leg { from: end, to: end };
        let traffic = |packets| Traffic { packets, octets: packets * 60 };
        Flow {
            protocol: "tcp".into(),
            state: state.into(),
            ends: Ends::Client {
                application: end,
                mapped: end,
                name: None,
                outer: leg,
                inner: leg,
            },
            to_host: traffic(to_host),
            to_client: traffic(to_client),
            idle_s: 0,
            expires_in_s: 9,
        }
    }

    fn of_mapped(known: &Explanation) -> Conclusion {
        conclude(&asked(records(vec![Data::Address(MAPPED)]), nat()), Some(known))
    }

    #[test]
    fn flows_without_any_answer_are_not_called_a_success() {
        let with = |flows: Vec<Flow>| Explanation { flows, ..known(None, true) };
        assert_eq!(of_mapped(&with(vec![flow("opening", 4, 0)])), Conclusion::Unanswered);
        assert_eq!(of_mapped(&with(vec![flow("unanswered", 2, 0)])), Conclusion::Unanswered);
        // One answer will do; a first packet has just left; a restart begins to count anew.
        let one_answered = vec![flow("opening", 4, 0), flow("established", 4, 4)];
        assert_eq!(of_mapped(&with(one_answered)), Conclusion::Tunnelled);
        assert_eq!(of_mapped(&with(vec![flow("opening", 1, 0)])), Conclusion::Tunnelled);
        assert_eq!(of_mapped(&with(vec![flow("closing", 0, 0)])), Conclusion::Tunnelled);
        let old = Flow { idle_s: 3, ..flow("opening", 1, 0) };
        assert_eq!(of_mapped(&with(vec![old])), Conclusion::Unanswered);
    }

    #[test]
    fn a_mapping_of_an_earlier_record_is_told_from_one_of_this() {
        let mut known = known(None, true);
        let mapping = |known: &mut Explanation, paths: &[&str]| {
            let mapping = known.mapping.as_mut().expect("it is mapped");
            mapping.paths = paths.iter().map(|path| (*path).to_owned()).collect();
        };
        assert_eq!(of_mapped(&known), Conclusion::Tunnelled);
        mapping(&mut known, &["203.0.113.2:100 192.168.0.2"]);
        assert_eq!(of_mapped(&known), Conclusion::Outdated);
        let direct = Explanation { direct: true, ..known.clone() };
        assert_eq!(of_mapped(&direct), Conclusion::Outdated);
        mapping(&mut known, &["203.0.113.1:100 192.168.0.2", "203.0.113.2:100 192.168.0.2"]);
        assert_eq!(of_mapped(&known), Conclusion::Outdated);
        // Refused records are in no mapping, and A records may emulate what the DNS has not.
        let two =
            records(vec![Data::Nat(NAT.into()), Data::Nat(vec![10, 0, 0, 1, 0, 100, 1, 1, 1, 1])]);
        known.judgements.push(Judgement {
            refused: Some("private".into()),
            mtu: 1472,
            link_mtu: Some(1472),
            outer: None,
            path: None,
        });
        mapping(&mut known, &["203.0.113.1:100 192.168.0.2"]);
        let address = records(vec![Data::Address(MAPPED)]);
        let both = asked(address.clone(), two);
        assert_eq!(conclude(&both, Some(&known)), Conclusion::Tunnelled);
        known.judgements[1].refused = None;
        assert_eq!(conclude(&both, Some(&known)), Conclusion::Outdated);
        let emulated = asked(address, Answer::NoData);
        assert_eq!(conclude(&emulated, Some(&known)), Conclusion::Tunnelled);
    }

    #[test]
    fn rules_that_are_missing_are_the_reason() {
        for rules in [RulesState::Missing, RulesState::Stale, RulesState::Damaged] {
            assert_eq!(Conclusion::NotMapped.with_rules(rules), Conclusion::NoRules);
            assert_eq!(Conclusion::Tunnelled.with_rules(rules), Conclusion::NoRules);
            assert_eq!(Conclusion::Direct.with_rules(rules), Conclusion::NoRules);
            assert_eq!(Conclusion::NoName.with_rules(rules), Conclusion::NoName);
        }
        assert_eq!(Conclusion::NotMapped.with_rules(RulesState::Loaded), Conclusion::NotMapped);
        assert_eq!(Conclusion::Tunnelled.with_rules(RulesState::Unknown), Conclusion::Tunnelled);
    }

    #[test]
    fn an_address_that_emulation_lacks_is_the_reason() {
        let part = |answer| Part { name: "b-in.example.org".into(), answer };
        let there = part(records(vec![Data::Address(Ipv4Addr::new(192, 168, 0, 2))]));
        let half = [there.clone(), part(Answer::NoName)];
        assert_eq!(Conclusion::NoName.with_emulation(&half), Conclusion::HalfEmulated);
        assert_eq!(Conclusion::NoRecord.with_emulation(&half), Conclusion::HalfEmulated);
        assert_eq!(Conclusion::Tunnelled.with_emulation(&half), Conclusion::Tunnelled);
        assert_eq!(Conclusion::NoName.with_emulation(&[there]), Conclusion::NoName);
        assert_eq!(Conclusion::NoName.with_emulation(&[]), Conclusion::NoName);
    }

    /// What was not answered may be there.
    #[test]
    fn silence_about_a_part_is_not_called_an_address_that_is_missing() {
        let part = |answer| Part { name: "b-in.example.org".into(), answer };
        let failed = Answer::Failed { reason: "SERVFAIL".into() };
        for silent in [Answer::Silent, failed] {
            let parts = [part(silent.clone())];
            assert_eq!(Conclusion::NoName.with_emulation(&parts), Conclusion::EmulationSilent);
            assert_eq!(Conclusion::NoRecord.with_emulation(&parts), Conclusion::EmulationSilent);
            assert_eq!(Conclusion::Tunnelled.with_emulation(&parts), Conclusion::Tunnelled);
            let both = [part(silent), part(Answer::NoData)];
            assert_eq!(Conclusion::NoName.with_emulation(&both), Conclusion::HalfEmulated);
        }
    }

    #[test]
    fn every_conclusion() {
        use Conclusion::*;
        let address = |addr: [u8; 4]| records(vec![Data::Address(addr.into())]);
        let failed = || Answer::Failed { reason: "SERVFAIL".into() };
        let (good, refused) = (known(None, true), known(Some("private"), false));
        let unmapped = known(None, false);
        let direct = Explanation { direct: true, ..good.clone() };
        let left_alone = Explanation { left_alone: true, ..unmapped.clone() };
        for (address, nat, known, expected) in [
            (address(MAPPED.octets()), nat(), Some(&good), Tunnelled),
            (address(MAPPED.octets()), nat(), Some(&direct), Direct),
            (address(MAPPED.octets()), nat(), Some(&unmapped), Forgotten),
            (address([192, 0, 2, 1]), nat(), Some(&good), AddressWins),
            (address([192, 0, 2, 1]), nat(), None, AddressWins),
            // The router that serves this host asked first.
            (address([198, 18, 0, 9]), nat(), Some(&good), MappedBefore),
            (address([127, 0, 0, 1]), nat(), Some(&good), AddressWins),
            (address([198, 18, 0, 9]), Answer::NoData, Some(&good), Ordinary),
            // As a name server inside says it.
            (address([192, 168, 0, 2]), nat(), Some(&good), AddressWins),
            (address([192, 0, 2, 1]), Answer::NoData, Some(&good), Ordinary),
            (address([192, 0, 2, 1]), Answer::NoData, None, Ordinary),
            (address(MAPPED.octets()), nat(), None, Unknown),
            (address([198, 18, 0, 9]), Answer::NoData, None, Unknown),
            (Answer::NoName, Answer::NoName, Some(&good), NoName),
            (Answer::NoData, Answer::NoData, Some(&good), NoRecord),
            (Answer::Silent, nat(), Some(&good), NoAnswer),
            (failed(), nat(), None, NoAnswer),
            (Answer::NoData, Answer::Silent, Some(&good), NoNatAnswer),
            (Answer::NoData, failed(), Some(&good), NoNatAnswer),
            (Answer::NoData, records(vec![Data::Nat(vec![0; 9])]), Some(&good), Malformed),
            (Answer::NoData, nat(), Some(&refused), Refused),
            (Answer::NoData, nat(), Some(&unmapped), NotMapped),
            (Answer::NoData, nat(), Some(&left_alone), LeftAlone),
            (Answer::NoData, Answer::NoData, Some(&left_alone), NoRecord),
            (Answer::NoData, nat(), None, NoDaemon),
            // An alias alone is no address.
            (records(vec![Data::Alias("c.".into())]), Answer::NoData, Some(&good), NoRecord),
        ] {
            let asked = asked(address, nat);
            assert_eq!(conclude(&asked, known), expected, "{asked:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_path_or_an_error(rdata in prop::collection::vec(any::<u8>(), 0..80)) {
            let well_formed = Path::from_rdata(&rdata).is_ok();
            let asked = asked(Answer::NoData, records(vec![Data::Nat(rdata)]));
            prop_assert_eq!(asked.subject("b").records.len(), usize::from(well_formed));
            let expected = if well_formed { Conclusion::NoDaemon } else { Conclusion::Malformed };
            prop_assert_eq!(conclude(&asked, None), expected);
        }
    }
}
