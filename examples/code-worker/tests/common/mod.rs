//! The program with its page, and a client that may send anything.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
};

use fourway_testing::AGES;
use serde_json::Value;

/// Ends with the test.
pub struct Program {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub host: String,
    pub token: String,
    _stdout: BufReader<ChildStdout>,
}

impl Program {
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_code-worker"))
            .arg("--page")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").expect("an address");
        let (host, token) = address.split_once("/#").expect("a token");
        Self {
            child,
            host: host.to_owned(),
            token: token.to_owned(),
            _stdout: stdout,
        }
    }

    pub fn address(&self) -> String {
        format!("http://{}/#{}", self.host, self.token)
    }

    /// The header that a client with the token sends.
    pub fn right(&self) -> String {
        format!("authorization: Bearer {}", self.token)
    }

    /// A request with these lines as its headers, and the answer as far as its head.
    pub fn ask(&self, request: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(AGES)).unwrap();
        let length = body.len();
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!("{request} HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n");
        // A request may be refused before it is completely written.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()));
        Answer::read(stream)
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        let host = format!("host: {}", self.host);
        self.ask(&format!("POST {path}"), &[&host, &self.right()], body)
    }

    /// A client of the protocol.
    pub fn connect(&self) -> Client<'_> {
        let mut answers = self.post("/connect", "");
        assert_eq!(answers.status, 200);
        let number = answers.line().unwrap()["connection"].as_u64().unwrap();
        Client {
            program: self,
            number,
            answers,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Client<'a> {
    program: &'a Program,
    pub number: u64,
    pub answers: Answer,
}

impl Client<'_> {
    pub fn say(&self, message: &Value) {
        let path = format!("/send/{}", self.number);
        assert_eq!(self.program.post(&path, &message.to_string()).status, 204);
    }

    /// The next message of the worker.
    pub fn hear(&mut self) -> Value {
        self.answers.line().expect("the connection is open")
    }
}

/// An answer, of which the body comes piece by piece.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<String>,
    stream: BufReader<TcpStream>,
    chunk: Vec<u8>,
}

impl Answer {
    fn read(stream: TcpStream) -> Self {
        let mut stream = BufReader::new(stream);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => headers.push(line.to_ascii_lowercase()),
            }
        }
        let status = headers.first().expect("an answer").split(' ').nth(1);
        Self {
            status: status.unwrap().parse().unwrap(),
            headers,
            stream,
            chunk: Vec::new(),
        }
    }

    /// A line of a body that comes in chunks; none at its end.
    pub fn line(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.chunk.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.chunk.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let mut size = String::new();
            self.stream.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).expect("the size of a chunk");
            if size == 0 {
                return None;
            }
            let mut piece = vec![0; size + 2];
            self.stream.read_exact(&mut piece).unwrap();
            self.chunk.extend_from_slice(&piece[..size]);
        }
    }
}
