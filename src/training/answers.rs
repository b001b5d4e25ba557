//! One view's features for every row of the spine: found entity by entity, read out in the spine's order.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;

use crate::kernel::engine::{History, Knowledge, Reading, read};
use crate::kernel::value::ColumnBuilder;
use crate::telemetry::Watch;
use crate::training::Error;
use crate::training::spine::Spine;
use crate::training::wanted::WantedView;

/// Answers that make one piece of a column: small enough that no column of strings outgrows its offsets.
const PIECE_ROWS: usize = 65_536;

pub(super) struct Answers {
    features: Vec<Answered>,
    /// For each row of the spine the piece and the row in it.
    places: Vec<(usize, usize)>,
}

struct Answered {
    /// Which of the training set's features it is.
    column: usize,
    pieces: Vec<ArrayRef>,
}

/// One feature for every row of the spine.
pub(super) struct Feature<'a> {
    /// Which of the training set's features it is.
    pub column: usize,
    pieces: &'a [ArrayRef],
    places: &'a [(usize, usize)],
}

impl Feature<'_> {
    pub fn values(&self, rows: Range<usize>) -> ArrayRef {
        let pieces: Vec<&dyn Array> = self.pieces.iter().map(|piece| piece.as_ref()).collect();
        interleave(&pieces, &self.places[rows]).expect("the pieces of a column have one type")
    }
}

impl Answers {
    /// The history is dropped with the call, for its events take more memory than the answers.
    pub fn find(
        history: History,
        view: &WantedView,
        spine: &Spine,
        knowledge: Knowledge,
        watch: Watch<'_>,
    ) -> Result<Answers, Error> {
        let questions = spine.questions(&view.plan.entity);
        let mut gathered = Gathered::new(view, spine.rows());
        let entities = questions.entities().len();
        for (index, (entity, rows)) in questions.by_entity().enumerate() {
            watch.at(index, entities)?;
            let mut walk = history.known(entity, knowledge);
            rows.iter().for_each(|row| gathered.add(*row, &walk.at(spine.label_time(*row))));
        }
        for row in questions.keyless() {
            gathered.add(*row, &read(&view.plan, &[], spine.label_time(*row)));
        }
        watch.at(entities, entities)?;
        Ok(gathered.finish())
    }

    pub fn features(&self) -> impl Iterator<Item = Feature<'_>> {
        let places = &self.places;
        self.features.iter().map(|it| Feature { column: it.column, pieces: &it.pieces, places })
    }
}

/// Answers in the order in which they are found.
struct Gathered<'a> {
    view: &'a WantedView,
    open: Vec<ColumnBuilder>,
    open_rows: usize,
    pieces: usize,
    answers: Answers,
}

impl<'a> Gathered<'a> {
    fn new(view: &'a WantedView, rows: usize) -> Gathered<'a> {
        let answered = |(column, _): &(usize, usize)| Answered { column: *column, pieces: Vec::new() };
        let features = view.features.iter().map(answered).collect();
        let answers = Answers { features, places: vec![(0, 0); rows] };
        Gathered { view, open: builders(view), open_rows: 0, pieces: 0, answers }
    }

    fn add(&mut self, row: usize, reading: &Reading) {
        self.answers.places[row] = (self.pieces, self.open_rows);
        for ((_, feature), builder) in self.view.features.iter().zip(&mut self.open) {
            builder.append_value(reading.values[*feature].as_ref());
        }
        self.open_rows += 1;
        if self.open_rows == PIECE_ROWS {
            self.close_piece();
        }
    }

    fn close_piece(&mut self) {
        let open = std::mem::replace(&mut self.open, builders(self.view));
        for (builder, feature) in open.into_iter().zip(&mut self.answers.features) {
            feature.pieces.push(builder.finish());
        }
        self.pieces += 1;
        self.open_rows = 0;
    }

    fn finish(mut self) -> Answers {
        self.close_piece();
        self.answers
    }
}

fn builders(view: &WantedView) -> Vec<ColumnBuilder> {
    let feature = |(_, feature): &(usize, usize)| &view.plan.features[*feature];
    view.features.iter().map(|it| ColumnBuilder::with_capacity(&feature(it).value_type, 0)).collect()
}
