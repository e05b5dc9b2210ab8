//! A terminal for the shell: a console of the box, or standard input and output.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::time::Duration;

use embedded_io::ErrorType;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{
    ControlFlags, InputFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcgetattr, tcsetattr,
};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

/// What the shell needs of a terminal.
pub trait Terminal: embedded_io::Read<Error = io::Error> + embedded_io::Write<Error = io::Error> {
    /// Waits for input, at most `timeout`; whether there is some (the end counts).
    ///
    /// # Errors
    /// When the terminal is gone.
    fn wait(&mut self, timeout: Duration) -> io::Result<bool>;

    /// Columns and lines as the terminal tells them, 0 when it does not; `None` when this is no terminal.
    fn size(&self) -> Option<(u16, u16)>;

    /// Whether a BREAK and damaged bytes are marked in what is read (`PARMRK`).
    fn marked(&self) -> bool;
}

/// A terminal of the system, in raw mode. Its mode is restored when this value goes.
#[derive(Debug)]
pub struct Tty {
    input: File,
    output: File,
    saved: Option<Termios>,
}

impl Tty {
    /// Standard input and output, which may also be pipes; as they are when this is for a script.
    ///
    /// # Errors
    /// When they are closed.
    pub fn standard(script: bool) -> io::Result<Self> {
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        if script { Ok(Self { input, output, saved: None }) } else { Self::raw(input, output) }
    }

    /// Whether a person may sit there.
    #[must_use]
    pub const fn interactive(&self) -> bool {
        self.saved.is_some()
    }

    /// The console `/dev/NAME`, as controlling terminal of a new session.
    ///
    /// # Errors
    /// When there is no such terminal.
    pub fn console(name: &str) -> io::Result<Self> {
        // A session leader without terminal gets the first one it opens (tty_ioctl(4)). Started by hand this
        // process may lead its group already, which does no harm.
        let _ = setsid();
        let path = format!("/dev/{name}");
        let console = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot open {path}: {error}")))?;
        dup2_stdin(&console)?;
        dup2_stdout(&console)?;
        dup2_stderr(&console)?;
        Self::raw(console.try_clone()?, console)
    }

    pub(super) fn raw(input: File, output: File) -> io::Result<Self> {
        // A line that hangs up is read as ended, so that the candidate is kept; the signal would end us before that.
        let mut hang_up = SigSet::empty();
        hang_up.add(Signal::SIGHUP);
        hang_up.thread_block()?;
        let saved = tcgetattr(&input).ok();
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            cfmakeraw(&mut raw);
            // A stray Ctrl-S must not freeze the output; the line outlives us. A BREAK and damaged bytes are read with a
            // mark before them: without IGNBRK, BRKINT and IGNPAR, and with INPCK for what the port finds wrong.
            raw.input_flags
                .remove(InputFlags::IXON | InputFlags::IXOFF | InputFlags::IGNBRK | InputFlags::BRKINT);
            raw.input_flags.remove(InputFlags::IGNPAR);
            raw.input_flags.insert(InputFlags::PARMRK | InputFlags::INPCK);
            raw.control_flags.insert(ControlFlags::CLOCAL | ControlFlags::CREAD);
            raw.control_flags.remove(ControlFlags::HUPCL);
            raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            tcsetattr(&input, SetArg::TCSANOW, &raw)?;
        }
        Ok(Self { input, output, saved })
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            // The terminal may be gone; then there is nothing to restore.
            let _ = tcsetattr(&self.input, SetArg::TCSADRAIN, saved);
        }
    }
}

impl ErrorType for Tty {
    type Error = io::Error;
}

impl embedded_io::Read for Tty {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.input.read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other side of a pty is gone.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                result => return result,
            }
        }
    }
}

impl embedded_io::Write for Tty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.output.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl Terminal for Tty {
    fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.input.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn size(&self) -> Option<(u16, u16)> {
        self.saved.as_ref()?;
        Some(crate::sys::window_size(&self.output).unwrap_or_default())
    }

    fn marked(&self) -> bool {
        self.saved.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;

    fn mode(terminal: &impl AsFd) -> Termios {
        tcgetattr(terminal).unwrap()
    }

    #[test]
    fn a_terminal_is_raw_without_flow_control_while_it_is_used_and_as_before_afterwards() {
        let pty = openpty(None, None).unwrap();
        let before = mode(&pty.slave);
        assert!(before.input_flags.contains(InputFlags::IXON));
        let slave = File::from(pty.slave.try_clone().unwrap());
        let tty = Tty::raw(slave.try_clone().unwrap(), slave).unwrap();
        let during = mode(&pty.slave);
        let unwanted = InputFlags::IXON | InputFlags::ICRNL | InputFlags::IGNBRK | InputFlags::BRKINT;
        assert!(!during.input_flags.intersects(unwanted | InputFlags::IGNPAR));
        assert!(during.input_flags.contains(InputFlags::PARMRK) && tty.marked());
        assert!(during.control_flags.contains(ControlFlags::CLOCAL));
        assert!(!during.control_flags.contains(ControlFlags::HUPCL));
        // What waits to be sent would hold the restoring up.
        drop(tty);
        let after = mode(&pty.slave);
        assert_eq!(after.input_flags, before.input_flags);
        assert_eq!(after.local_flags, before.local_flags);
        assert_eq!(after.output_flags, before.output_flags);
    }

    #[test]
    fn a_terminal_tells_its_size_and_a_pipe_has_none() {
        let size = nix::pty::Winsize { ws_row: 50, ws_col: 132, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let slave = File::from(pty.slave);
        assert_eq!(Tty::raw(slave.try_clone().unwrap(), slave).unwrap().size(), Some((132, 50)));
        let (read, write) = nix::unistd::pipe().unwrap();
        assert_eq!(Tty::raw(File::from(read), File::from(write)).unwrap().size(), None);
    }
}
