//! A request's body that has to come: without long pauses, and all of it in its time. A body of some bytes has the time
//! of a call, a large one as much more as its bytes need at [`LEAST_PER_SECOND`], so that no client holds a place for long
//! by sending a little of it now and then.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

const LEAST_PER_SECOND: u64 = 64 << 10;

/// A body that did not come in its time.
#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
pub(super) struct TooSlow;

pub(super) struct Paced {
    body: Body,
    pause: Duration,
    /// When a body of no bytes has to have ended.
    end: Instant,
    bytes: u64,
    /// Runs while nothing comes.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// `time` is for all of it, were it nothing.
    pub fn new(body: Body, pause: Duration, time: Duration) -> Paced {
        Paced { body, pause, end: Instant::now() + time, bytes: 0, waiting: None }
    }

    fn end(&self) -> Instant {
        self.end + Duration::from_millis(self.bytes * 1_000 / LEAST_PER_SECOND)
    }

    fn come(&mut self, frame: &Frame<Bytes>) -> Result<(), axum::Error> {
        self.waiting = None;
        self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if Instant::now() > self.end() { Err(axum::Error::new(TooSlow)) } else { Ok(()) }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(came) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(came.map(|frame| frame.and_then(|frame| self.come(&frame).map(|()| frame))));
        }
        let until = self.end().min(Instant::now() + self.pause);
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Some(Err(axum::Error::new(TooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures::{StreamExt, stream};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// One piece of so many bytes, and the end.
    fn piece(bytes: usize) -> Body {
        Body::from(vec![b' '; bytes])
    }

    /// A piece, and nothing any more.
    fn unending(bytes: usize) -> Body {
        let piece = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b' '; bytes]))]);
        Body::from_stream(piece.chain(stream::pending()))
    }

    async fn length(body: Body, pause: Duration, time: Duration) -> Option<usize> {
        let read = to_bytes(Body::new(Paced::new(body, pause, time)), usize::MAX).await;
        read.inspect_err(|error| assert!(format!("{error:?}").contains("TooSlow"), "{error:?}")).ok().map(|it| it.len())
    }

    #[tokio::test]
    async fn a_body_has_a_time_for_all_of_it_and_more_for_its_bytes() {
        assert_eq!(length(piece(1), HOUR, HOUR).await, Some(1));
        assert_eq!(length(piece(1), HOUR, Duration::ZERO).await, None, "its time was over before it came");
        assert_eq!(length(piece(100 << 20), HOUR, Duration::ZERO).await, Some(100 << 20), "what is large takes longer");
        assert_eq!(length(unending(1), HOUR, Duration::ZERO).await, None, "no pause is the last");
    }

    #[tokio::test]
    async fn a_body_that_pauses_for_too_long_is_given_up() {
        assert_eq!(length(unending(100 << 20), Duration::ZERO, HOUR).await, None);
    }
}
