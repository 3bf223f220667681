//! Processes of other accounts that call the daemon, so that it gets the caller from the kernel.
//!
//! Tests make about ten thousand calls, and a new process for each would cost more than the daemon's work. Therefore an
//! agent keeps running after its call and makes the next one of its account, on a new connection. A test that needs a new
//! process, or special headers and bodies, uses [`Bastion::curl`].
//!
//! [`Bastion::curl`]: crate::bastion::Bastion::curl

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::bastion::{Person, as_person};
use crate::plane::Answer;

/// The idle agents, by account. They end with this process, which closes their input.
static IDLE: Mutex<BTreeMap<u32, Vec<Agent>>> = Mutex::new(BTreeMap::new());

/// Makes a call as a process of this person.
///
/// # Errors
/// The connection failed: nothing listens, or the daemon was killed meanwhile.
pub(crate) fn call(person: Person, socket: &Path, method: &str, path: &str, body: &Value) -> Result<Answer, String> {
    let idle = IDLE.lock().unwrap().entry(person.uid).or_default().pop();
    let mut agent = idle.unwrap_or_else(|| Agent::start(person));
    let answer = agent.call(socket, method, path, body);
    IDLE.lock().unwrap().entry(person.uid).or_default().push(agent);
    answer
}

struct Agent {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _process: Child,
}

impl Agent {
    fn start(person: Person) -> Self {
        let mut python = Command::new("python3");
        // The system's own Python, which every account can run.
        python.env_clear().env("PATH", "/usr/bin:/bin").args(["-ISc", include_str!("agent.py")]);
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = as_person(&mut python, person).spawn().unwrap();
        let input = process.stdin.take().unwrap();
        Self { input, output: BufReader::new(process.stdout.take().unwrap()), _process: process }
    }

    fn call(&mut self, socket: &Path, method: &str, path: &str, body: &Value) -> Result<Answer, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        writeln!(self.input, "{}", json!([socket, method, path, body])).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let (status, told): (u16, String) = serde_json::from_str(&line).unwrap();
        if status == 0 {
            return Err(told);
        }
        Ok((status, serde_json::from_str(&told).unwrap_or(Value::String(told))))
    }
}
