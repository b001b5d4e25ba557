//! What expressions mean: values, faults, and what fails on an event alone.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use expect_test::{Expect, expect};

use super::*;

const TYPES: [(&str, ValueType); 10] = [
    ("flag", ValueType::Bool),
    ("small", ValueType::Int32),
    ("quantity", ValueType::Int64),
    ("ratio", ValueType::Float32),
    ("price", ValueType::Float64),
    ("event", ValueType::String),
    ("payload", ValueType::Bytes),
    ("at", ValueType::Timestamp),
    ("day", ValueType::Date),
    ("amount", ValueType::Decimal { precision: 12, scale: 2 }),
];

fn columns() -> SchemaRef {
    let field = |(name, value_type): &(&str, ValueType)| Field::new(*name, value_type.to_arrow(), true);
    Arc::new(Schema::new(TYPES.iter().map(field).collect::<Vec<_>>()))
}

/// An ordinary row, extremes of both signs, zeros and empty strings, and nulls.
fn extremes() -> RecordBatch {
    let amounts = [Some(1_999), Some(999_999_999_999), Some(-999_999_999_999), Some(0), None];
    let times =
        [Some(1_795_255_200_123_456), Some(253_402_300_799_999_999), Some(-62_135_596_800_000_000), Some(0), None];
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), Some(false), None])),
        Arc::new(Int32Array::from(vec![Some(3), Some(i32::MAX), Some(i32::MIN), Some(0), None])),
        Arc::new(Int64Array::from(vec![Some(2), Some(i64::MAX), Some(i64::MIN), Some(0), None])),
        Arc::new(Float32Array::from(vec![Some(0.5), Some(f32::MAX), Some(f32::NEG_INFINITY), Some(-0.0), None])),
        Arc::new(Float64Array::from(vec![Some(2.5), Some(f64::MAX), Some(f64::NAN), Some(-0.0), None])),
        Arc::new(StringArray::from(vec![Some("view"), Some("Ünïcödé 🎉 %_\\"), Some("(["), Some(""), None])),
        Arc::new(BinaryArray::from(vec![Some(&b"ab"[..]), Some(b"\xff"), Some(b"\0"), Some(b""), None])),
        Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")),
        Arc::new(Date32Array::from(vec![Some(20_778), Some(2_932_896), Some(-719_162), Some(0), None])),
        Arc::new(Decimal128Array::from(amounts.to_vec()).with_precision_and_scale(12, 2).expect("fits")),
    ];
    RecordBatch::try_new(columns(), arrays).expect("the columns fit")
}

fn cell(array: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default().with_null("null");
    ArrayFormatter::try_new(array, &options).expect("displayable").value(row).to_string()
}

/// The type, the values over [`extremes`], and how many rows failed; or the fault.
fn check(text: &str, expected: Expect) {
    let told = match Expression::compile(text, &columns()) {
        Ok(expression) => {
            let evaluated = expression.evaluate(&extremes());
            assert_eq!(evaluated.values.data_type(), &expression.value_type().to_arrow());
            let cells: Vec<String> = (0..evaluated.values.len()).map(|row| cell(&evaluated.values, row)).collect();
            format!("{}: {}; {} failed", expression.value_type(), cells.join(", "), evaluated.failed)
        }
        Err(Fault { offset, what, help }) => {
            format!("at {offset}: {what}{}", help.map(|help| format!("\n  help: {help}")).unwrap_or_default())
        }
    };
    expected.assert_eq(&told);
}

#[test]
fn the_shapes_of_sql_that_definitions_use_work() {
    check("event = 'view'", expect!["bool: true, false, false, false, null; 0 failed"]);
    check("EVENT IN ('view', 'buy')", expect!["bool: true, false, false, false, null; 0 failed"]);
    check("price * quantity", expect!["float64: 5.0, inf, NaN, -0.0, null; 0 failed"]);
    check("small BETWEEN 0 AND 5", expect!["bool: true, false, false, true, null; 0 failed"]);
    check("event LIKE 'v%'", expect!["bool: true, false, false, false, null; 0 failed"]);
    check("price IS NULL OR NOT flag", expect!["bool: false, true, false, true, true; 0 failed"]);
    check(
        "CASE WHEN quantity > 0 THEN 'some' ELSE 'none' END",
        expect!["string: some, some, none, none, none; 0 failed"],
    );
    check(
        "event || '-' || small",
        expect![[r#"string: view-3, Ünïcödé 🎉 %_\-2147483647, ([--2147483648, -0, null; 0 failed"#]],
    );
    check(
        "CAST(quantity AS DOUBLE) + small::bigint",
        expect!["float64: 5.0, 9.22337203900226e18, -9.22337203900226e18, 0.0, null; 0 failed"],
    );
    check(
        "coalesce(quantity, small, 7)",
        expect!["int64: 2, 9223372036854775807, -9223372036854775808, 0, 7; 0 failed"],
    );
    check("amount * 2", expect!["decimal(33,2): 39.98, 19999999999.98, -19999999999.98, 0.00, null; 0 failed"]);
    check("EXTRACT(HOUR FROM at)", expect!["int32: 10, 23, 0, 0, null; 0 failed"]);
    check("at >= TIMESTAMP '2026-11-21T10:00:00Z'", expect!["bool: true, true, false, false, null; 0 failed"]);
    check(
        "date_part('epoch', at)",
        expect!["float64: 1795255200.123456, 253402300800.0, -62135596800.0, 0.0, null; 0 failed"],
    );
    check("day - DATE '2026-11-01'", expect!["int64: 20, 2912138, -739920, -20758, null; 0 failed"]);
    check(
        "at + INTERVAL '1 day'",
        expect![
            "timestamp: 2026-11-22T10:00:00.123456Z, null, 0001-01-02T00:00:00Z, 1970-01-02T00:00:00Z, null; 1 failed"
        ],
    );
    check("substring(event FROM 2 FOR 2)", expect!["string: ie, nï, [, , null; 0 failed"]);
    check("trim(event) <> ''", expect!["bool: true, true, true, false, null; 0 failed"]);
    check("event = 5", expect!["bool: null, null, null, null, null; 4 failed"]);
    check("price = '5'", expect!["bool: false, false, false, false, null; 0 failed"]);
    check("amount > 3.5", expect!["bool: true, true, false, false, null; 0 failed"]);
    check("at > '2026-01-01'", expect!["bool: true, null, null, false, null; 2 failed"]);
    check("payload = 'ab'", expect!["bool: true, false, false, false, null; 0 failed"]);
    check(
        "'2026-11-21 10:00:00'::timestamp",
        expect![
            "timestamp: 2026-11-21T10:00:00Z, 2026-11-21T10:00:00Z, 2026-11-21T10:00:00Z, 2026-11-21T10:00:00Z, 2026-11-21T10:00:00Z; 0 failed"
        ],
    );
}

#[test]
fn integer_arithmetic_fails_rather_than_wraps_and_only_on_its_own_event() {
    check("quantity + 1", expect!["int64: 3, null, -9223372036854775807, 1, null; 1 failed"]);
    check("quantity - 1", expect!["int64: 1, 9223372036854775806, null, -1, null; 1 failed"]);
    check("quantity * 2", expect!["int64: 4, null, null, 0, null; 2 failed"]);
    check("small * small", expect!["int32: 9, null, null, 0, null; 2 failed"]);
    check("-quantity", expect!["int64: -2, -9223372036854775807, null, 0, null; 1 failed"]);
    check("-small", expect!["int32: -3, -2147483647, null, 0, null; 1 failed"]);
    check("abs(quantity)", expect!["int64: 2, 9223372036854775807, null, 0, null; 1 failed"]);
    check("10 / quantity", expect!["int64: 5, 0, 0, null, null; 1 failed"]);
    check("10 % quantity", expect!["int64: 0, 10, 10, null, null; 1 failed"]);
    check("quantity / -1", expect!["int64: -2, -9223372036854775807, null, 0, null; 1 failed"]);
    check("CAST(price AS BIGINT)", expect!["int64: 2, null, null, 0, null; 2 failed"]);
    check("CAST(event AS INT)", expect!["int32: null, null, null, null, null; 4 failed"]);
    check(
        "9223372036854775807 + 1",
        expect!["at 0: arithmetic overflow: Overflow happened on: 9223372036854775807 + 1"],
    );
    check("1 / 0", expect!["at 0: divide by zero error"]);
}

#[test]
fn float_arithmetic_is_ieee() {
    check("1.0 / price", expect!["float64: 0.4, 5.562684646268003e-309, NaN, -inf, null; 0 failed"]);
    check("0.0 / price", expect!["float64: 0.0, 0.0, NaN, NaN, null; 0 failed"]);
    check("price * 0.0", expect!["float64: 0.0, 0.0, NaN, -0.0, null; 0 failed"]);
    check("-price", expect!["float64: -2.5, -1.7976931348623157e308, NaN, 0.0, null; 0 failed"]);
    check("price = 0.0", expect!["bool: false, false, false, true, null; 0 failed"]);
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_would_be_right() {
    check(
        "prise * 2",
        expect![[r#"
        at 0: `prise` is not a column here
          help: did you mean `price`? the columns are flag, small, quantity, ratio, price, event, payload, at, day, amount"#]],
    );
    check(
        "flag AND evnet = 'view'",
        expect![[r#"
        at 9: `evnet` is not a column here
          help: did you mean `event`? the columns are flag, small, quantity, ratio, price, event, payload, at, day, amount"#]],
    );
    check(
        "event = \"view\"",
        expect![[r#"
        at 8: `view` is not a column here
          help: a string is written with single quotes: 'view'"#]],
    );
    check(
        "t.price",
        expect![[r#"
        at 0: `t.price` is qualified; there is one table only
          help: write the column's name alone"#]],
    );
    check(
        "now()",
        expect![[r#"
        at 0: the function `now` is not offered
          help: the functions are abs, acos, ascii, asin, atan, atan2, btrim, ceil, character_length, coalesce, concat, concat_ws, contains, cos, date_part, date_trunc, ends_with, exp, floor, greatest, initcap, isnan, least, left, levenshtein, ln, log10, log2, lower, ltrim, make_date, nanvl, nullif, nvl, nvl2, octet_length, power, radians, regexp_like, regexp_replace, replace, reverse, right, round, rtrim, signum, sin, split_part, sqrt, starts_with, strpos, substr, tan, to_date, to_unixtime, translate, trunc, upper"#]],
    );
    check(
        "1 + random()",
        expect![[r#"
        at 4: the function `random` is not offered
          help: the functions are abs, acos, ascii, asin, atan, atan2, btrim, ceil, character_length, coalesce, concat, concat_ws, contains, cos, date_part, date_trunc, ends_with, exp, floor, greatest, initcap, isnan, least, left, levenshtein, ln, log10, log2, lower, ltrim, make_date, nanvl, nullif, nvl, nvl2, octet_length, power, radians, regexp_like, regexp_replace, replace, reverse, right, round, rtrim, signum, sin, split_part, sqrt, starts_with, strpos, substr, tan, to_date, to_unixtime, translate, trunc, upper"#]],
    );
    check(
        "current_date",
        expect![[r#"
        at 0: the function `current_date` is not offered
          help: the functions are abs, acos, ascii, asin, atan, atan2, btrim, ceil, character_length, coalesce, concat, concat_ws, contains, cos, date_part, date_trunc, ends_with, exp, floor, greatest, initcap, isnan, least, left, levenshtein, ln, log10, log2, lower, ltrim, make_date, nanvl, nullif, nvl, nvl2, octet_length, power, radians, regexp_like, regexp_replace, replace, reverse, right, round, rtrim, signum, sin, split_part, sqrt, starts_with, strpos, substr, tan, to_date, to_unixtime, translate, trunc, upper"#]],
    );
    check(
        "lenght(event)",
        expect![[r#"
        at 0: the function `lenght` is not offered
          help: the functions are abs, acos, ascii, asin, atan, atan2, btrim, ceil, character_length, coalesce, concat, concat_ws, contains, cos, date_part, date_trunc, ends_with, exp, floor, greatest, initcap, isnan, least, left, levenshtein, ln, log10, log2, lower, ltrim, make_date, nanvl, nullif, nvl, nvl2, octet_length, power, radians, regexp_like, regexp_replace, replace, reverse, right, round, rtrim, signum, sin, split_part, sqrt, starts_with, strpos, substr, tan, to_date, to_unixtime, translate, trunc, upper"#]],
    );
    check(
        "sum(price)",
        expect![[r#"
            at 0: the function `sum` is not offered
              help: what looks at several events is an `aggregate` under `features`"#]],
    );
    check(
        "row_number() OVER (ORDER BY at)",
        expect![[r#"
            at 0: `row_number` looks at several rows; an expression sees one event
              help: what looks at several events is an `aggregate` under `features`"#]],
    );
    check("(SELECT 1)", expect!["at 1: a sub-query is not a value of one event"]);
    check("price IN (SELECT 1)", expect!["at 0: a sub-query is not a value of one event"]);
    check("EXISTS (SELECT 1)", expect!["at 8: a sub-query is not a value of one event"]);
    check("*", expect!["at 0: expected: an expression, found: *"]);
    check("upper(*)", expect!["at 0: `upper` takes plain arguments: no `*`, `DISTINCT` or names"]);
    check("price > $1", expect!["at 8: `$1` is a placeholder; an expression has no parameters"]);
    check("price > ?", expect!["at 8: `?` is a placeholder; an expression has no parameters"]);
    check("event + 1", expect!["at 0: cannot coerce arithmetic expression string + int64 to valid types"]);
    check("flag + flag", expect!["at 0: cannot coerce arithmetic expression bool + bool to valid types"]);
    check(
        "price AND flag",
        expect!["at 0: cannot infer common argument type for logical boolean operation float64 AND bool"],
    );
    check("NOT price", expect!["at 4: unary operator 'NOT' requires a boolean expression, got float64"]);
    check("upper(event, event)", expect!["at 0: function 'upper' expects 1 arguments but received 2"]);
    check(
        "NULL",
        expect![[r#"
        at 0: the expression is always null
          help: give it a type: CAST(NULL AS DOUBLE)"#]],
    );
    check(
        "at - at",
        expect![[r#"
        at 0: the expression gives a duration, which no column can hold
          help: subtract seconds: date_part('epoch', a) - date_part('epoch', b)"#]],
    );
    check("price >", expect!["at 7: expected: an expression, found: the end"]);
    check("price > 1\n  AND ) flag", expect!["at 16: expected: an expression, found: )"]);
    check(
        "small & 1",
        expect![[r#"
            at 0: the operator `&` is not offered
              help: the operators are + - * / % || = <> < <= > >= AND OR NOT"#]],
    );
    check(
        "[1, 2]",
        expect![[r#"
        at 1: `[1, 2]` is not offered in an expression
          help: literals, columns, operators, CASE, CAST, IN, BETWEEN, LIKE, IS NULL and the offered functions"#]],
    );
    check("CAST(price AS BLOB)", expect!["at 0: unsupported SQL type BLOB"]);
    check(
        "event LIKE 'a' ESCAPE 'x'",
        expect![[r#"at 0: LIKE does not support escape_char other than the backslash (\)"#]],
    );
    check(
        "price; DROP TABLE t",
        expect![[r#"
        at 5: the expression ends before `;`
          help: one scalar expression, without `SELECT`, `AS` or `;`"#]],
    );
    check(
        "regexp_like(event, '(')",
        expect![
            "at 0: compute error: Regular expression did not compile: Syntax( regex parse error: ( ^ error: unclosed group )"
        ],
    );
}
