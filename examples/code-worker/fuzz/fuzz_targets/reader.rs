//! The invariants of the protocol's reader for arbitrary input: for the fuzzer, and for the random
//! lines of `tests/protocol.rs`.

use code_worker::protocol::{Answer, LONGEST_LINE, Line, Lines, Reply, parse};

/// Panics if an invariant is broken. The bytes come at once, and in pieces of `cut` bytes.
pub fn check(cut: usize, bytes: &[u8]) {
    let lines = read([bytes]);
    assert_eq!(
        lines,
        read(bytes.chunks(cut.max(1))),
        "it matters how bytes come"
    );
    for line in &lines {
        let Line::Whole(line) = line else {
            assert!(bytes.len() > LONGEST_LINE, "{} bytes", bytes.len());
            continue;
        };
        assert!(line.len() <= LONGEST_LINE && !line.contains(&b'\n'));
        match parse(line) {
            // A parsed message can be written again.
            Ok(message) => {
                let again = serde_json::to_vec(&message).expect("made of texts and numbers");
                assert_eq!(parse(&again), Ok(message));
            }
            Err(answer) => refused(line, &answer),
        }
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Line> {
    let (mut lines, mut found) = (Lines::default(), Vec::new());
    for piece in pieces {
        lines.feed(piece, |line| found.push(line));
    }
    lines.end(|line| found.push(line));
    found
}

/// The reply is one line, which any client can read, with the number of its request.
fn refused(line: &[u8], answer: &Answer) {
    assert!(matches!(answer.reply, Reply::Bad { .. }), "{answer:?}");
    let text = answer.line();
    assert_eq!(text.find('\n'), Some(text.len() - 1));
    let read: Answer = serde_json::from_str(&text).expect("an answer is JSON");
    assert_eq!(read, *answer);
    let number = serde_json::from_slice::<serde_json::Value>(line).ok();
    assert_eq!(answer.id, number.and_then(|value| value["id"].as_u64()));
}
