//! The answers of ExecService.

use std::collections::HashSet;

use remora_agent_term::{COMMANDS, FRAME_BYTES};
use remora_proto::{
    agent::v1::{
        Command, CommandData, CommandGap, CommandOutput, Excerpt, GetOutputResponse, ListCommandsResponse,
        OutputStream, RunResponse, WriteStdinRequest, WriteStdinResponse, command_output::Frame,
    },
    model::ContainerName,
};

use super::{Violation, argv, cwd, id, labels, optional_exit, processes, range, same_id};

/// A command of `container`.
pub(crate) fn command(container: &ContainerName, mut command: Command) -> Result<Command, Violation> {
    id(&command.id)?;
    command.container = container.to_string();
    argv(&command.argv)?;
    cwd(&command.cwd)?;
    labels(&command.labels)?;
    range(command.stdout)?;
    range(command.stderr)?;
    command.exit = optional_exit(command.exit)?;
    if command.exit.is_some() != (command.ended_ms > 0) {
        return Err(Violation("a command that has ended without an end, or the other way round"));
    }
    command.pipe_holders = processes(command.pipe_holders);
    Ok(command)
}

/// The command `asked`.
pub(crate) fn this_command(container: &ContainerName, asked: &str, answer: Command) -> Result<Command, Violation> {
    same_id(&answer.id, asked)?;
    command(container, answer)
}

pub(crate) fn ran(container: &ContainerName, characters: usize, answer: RunResponse) -> Result<RunResponse, Violation> {
    let ended = command(container, answer.command.ok_or(Violation("a run without its command"))?)?;
    if ended.exit.is_none() {
        return Err(Violation("a run that has not ended"));
    }
    let fits = |excerpt: &Option<Excerpt>| {
        let Some(Excerpt { head, tail, .. }) = excerpt else { return false };
        head.chars().count() + tail.chars().count() <= characters
    };
    if !fits(&answer.stdout) || !fits(&answer.stderr) {
        return Err(Violation("more output than was asked for, or none"));
    }
    Ok(RunResponse { command: Some(ended), survivors: processes(answer.survivors), ..answer })
}

pub(crate) fn list(container: &ContainerName, answer: ListCommandsResponse) -> Result<ListCommandsResponse, Violation> {
    let mut ids = HashSet::new();
    if answer.commands.len() > COMMANDS || !answer.commands.iter().all(|command| ids.insert(&command.id)) {
        return Err(Violation("a list of commands that is too long or names one twice"));
    }
    let commands = answer.commands.into_iter().map(|one| command(container, one)).collect::<Result<_, _>>()?;
    Ok(ListCommandsResponse { commands })
}

/// The offset after a write: all of it is written, and perhaps more was before.
pub(crate) fn written(
    request: &WriteStdinRequest,
    answer: WriteStdinResponse,
) -> Result<WriteStdinResponse, Violation> {
    let end = request.offset.saturating_add(request.data.len() as u64);
    if answer.offset >= end { Ok(answer) } else { Err(Violation("fewer bytes of stdin than were given")) }
}

pub(crate) fn output(offset: u64, limit: usize, answer: GetOutputResponse) -> Result<GetOutputResponse, Violation> {
    let held = range(answer.held)?;
    let end = answer.offset.checked_add(answer.data.len() as u64);
    let fits = answer.offset >= offset && answer.data.len() <= limit && end.is_some_and(|end| end <= held.head);
    if fits { Ok(answer) } else { Err(Violation("a range of output other than was asked for")) }
}

/// The frames of one attachment, checked as they come.
pub(crate) struct Following {
    container: ContainerName,
    id: String,
    stdout: u64,
    stderr: u64,
    over: bool,
}

impl Following {
    pub(crate) fn new(container: &ContainerName, id: &str, stdout: u64, stderr: u64) -> Self {
        Following { container: container.clone(), id: id.to_owned(), stdout, stderr, over: false }
    }

    /// Whether the last frame has come.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// The frame as it may be passed on.
    pub(crate) fn take(&mut self, output: CommandOutput) -> Result<CommandOutput, Violation> {
        if self.over {
            return Err(Violation("a frame after Exit"));
        }
        let frame = match output.frame.ok_or(Violation("an empty frame"))? {
            Frame::Data(data) => self.data(data).map(Frame::Data),
            Frame::Gap(gap) => self.gap(gap).map(Frame::Gap),
            Frame::Heartbeat(heartbeat)
                if heartbeat.stdout_head >= self.stdout && heartbeat.stderr_head >= self.stderr =>
            {
                Ok(Frame::Heartbeat(heartbeat))
            }
            Frame::Heartbeat(_) => Err(Violation("a head before what was sent")),
            Frame::Exit(mut ended) => {
                let answer = ended.command.ok_or(Violation("an end without its command"))?;
                let command = this_command(&self.container, &self.id, answer)?;
                let heads = [command.stdout, command.stderr].map(|range| range.map(|range| range.head));
                if command.exit.is_none() || heads != [Some(self.stdout), Some(self.stderr)] {
                    return Err(Violation("an end before the last byte"));
                }
                self.over = true;
                ended.command = Some(command);
                Ok(Frame::Exit(ended))
            }
        }?;
        Ok(CommandOutput { frame: Some(frame) })
    }

    fn data(&mut self, data: CommandData) -> Result<CommandData, Violation> {
        let next = self.next(data.stream())?;
        let end = data.offset.checked_add(data.data.len() as u64);
        match end {
            Some(end) if data.offset == *next && (1..=FRAME_BYTES).contains(&data.data.len()) => {
                *next = end;
                Ok(data)
            }
            _ => Err(Violation("output at another offset, none, or too much of it")),
        }
    }

    fn gap(&mut self, gap: CommandGap) -> Result<CommandGap, Violation> {
        let next = self.next(gap.stream())?;
        if gap.from != *next || gap.to <= gap.from {
            return Err(Violation("a gap elsewhere than where output goes on"));
        }
        *next = gap.to;
        Ok(gap)
    }

    fn next(&mut self, stream: OutputStream) -> Result<&mut u64, Violation> {
        match stream {
            OutputStream::Stdout => Ok(&mut self.stdout),
            OutputStream::Stderr => Ok(&mut self.stderr),
            OutputStream::Unspecified => Err(Violation("output of no stream")),
        }
    }
}

#[cfg(test)]
mod tests {
    use remora_proto::agent::v1::{CommandExit, CommandHeartbeat, ExitStatus, StreamRange, exit_status::Cause};

    use super::*;

    const ID: &str = "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44";

    fn ended(stdout: u64, stderr: u64) -> Command {
        Command {
            id: ID.to_owned(),
            argv: vec!["sh".to_owned()],
            stdout: Some(StreamRange { base: 0, head: stdout }),
            stderr: Some(StreamRange { base: 0, head: stderr }),
            exit: Some(ExitStatus { cause: Cause::Exited.into(), code: Some(3), signal: None }),
            ended_ms: 1,
            ..Command::default()
        }
    }

    fn data(stream: OutputStream, offset: u64, length: usize) -> Frame {
        Frame::Data(CommandData { stream: stream.into(), offset, data: vec![b'x'; length].into() })
    }

    fn check(frames: Vec<Frame>) -> bool {
        let mut following = Following::new(&"dev".parse().unwrap(), ID, 5, 0);
        let (last, before) = frames.split_last().unwrap();
        for frame in before {
            following.take(CommandOutput { frame: Some(frame.clone()) }).unwrap();
        }
        following.take(CommandOutput { frame: Some(last.clone()) }).is_ok()
    }

    #[test]
    fn both_streams_go_on_where_they_stopped_and_the_end_comes_last() {
        use OutputStream::{Stderr, Stdout, Unspecified};
        let exit = |stdout, stderr| Frame::Exit(CommandExit { command: Some(ended(stdout, stderr)) });
        let gap = |from, to| Frame::Gap(CommandGap { stream: Stdout.into(), from, to });
        assert!(check(vec![data(Stdout, 5, 3), data(Stderr, 0, 2), gap(8, 10), data(Stdout, 10, 1), exit(11, 2)]));
        let beat = |stdout_head, stderr_head| Frame::Heartbeat(CommandHeartbeat { stdout_head, stderr_head });
        assert!(check(vec![beat(5, 0)]));
        let other = Command { id: "5f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44".to_owned(), ..ended(5, 0) };
        for (at, frames) in [
            vec![data(Stdout, 4, 3)],
            vec![data(Stdout, 5, 3), data(Stdout, 5, 3)],
            vec![data(Unspecified, 5, 3)],
            vec![data(Stdout, 5, 0)],
            vec![data(Stdout, 5, FRAME_BYTES + 1)],
            vec![gap(4, 9)],
            vec![gap(5, 5)],
            vec![data(Stdout, 5, 3), beat(7, 0)],
            vec![data(Stdout, 5, 3), exit(7, 0)],
            vec![exit(9, 0)],
            vec![exit(5, 0), exit(5, 0)],
            vec![Frame::Exit(CommandExit { command: Some(other) })],
            vec![Frame::Exit(CommandExit { command: Some(Command { exit: None, ended_ms: 0, ..ended(5, 0) }) })],
            vec![Frame::Exit(CommandExit { command: None })],
        ]
        .into_iter()
        .enumerate()
        {
            assert!(!check(frames), "row {at}");
        }
    }

    #[test]
    fn a_listing_is_bounded_and_its_ids_are_ids() {
        let name = "dev".parse().unwrap();
        let of = |commands| list(&name, ListCommandsResponse { commands });
        assert_eq!(of(vec![ended(0, 0)]).unwrap().commands[0].container, "dev");
        assert!(of(vec![ended(0, 0), ended(0, 0)]).is_err());
        assert!(of(vec![Command { id: "../x".to_owned(), ..ended(0, 0) }]).is_err());
        assert!(of(vec![Command { argv: vec!["x".repeat(10_000)], ..ended(0, 0) }]).is_err());
        assert!(of(vec![Command { stdout: Some(StreamRange { base: 2, head: 1 }), ..ended(0, 0) }]).is_err());
        assert!(of(vec![Command { ended_ms: 0, ..ended(0, 0) }]).is_err());
    }
}
