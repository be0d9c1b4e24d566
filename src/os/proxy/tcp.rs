//! Clients that ask over TCP (RFC 7766): many questions on one connection, answered as the answers come.

use std::cell::RefCell;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::answer::{Answers, Place};
use super::framed;
use super::upstream::Transport;
use crate::counters::{Counter, Counters};
use crate::dns::shares::{Asker, Shares};

/// The most connections; others are closed at once.
pub(super) const MAX_CONNECTIONS: usize = 128;
/// The most questions on one whose answers the client has not taken; it is not read meanwhile. Answers
/// may have 64 KiB.
const MAX_PIPELINED: usize = 16;
/// A connection on which nothing is open is closed after so long without a whole question
/// (RFC 7766 §6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// How long a client may take to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an error of the listening socket's own.
const PAUSE: Duration = Duration::from_millis(50);

/// Room for the connections of all listeners.
pub(super) struct Connections {
    shares: RefCell<Shares>,
    counters: Arc<Counters>,
}

impl Connections {
    /// `serves`: whether other hosts than this one are listened to.
    pub(super) fn new(serves: bool, counters: Arc<Counters>) -> Self {
        Self { shares: RefCell::new(Shares::new(MAX_CONNECTIONS, serves)), counters }
    }

    fn place(&self, asker: Asker) -> Option<Place<'_>> {
        let place = Place::take(&self.shares, asker);
        if place.is_err() {
            self.counters.add(Counter::ProxyConnectionRefused);
            log::debug!("DNS proxy: no room for another connection of {asker:?}");
        }
        place.ok()
    }
}

/// `at`: where `listener` listens.
pub(super) async fn serve(
    listener: TcpListener,
    at: IpAddr,
    answers: Rc<Answers>,
    room: Rc<Connections>,
) {
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            // No descriptor, or a client that has gone again.
            sleep(PAUSE).await;
            continue;
        };
        let (answers, room) = (Rc::clone(&answers), Rc::clone(&room));
        let asker = Asker::of(at, client.ip());
        spawn_local(async move {
            if let Some(_place) = room.place(asker) {
                talk(stream, answers, asker).await;
            }
        });
    }
}

/// Until the client ends it, or says nothing for too long; its questions are still answered then.
async fn talk(stream: TcpStream, answers: Rc<Answers>, asker: Asker) {
    let (mut reader, writer) = stream.into_split();
    let (given, taken) = mpsc::channel(MAX_PIPELINED);
    let room = Arc::new(Semaphore::new(MAX_PIPELINED));
    let writing = spawn_local(write(writer, taken));
    while let Some(question) = next(&mut reader, &room).await {
        // Taken here, so that the next question is not read before.
        let Ok(turn) = Arc::clone(&room).acquire_owned().await else { break };
        if given.is_closed() {
            break;
        }
        let (answers, given) = (Rc::clone(&answers), given.clone());
        spawn_local(async move {
            if let Some(answer) = answers.to(question, asker, Transport::Tcp).await {
                // The connection may be gone.
                let _ = given.send((answer, turn)).await;
            }
        });
    }
    drop(given);
    // It ends with the last answer.
    let _ = writing.await;
}

/// The next question; nothing at the end, or when the client has had nothing to say for too long.
async fn next(reader: &mut OwnedReadHalf, room: &Semaphore) -> Option<Vec<u8>> {
    let mut question = pin!(framed::read(reader));
    loop {
        match timeout(IDLE, &mut question).await {
            Ok(question) => return question.ok(),
            Err(_) if room.available_permits() == MAX_PIPELINED => return None,
            // It waits for answers.
            Err(_) => {}
        }
    }
}

/// An answer, and the room that it takes until it is written.
type Answer = (Vec<u8>, OwnedSemaphorePermit);

async fn write(mut writer: OwnedWriteHalf, mut taken: mpsc::Receiver<Answer>) {
    while let Some((answer, _turn)) = taken.recv().await {
        let written = timeout(PATIENCE, framed::write(&mut writer, &answer)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}
