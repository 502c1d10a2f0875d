//! A box between two links that forwards datagrams, and can change its address, go silent, or lose and double some.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Forwarder {
    pub address: SocketAddr,
    is_silent: Arc<AtomicBool>,
    is_bad: Arc<AtomicBool>,
    outside: watch::Sender<Arc<UdpSocket>>,
    task: JoinHandle<()>,
}

async fn any_socket() -> Arc<UdpSocket> {
    Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap())
}

impl Forwarder {
    /// Forwards what it gets to `listener`, and what comes back to whoever sent last.
    pub async fn to(listener: SocketAddr) -> Self {
        let inside = any_socket().await;
        let address = inside.local_addr().unwrap();
        let is_silent = Arc::new(AtomicBool::new(false));
        let (outside, mut changed) = watch::channel(any_socket().await);
        let is_bad = Arc::new(AtomicBool::new(false));
        let (silent, bad) = (Arc::clone(&is_silent), Arc::clone(&is_bad));
        let task = tokio::spawn(async move {
            let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
            let mut dialler = None;
            let mut count = 0_u64;
            let mut copies = move || {
                count += 1;
                match (silent.load(Ordering::Relaxed), bad.load(Ordering::Relaxed), count % 20) {
                    (true, _, _) | (false, true, 3 | 11) => 0,
                    (false, true, 7) => 2,
                    _ => 1,
                }
            };
            loop {
                let current = Arc::clone(&changed.borrow_and_update());
                tokio::select! {
                    Ok((length, from)) = inside.recv_from(&mut there) => {
                        dialler = Some(from);
                        for _ in 0..copies() {
                            current.send_to(&there[..length], listener).await.unwrap();
                        }
                    }
                    Ok((length, _)) = current.recv_from(&mut back) => {
                        if let Some(dialler) = dialler {
                            for _ in 0..copies() {
                                inside.send_to(&back[..length], dialler).await.unwrap();
                            }
                        }
                    }
                    Ok(()) = changed.changed() => {}
                }
            }
        });
        Self { address, is_silent, is_bad, outside, task }
    }

    /// Talks to the listener from another port from now on, as a NAT does after a while.
    pub async fn change_address(&self) {
        self.outside.send_replace(any_socket().await);
    }

    pub fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// Loses one datagram of ten from now on, and doubles one of twenty.
    pub fn set_bad(&self) {
        self.is_bad.store(true, Ordering::Relaxed);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}
