//! Values → Arrow columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, StringArray, TimestampMicrosecondArray,
};
use freshet::kernel::value::{Value, ValueType};

/// Panics on a value of another type, which would be a mistake of the generator.
pub fn array<'v>(value_type: &ValueType, values: impl Iterator<Item = &'v Option<Value>>) -> ArrayRef {
    macro_rules! collect {
        ($array:ty, $variant:ident, $value:ident => $item:expr) => {
            Arc::new(
                values
                    .map(|value| match value {
                        None => None,
                        Some(Value::$variant($value)) => Some($item),
                        Some(other) => panic!("{other:?} is no {value_type}"),
                    })
                    .collect::<$array>(),
            )
        };
    }
    match value_type {
        ValueType::Bool => collect!(BooleanArray, Bool, it => *it),
        ValueType::Int32 => collect!(Int32Array, Int, it => i32::try_from(*it).expect("the generator keeps to int32")),
        ValueType::Int64 => collect!(Int64Array, Int, it => *it),
        ValueType::Float32 => collect!(Float32Array, Float, it => *it as f32),
        ValueType::Float64 => collect!(Float64Array, Float, it => *it),
        ValueType::String => collect!(StringArray, Text, it => it.as_ref()),
        ValueType::Bytes => collect!(BinaryArray, Bytes, it => it.as_ref()),
        ValueType::Date => collect!(Date32Array, Date, it => *it),
        ValueType::Timestamp => {
            let times = values.map(|value| match value {
                None => None,
                Some(Value::Time(at)) => Some(at.micros()),
                Some(other) => panic!("{other:?} is no timestamp"),
            });
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        ValueType::Decimal { precision, scale } => {
            let decimals = values.map(|value| match value {
                None => None,
                Some(Value::Decimal(unscaled)) => Some(*unscaled),
                Some(other) => panic!("{other:?} is no decimal"),
            });
            let decimals = decimals.collect::<Decimal128Array>().with_precision_and_scale(*precision, *scale);
            Arc::new(decimals.expect("the generator keeps to the precision"))
        }
        ValueType::List(_) => panic!("the generator makes no lists"),
    }
}
