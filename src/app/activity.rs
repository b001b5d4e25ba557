//! What goes on on one connection: whether a request is under way, and how its answers are taken.
//!
//! An answer goes out in pieces, each when there is room for it, so that what a client has not taken is known and not
//! hidden in somebody's buffer. With it is kept what its call holds.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use futures::future::BoxFuture;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::service::TowerToHyperService;
use tokio::time::Instant;

/// The most that leaves an answer at once.
const PIECE: usize = 64 << 10;

/// How fast an answer is taken at the least.
const LEAST_PER_SECOND: u64 = 16 << 10;

/// Clones are of the same connection.
#[derive(Clone)]
pub(super) struct Activity {
    seen: Arc<Mutex<Seen>>,
    /// How long a client may be silent, and as much behind the pace of an answer.
    patience: Duration,
}

struct Seen {
    /// By their numbers.
    under_way: HashMap<u64, Turn>,
    next: u64,
    /// When the last one ended.
    quiet_since: Instant,
}

/// Whose turn it is, of one request.
#[derive(Clone, Copy)]
enum Turn {
    /// To answer, or to go on with the answer: a call has limits of its own.
    Service,
    /// To take some of the answer, until then.
    Client(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Busy,
    /// Nothing was asked for so long.
    Idle,
    /// An answer is not taken, or hardly, beside others that are.
    Slow,
    /// No answer is.
    Stuck,
}

impl Activity {
    pub fn begin(patience: Duration) -> Activity {
        let seen = Seen { under_way: HashMap::new(), next: 0, quiet_since: Instant::now() };
        Activity { seen: Arc::new(Mutex::new(seen)), patience }
    }

    pub fn judge(&self, now: Instant) -> Verdict {
        let seen = self.lock();
        let stuck = seen.under_way.values().filter(|turn| turn.is_over(now)).count();
        match seen.under_way.len() {
            0 if now.duration_since(seen.quiet_since) >= self.patience => Verdict::Idle,
            0 => Verdict::Busy,
            all if stuck == all => Verdict::Stuck,
            _ if stuck > 0 => Verdict::Slow,
            _ => Verdict::Busy,
        }
    }

    fn enter(&self) -> UnderWay {
        let mut seen = self.lock();
        let number = seen.next;
        seen.next += 1;
        seen.under_way.insert(number, Turn::Service);
        UnderWay { activity: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The client's, who has just taken so many bytes.
    fn after(self, bytes: usize, now: Instant, patience: Duration) -> Turn {
        let earned = Duration::from_millis(bytes as u64 * 1_000 / LEAST_PER_SECOND);
        Turn::Client(match self {
            Turn::Service => now + patience,
            Turn::Client(until) => (until.max(now) + earned).min(now + patience),
        })
    }

    fn is_over(self, now: Instant) -> bool {
        matches!(self, Turn::Client(until) if now > until)
    }
}

/// One request, until its answer was taken or given up.
struct UnderWay {
    activity: Activity,
    number: u64,
}

impl UnderWay {
    /// There is nothing to take: what comes next has to be fetched.
    fn waits(&self) {
        self.activity.lock().under_way.insert(self.number, Turn::Service);
    }

    /// So many bytes were taken, and more may be.
    fn takes(&self, bytes: usize) {
        if let Some(turn) = self.activity.lock().under_way.get_mut(&self.number) {
            *turn = turn.after(bytes, Instant::now(), self.activity.patience);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut seen = self.activity.lock();
        seen.under_way.remove(&self.number);
        seen.quiet_since = Instant::now();
    }
}

/// Answers the requests of one connection.
pub(super) struct Answers {
    router: TowerToHyperService<Router>,
    activity: Activity,
}

impl Answers {
    pub fn new(router: Router, activity: Activity) -> Answers {
        Answers { router: TowerToHyperService::new(router), activity }
    }
}

impl Service<Request<Incoming>> for Answers {
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Pieces>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (under_way, answer) = (self.activity.enter(), self.router.call(request));
        Box::pin(async move {
            let answer = answer.await?;
            under_way.takes(0);
            Ok(answer.map(|body| Pieces { body, rest: Bytes::new(), under_way }))
        })
    }
}

/// The body of an answer.
pub(super) struct Pieces {
    body: Body,
    /// Of what the body gave last.
    rest: Bytes,
    under_way: UnderWay,
}

impl Pieces {
    fn next(&mut self, mut data: Bytes) -> Frame<Bytes> {
        let piece = data.split_to(data.len().min(PIECE));
        self.rest = data;
        self.under_way.takes(piece.len());
        Frame::data(piece)
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(self.next(rest))));
        }
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(ended) => return Poll::Ready(ended),
            Poll::Pending => {
                self.under_way.waits();
                return Poll::Pending;
            }
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(data) => self.next(data),
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        match hint.exact() {
            Some(length) => hint.set_exact(length + rest),
            None => hint.set_lower(hint.lower() + rest),
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_connection_is_idle_once_nothing_is_under_way_for_so_long() {
        let activity = Activity::begin(PATIENCE);
        let after = |seconds| activity.judge(Instant::now() + Duration::from_secs(seconds));
        assert_eq!((after(50), after(60)), (Verdict::Busy, Verdict::Idle));
        let under_way = activity.enter();
        assert_eq!(after(3_600), Verdict::Busy, "a call has limits of its own");
        drop(under_way);
        assert_eq!((after(50), after(60)), (Verdict::Busy, Verdict::Idle));
    }

    #[test]
    fn an_answer_has_to_be_taken_at_some_pace() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let answered = Turn::Service.after(0, start, PATIENCE);
        let is_over = |turn: Turn| (turn.is_over(at(60)), turn.is_over(at(61)));
        assert_eq!(is_over(answered), (false, true));
        assert_eq!(
            is_over(answered.after(1 << 30, start, PATIENCE)),
            (false, true),
            "not much at once and then nothing"
        );
        let some = answered.after(160 << 10, at(30), PATIENCE);
        assert_eq!((some.is_over(at(70)), some.is_over(at(71))), (false, true), "what is taken gives time");
        assert!(!Turn::Service.is_over(at(3_600)), "the client waits for us");
    }

    #[test]
    fn one_that_is_stuck_does_not_end_others() {
        let activity = Activity::begin(PATIENCE);
        let (stuck, other) = (activity.enter(), activity.enter());
        let late = Instant::now() + PATIENCE * 2;
        stuck.takes(0);
        assert_eq!(activity.judge(late), Verdict::Slow);
        drop(other);
        assert_eq!(activity.judge(late), Verdict::Stuck);
    }

    #[tokio::test]
    async fn an_answer_is_whole_in_its_pieces_and_as_long_as_it_says() {
        let activity = Activity::begin(PATIENCE);
        let under_way = activity.enter();
        let all: Vec<u8> = (0..3 * PIECE + 7).map(|it| it as u8).collect();
        let mut pieces = Pieces { body: Body::from(all.clone()), rest: Bytes::new(), under_way };
        assert_eq!(pieces.size_hint().exact(), Some(all.len() as u64));
        let first = std::future::poll_fn(|context| Pin::new(&mut pieces).poll_frame(context)).await;
        let first = first.expect("a piece").expect("read").into_data().expect("data");
        assert_eq!((first.len(), pieces.size_hint().exact()), (PIECE, Some((all.len() - PIECE) as u64)));
        assert!(!pieces.is_end_stream());
        let rest = to_bytes(Body::new(pieces), usize::MAX).await.expect("read");
        assert!([first, rest].concat() == all);
        assert!(activity.lock().under_way.is_empty());
    }
}
