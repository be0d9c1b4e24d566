//! Dynamic updates (RFC 2136) that replace the NAT records of a name, signed with TSIG (RFC 8945).

use std::fmt;

use hickory_proto::op::update_message::UpdateMessage;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::rdata::tsig::TsigError;

use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record, RecordType, TSigVerifier};
use hickory_proto::serialize::binary::BinDecodable;

use super::{Key, RecordSet};
use crate::dns::Name;
use crate::path::Path;

/// Replaces all NAT records of a name, if it has no A record: that would win over them.
#[derive(Debug, Clone)]
pub struct Update {
    zone: Name,
    set: RecordSet,
}

/// An update that was signed and waits for its answer.
pub struct Pending {
    id: u16,
    verifier: TSigVerifier,
}

/// Why an update did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateError {
    /// The name is not in the zone.
    NotInZone {
        /// The name.
        name: Name,
        /// The zone.
        zone: Name,
    },
    /// The message cannot be made or signed.
    Message(String),
    /// The answer is no answer to this update, or its signature is wrong.
    Answer(String),
    /// The server knows no key of this name and algorithm.
    UnknownKey,
    /// The server has another secret for the key.
    WrongSecret,
    /// The clocks differ too much.
    WrongTime,
    /// There is an A record at the name.
    HasAddress,
    /// The server is no primary server of the zone.
    NotPrimary,
    /// The key may not do this.
    Forbidden,
    /// Anything else: the response code and what it means.
    Code(u16, &'static str),
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInZone { name, zone } => write!(f, "{name} is not in the zone {zone}"),
            Self::Message(error) => write!(f, "the update cannot be made: {error}"),
            Self::Answer(error) => write!(f, "the server's answer cannot be trusted: {error}"),
            Self::UnknownKey => write!(
                f,
                "the server does not know the key (BADKEY); put it into its configuration, with the \
                 same name and algorithm"
            ),
            Self::WrongSecret => {
                write!(f, "the server has another secret for this key (BADSIG); copy the key anew")
            }
            Self::WrongTime => {
                write!(f, "the server's clock and this one differ (BADTIME); set them right")
            }
            Self::HasAddress => {
                write!(f, "the name has an A record, which wins over NAT records; remove it first")
            }
            Self::NotPrimary => write!(
                f,
                "the server is not the zone's primary server (NOTAUTH); check --server and --zone"
            ),
            Self::Forbidden => write!(
                f,
                "the server refuses it (REFUSED); in BIND, allow the key in the zone's \
                 update-policy or allow-update"
            ),
            Self::Code(code, meaning) => {
                write!(f, "the server refuses it: {meaning} (RCODE {code})")
            }
        }
    }
}

impl std::error::Error for UpdateError {}

impl Update {
    /// An update of `set` in `zone`.
    pub fn new(zone: Name, set: RecordSet) -> Result<Self, UpdateError> {
        match set.name.is_in(&zone) {
            true => Ok(Self { zone, set }),
            false => Err(UpdateError::NotInZone { name: set.name, zone }),
        }
    }

    /// The message as it goes to the server, signed. `now`: seconds since the UNIX epoch.
    pub fn sign(&self, key: &Key, now: u64) -> Result<(Vec<u8>, Pending), UpdateError> {
        let failed = |error: &dyn fmt::Display| UpdateError::Message(error.to_string());
        let mut message = self.message()?;
        let verifier = message.finalize(&key.signer, now).map_err(|error| failed(&error))?;
        let verifier = verifier.ok_or_else(|| failed(&"it was not signed"))?;
        let octets = message.to_vec().map_err(|error| failed(&error))?;
        Ok((octets, Pending { id: message.metadata.id, verifier }))
    }

    fn message(&self) -> Result<Message, UpdateError> {
        let owner = wire_name(&self.set.name)?;
        let kind = RecordType::from(self.set.record_type);
        // RFC 2136 §2.4.3 and §2.5.2: no record set of a type is class NONE, delete it is class ANY.
        let empty = |kind, class| {
            let mut record = Record::update0(owner.clone(), 0, kind);
            record.dns_class = class;
            record
        };
        // Its random ID is the library's.
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.metadata.recursion_desired = false;
        message.add_zone(Query::query(wire_name(&self.zone)?, RecordType::SOA));
        message.add_pre_requisite(empty(RecordType::A, DNSClass::NONE));
        message.add_update(empty(kind, DNSClass::ANY));
        let record = |path: &Path| {
            let data = RData::Unknown { code: kind, rdata: NULL::with(path.to_rdata()) };
            Record::from_rdata(owner.clone(), self.set.ttl, data)
        };
        message.add_updates(self.set.paths.paths().iter().map(record));
        Ok(message)
    }
}

impl Pending {
    /// Reads the server's answer.
    pub fn finish(mut self, answer: &[u8]) -> Result<(), UpdateError> {
        let message = match self.verifier.verify(answer) {
            Ok(signed) => signed.into_message(),
            // What the server cannot sign (RFC 8945 §5.2) may say why, if nothing good.
            Err(error) => match Message::from_vec(answer) {
                Ok(message) if tsig_error(&message).is_some() => message,
                _ => return Err(UpdateError::Answer(error.to_string())),
            },
        };
        if message.metadata.id != self.id
            || message.metadata.message_type != MessageType::Response
            || message.metadata.op_code != OpCode::Update
        {
            return Err(UpdateError::Answer("it answers something else".into()));
        }
        refusal(&message).map_or(Ok(()), Err)
    }
}

fn refusal(message: &Message) -> Option<UpdateError> {
    let code = message.metadata.response_code;
    match (tsig_error(message), code) {
        (Some(TsigError::BadKey), _) => Some(UpdateError::UnknownKey),
        (Some(TsigError::BadSig), _) => Some(UpdateError::WrongSecret),
        (Some(TsigError::BadTime), _) => Some(UpdateError::WrongTime),
        (Some(error), _) => Some(UpdateError::Code(u16::from(error), "bad signature")),
        (None, ResponseCode::NoError) => None,
        (None, ResponseCode::YXRRSet) => Some(UpdateError::HasAddress),
        (None, ResponseCode::NotAuth) => Some(UpdateError::NotPrimary),
        (None, ResponseCode::Refused) => Some(UpdateError::Forbidden),
        (None, code) => Some(UpdateError::Code(code.into(), code.to_str())),
    }
}

/// What the server says is wrong with our signature.
fn tsig_error(message: &Message) -> Option<TsigError> {
    message.signature()?.data.error
}

/// The library's form of a name. What is absolute here ends with the root there.
pub(super) fn wire_name(name: &Name) -> Result<WireName, UpdateError> {
    WireName::from_bytes(name.as_wire()).map_err(|error| UpdateError::Message(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::TSigResponseContext;
    use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

    use crate::path::PathSet;

    const NOW: u64 = 1_800_000_000;

    fn key(secret: &str) -> Key {
        let text = format!("key \"home\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};");
        Key::parse(&text).expect("a key")
    }

    fn update() -> Update {
        let paths = ["203.0.113.1 192.168.0.2", "203.0.113.2 192.168.0.2"]
            .map(|path| path.parse().expect("a path"));
        let set = RecordSet {
            name: "b.example".parse().expect("a name"),
            ttl: 60,
            record_type: 65324,
            paths: PathSet::new(paths.into()).expect("paths"),
        };
        Update::new("example".parse().expect("a name"), set).expect("in the zone")
    }

    /// What a server says to `request`.
    fn answer(request: &[u8], key: &Key, code: ResponseCode, error: Option<TsigError>) -> Vec<u8> {
        let request = Message::from_vec(request).expect("a message");
        let mac = request.signature().expect("signed").data.mac.clone();
        let mut message = Message::error_msg(request.metadata.id, OpCode::Update, code);
        let unsigned = message.to_vec().expect("encodes");
        let id = request.metadata.id;
        let context = match error {
            Some(TsigError::BadKey) => {
                TSigResponseContext::unknown_key(id, NOW, key.signer.signer_name().clone())
            }
            Some(TsigError::BadSig) => {
                TSigResponseContext::bad_signature(id, NOW, key.signer.clone())
            }
            error => TSigResponseContext::new(id, NOW, key.signer.clone(), mac, error),
        };
        message.set_signature(context.sign(&unsigned).expect("signs"));
        message.to_vec().expect("encodes")
    }

    #[test]
    fn the_message_replaces_the_records() {
        let (octets, _) = update().sign(&key("c2VjcmV0"), NOW).expect("signs");
        let message = Message::from_vec(&octets).expect("a message");
        assert_eq!(message.metadata.op_code, OpCode::Update);
        let [zone] = message.zones() else { panic!("one zone") };
        assert_eq!(
            (zone.name().to_ascii().as_str(), zone.query_type()),
            ("example.", RecordType::SOA)
        );
        let [no_address] = message.prerequisites() else { panic!("one prerequisite") };
        assert_eq!(no_address.record_type(), RecordType::A);
        assert_eq!(no_address.dns_class, DNSClass::NONE);
        let [delete, first, second] = message.updates() else { panic!("three updates") };
        assert_eq!((delete.dns_class, delete.ttl), (DNSClass::ANY, 0));
        for record in [delete, first, second] {
            assert_eq!(record.name.to_ascii(), "b.example.");
            assert_eq!(record.record_type(), RecordType::Unknown(65324));
        }
        let data = |record: &Record| match &record.data {
            RData::Unknown { rdata, .. } => Path::from_rdata(&rdata.anything).expect("a path"),
            other => panic!("{other:?}"),
        };
        assert_eq!([data(first), data(second)][..], *update().set.paths.paths());
        assert_eq!((first.ttl, first.dns_class), (60, DNSClass::IN));
        // The delete has no data at all, in the octets too.
        let mut buffer = Vec::new();
        delete.emit(&mut BinEncoder::new(&mut buffer)).expect("encodes");
        assert!(buffer.ends_with(&[0, 0]), "{buffer:?}");
    }

    #[test]
    fn answers() {
        use UpdateError as E;
        let right = key("c2VjcmV0");
        let finish = |code, error| {
            let (request, pending) = update().sign(&right, NOW).expect("signs");
            pending.finish(&answer(&request, &right, code, error))
        };
        assert_eq!(finish(ResponseCode::NoError, None), Ok(()));
        assert_eq!(finish(ResponseCode::Refused, None), Err(E::Forbidden));
        assert_eq!(finish(ResponseCode::NotAuth, None), Err(E::NotPrimary));
        assert_eq!(finish(ResponseCode::YXRRSet, None), Err(E::HasAddress));
        let code = ResponseCode::ServFail;
        assert_eq!(finish(code, None), Err(E::Code(2, "Server Failure")));
        for (error, expected) in [
            (TsigError::BadKey, E::UnknownKey),
            (TsigError::BadSig, E::WrongSecret),
            (TsigError::BadTime, E::WrongTime),
        ] {
            assert_eq!(finish(ResponseCode::NotAuth, Some(error)), Err(expected));
        }
    }

    #[test]
    fn forged_answers() {
        let (right, wrong) = (key("c2VjcmV0"), key("d3Jvbmc="));
        let finish = |octets: &dyn Fn(&[u8]) -> Vec<u8>| {
            let (request, pending) = update().sign(&right, NOW).expect("signs");
            pending.finish(&octets(&request))
        };
        let good = |request: &[u8]| answer(request, &right, ResponseCode::NoError, None);
        assert_eq!(finish(&good), Ok(()));
        let refused = |octets: &dyn Fn(&[u8]) -> Vec<u8>| {
            assert!(matches!(finish(octets), Err(UpdateError::Answer(_))));
        };
        refused(&|request| answer(request, &wrong, ResponseCode::NoError, None));
        refused(&|request| good(request)[..12].to_vec());
        refused(&|_| Vec::new());
        refused(&|request| {
            let mut unsigned = Message::from_vec(&good(request)).expect("a message");
            unsigned.take_signature();
            unsigned.to_vec().expect("encodes")
        });
        refused(&|request| {
            let mut other = good(request);
            other[0] ^= 1;
            other
        });
        // What is not signed may say no, but never yes.
        let lie = |request: &[u8]| {
            answer(request, &right, ResponseCode::NoError, Some(TsigError::BadSig))
        };
        assert_eq!(finish(&lie), Err(UpdateError::WrongSecret));
    }

    #[test]
    fn a_name_outside_the_zone() {
        let zone: Name = "other.example".parse().expect("a name");
        let set = update().set;
        let expected = UpdateError::NotInZone { name: set.name.clone(), zone: zone.clone() };
        assert_eq!(Update::new(zone, set).err(), Some(expected));
    }
}
