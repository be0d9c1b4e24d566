//! DNS messages on a stream: two octets of length in front of each (RFC 1035 §4.2.2).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The next message.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// In one piece, so that length and message share a segment (RFC 7766 §8).
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (mut near, mut far) = tokio::io::duplex(1 << 17);
            for message in [&b""[..], b"one", &[7; 65_535]] {
                write(&mut near, message).await.expect("written");
                assert_eq!(read(&mut far).await.expect("read"), message);
            }
            assert!(write(&mut near, &[0; 65_536]).await.is_err());
            // Half a message, and then the end.
            near.write_all(b"\0\x05half").await.expect("written");
            drop(near);
            assert!(read(&mut far).await.is_err());
        });
    }
}
