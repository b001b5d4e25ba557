//! What the statements ask of a database: to run them, in transactions in which writers take turns. Values pass as
//! cells, for the client's own rows are of another type with each database.

use async_trait::async_trait;

use crate::registry::Error;

/// A pool of connections to one database.
#[async_trait]
pub trait Database: Send + Sync {
    /// Where it is, for people: without its password.
    fn place(&self) -> &str;

    /// A statement of its own.
    async fn run(&self, statement: &'static str, arguments: Vec<Cell>) -> Result<Vec<Row>, Error>;

    /// Writers of a project take their turns from here to the end of the transaction, so that one reads what it then
    /// changes. Dropping it changes nothing.
    async fn begin(&self, project: &str) -> Result<Box<dyn Transaction>, Error>;
}

#[async_trait]
pub trait Transaction: Send {
    async fn run(&mut self, statement: &'static str, arguments: Vec<Cell>) -> Result<Vec<Row>, Error>;

    /// By the database's clock, in microseconds: the same for all processes.
    async fn now(&mut self) -> Result<i64, Error>;

    async fn commit(self: Box<Self>) -> Result<(), Error>;
}

/// A value or a null on its way into a statement, or out of one. A null has a type on its way in, for a statement is
/// prepared once: with a null of another type first, it would misread the values after it. On the way out it is of any.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Integer(Option<i64>),
    Real(f64),
    Text(Option<String>),
}

/// Its columns are of the types that the schema gives them.
pub struct Row(pub Vec<Cell>);

impl Row {
    pub fn integer_or_null(&self, column: usize) -> Option<i64> {
        match &self.0[column] {
            Cell::Integer(value) => *value,
            Cell::Text(None) => None,
            other => unreachable!("column {column} is an integer by the schema, and was {other:?}"),
        }
    }

    pub fn integer(&self, column: usize) -> i64 {
        self.integer_or_null(column).expect("the schema has no null here")
    }

    pub fn real(&self, column: usize) -> f64 {
        match &self.0[column] {
            Cell::Real(value) => *value,
            other => unreachable!("column {column} is a real by the schema, and was {other:?}"),
        }
    }

    pub fn text_or_null(&self, column: usize) -> Option<&str> {
        match &self.0[column] {
            Cell::Text(value) => value.as_deref(),
            Cell::Integer(None) => None,
            other => unreachable!("column {column} is text by the schema, and was {other:?}"),
        }
    }

    pub fn text(&self, column: usize) -> &str {
        self.text_or_null(column).expect("the schema has no null here")
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Cell {
        Cell::Integer(Some(value))
    }
}

impl From<Option<i64>> for Cell {
    fn from(value: Option<i64>) -> Cell {
        Cell::Integer(value)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Cell {
        Cell::Real(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Cell {
        Cell::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for Cell {
    fn from(value: Option<&str>) -> Cell {
        Cell::Text(value.map(str::to_owned))
    }
}

/// The cells of a statement's `$1`, `$2` and so on.
macro_rules! cells {
    ($($value:expr),* $(,)?) => { vec![$($crate::registry::sql::database::Cell::from($value)),*] };
}
pub(super) use cells;
