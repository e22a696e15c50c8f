//! A descriptor that wakes an event loop.

use std::io::{ErrorKind, Read, Result, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// A pair of sockets. Any thread wakes; one event loop waits for the descriptor.
pub struct Wake {
    wakes: UnixStream,
    woken: UnixStream,
}

impl Wake {
    pub fn new() -> Result<Self> {
        let (wakes, woken) = UnixStream::pair()?;
        wakes.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok(Self { wakes, woken })
    }

    /// Makes the descriptor readable; never waits.
    pub fn wake(&self) -> Result<()> {
        match (&self.wakes).write(&[1]) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            // A full socket is readable already.
            _ => Ok(()),
        }
    }

    /// Makes the descriptor unreadable until the next wake-up.
    pub fn clear(&self) {
        while matches!((&self.woken).read(&mut [0; 64]), Ok(64)) {}
    }

    /// The descriptor to wait for.
    pub fn fileno(&self) -> i32 {
        self.woken.as_raw_fd()
    }
}
