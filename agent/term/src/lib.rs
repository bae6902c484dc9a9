//! Terminals and commands: everything the shim runs for its clients, without
//! any transport.
//!
//! ```text
//! registry ── opens, names, forgets ──► terminal (PTY) and command (pipes)
//! children ── forks and reaps             │ driver: the only reader
//! tree     ── finds and signals           ▼
//! session  ── decides who types what    ring ──► attach: a viewer pulls
//! ```
//!
//! Reading never waits for a viewer: the driver drains the kernel into a ring
//! of bounded size, viewers pull from it, and what the ring had to overwrite is
//! told as a gap. How a process ended is told once, after its last byte.

mod attach;
mod children;
mod command;
mod confine;
mod environment;
mod error;
mod excerpt;
mod exit;
mod limits;
mod moment;
mod oom;
mod oom_score;
mod pty;
mod registry;
mod ring;
mod screen;
mod session;
mod sys;
mod terminal;
mod tree;

pub use attach::{Attachment, Event, LagPolicy, Start, Typist};
pub use children::{Adopt, Children, Spawned};
pub use command::{Command, CommandSpec, CommandView, Stream};
pub use confine::Confinement;
pub use environment::{Environment, Prepared};
pub use error::TermError;
pub use excerpt::{Excerpt, excerpt};
pub use exit::{Cause, Death, ExitStatus};
pub use limits::*;
pub use moment::Moment;
pub use pty::Size;
pub use registry::{Counts, Registry};
pub use ring::{Held, Ring};
pub use screen::{ScreenText, visible};
pub use session::Mode;
pub use sys::{close_on_exec_from, signal_number};
pub use terminal::{Terminal, TerminalSpec, TerminalView};
pub use tree::{Frozen, Load, Process, Target, freeze, kill_descendants, load, thaw};
