//! Values and their types, as fields carry them and features return them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::kernel::time::EventTime;

mod column;

pub use column::ColumnBuilder;

/// The longest value that state keeps, in bytes; longer ones are skipped like nulls, and counted. It holds for the
/// strings of entity keys and event ids too: stores bound their keys.
pub const LONGEST_KEPT_BYTES: usize = 1_024;

/// The type of a field, a derived column or a feature.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    Bool,
    Int32,
    Int64,
    Float32,
    Float64,
    String,
    Bytes,
    Timestamp,
    Date,
    Decimal { precision: u8, scale: i8 },
    List(Box<ValueType>),
}

impl ValueType {
    pub fn is_integer(&self) -> bool {
        matches!(self, ValueType::Int32 | ValueType::Int64)
    }

    pub fn is_float(&self) -> bool {
        matches!(self, ValueType::Float32 | ValueType::Float64)
    }

    pub fn is_number(&self) -> bool {
        self.is_integer() || self.is_float() || matches!(self, ValueType::Decimal { .. })
    }

    /// How batches and Parquet files hold it. Timestamps are microseconds in UTC.
    pub fn to_arrow(&self) -> DataType {
        match self {
            ValueType::Bool => DataType::Boolean,
            ValueType::Int32 => DataType::Int32,
            ValueType::Int64 => DataType::Int64,
            ValueType::Float32 => DataType::Float32,
            ValueType::Float64 => DataType::Float64,
            ValueType::String => DataType::Utf8,
            ValueType::Bytes => DataType::Binary,
            ValueType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ValueType::Date => DataType::Date32,
            ValueType::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            ValueType::List(item) => DataType::List(Arc::new(Field::new("item", item.to_arrow(), true))),
        }
    }

    /// The type of a computed column, or `None` where we have no name for it.
    pub fn from_arrow(arrow: &DataType) -> Option<ValueType> {
        Some(match arrow {
            DataType::Boolean => ValueType::Bool,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => ValueType::Int32,
            DataType::Int64 | DataType::UInt32 => ValueType::Int64,
            DataType::Float32 => ValueType::Float32,
            DataType::Float64 => ValueType::Float64,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ValueType::String,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ValueType::Bytes,
            DataType::Timestamp(_, _) => ValueType::Timestamp,
            DataType::Date32 => ValueType::Date,
            DataType::Decimal128(precision, scale) => ValueType::Decimal { precision: *precision, scale: *scale },
            DataType::List(item) => ValueType::List(Box::new(ValueType::from_arrow(item.data_type())?)),
            _ => return None,
        })
    }
}

/// As definitions write it: `int64`, `decimal(12,2)`, `list<string>`.
impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueType::Bool => f.write_str("bool"),
            ValueType::Int32 => f.write_str("int32"),
            ValueType::Int64 => f.write_str("int64"),
            ValueType::Float32 => f.write_str("float32"),
            ValueType::Float64 => f.write_str("float64"),
            ValueType::String => f.write_str("string"),
            ValueType::Bytes => f.write_str("bytes"),
            ValueType::Timestamp => f.write_str("timestamp"),
            ValueType::Date => f.write_str("date"),
            ValueType::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            ValueType::List(item) => write!(f, "list<{item}>"),
        }
    }
}

impl FromStr for ValueType {
    type Err = String;

    fn from_str(text: &str) -> Result<ValueType, String> {
        let unknown = || {
            format!(
                "`{text}` is not a type: one of bool, int32, int64, float32, float64, string, bytes, timestamp, date, \
                 decimal(p,s), list<T>"
            )
        };
        let inside = |prefix: &str, suffix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        if let Some(item) = inside("list<", ">") {
            // One level: a list of lists cannot be kept or compared anywhere.
            let item: ValueType = item.trim().parse()?;
            return match item {
                ValueType::List(_) => Err(unknown()),
                item => Ok(ValueType::List(Box::new(item))),
            };
        }
        if let Some(digits) = inside("decimal(", ")") {
            let (precision, scale) = digits.split_once(',').ok_or_else(unknown)?;
            let precision: u8 = precision.trim().parse().map_err(|_| unknown())?;
            let scale: i8 = scale.trim().parse().map_err(|_| unknown())?;
            if !(1..=38).contains(&precision) || !(0..=precision as i8).contains(&scale) {
                return Err(format!("`{text}` is out of range: precision is 1 to 38, scale is 0 to the precision"));
            }
            return Ok(ValueType::Decimal { precision, scale });
        }
        Ok(match text {
            "bool" => ValueType::Bool,
            "int32" => ValueType::Int32,
            "int64" => ValueType::Int64,
            "float32" => ValueType::Float32,
            "float64" => ValueType::Float64,
            "string" => ValueType::String,
            "bytes" => ValueType::Bytes,
            "timestamp" => ValueType::Timestamp,
            "date" => ValueType::Date,
            _ => return Err(unknown()),
        })
    }
}

/// One value. Its [`ValueType`] stands in the plan, not here: `Int` serves int32 and int64, `Float` both floats
/// (a float32 widens exactly), `Decimal` is the unscaled integer. Equality and order are by bits, floats in
/// IEEE total order, so that `-0.0` lies below `0.0` and equal values are equal bytes.
#[derive(Clone, Debug)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal(i128),
    /// Days since 1970-01-01.
    Date(i32),
    Time(EventTime),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    List(Vec<Value>),
}

/// A [`Value`] borrowed from a batch. Lists have no borrowed form: no aggregate takes one.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal(i128),
    Date(i32),
    Time(EventTime),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl ValueRef<'_> {
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Bool(it) => Value::Bool(it),
            ValueRef::Int(it) => Value::Int(it),
            ValueRef::Float(it) => Value::Float(it),
            ValueRef::Decimal(it) => Value::Decimal(it),
            ValueRef::Date(it) => Value::Date(it),
            ValueRef::Time(it) => Value::Time(it),
            ValueRef::Text(it) => Value::Text(it.into()),
            ValueRef::Bytes(it) => Value::Bytes(it.into()),
        }
    }

    /// What keeping the value in state would take.
    pub fn bytes(self) -> usize {
        match self {
            ValueRef::Text(text) => text.len(),
            ValueRef::Bytes(bytes) => bytes.len(),
            _ => size_of::<i64>(),
        }
    }
}

impl ValueRef<'_> {
    fn rank(self) -> u8 {
        match self {
            ValueRef::Bool(_) => 0,
            ValueRef::Int(_) => 1,
            ValueRef::Float(_) => 2,
            ValueRef::Decimal(_) => 3,
            ValueRef::Date(_) => 4,
            ValueRef::Time(_) => 5,
            ValueRef::Text(_) => 6,
            ValueRef::Bytes(_) => 7,
        }
    }
}

impl Value {
    /// The value without a copy; `None` for a list.
    pub fn scalar(&self) -> Option<ValueRef<'_>> {
        Some(match self {
            Value::Bool(it) => ValueRef::Bool(*it),
            Value::Int(it) => ValueRef::Int(*it),
            Value::Float(it) => ValueRef::Float(*it),
            Value::Decimal(it) => ValueRef::Decimal(*it),
            Value::Date(it) => ValueRef::Date(*it),
            Value::Time(it) => ValueRef::Time(*it),
            Value::Text(it) => ValueRef::Text(it),
            Value::Bytes(it) => ValueRef::Bytes(it),
            Value::List(_) => return None,
        })
    }
}

/// As that of [`Value`].
impl Ord for ValueRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (ValueRef::Bool(a), ValueRef::Bool(b)) => a.cmp(b),
            (ValueRef::Int(a), ValueRef::Int(b)) => a.cmp(b),
            (ValueRef::Float(a), ValueRef::Float(b)) => a.total_cmp(b),
            (ValueRef::Decimal(a), ValueRef::Decimal(b)) => a.cmp(b),
            (ValueRef::Date(a), ValueRef::Date(b)) => a.cmp(b),
            (ValueRef::Time(a), ValueRef::Time(b)) => a.cmp(b),
            (ValueRef::Text(a), ValueRef::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (ValueRef::Bytes(a), ValueRef::Bytes(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for ValueRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ValueRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ValueRef<'_> {}

impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::List(a), Value::List(b)) => a.cmp(b),
            (Value::List(_), _) => Ordering::Greater,
            (_, Value::List(_)) => Ordering::Less,
            (a, b) => a.scalar().cmp(&b.scalar()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}
