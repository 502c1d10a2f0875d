//! A box on the way that holds each datagram back for a while: kernels without netem delay nothing by themselves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The largest datagram.
const MAX_DATAGRAM_BYTES: usize = 65_536;

/// How long a datagram is held back: at least `least`, and up to `jitter` longer, drawn for each, so that some overtake others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The least.
    pub least: Duration,
    /// The most that is added.
    pub jitter: Duration,
}

impl Delay {
    fn draw(self) -> Duration {
        self.least + self.jitter.mul_f64(rand::random())
    }
}

/// Forwards what it gets to one listener, and what comes back to whoever sent last. Dropping it ends it.
#[derive(Debug)]
pub struct SlowForwarder {
    /// Where it is to be dialled instead of the listener.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl SlowForwarder {
    /// Receives on a port of `at` that the system picks.
    ///
    /// # Errors
    /// When it gets no socket.
    pub async fn start(at: Ipv4Addr, listener: SocketAddr, delay: Delay) -> io::Result<Self> {
        let inside = Arc::new(UdpSocket::bind((IpAddr::from(at), 0)).await?);
        let outside = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?);
        let address = inside.local_addr()?;
        let task = tokio::spawn(async move {
            let (mut there, mut back) = (vec![0; MAX_DATAGRAM_BYTES], vec![0; MAX_DATAGRAM_BYTES]);
            let mut dialler = None;
            loop {
                // An error is about a datagram before this one, which found nobody; QUIC sends it again.
                tokio::select! {
                    received = inside.recv_from(&mut there) => if let Ok((length, from)) = received {
                        dialler = Some(from);
                        send_later(&outside, there.get(..length), listener, delay);
                    },
                    received = outside.recv_from(&mut back) => if let (Ok((length, _)), Some(dialler)) = (received, dialler) {
                        send_later(&inside, back.get(..length), dialler, delay);
                    },
                }
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for SlowForwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn send_later(socket: &Arc<UdpSocket>, datagram: Option<&[u8]>, to: SocketAddr, delay: Delay) {
    let (socket, datagram) = (Arc::clone(socket), datagram.unwrap_or_default().to_vec());
    tokio::spawn(async move {
        sleep(delay.draw()).await;
        // As on any network: what can't be sent is lost.
        let _ = socket.send_to(&datagram, to).await;
    });
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_datagram_and_its_answer_arrive_and_never_too_early() {
        let delay = Delay { least: Duration::from_millis(20), jitter: Duration::from_millis(10) };
        let listener = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let forwarder = SlowForwarder::start(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap(), delay).await.unwrap();
        let dialler = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let sent = Instant::now();
        dialler.send_to(b"question", forwarder.address).await.unwrap();
        let mut received = [0; 16];
        let (length, from) = listener.recv_from(&mut received).await.unwrap();
        assert_eq!(&received[..length], b"question");
        assert!(sent.elapsed() >= delay.least);
        listener.send_to(b"answer", from).await.unwrap();
        let (length, from) = dialler.recv_from(&mut received).await.unwrap();
        assert_eq!((&received[..length], from), (b"answer".as_slice(), forwarder.address));
        assert!(sent.elapsed() >= delay.least * 2);
    }
}
