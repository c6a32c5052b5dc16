//! Where messages begin and end, as seen by the client, the gateway and the upstream: with any
//! pieces and framing, and with contradictory headers.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
};

use fourway_core::{AnyRuntime, Spawner, cancel::CancellationToken};
use fourway_net::Net;
use fourway_testing::run;
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::join};
use gateway::{Gateway, Log, Metrics, Settings};
use proptest::{collection::vec, prelude::*, sample::select};

/// A message, read by a reader that accepts exactly one framing.
#[derive(Clone, Debug)]
struct Message {
    first: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(it, _)| it == name);
        let one = all.next().map(|(_, value)| &**value);
        assert!(all.next().is_none(), "twice: {name} in {self:?}");
        one
    }
}

/// Reads messages off a stream.
struct Reader<S> {
    stream: S,
    buf: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    async fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 1024];
        let read = self.stream.read(&mut piece).await?;
        self.buf.extend_from_slice(&piece[..read]);
        Ok(read > 0)
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buf.windows(2).position(|it| it == b"\r\n") {
                let line = self.buf.drain(..end + 2).take(end).collect();
                return Ok(Some(String::from_utf8(line).unwrap()));
            }
            if !self.fill().await? {
                assert!(self.buf.is_empty(), "half a line: {:?}", self.buf);
                return Ok(None);
            }
        }
    }

    async fn exactly(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        while self.buf.len() < bytes {
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buf.drain(..bytes).collect())
    }

    /// `None` at the end of the stream.
    async fn message(&mut self, is_answer: bool) -> io::Result<Option<Message>> {
        let Some(first) = self.line().await? else {
            return Ok(None);
        };
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?.expect("the head ends");
            let Some((name, value)) = line.split_once(':') else {
                assert_eq!(line, "");
                break;
            };
            assert!(!name.contains([' ', '\t']), "{line:?}");
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let mut message = Message {
            first,
            headers,
            body: Vec::new(),
        };
        let length = message.header("content-length").map(str::to_owned);
        message.body = match (length, message.header("transfer-encoding")) {
            (Some(_), Some(_)) => panic!("two framings: {message:?}"),
            (Some(length), None) => {
                assert!(length.bytes().all(|b| b.is_ascii_digit()), "{length}");
                self.exactly(length.parse().unwrap()).await?
            }
            (None, Some(encoding)) => {
                assert_eq!(encoding, "chunked");
                self.chunks().await?
            }
            (None, None) if is_answer => {
                while self.fill().await? {}
                std::mem::take(&mut self.buf)
            }
            (None, None) => Vec::new(),
        };
        Ok(Some(message))
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let Some(size) = self.line().await? else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let size = usize::from_str_radix(&size, 16).unwrap();
            if size == 0 {
                while self.line().await?.is_some_and(|line| !line.is_empty()) {}
                return Ok(body);
            }
            body.extend(self.exactly(size).await?);
            assert_eq!(self.exactly(2).await?, b"\r\n");
        }
    }
}

/// How a body is sent.
#[derive(Clone, Debug)]
enum Framing {
    Length,
    /// Sizes of chunks, in turn, and how each is written.
    Chunked(Vec<(usize, Style)>),
    /// To the end of the stream; only for answers.
    ToTheEnd,
}

#[derive(Clone, Copy, Debug)]
enum Style {
    Plain,
    UpperCase,
    LeadingZeros,
    Extension,
    Space,
}

impl Framing {
    /// The header and the body.
    fn frame(&self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Length => {
                let mut framed = format!("content-length: {}\r\n\r\n", body.len()).into_bytes();
                framed.extend_from_slice(body);
                framed
            }
            Self::ToTheEnd => [b"connection: close\r\n\r\n", body].concat(),
            Self::Chunked(sizes) => {
                let mut framed = b"Transfer-Encoding: chunked\r\n\r\n".to_vec();
                let mut rest = body;
                for (size, style) in sizes.iter().cycle() {
                    let (chunk, after) = rest.split_at((*size).min(rest.len()));
                    let size = chunk.len();
                    let line = match style {
                        Style::Plain => format!("{size:x}"),
                        Style::UpperCase => format!("{size:X}"),
                        Style::LeadingZeros => format!("000{size:x}"),
                        Style::Extension => format!("{size:x};name=\"a value\""),
                        Style::Space => format!("{size:x} "),
                    };
                    framed.extend_from_slice(line.as_bytes());
                    framed.extend_from_slice(b"\r\n");
                    framed.extend_from_slice(chunk);
                    framed.extend_from_slice(b"\r\n");
                    if size == 0 {
                        return framed;
                    }
                    rest = after;
                }
                unreachable!("there is a size")
            }
        }
    }
}

fn framing() -> impl Strategy<Value = Framing> {
    let style = select(vec![
        Style::Plain,
        Style::UpperCase,
        Style::LeadingZeros,
        Style::Extension,
        Style::Space,
    ]);
    let chunked = vec((1..300usize, style), 1..5).prop_map(Framing::Chunked);
    prop_oneof![Just(Framing::Length), chunked]
}

/// Sends it in pieces of these sizes, in turn.
async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    pieces: &[usize],
) -> io::Result<()> {
    let mut rest = bytes;
    let mut pieces = pieces.iter().cycle();
    while let (false, Some(size)) = (rest.is_empty(), pieces.next()) {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        stream.write_all(piece).await?;
        // So that the reader may see this piece alone.
        fourway_core::yield_now().await;
        rest = after;
    }
    Ok(())
}

/// How the upstream answers: it sends back the body that it got.
#[derive(Clone, Debug)]
struct Plan {
    framing: Framing,
    pieces: Vec<usize>,
}

/// A gateway, and an upstream that records its requests.
struct Bench {
    rt: AnyRuntime,
    gateway: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
    plan: Arc<Mutex<Plan>>,
    metrics: Arc<Metrics>,
}

impl Bench {
    /// One for all cases.
    fn get() -> &'static Self {
        static BENCH: OnceLock<Bench> = OnceLock::new();
        BENCH.get_or_init(|| {
            let rt = fourway_testing::any();
            run(&rt, Self::new(rt.clone()))
        })
    }

    async fn new(rt: AnyRuntime) -> Self {
        let plan = Arc::new(Mutex::new(Plan {
            framing: Framing::Length,
            pieces: vec![1000],
        }));
        let seen = Arc::<Mutex<Vec<Message>>>::default();
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let (runtime, writes, planned) = (rt.clone(), seen.clone(), plan.clone());
        rt.spawn_detached(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, plan) = (writes.clone(), planned.clone());
                runtime.spawn_detached(async move {
                    let buf = Vec::new();
                    let mut reader = Reader { stream, buf };
                    // A request that is cut off in the middle does not count.
                    while let Ok(Some(message)) = reader.message(false).await {
                        let plan = plan.lock().unwrap().clone();
                        let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
                        answer.extend(plan.framing.frame(&message.body));
                        seen.lock().unwrap().push(message);
                        if send(&mut reader.stream, &answer, &plan.pieces)
                            .await
                            .is_err()
                            || matches!(plan.framing, Framing::ToTheEnd)
                        {
                            break;
                        }
                    }
                });
            }
        });
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = Settings {
            upstreams: vec![upstream.to_string()],
            check_every: None,
            ..Settings::default()
        };
        let gateway = Gateway::new(&rt, settings, Log::none()).unwrap();
        let metrics = gateway.metrics();
        rt.spawn_detached(async move {
            gateway.serve(listener, &CancellationToken::new()).await;
        });
        Self {
            rt,
            gateway: address,
            seen,
            plan,
            metrics,
        }
    }

    /// Sends these bytes over one connection, reads this many answers or to the end, and gives the
    /// answers and the upstream's requests.
    fn exchange(
        &self,
        bytes: &[u8],
        pieces: &[usize],
        plan: Plan,
        answers: usize,
    ) -> (Vec<Message>, Vec<Message>) {
        *self.plan.lock().unwrap() = plan;
        self.seen.lock().unwrap().clear();
        let answers = run(&self.rt, async {
            let stream = self.rt.connect_tcp(self.gateway).await.unwrap();
            let (read, mut write) = stream.into_split();
            let buf = Vec::new();
            let mut reader = Reader { stream: read, buf };
            let reading = async {
                let mut read = Vec::new();
                while read.len() < answers {
                    match reader.message(true).await {
                        Ok(Some(answer)) => read.push(answer),
                        _ => break,
                    }
                }
                read
            };
            // A request that is refused half-way is not read to its end. Writing is not shut down:
            // the server would take the client as gone.
            join(reading, send(&mut write, bytes, pieces)).await.0
        });
        (answers, std::mem::take(&mut self.seen.lock().unwrap()))
    }

    /// How many good answers the gateway has given.
    fn good(&self) -> usize {
        let metrics = self.metrics.to_string();
        let name = "gateway_answers_total{status=\"2xx\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse().unwrap()
    }
}

/// One case at a time: they share the upstream, which records its requests.
static TURN: Mutex<()> = Mutex::new(());

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn bodies_arrive_as_they_were_sent(
        bodies in vec(vec(any::<u8>(), 0..1500), 1..4),
        request in framing(),
        answer in prop_oneof![4 => framing(), 1 => Just(Framing::ToTheEnd)],
        pieces in (vec(1..700usize, 1..6), vec(1..700usize, 1..6)),
    ) {
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut bytes = Vec::new();
        for (i, body) in bodies.iter().enumerate() {
            bytes.extend(format!("POST /{i} HTTP/1.1\r\nhost: x\r\n").into_bytes());
            bytes.extend(request.frame(body));
        }
        let plan = Plan { framing: answer, pieces: pieces.1 };
        let (answers, seen) = Bench::get().exchange(&bytes, &pieces.0, plan, bodies.len());
        prop_assert_eq!(answers.len(), bodies.len());
        prop_assert_eq!(seen.len(), bodies.len());
        for (i, body) in bodies.iter().enumerate() {
            prop_assert_eq!(&seen[i].first, &format!("POST /{i} HTTP/1.1"));
            prop_assert_eq!(&seen[i].body, body);
            prop_assert_eq!(&answers[i].first, "HTTP/1.1 200 OK");
            prop_assert_eq!(&answers[i].body, body);
        }
    }

    /// Both sides agree on the meaning: the upstream has seen as many requests, each
    /// with one framing, as the gateway has given good answers, and in that order.
    #[test]
    fn contradictions_smuggle_nothing(
        framings in vec(select(FRAMINGS.to_vec()), 1..4),
        version in select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]),
        body in select(BODIES.to_vec()),
        pieces in vec(1..60usize, 1..6),
    ) {
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let head = format!("POST /first {version}\r\nhost: x\r\n{}\r\n", framings.concat());
        // Whatever is taken as the first one's body, the last request ends the connection.
        let rest = "GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n\
                    GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let request = format!("{head}{body}{rest}");
        let plan = Plan { framing: Framing::Length, pieces: vec![1000] };
        let bench = Bench::get();
        let before = bench.good();
        let (_, seen) = bench.exchange(request.as_bytes(), &pieces, plan, usize::MAX);
        prop_assert_eq!(bench.good() - before, seen.len(), "{:?}", &seen);
        // The methods may differ: a body or the next method may end elsewhere.
        let paths: Vec<_> = seen.iter().map(|it| it.first.split(' ').nth(1).unwrap()).collect();
        prop_assert!(["/first", "/hidden", "/last"].starts_with(&paths), "{:?}", &seen);
        let lengths: Vec<_> = framings.iter().filter(|it| it.starts_with("Content-")).collect();
        let is_contradiction = lengths.windows(2).any(|two| two[0] != two[1])
            && lengths.len() == framings.len();
        prop_assert!(!is_contradiction || seen.is_empty(), "two lengths, and it is passed on");
    }
}

const FRAMINGS: [&str; 14] = [
    "Content-Length: 5\r\n",
    "Content-Length: 6\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 5, 6\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Content-Length : 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Transfer-Encoding : chunked\r\n",
];

const BODIES: [&str; 8] = [
    "",
    "hello",
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "5;\nx\r\nhello\r\n0\r\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
];
