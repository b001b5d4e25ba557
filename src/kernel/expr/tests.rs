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

use super::functions;
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

/// An expression's value for an event is its value on that event alone, to the bit.
fn assert_alone(expression: &Expression, together: &Evaluated) {
    let batch = extremes();
    let mut failed = 0;
    for row in 0..batch.num_rows() {
        let alone = expression.evaluate(&batch.slice(row, 1));
        assert_eq!(alone.values.to_data(), together.values.slice(row, 1).to_data(), "{} row {row}", expression.text());
        failed += alone.failed;
    }
    assert_eq!(failed, together.failed, "{}", expression.text());
}

/// The type, the values over [`extremes`], and how many rows failed; or the fault.
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&told(text));
}

fn told(text: &str) -> String {
    match Expression::compile(text, &columns()) {
        Ok(expression) => {
            let evaluated = expression.evaluate(&extremes());
            assert_eq!(evaluated.values.data_type(), &expression.value_type().to_arrow());
            assert_alone(&expression, &evaluated);
            let cells: Vec<String> = (0..evaluated.values.len()).map(|row| cell(&evaluated.values, row)).collect();
            format!("{}: {}; {} failed", expression.value_type(), cells.join(", "), evaluated.failed)
        }
        Err(Fault { offset, what, help }) => {
            format!("at {offset}: {what}{}", help.map(|help| format!("\n  help: {help}")).unwrap_or_default())
        }
    }
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
    check("CAST(event AS INT) = 5", expect!["bool: null, null, null, null, null; 4 failed"]);
    check(
        "at BETWEEN '2026-01-01' AND '9999-12-31T23:59:59.999999Z'",
        expect!["bool: true, true, false, false, null; 0 failed"],
    );
    check("at IN ('1970-01-01T00:00:00Z')", expect!["bool: false, false, false, true, null; 0 failed"]);
    check("at >= DATE '2026-01-01'", expect!["bool: true, true, false, false, null; 0 failed"]);
    check("at >= day", expect!["bool: true, true, true, true, null; 0 failed"]);
    check("day < '2026-11-21'", expect!["bool: false, false, true, true, null; 0 failed"]);
    check("date_trunc('day', day) <= at", expect!["bool: true, null, null, true, null; 2 failed"]);
    check(
        "'at ' || at",
        expect![
            "string: at 2026-11-21T10:00:00.123456Z, at 9999-12-31T23:59:59.999999Z, at 0001-01-01T00:00:00Z, at 1970-01-01T00:00:00Z, null; 0 failed"
        ],
    );
    check("small + ratio", expect!["float32: 3.5, 3.4028235e38, -inf, 0.0, null; 0 failed"]);
    check("amount + price", expect!["float64: 22.49, 1.7976931348623157e308, NaN, 0.0, null; 0 failed"]);
    check(
        "amount / 3",
        expect!["decimal(16,6): 6.663333, 3333333333.330000, -3333333333.330000, 0.000000, null; 0 failed"],
    );
    check("ratio = 0.1", expect!["bool: false, false, false, false, null; 0 failed"]);
    check("day + 1", expect!["date: 2026-11-22, null, 0001-01-02, 1970-01-02, null; 1 failed"]);
    check("flag = 1", expect!["at 0: cannot infer common argument type for comparison operation bool = int64"]);
    check("payload || payload", expect!["bytes: 61626162, ffff, 0000, , null; 0 failed"]);
    check("price = '5'", expect!["bool: false, false, false, false, null; 0 failed"]);
    check("amount > 3.5", expect!["bool: true, true, false, false, null; 0 failed"]);
    check("at > '2026-01-01'", expect!["bool: true, true, false, false, null; 0 failed"]);
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
              help: the functions are abs, acos, ascii, asin, atan, atan2, btrim, ceil, character_length, coalesce, concat, concat_ws, contains, cos, date_part, date_trunc, ends_with, exp, floor, greatest, initcap, isnan, least, left, levenshtein, ln, log10, log2, lower, ltrim, make_date, nanvl, nullif, nvl, octet_length, power, radians, regexp_like, regexp_replace, replace, reverse, right, round, rtrim, signum, sin, split_part, sqrt, starts_with, strpos, substr, tan, to_date, to_unixtime, translate, trunc, upper"#]],
    );
    check(
        "1 + random()",
        expect![[r#"
            at 4: the function `random` is not offered
              help: the functions are abs, acos, ascii, asin, atan, atan2, btrim, ceil, character_length, coalesce, concat, concat_ws, contains, cos, date_part, date_trunc, ends_with, exp, floor, greatest, initcap, isnan, least, left, levenshtein, ln, log10, log2, lower, ltrim, make_date, nanvl, nullif, nvl, octet_length, power, radians, regexp_like, regexp_replace, replace, reverse, right, round, rtrim, signum, sin, split_part, sqrt, starts_with, strpos, substr, tan, to_date, to_unixtime, translate, trunc, upper"#]],
    );
    check(
        "current_date",
        expect![[r#"
            at 0: the function `current_date` is not offered
              help: the functions are abs, acos, ascii, asin, atan, atan2, btrim, ceil, character_length, coalesce, concat, concat_ws, contains, cos, date_part, date_trunc, ends_with, exp, floor, greatest, initcap, isnan, least, left, levenshtein, ln, log10, log2, lower, ltrim, make_date, nanvl, nullif, nvl, octet_length, power, radians, regexp_like, regexp_replace, replace, reverse, right, round, rtrim, signum, sin, split_part, sqrt, starts_with, strpos, substr, tan, to_date, to_unixtime, translate, trunc, upper"#]],
    );
    check(
        "lenght(event)",
        expect![[r#"
            at 0: the function `lenght` is not offered
              help: the functions are abs, acos, ascii, asin, atan, atan2, btrim, ceil, character_length, coalesce, concat, concat_ws, contains, cos, date_part, date_trunc, ends_with, exp, floor, greatest, initcap, isnan, least, left, levenshtein, ln, log10, log2, lower, ltrim, make_date, nanvl, nullif, nvl, octet_length, power, radians, regexp_like, regexp_replace, replace, reverse, right, round, rtrim, signum, sin, split_part, sqrt, starts_with, strpos, substr, tan, to_date, to_unixtime, translate, trunc, upper"#]],
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
    check(
        "event = 5",
        expect!["at 0: `event` is a string where int64 is needed; cast it if that is meant, or quote the literal"],
    );
    check(
        "'5' < quantity AND event < quantity",
        expect!["at 0: `event` is a string where int64 is needed; cast it if that is meant, or quote the literal"],
    );
    check(
        "event IN (1, 2)",
        expect!["at 0: `event` is a string where int64 is needed; cast it if that is meant, or quote the literal"],
    );
    check("abs(event)", expect!["at 0: function 'abs' expects Numeric but received String"]);
    check(
        "date_part('year', event)",
        expect!["at 0: `event` is a string where timestamp is needed; cast it if that is meant, or quote the literal"],
    );
    check(
        &format!("{}quantity{}", "coalesce(".repeat(10), ", 0)".repeat(10)),
        expect!["at 0: `coalesce` is nested too deeply; give one call all the arguments"],
    );
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

/// Every function that is offered, over every kind of argument that it takes.
const CALLS: &[&str] = &[
    "abs(price)",
    "abs(amount)",
    "abs(small)",
    "ceil(price)",
    "CEIL(amount)",
    "floor(price)",
    "floor(ratio)",
    "floor(quantity)",
    "round(price)",
    "round(price, 1)",
    "round(amount, 1)",
    "round(quantity)",
    "trunc(price)",
    "trunc(ratio, 1)",
    "signum(price)",
    "sqrt(price)",
    "sqrt(quantity)",
    "isnan(price)",
    "nanvl(price, 0.0)",
    "exp(price)",
    "ln(price)",
    "log10(quantity)",
    "log2(small)",
    "power(price, 2)",
    "pow(quantity, 0.5)",
    "power(amount, 2)",
    "sin(price)",
    "cos(ratio)",
    "tan(price)",
    "asin(price)",
    "acos(price)",
    "atan(price)",
    "atan2(price, quantity)",
    "radians(price)",
    "coalesce(price, 0)",
    "coalesce(event, 'none')",
    "coalesce(at, TIMESTAMP '2026-01-01')",
    "coalesce(price, 1/quantity)",
    "nullif(quantity, 0)",
    "nullif(event, '')",
    "nvl(price, 1)",
    "greatest(price, quantity)",
    "least(small, quantity, 5)",
    "greatest(event, 'm')",
    "ascii(event)",
    "btrim(event)",
    "btrim(event, 'v')",
    "trim(BOTH 'v' FROM event)",
    "character_length(event)",
    "length(event)",
    "char_length(event)",
    "concat(event, small, NULL)",
    "concat_ws('-', event, small)",
    "contains(event, 'ie')",
    "ends_with(event, 'w')",
    "initcap(event)",
    "left(event, 2)",
    "left(event, quantity)",
    "right(event, -1)",
    "right(event, quantity)",
    "levenshtein(event, 'vie')",
    "lower(event)",
    "upper(event)",
    "ltrim(event)",
    "rtrim(event, 'w')",
    "octet_length(event)",
    "regexp_like(event, '^v.*w$')",
    "regexp_replace(event, '[aeiou]', '_', 'g')",
    "replace(event, 'i', 'I')",
    "reverse(event)",
    "split_part(event, 'i', 1)",
    "split_part(event, 'i', quantity)",
    "starts_with(event, 'v')",
    "strpos(event, 'w')",
    "POSITION('w' IN event)",
    "substr(event, 2)",
    "substr(event, quantity)",
    "substr(event, 2, 2)",
    "substr(event, -5, quantity)",
    "translate(event, 'vw', 'VW')",
    "date_part('year', at)",
    "date_part('dow', at)",
    "EXTRACT(DAY FROM day)",
    "date_part('hour', at)",
    "date_part('doy', day)",
    "date_part('microsecond', at)",
    "date_trunc('hour', at)",
    "date_trunc('month', day)",
    "date_trunc('week', at)",
    "make_date(2026, small, 1)",
    "make_date(small, 1, 1)",
    "to_date(event)",
    "to_date(quantity)",
    "to_date(at)",
    "to_unixtime(at)",
    "to_unixtime(day)",
];

#[test]
fn every_offered_function_evaluates_over_extremes_and_nulls() {
    let lines: Vec<String> = CALLS.iter().map(|call| format!("{call} => {}", told(call))).collect();
    expect![[r#"
        abs(price) => float64: 2.5, 1.7976931348623157e308, NaN, 0.0, null; 0 failed
        abs(amount) => decimal(12,2): 19.99, 9999999999.99, 9999999999.99, 0.00, null; 0 failed
        abs(small) => int32: 3, 2147483647, null, 0, null; 1 failed
        ceil(price) => float64: 3.0, 1.7976931348623157e308, NaN, -0.0, null; 0 failed
        CEIL(amount) => decimal(12,2): 20.00, null, -9999999999.00, 0.00, null; 1 failed
        floor(price) => float64: 2.0, 1.7976931348623157e308, NaN, -0.0, null; 0 failed
        floor(ratio) => float32: 0.0, 3.4028235e38, -inf, -0.0, null; 0 failed
        floor(quantity) => float64: 2.0, 9.223372036854776e18, -9.223372036854776e18, 0.0, null; 0 failed
        round(price) => float64: 3.0, 1.7976931348623157e308, NaN, -0.0, null; 0 failed
        round(price, 1) => float64: 2.5, inf, NaN, -0.0, null; 0 failed
        round(amount, 1) => decimal(13,2): 20.00, 10000000000.00, -10000000000.00, 0.00, null; 0 failed
        round(quantity) => int64: 2, 9223372036854775807, -9223372036854775808, 0, null; 0 failed
        trunc(price) => float64: 2.0, 1.7976931348623157e308, NaN, 0.0, null; 0 failed
        trunc(ratio, 1) => float32: 0.5, inf, -inf, -0.0, null; 0 failed
        signum(price) => float64: 1.0, 1.0, NaN, 0.0, null; 0 failed
        sqrt(price) => float64: 1.5811388300841898, 1.3407807929942596e154, NaN, -0.0, null; 0 failed
        sqrt(quantity) => float64: 1.4142135623730951, 3037000499.97605, null, 0.0, null; 1 failed
        isnan(price) => bool: false, false, true, false, null; 0 failed
        nanvl(price, 0.0) => float64: 2.5, 1.7976931348623157e308, 0.0, -0.0, null; 0 failed
        exp(price) => float64: 12.182493960703473, inf, NaN, 1.0, null; 0 failed
        ln(price) => float64: 0.9162907318741551, 709.782712893384, NaN, -inf, null; 0 failed
        log10(quantity) => float64: 0.3010299956639812, 18.964889726830815, NaN, -inf, null; 0 failed
        log2(small) => float64: 1.584962500721156, 30.999999999328193, NaN, -inf, null; 0 failed
        power(price, 2) => float64: 6.25, inf, NaN, 0.0, null; 0 failed
        pow(quantity, 0.5) => float64: 1.4142135623730951, 3037000499.97605, NaN, 0.0, null; 0 failed
        power(amount, 2) => float64: 399.60009999999994, 9.99999999998e19, 9.99999999998e19, 0.0, null; 0 failed
        sin(price) => float64: 0.5984721441039564, 0.004961954789184062, NaN, -0.0, null; 0 failed
        cos(ratio) => float64: 0.8775825618903728, 0.8530210398303042, NaN, 1.0, null; 0 failed
        tan(price) => float64: -0.7470222972386603, -0.004962015874444895, NaN, -0.0, null; 0 failed
        asin(price) => float64: NaN, NaN, NaN, -0.0, null; 0 failed
        acos(price) => float64: NaN, NaN, NaN, 1.5707963267948966, null; 0 failed
        atan(price) => float64: 1.1902899496825317, 1.5707963267948966, NaN, -0.0, null; 0 failed
        atan2(price, quantity) => float64: 0.8960553845713439, 1.5707963267948966, NaN, -0.0, null; 0 failed
        radians(price) => float64: 0.04363323129985824, 3.1375664143845866e306, NaN, -0.0, null; 0 failed
        coalesce(price, 0) => float64: 2.5, 1.7976931348623157e308, NaN, -0.0, 0.0; 0 failed
        coalesce(event, 'none') => string: view, Ünïcödé 🎉 %_\, ([, , none; 0 failed
        coalesce(at, TIMESTAMP '2026-01-01') => timestamp: 2026-11-21T10:00:00.123456Z, 9999-12-31T23:59:59.999999Z, 0001-01-01T00:00:00Z, 1970-01-01T00:00:00Z, 2026-01-01T00:00:00Z; 0 failed
        coalesce(price, 1/quantity) => float64: 2.5, 1.7976931348623157e308, NaN, -0.0, null; 0 failed
        nullif(quantity, 0) => int64: 2, 9223372036854775807, -9223372036854775808, null, null; 0 failed
        nullif(event, '') => string: view, Ünïcödé 🎉 %_\, ([, null, null; 0 failed
        nvl(price, 1) => float64: 2.5, 1.7976931348623157e308, NaN, -0.0, 1.0; 0 failed
        greatest(price, quantity) => float64: 2.5, 1.7976931348623157e308, NaN, 0.0, null; 0 failed
        least(small, quantity, 5) => int64: 2, 5, -9223372036854775808, 0, 5; 0 failed
        greatest(event, 'm') => string: view, Ünïcödé 🎉 %_\, m, m, m; 0 failed
        ascii(event) => int32: 118, 220, 40, 0, null; 0 failed
        btrim(event) => string: view, Ünïcödé 🎉 %_\, ([, , null; 0 failed
        btrim(event, 'v') => string: iew, Ünïcödé 🎉 %_\, ([, , null; 0 failed
        trim(BOTH 'v' FROM event) => string: iew, Ünïcödé 🎉 %_\, ([, , null; 0 failed
        character_length(event) => int32: 4, 13, 2, 0, null; 0 failed
        length(event) => int32: 4, 13, 2, 0, null; 0 failed
        char_length(event) => int32: 4, 13, 2, 0, null; 0 failed
        concat(event, small, NULL) => string: view3, Ünïcödé 🎉 %_\2147483647, ([-2147483648, 0, ; 0 failed
        concat_ws('-', event, small) => string: view-3, Ünïcödé 🎉 %_\-2147483647, ([--2147483648, -0, ; 0 failed
        contains(event, 'ie') => bool: true, false, false, false, null; 0 failed
        ends_with(event, 'w') => bool: true, false, false, false, null; 0 failed
        initcap(event) => string: View, Ünïcödé 🎉 %_\, ([, , null; 0 failed
        left(event, 2) => string: vi, Ün, ([, , null; 0 failed
        left(event, quantity) => string: vi, Ünïcödé 🎉 %_\, , , null; 0 failed
        right(event, -1) => string: iew, nïcödé 🎉 %_\, [, , null; 0 failed
        right(event, quantity) => string: ew, Ünïcödé 🎉 %_\, , , null; 0 failed
        levenshtein(event, 'vie') => int32: 1, 13, 3, 3, null; 0 failed
        lower(event) => string: view, ünïcödé 🎉 %_\, ([, , null; 0 failed
        upper(event) => string: VIEW, ÜNÏCÖDÉ 🎉 %_\, ([, , null; 0 failed
        ltrim(event) => string: view, Ünïcödé 🎉 %_\, ([, , null; 0 failed
        rtrim(event, 'w') => string: vie, Ünïcödé 🎉 %_\, ([, , null; 0 failed
        octet_length(event) => int32: 4, 20, 2, 0, null; 0 failed
        regexp_like(event, '^v.*w$') => bool: true, false, false, false, null; 0 failed
        regexp_replace(event, '[aeiou]', '_', 'g') => string: v__w, Ünïcödé 🎉 %_\, ([, , null; 0 failed
        replace(event, 'i', 'I') => string: vIew, Ünïcödé 🎉 %_\, ([, , null; 0 failed
        reverse(event) => string: weiv, \_% 🎉 édöcïnÜ, [(, , null; 0 failed
        split_part(event, 'i', 1) => string: v, Ünïcödé 🎉 %_\, ([, , null; 0 failed
        split_part(event, 'i', quantity) => string: ew, , , null, null; 1 failed
        starts_with(event, 'v') => bool: true, false, false, false, null; 0 failed
        strpos(event, 'w') => int32: 4, 0, 0, 0, null; 0 failed
        POSITION('w' IN event) => int32: 4, 0, 0, 0, null; 0 failed
        substr(event, 2) => string: iew, nïcödé 🎉 %_\, [, , null; 0 failed
        substr(event, quantity) => string: iew, , null, , null; 1 failed
        substr(event, 2, 2) => string: ie, nï, [, , null; 0 failed
        substr(event, -5, quantity) => string: , Ünïcödé 🎉 %_\, null, , null; 1 failed
        translate(event, 'vw', 'VW') => string: VieW, Ünïcödé 🎉 %_\, ([, , null; 0 failed
        date_part('year', at) => int32: 2026, 9999, 1, 1970, null; 0 failed
        date_part('dow', at) => int32: 6, 5, 1, 4, null; 0 failed
        EXTRACT(DAY FROM day) => int32: 21, 31, 1, 1, null; 0 failed
        date_part('hour', at) => int32: 10, 23, 0, 0, null; 0 failed
        date_part('doy', day) => int32: 325, 365, 1, 1, null; 0 failed
        date_part('microsecond', at) => int32: 123456, 59999999, 0, 0, null; 0 failed
        date_trunc('hour', at) => timestamp: 2026-11-21T10:00:00Z, null, null, 1970-01-01T00:00:00Z, null; 2 failed
        date_trunc('month', day) => timestamp: 2026-11-01T00:00:00Z, null, null, 1970-01-01T00:00:00Z, null; 2 failed
        date_trunc('week', at) => timestamp: 2026-11-16T00:00:00Z, null, null, 1969-12-29T00:00:00Z, null; 2 failed
        make_date(2026, small, 1) => date: 2026-03-01, null, null, null, null; 3 failed
        make_date(small, 1, 1) => date: 0003-01-01, null, null, null, null; 3 failed
        to_date(event) => date: null, null, null, null, null; 4 failed
        to_date(quantity) => date: 1970-01-03, null, null, 1970-01-01, null; 2 failed
        to_date(at) => date: 2026-11-21, 9999-12-31, 0001-01-01, 1970-01-01, null; 0 failed
        to_unixtime(at) => int64: 1795255200, 253402300799, -62135596800, 0, null; 0 failed
        to_unixtime(day) => int64: 1795219200, 253402214400, -62135596800, 0, null; 0 failed"#]].assert_eq(&lines.join("\n"));
}

#[test]
fn every_offered_function_is_immutable_and_stands_in_the_test_above() {
    let called = |name: &str| CALLS.iter().any(|call| call.to_lowercase().starts_with(&format!("{name}(")));
    for name in functions::names() {
        let function = functions::find(name).expect("a name finds its function");
        assert_eq!(function.signature().volatility, datafusion_expr::Volatility::Immutable, "{name}");
        assert!(called(name), "{name} is offered and not tested");
    }
}

#[test]
fn the_tallest_expressions_that_are_accepted_fit_a_small_stack() {
    let depth = parse::DEEPEST;
    let chain = |operator: &str| vec!["quantity"; 90].join(operator);
    for text in [
        format!("{}price{}", "abs(".repeat(depth), ")".repeat(depth)),
        format!("{}flag", "NOT ".repeat(depth)),
        format!("{}1{}", "CASE WHEN flag THEN ".repeat(depth), " END".repeat(depth)),
        format!("{}quantity{}", "coalesce(0, ".repeat(depth), ")".repeat(depth)),
        chain(" + "),
        format!("{} > 0", chain(" * ")),
        vec!["flag"; 95].join(" OR "),
    ] {
        let expression = Expression::compile(&text, &columns()).unwrap_or_else(|fault| panic!("{fault:?}: {text}"));
        expression.evaluate(&extremes());
    }
    let fault = Expression::compile(&vec!["flag"; 101].join(" OR "), &columns()).expect_err("too tall");
    assert_eq!(fault.what, "the expression chains more than 100 operators");
}
