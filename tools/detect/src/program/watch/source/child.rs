//! A program that works for us. It does not outlive us, though the thread that reads from it may hang in a read when we end.

use std::io;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The program, if it runs, in the hands of whoever reads from it and of whoever ends it.
#[derive(Clone, Default)]
pub struct Child(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    running: Option<std::process::Child>,
    /// No more is started.
    ended: bool,
}

/// Ends the program when dropped.
pub struct End(Child);

impl Child {
    /// Starts the program in place of one that was killed before. What it writes and what it says comes back.
    ///
    /// # Errors
    /// It cannot be started, or has ended for good.
    pub fn start(&self, command: &mut Command) -> io::Result<(ChildStdout, ChildStderr)> {
        let mut state = self.state();
        if state.ended {
            return Err(io::Error::other("it was told to end"));
        }
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = state.running.insert(command.spawn()?);
        let pipes = running.stdout.take().zip(running.stderr.take());
        pipes.ok_or_else(|| io::Error::other("it has no pipes"))
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It was killed in the meantime.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        loop {
            // Not within the lock, so that it can be killed.
            let status = match &mut self.state().running {
                Some(running) => running.try_wait()?,
                None => return Err(io::Error::other("it was killed")),
            };
            match status {
                Some(status) => return Ok(status),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Kills it, if it runs.
    pub fn kill(&self) {
        if let Some(mut running) = self.state().running.take() {
            // Fails if it has ended.
            let _ = running.kill();
            let _ = running.wait();
        }
    }

    /// Kills it for good.
    pub fn end(&self) {
        self.state().ended = true;
        self.kill();
    }

    /// Whether [`end`](Self::end) was called.
    pub fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Something that ends it when it goes out of scope.
    pub fn ends_here(&self) -> End {
        End(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment: a poisoned state is still a state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}
