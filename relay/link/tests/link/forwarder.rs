//! A box between two links that forwards datagrams, and can change its address or go silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Forwarder {
    pub address: SocketAddr,
    is_silent: Arc<AtomicBool>,
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
        let silent = Arc::clone(&is_silent);
        let task = tokio::spawn(async move {
            let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
            let mut dialler = None;
            loop {
                let current = Arc::clone(&changed.borrow_and_update());
                tokio::select! {
                    Ok((length, from)) = inside.recv_from(&mut there) => {
                        dialler = Some(from);
                        if !silent.load(Ordering::Relaxed) {
                            current.send_to(&there[..length], listener).await.unwrap();
                        }
                    }
                    Ok((length, _)) = current.recv_from(&mut back) => {
                        if let Some(dialler) = dialler && !silent.load(Ordering::Relaxed) {
                            inside.send_to(&back[..length], dialler).await.unwrap();
                        }
                    }
                    Ok(()) = changed.changed() => {}
                }
            }
        });
        Self { address, is_silent, outside, task }
    }

    /// Talks to the listener from another port from now on, as a NAT does after a while.
    pub async fn change_address(&self) {
        self.outside.send_replace(any_socket().await);
    }

    pub fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}
