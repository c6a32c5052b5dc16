//! The programs, as their users see them.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use fourway_testing::eventually;

fn ledger(file: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledger"));
    let Output { status, stdout, .. } = command.arg(file).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap())
}

#[test]
fn the_command_line_keeps_books() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let says = |arguments: &[&str], expected: &str| {
        assert_eq!(ledger(&file, arguments), (Some(0), expected.to_owned()));
    };
    says(&["open", "bank", "1000"], "");
    says(&["open", "cash"], "");
    says(&["transfer", "bank", "cash", "250"], "1\n");
    says(&["balance"], "bank -250\ncash 250\n");
    says(&["balance", "cash"], "cash 250\n");
    says(&["entries", "cash"], "1 +250 bank\n");
    says(&["audit"], "2 accounts, 2 entries\n");
    assert_eq!(
        ledger(&file, &["transfer", "cash", "bank", "251"]).0,
        Some(1)
    );
    assert_eq!(ledger(&file, &["nonsense"]).0, Some(2));
}

/// A server that ends with the test.
struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start(file: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ledger-server"))
            .arg(file)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ");
        let address = address.expect("it says where it listens").to_owned();
        Self {
            child,
            output,
            address,
        }
    }

    /// The status, and the body.
    fn request(&self, method: &str, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let uri = format!("http://{}{path}", self.address);
        let mut response = match method {
            "PUT" => agent.put(&uri).send_empty(),
            "POST" => agent.post(&uri).send_empty(),
            _ => agent.get(&uri).call(),
        }
        .unwrap();
        let status = response.status().as_u16();
        (status, response.body_mut().read_to_string().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_server_serves_streams_and_audits_until_it_is_asked_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let mut server = Server::start(&file);
    let ok = |body: &str| (200, body.to_owned());
    assert_eq!(server.request("PUT", "/accounts/bank?credit=5000").0, 201);
    assert_eq!(server.request("PUT", "/accounts/cash").0, 201);
    let transfer = "/transfers?from=bank&to=cash&amount=1";
    for number in 1..=300 {
        assert_eq!(server.request("POST", transfer), ok(&number.to_string()));
    }
    assert_eq!(server.request("GET", "/accounts/cash"), ok("300"));
    let (_, entries) = server.request("GET", "/accounts/cash/entries");
    assert_eq!(entries.lines().count(), 300);
    assert!(entries.ends_with("\n300 +1 bank\n"), "{entries}");
    assert_eq!(server.request("GET", "/accounts/none/entries").0, 404);
    let too_much = "/transfers?from=cash&to=bank&amount=301";
    assert_eq!(server.request("POST", too_much).0, 409);
    for nothing in ["from=cash&to=cash&amount=1", "from=bank&to=cash&amount=0"] {
        let uri = format!("/transfers?{nothing}");
        assert_eq!(server.request("POST", &uri).0, 400, "{nothing}");
    }
    // A job: submitted now, asked for later.
    let (status, id) = server.request("POST", "/audits");
    assert_eq!(status, 202);
    eventually("the audit has ended", || {
        server.request("GET", &format!("/audits/{id}")) == ok("2 accounts, 600 entries, 0 wrong")
    });
    // The command line sees the same file meanwhile.
    assert_eq!(
        ledger(&file, &["balance", "cash"]),
        (Some(0), "cash 300\n".into())
    );
    #[cfg(unix)]
    {
        let process = rustix::process::Pid::from_child(&server.child);
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        let mut rest = String::new();
        server.output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "ended; 0 jobs are left behind\n");
        assert!(server.child.wait().unwrap().success());
    }
}

#[test]
fn an_audit_that_fails_is_an_error_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("no such folder").join("ledger.db"));
    let (status, id) = server.request("POST", "/audits");
    assert_eq!(status, 202);
    let audit = || server.request("GET", &format!("/audits/{id}"));
    eventually("the audit has ended", || audit().0 == 500);
    assert!(audit().1.contains("ledger.db"), "{}", audit().1);
}
