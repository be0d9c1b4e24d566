//! Lines of the protocol: one versioned JSON object each.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The version of the protocol that this code speaks.
pub const VERSION: u64 = 1;
/// The longest request line, in octets, without its line end.
pub const MAX_REQUEST_OCTETS: usize = 64 * 1024;

/// Why a line is not a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineError {
    /// Not a JSON object with a version, or not one this code knows.
    Malformed(String),
    /// Another version of the protocol.
    Version(u64),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => write!(f, "not a line of the control protocol: {reason}"),
            Self::Version(version) => write!(
                f,
                "control protocol version {version}, but this side speaks {VERSION}; \
                 run nattt and natttd of the same release (restart the daemon after an upgrade)"
            ),
        }
    }
}

impl std::error::Error for LineError {}

/// Writes a request or a reply as one line, line end included.
pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    // Messages are plain data with text keys: they have no form that JSON lacks.
    let mut line = serde_json::to_vec(&Versioned::new(body)).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Writes a reply for people and scripts: the same object as on the wire, over many lines.
pub fn pretty<T: Serialize>(body: &T) -> String {
    serde_json::to_string_pretty(&Versioned::new(body)).unwrap_or_default() + "\n"
}

/// Reads a request or a reply from one line, with or without its line end.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, LineError> {
    let malformed = |e: serde_json::Error| LineError::Malformed(e.to_string());
    let value: Value = serde_json::from_slice(line).map_err(malformed)?;
    match value.get("version").and_then(Value::as_u64) {
        Some(VERSION) => T::deserialize(value).map_err(malformed),
        Some(version) => Err(LineError::Version(version)),
        None => Err(LineError::Malformed("it has no version number".into())),
    }
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u64,
    #[serde(flatten)]
    body: &'a T,
}

impl<'a, T> Versioned<'a, T> {
    fn new(body: &'a T) -> Self {
        Self { version: VERSION, body }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reply, Request};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_as_they_stand_on_the_wire() {
        let cases = [
            (Request::Status, r#"{"version":1,"request":"status"}"#),
            (Request::Flows { limit: 5 }, r#"{"version":1,"request":"flows","limit":5}"#),
        ];
        for (request, line) in cases {
            assert_eq!(encode(&request), format!("{line}\n").into_bytes());
            assert_eq!(decode(line.as_bytes()), Ok(request));
        }
    }

    #[test]
    fn another_version_is_named() {
        let line = br#"{"version":2,"request":"flows","filter":{}}"#;
        assert_eq!(decode::<Request>(line), Err(LineError::Version(2)));
    }

    #[test]
    fn hostile_lines_are_malformed() {
        let deep = "[".repeat(MAX_REQUEST_OCTETS);
        let lines: [&[u8]; 9] = [
            b"",
            b"null",
            b"\xff\xfe",
            deep.as_bytes(),
            br#"{"request":"status"}"#,
            br#"{"version":-1,"request":"status"}"#,
            br#"{"version":1,"request":"reboot"}"#,
            br#"{"version":1,"request":"flows","limit":-1}"#,
            br#"{"version":1,"request":"flows","limit":1e99}"#,
        ];
        for line in lines {
            assert!(matches!(decode::<Request>(line), Err(LineError::Malformed(_))), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_message_or_an_error(line in prop::collection::vec(any::<u8>(), 0..99)) {
            prop_assert!(decode::<Request>(&line).is_err());
            prop_assert!(decode::<Reply>(&line).is_err());
        }

        #[test]
        fn a_message_is_one_line(message in any::<String>()) {
            let reply = Reply::Error { message };
            let line = encode(&reply);
            prop_assert_eq!(line.iter().filter(|&&octet| octet == b'\n').count(), 1);
            prop_assert_eq!(decode(&line), Ok(reply.clone()));
            prop_assert_eq!(decode(pretty(&reply).as_bytes()), Ok(reply));
        }
    }
}
