//! A proxy that cuts the connection in the middle of a call, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    None,
    /// Half of the next request arrives.
    Request,
    /// The next request arrives whole, and its answer does not.
    Answer,
}

pub struct CuttingProxy {
    pub port: u16,
    next: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

impl CuttingProxy {
    #[expect(clippy::disallowed_methods, reason = "the proxy stands for a network, which nobody waits for")]
    pub async fn before(port: u16) -> CuttingProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("it is bound").port();
        let next = Arc::new(AtomicU8::new(Cut::None as u8));
        let cuts = next.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.expect("the server is up");
                tokio::spawn(forward(client, server, cuts.clone()));
            }
        });
        CuttingProxy { port: own, next, task }
    }

    pub fn cut(&self, cut: Cut) {
        self.next.store(cut as u8, Ordering::SeqCst);
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until either side ends, or the cut comes.
async fn forward(mut client: TcpStream, mut server: TcpStream, next: Arc<AtomicU8>) {
    let (mut request, mut answer) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut swallow = false;
    loop {
        tokio::select! {
            Ok(count) = client.read(&mut request), if !swallow => {
                let cut = if count == 0 { Cut::None as u8 } else { next.swap(Cut::None as u8, Ordering::SeqCst) };
                let sent = if cut == Cut::Request as u8 { count / 2 } else { count };
                if server.write_all(&request[..sent]).await.is_err() || count == 0 || cut == Cut::Request as u8 {
                    return;
                }
                swallow = cut == Cut::Answer as u8;
            }
            Ok(count) = server.read(&mut answer) => {
                if swallow || count == 0 || client.write_all(&answer[..count]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}
