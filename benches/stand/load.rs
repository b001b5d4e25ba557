//! Requests over connections that stay open, by a thread each: little enough work beside what is measured.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Requests of one shape to one address, ready to be sent.
pub struct Load {
    pub address: String,
    pub requests: Vec<Vec<u8>>,
}

/// What a loop came to.
pub struct Done {
    /// In microseconds.
    pub took: Histogram<u64>,
    pub answers: u64,
    pub answer_bytes: u64,
}

/// Who asks: more than are ever under way, in the open loop.
const OPEN_CONNECTIONS: usize = 64;
const SEED: u64 = 11;

impl Load {
    pub fn post(address: &str, path: &str, bodies: impl Iterator<Item = String>) -> Load {
        let request = |body: String| {
            let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n");
            format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        Load { address: address.to_owned(), requests: bodies.map(request).collect() }
    }

    /// Each connection asks again as soon as it has its answer.
    pub fn closed(&self, connections: usize, time: Duration) -> Done {
        let end = Instant::now() + time;
        self.on_each(connections, |connection, random| {
            let mut done = Done::new();
            while Instant::now() < end {
                done.record(Instant::now(), connection.ask(random.choice(&self.requests).expect("there are some")));
            }
            done
        })
    }

    /// Requests are due at a rate, whether or not others were answered: their times count from then.
    pub fn open(&self, rate: f64, time: Duration) -> Done {
        let (start, mean) = (Instant::now(), OPEN_CONNECTIONS as f64 / rate);
        self.on_each(OPEN_CONNECTIONS, |connection, random| {
            let mut done = Done::new();
            let mut due = start;
            loop {
                // Exponential gaps on each connection: all of them together come as if from many clients.
                due += Duration::from_secs_f64(-mean * (1.0 - random.f64()).ln());
                if due > start + time {
                    return done;
                }
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                done.record(due, connection.ask(random.choice(&self.requests).expect("there are some")));
            }
        })
    }

    fn on_each(&self, connections: usize, run: impl Fn(&mut Connection, &mut fastrand::Rng) -> Done + Sync) -> Done {
        let work = &|number: usize| {
            let mut connection = Connection::to(&self.address);
            run(&mut connection, &mut fastrand::Rng::with_seed(SEED + number as u64))
        };
        let mut all = Done::new();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections).map(|number| scope.spawn(move || work(number))).collect();
            threads.into_iter().for_each(|thread| all += thread.join().expect("each request is answered"));
        });
        all
    }
}

impl Done {
    fn new() -> Done {
        Done { took: Histogram::new(3).expect("three digits"), answers: 0, answer_bytes: 0 }
    }

    fn record(&mut self, since: Instant, answer_bytes: usize) {
        self.took.record(since.elapsed().as_micros() as u64).expect("in range");
        self.answers += 1;
        self.answer_bytes += answer_bytes as u64;
    }
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Done) {
        self.took += &other.took;
        self.answers += other.answers;
        self.answer_bytes += other.answer_bytes;
    }
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    fn to(address: &str) -> Connection {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_nodelay(true).expect("a setting of every socket");
        Connection { stream, received: vec![0; 1 << 16] }
    }

    /// Returns the length of the answer's body.
    fn ask(&mut self, request: &[u8]) -> usize {
        self.stream.write_all(request).expect("it is taken");
        let (mut filled, mut whole) = (0, None);
        while whole.is_none_or(|(head, body)| filled < head + body) {
            if filled == self.received.len() {
                self.received.resize(2 * filled, 0);
            }
            let count = self.stream.read(&mut self.received[filled..]).expect("it is answered");
            assert!(count > 0, "the connection was closed");
            filled += count;
            whole = whole.or_else(|| lengths(&self.received[..filled]));
        }
        whole.expect("its lengths are known").1
    }
}

/// Of head and body, once the head is there.
fn lengths(received: &[u8]) -> Option<(usize, usize)> {
    let head = received.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&received[..head]).expect("heads are text");
    assert!(text.starts_with("HTTP/1.1 200"), "{}", String::from_utf8_lossy(received));
    let length = text
        .lines()
        .find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")));
    Some((head, length.expect("answers have a length").1.trim().parse().expect("a number")))
}
