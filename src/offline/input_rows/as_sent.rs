//! Columns of a file → events as JSON, written as producers send them: what decodes them has the values of the file.
//!
//! Where this is not what arrow writes: bytes are base64, floats that are no numbers are the strings `NaN`, `Infinity`
//! and `-Infinity`, and times are numbers in the field's own unit, with all of their digits.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::kernel::definition::{SourceField, TimeFormat};
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueType;

/// One event for each row, without the fields that are null in it.
pub(super) fn events(columns: &[(&SourceField, &ArrayRef)], rows: usize) -> Result<Vec<Bytes>, ArrowError> {
    let written: Vec<(FieldRef, EncoderOptions)> =
        columns.iter().map(|(field, column)| written(field, column)).collect();
    let mut encoders = Vec::with_capacity(columns.len());
    for ((field, options), (_, column)) in written.iter().zip(columns) {
        encoders.push((format!("\"{}\":", field.name()), make_encoder(field, column.as_ref(), options)?));
    }
    let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(rows));
    for row in 0..rows {
        event(&mut encoders, row, &mut text);
        ends.push(text.len());
    }
    let text = Bytes::from(text);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    Ok(starts.zip(&ends).map(|(start, end)| text.slice(start..*end)).collect())
}

fn event(encoders: &mut [(String, NullableEncoder<'_>)], row: usize, into: &mut Vec<u8>) {
    let mut before = b'{';
    for (name, encoder) in encoders.iter_mut().filter(|(_, encoder)| !encoder.is_null(row)) {
        into.push(before);
        into.extend_from_slice(name.as_bytes());
        encoder.encode(row, into);
        before = b',';
    }
    into.extend_from_slice(if before == b'{' { b"{}" } else { b"}" });
}

fn written(field: &SourceField, column: &ArrayRef) -> (FieldRef, EncoderOptions) {
    let as_sent = AsSent { value_type: innermost(&field.value_type).clone(), unit: field.unit };
    let options = EncoderOptions::default().with_encoder_factory(Arc::new(as_sent));
    (Arc::new(Field::new(field.name.as_str(), column.data_type().clone(), true)), options)
}

/// Of what the lists of the type are.
fn innermost(value_type: &ValueType) -> &ValueType {
    match value_type {
        ValueType::List(item) => innermost(item),
        other => other,
    }
}

/// How the values of one field are sent, those in its lists too.
#[derive(Debug)]
struct AsSent {
    value_type: ValueType,
    unit: TimeFormat,
}

impl EncoderFactory for AsSent {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float16 => {
                let values = array.as_primitive::<Float16Type>();
                Box::new(Written(move |row, into: &mut Vec<u8>| float(values.value(row), into)))
            }
            DataType::Float32 => {
                let values = array.as_primitive::<Float32Type>();
                Box::new(Written(move |row, into: &mut Vec<u8>| float(values.value(row), into)))
            }
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>();
                Box::new(Written(move |row, into: &mut Vec<u8>| float(values.value(row), into)))
            }
            DataType::Timestamp(unit, _) if self.value_type == ValueType::Timestamp => self.times(array, *unit)?,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                self.bytes(array)?
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

impl AsSent {
    fn times<'a>(&self, array: &dyn Array, held: TimeUnit) -> Result<Box<dyn Encoder + 'a>, ArrowError> {
        let nanos_in = match held {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        };
        let (unit, counts) = (self.unit, cast(array, &DataType::Int64)?);
        Ok(Box::new(Written(move |row, into: &mut Vec<u8>| {
            let count = counts.as_primitive::<Int64Type>().value(row);
            into.extend_from_slice(time(i128::from(count) * nanos_in, unit).as_bytes());
        })))
    }

    /// Text that a writer did not mark as such stays text; if it is none, so is what comes of it, and it is rejected.
    fn bytes<'a>(&self, array: &dyn Array) -> Result<Box<dyn Encoder + 'a>, ArrowError> {
        let (is_text, values) = (self.value_type != ValueType::Bytes, cast(array, &DataType::LargeBinary)?);
        Ok(Box::new(Written(move |row, into: &mut Vec<u8>| {
            let value = values.as_binary::<i64>().value(row);
            match str::from_utf8(value) {
                Ok(text) if is_text => serde_json::to_writer(into, text).expect("memory takes all"),
                Err(_) if is_text => into.extend([b"\"", value, b"\""].concat()),
                _ => into.extend_from_slice(format!("\"{}\"", STANDARD.encode(value)).as_bytes()),
            }
        })))
    }
}

/// Writes the value of a row.
struct Written<F>(F);

impl<F: FnMut(usize, &mut Vec<u8>)> Encoder for Written<F> {
    fn encode(&mut self, row: usize, into: &mut Vec<u8>) {
        (self.0)(row, into);
    }
}

/// In the shortest form that reads back the same.
fn float<T: Into<f64> + fmt::Debug + Copy>(value: T, into: &mut Vec<u8>) {
    let wide: f64 = value.into();
    let written = match wide {
        _ if wide.is_nan() => write!(into, "\"NaN\""),
        f64::INFINITY => write!(into, "\"Infinity\""),
        f64::NEG_INFINITY => write!(into, "\"-Infinity\""),
        _ => write!(into, "{value:?}"),
    };
    written.expect("memory takes all");
}

fn time(nanos: i128, unit: TimeFormat) -> String {
    let (nanos_in, digits) = match unit {
        TimeFormat::Rfc3339 => return format!("\"{}\"", rfc3339(nanos)),
        TimeFormat::Seconds => (1_000_000_000, 9),
        TimeFormat::Millis => (1_000_000, 6),
        TimeFormat::Micros => (1_000, 3),
        TimeFormat::Nanos => (1, 0),
    };
    let mut text = if nanos < 0 { "-".to_owned() } else { String::new() };
    let (whole, rest) = (nanos.abs() / nanos_in, nanos.abs() % nanos_in);
    write!(text, "{whole}").expect("a string takes all");
    if rest != 0 {
        write!(text, ".{rest:0digits$}").expect("a string takes all");
    }
    text
}

/// Of one out of range a text that is no time.
fn rfc3339(nanos: i128) -> String {
    EventTime::of_nanos(nanos).map_or_else(|| format!("{nanos} ns since 1970"), |time| time.to_string())
}
