//! Views that a lookup could not read, or not for all rows: what is said of them where the call fails for it, and
//! beside the values of the others.

use std::fmt::Display;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::problem::{Mistake, Problem, chain};
use crate::serving::Unavailable;

/// A view of which values are not there.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct UnavailableView {
    view: String,
    /// Stable, for programs: `REBUILDING`, `ROW_DAMAGED`, `STORE_UNAVAILABLE` or `INTERNAL`.
    code: &'static str,
    /// For people: why, and what mends it.
    detail: String,
}

impl UnavailableView {
    /// What is ours, or the disk's, is logged here.
    pub fn of(unavailable: &Unavailable) -> UnavailableView {
        let (status, code) = status(unavailable);
        let view = unavailable.view().to_string();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(view, code, detail = chain(unavailable), "a stored row cannot be read");
        }
        let detail = match unavailable {
            Unavailable::Damaged { .. } => format!("{unavailable}: `freshet rebuild {view}` mends it"),
            _ => unavailable.to_string(),
        };
        UnavailableView { view, code, detail }
    }
}

impl Problem {
    /// Of at least one view; `detail` is of all. What may pass decides the status: it is worth trying again.
    pub(super) fn unavailable_views(unavailable: &[Unavailable], detail: impl Display) -> Problem {
        let may_pass = |(status, _): &(StatusCode, &str)| *status == StatusCode::SERVICE_UNAVAILABLE;
        let statuses = unavailable.iter().map(status);
        let (status, code) = statuses.max_by_key(may_pass).expect("a view is unavailable");
        let mut problem = Problem::new(status, code, detail);
        problem.errors = unavailable.iter().map(|it| UnavailableView::of(it).into()).collect();
        problem
    }
}

impl From<UnavailableView> for Mistake {
    fn from(it: UnavailableView) -> Mistake {
        Mistake { place: it.view, code: Some(it.code), line: None, column: None, detail: it.detail, help: None }
    }
}

fn status(unavailable: &Unavailable) -> (StatusCode, &'static str) {
    match unavailable {
        Unavailable::Rebuilding(_) => (StatusCode::SERVICE_UNAVAILABLE, "REBUILDING"),
        Unavailable::Store { error, .. } if error.is_transient() => {
            (StatusCode::SERVICE_UNAVAILABLE, "STORE_UNAVAILABLE")
        }
        Unavailable::Store { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        Unavailable::Damaged { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "ROW_DAMAGED"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::codec;
    use crate::kernel::key::Shard;
    use crate::online;

    fn damaged() -> Unavailable {
        let source = codec::Error::Damaged { what: "a tile does not read" };
        Unavailable::Damaged { view: "ever".parse().expect("a name"), shard: Shard(7), source }
    }

    fn told(problem: &Problem) -> Vec<(&str, &str)> {
        problem.errors.iter().map(|it| (it.place.as_str(), it.code.expect("each has a code"))).collect()
    }

    #[test]
    fn a_problem_names_each_view_and_is_worth_trying_again_where_one_may_come_back() {
        let away = online::Error::Unavailable("r1: it did not answer in time".to_owned());
        let away = Unavailable::Store { view: "recent".parse().expect("a name"), error: away };
        let problem = Problem::unavailable_views(&[damaged(), away], "both");
        assert_eq!((problem.status, problem.code, problem.detail.as_str()), (503, "STORE_UNAVAILABLE", "both"));
        assert_eq!(told(&problem), [("ever", "ROW_DAMAGED"), ("recent", "STORE_UNAVAILABLE")]);
        let problem = Problem::unavailable_views(&[damaged()], "one");
        assert_eq!((problem.status, problem.code), (500, "ROW_DAMAGED"));
        let detail = "a stored row of view `ever` in shard 7 cannot be read: `freshet rebuild ever` mends it";
        assert_eq!(problem.errors[0].detail, detail);
    }
}
