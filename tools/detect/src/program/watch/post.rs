//! Results sent to somebody else, who must not hold us up.

use std::fmt;
use std::sync::mpsc::{channel, sync_channel, Receiver, SyncSender};
use std::time::Duration;

use intertwine_flow::Told;

use super::http::Url;

/// Lines that may wait to be sent. What is older is of no use to a receiver that is so far behind.
const QUEUE: usize = 64;

/// Sends JSON lines, one request each, from a thread of its own.
pub struct Post {
    queue: SyncSender<Vec<u8>>,
    /// What the thread did, when it has ended.
    outcome: Receiver<Sent>,
    patience: Duration,
    dropped: u64,
}

/// What was sent, and what failed.
#[derive(Default)]
struct Sent {
    sent: u64,
    failed: u64,
}

/// What became of the lines.
pub struct Outcome {
    /// None while the last line is still under way.
    sent: Option<Sent>,
    dropped: u64,
}

impl Post {
    /// To an address, waiting so long for each answer.
    pub fn new(url: Url, timeout: Duration) -> Self {
        let (queue, lines) = sync_channel::<Vec<u8>>(QUEUE);
        let (done, outcome) = channel();
        std::thread::spawn(move || {
            let mut sent = Sent::default();
            let mut working = true;
            for line in lines {
                let result = url.post(&line, timeout);
                match &result {
                    Ok(()) => sent.sent += 1,
                    // Told once, not for each of the lines that fail until the receiver is back.
                    Err(error) if working => eprintln!("cannot post to {url}: {}", Told(&**error)),
                    Err(_) => {}
                }
                working = result.is_ok();
                sent.failed += u64::from(!working);
            }
            // Nobody listens if the program could not wait.
            let _ = done.send(sent);
        });
        Self {
            queue,
            outcome,
            patience: timeout,
            dropped: 0,
        }
    }

    /// Sends a line some time, if there is room for it.
    pub fn send(&mut self, line: &[u8]) {
        let full = self.queue.try_send(line.to_vec()).is_err();
        self.dropped += u64::from(full);
    }

    /// Waits for what is in the queue, no longer than for one answer.
    pub fn finish(self) -> Outcome {
        drop(self.queue);
        Outcome {
            sent: self.outcome.recv_timeout(self.patience).ok(),
            dropped: self.dropped,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sent {
            Some(Sent { sent, failed }) => write!(f, "posted: {sent} lines, {failed} failed")?,
            None => write!(
                f,
                "posted: the receiver did not keep up, and the rest of the queue is lost"
            )?,
        }
        write!(f, ", {} dropped", self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_does_not_answer_holds_nobody_up() {
        // It accepts connections, since the system does, but nobody reads or answers.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let mut post = Post::new(url.parse().unwrap(), Duration::from_secs(5));
        for _ in 0..QUEUE + 10 {
            post.send(b"{}\n");
        }
        // One may be under way, the others wait.
        assert!((9..=10).contains(&post.dropped), "{}", post.dropped);
        post.patience = Duration::from_millis(50);
        assert!(post.finish().to_string().contains("did not keep up"));
    }
}
