//! What goes on on one connection: whether a request is under way, and how its answers are taken.
//!
//! An answer goes out in pieces, each when there is room for it, so that what a client has not taken is known and not
//! hidden in somebody's buffer. With it is kept what its call holds.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
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

/// How fast an answer is taken at the least, beyond the time that a silent client has.
const LEAST_PER_SECOND: u64 = 16 << 10;

/// Clones are of the same connection.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<Seen>>);

struct Seen {
    /// By their numbers.
    under_way: HashMap<u64, Progress>,
    next: u64,
    /// When the last one ended.
    quiet_since: Instant,
}

#[derive(Clone, Copy)]
enum Progress {
    /// For which the call itself has a limit.
    Asked,
    Answered {
        at: Instant,
        taken: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Busy,
    /// Nothing was asked for so long.
    Idle,
    /// An answer is not taken, or hardly.
    Stuck,
}

impl Activity {
    pub fn begin() -> Activity {
        Activity(Arc::new(Mutex::new(Seen { under_way: HashMap::new(), next: 0, quiet_since: Instant::now() })))
    }

    pub fn judge(&self, now: Instant, patience: Duration) -> Verdict {
        let seen = self.lock();
        if seen.under_way.values().any(|progress| progress.is_stuck(now, patience)) {
            return Verdict::Stuck;
        }
        let is_idle = seen.under_way.is_empty() && now.duration_since(seen.quiet_since) >= patience;
        if is_idle { Verdict::Idle } else { Verdict::Busy }
    }

    fn enter(&self) -> UnderWay {
        let mut seen = self.lock();
        let number = seen.next;
        seen.next += 1;
        seen.under_way.insert(number, Progress::Asked);
        UnderWay { activity: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn is_stuck(self, now: Instant, patience: Duration) -> bool {
        let Progress::Answered { at, taken } = self else { return false };
        now > at + patience + Duration::from_millis(taken * 1_000 / LEAST_PER_SECOND)
    }
}

/// One request, until its answer was taken or given up.
struct UnderWay {
    activity: Activity,
    number: u64,
}

impl UnderWay {
    fn answered(&self) {
        self.activity.lock().under_way.insert(self.number, Progress::Answered { at: Instant::now(), taken: 0 });
    }

    fn takes(&self, bytes: usize) {
        if let Some(Progress::Answered { taken, .. }) = self.activity.lock().under_way.get_mut(&self.number) {
            *taken += bytes as u64;
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
            under_way.answered();
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
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            ended => return Poll::Ready(ended),
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
        let activity = Activity::begin();
        let after = |seconds| activity.judge(Instant::now() + Duration::from_secs(seconds), PATIENCE);
        assert_eq!((after(50), after(60)), (Verdict::Busy, Verdict::Idle));
        let under_way = activity.enter();
        assert_eq!(after(3_600), Verdict::Busy, "a call has limits of its own");
        under_way.answered();
        assert_eq!((after(50), after(61)), (Verdict::Busy, Verdict::Stuck));
        under_way.takes(160 << 10);
        assert_eq!((after(61), after(71)), (Verdict::Busy, Verdict::Stuck), "what is taken gives time");
        drop(under_way);
        assert_eq!((after(50), after(60)), (Verdict::Busy, Verdict::Idle));
    }

    #[tokio::test]
    async fn an_answer_is_whole_in_its_pieces_and_as_long_as_it_says() {
        let activity = Activity::begin();
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
