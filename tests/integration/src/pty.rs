//! A program at a terminal, as a person has it: its three streams are one PTY.

use std::{os::fd::OwnedFd, process::Stdio};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::process::{Child, Command};

/// Starts `command` at a terminal of 80 by 24: its other end and the process, which is
/// killed when dropped.
pub fn at_terminal(mut command: Command) -> (OwnedFd, Child) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a PTY is free");
    grantpt(&master).expect("the PTY is ours");
    unlockpt(&master).expect("the PTY is ours");
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).expect("a PTY has a size");
    let name = ptsname(&master, Vec::new()).expect("a PTY has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave: OwnedFd = rustix::fs::open(name, flags, Mode::empty()).expect("the other end opens");
    let end = || Stdio::from(slave.try_clone().expect("there are descriptors left"));
    let child = command.stdin(end()).stdout(end()).stderr(end()).kill_on_drop(true).spawn();
    // The command keeps its copies of the other end for a further start; they go with it.
    (master, child.expect("the program starts"))
}
