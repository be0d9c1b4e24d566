//! Clients that ask over UDP.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::answer::Answers;
use super::upstream::Transport;
use crate::dns::shares::Asker;

/// The largest question that is read; longer ones are cut off, and malformed then.
const MAX_QUESTION: usize = 4096;
/// After an error of the socket's own.
const PAUSE: Duration = Duration::from_millis(10);

/// `at`: where `socket` listens.
pub(super) async fn serve(socket: UdpSocket, at: IpAddr, answers: Rc<Answers>) {
    let socket = Rc::new(socket);
    let mut buffer = vec![0; MAX_QUESTION];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            // An ICMP error about an earlier answer, or no memory.
            sleep(PAUSE).await;
            continue;
        };
        let question = buffer.get(..length).unwrap_or_default().to_vec();
        let (socket, answers) = (Rc::clone(&socket), Rc::clone(&answers));
        let asker = Asker::of(at, client.ip());
        // Bounded: beyond the cap of open questions, an answer is ready at once.
        spawn_local(async move {
            if let Some(answer) = answers.to(question, asker, Transport::Udp).await {
                // The client may be gone.
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}
