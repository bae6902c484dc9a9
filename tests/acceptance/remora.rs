//! The command line, as a person uses it.

use std::{
    ffi::OsString,
    process::{Command, Output, Stdio},
};

use remora_tests::binaries::binary;
use serde_json::Value;

/// A command line that knows its server, by variables of its environment.
pub(crate) struct Remora {
    environment: Vec<(&'static str, OsString)>,
}

impl Remora {
    pub(crate) fn new(environment: Vec<(&'static str, OsString)>) -> Self {
        Remora { environment }
    }

    /// The command line, to be run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("remora"));
        command.args(args).envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Runs one command line.
    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs one command line that must succeed; its standard output.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "remora {args:?}: {}\n{stdout}\n{stderr}", output.status);
        stdout.into_owned()
    }

    /// The project as JSON.
    pub(crate) fn status(&self, name: &str) -> Value {
        serde_json::from_str(&self.run(&["status", name, "-o", "json"])).expect("the output is JSON")
    }
}
