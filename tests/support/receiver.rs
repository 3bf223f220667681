//! A receiver of webhooks that does what a test tells it to: it answers, or it misbehaves as receivers do.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "each test uses a part of it, and it says when a request arrived"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    /// The header fields, in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) raw: Vec<u8>,
    pub(crate) body: Value,
    pub(crate) at: SystemTime,
    /// Whether it was answered with 2xx.
    pub(crate) accepted: bool,
}

impl Got {
    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(crate) fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    pub(crate) fn grant(&self) -> &str {
        self.body["data"]["grant"]["id"].as_str().unwrap_or("")
    }

    pub(crate) fn number(&self) -> u64 {
        self.body["data"]["number"].as_u64().unwrap()
    }
}

/// What the receiver does with a request.
#[derive(Clone, Debug)]
pub(crate) enum How {
    /// Answers with this status, these header lines and this body.
    Answer(u16, &'static str, Vec<u8>),
    /// Reads the request, and says nothing for ever.
    Hang,
    /// Answers 200, and then a byte of the body each 50 ms, for ever.
    Trickle,
    /// Sends a byte of the head each 50 ms, for ever.
    TrickleHead,
    /// Announces a body of 1000 bytes, sends 10, and closes.
    CloseHalfWay,
    /// Closes without an answer.
    Close,
}

impl How {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, "", Vec::new())
    }
}

/// A receiver.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    /// One that does with each request as `how` says; it is told how many arrived before.
    pub(crate) fn that(how: impl Fn(&Got, usize) -> How + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (got, how) = (Arc::<Mutex<Vec<Got>>>::default(), Arc::new(how));
        let all = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, how) = (Arc::clone(&all), Arc::clone(&how));
                // A client that goes away in between is no fault.
                std::thread::spawn(move || _ = attend(stream, &all, &*how));
            }
        });
        Self { port, got }
    }

    /// One that takes everything.
    pub(crate) fn taking() -> Self {
        Self::that(|_, _| How::status(204))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?token=hush", self.port)
    }

    /// What arrived so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// When a fact of this kind about this grant arrived. It copies nothing, so it may be called often.
    pub(crate) fn when(&self, kind: &str, grant: &str) -> Option<SystemTime> {
        let got = self.got.lock().unwrap();
        got.iter().rev().find(|got| got.grant() == grant && got.kind() == kind).map(|got| got.at)
    }

    /// How many arrived so far.
    pub(crate) fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    /// What arrived so far and was taken.
    pub(crate) fn taken(&self) -> Vec<Got> {
        self.got().into_iter().filter(|got| got.accepted).collect()
    }
}

fn attend(mut stream: TcpStream, all: &Mutex<Vec<Got>>, how: &dyn Fn(&Got, usize) -> How) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let (head, mut body) = loop {
        let mut buffer = [0; 16 * 1024];
        let read = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..read]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes[end + 4..].to_vec());
        }
        if read == 0 {
            return Ok(());
        }
    };
    let headers: BTreeMap<String, String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().unwrap();
    let begun = body.len();
    body.resize(length, 0);
    stream.read_exact(&mut body[begun..])?;
    let at = SystemTime::now();
    let mut got = Got { headers, body: serde_json::from_slice(&body).unwrap(), raw: body, at, accepted: false };
    let before = all.lock().unwrap().len();
    let how = how(&got, before);
    got.accepted = matches!(how, How::Answer(200..300, ..) | How::Trickle | How::CloseHalfWay);
    all.lock().unwrap().push(got);
    let slowly = |stream: &mut TcpStream| -> std::io::Result<()> {
        loop {
            stream.write_all(b"x")?;
            std::thread::park_timeout(Duration::from_millis(50));
        }
    };
    match how {
        How::Answer(status, more, body) => {
            let length = body.len();
            stream.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{more}\r\n").as_bytes())?;
            stream.write_all(&body)
        }
        How::Hang => loop {
            std::thread::park();
        },
        How::Trickle => {
            stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\n")?;
            slowly(&mut stream)
        }
        How::TrickleHead => {
            stream.write_all(b"HTTP/1.1 200 X\r\nx: ")?;
            slowly(&mut stream)
        }
        How::CloseHalfWay => stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n0123456789"),
        How::Close => Ok(()),
    }
}
