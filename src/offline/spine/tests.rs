//! Spines of every format, right and wrong.

use arrow::array::{
    DictionaryArray, Int32Array, ListViewArray, RunArray, StringArray, StringViewBuilder, TimestampNanosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::ipc::writer::FileWriter;
use arrow::util::pretty::pretty_format_batches;
use expect_test::{Expect, expect};

use super::*;
use crate::offline::parquet_file;

const LIMITS: Limits = Limits { rows: 100_000, bytes: 1 << 26 };

fn read_as(bytes: Bytes, format: Format, limits: Limits) -> Result<Vec<RecordBatch>, TableError> {
    let keys = [("user_id", ValueType::String), ("shop", ValueType::Int64)];
    let keys = keys.map(|(name, value_type)| (name.parse().expect("a name"), value_type));
    read(bytes, SpineFormat::Table(format), SpineColumns { keys: &keys, label_time: "label_time" }, limits)
}

fn check(csv: &'static str, expected: Expect) {
    expected.assert_eq(&match read_as(Bytes::from_static(csv.as_bytes()), Format::Csv, LIMITS) {
        Ok(batches) => pretty_format_batches(&batches).expect("printed").to_string(),
        Err(error) => error.to_string(),
    });
}

#[test]
fn csv_columns_take_the_types_of_their_keys_and_else_of_their_values() {
    check(
        "user_id,shop,label_time,n,zip,ratio,note\n\
         007,1,2026-11-21T10:00:00+02:00,1,01234,1,a\n\
         ,-2,2026-11-21 10:00:00.1234567,,99999,0.5,\n",
        expect![[r#"
            +---------+------+-----------------------------+---+-------+-------+------+
            | user_id | shop | label_time                  | n | zip   | ratio | note |
            +---------+------+-----------------------------+---+-------+-------+------+
            | 007     | 1    | 2026-11-21T08:00:00Z        | 1 | 01234 | 1.0   | a    |
            |         | -2   | 2026-11-21T10:00:00.123456Z |   | 99999 | 0.5   |      |
            +---------+------+-----------------------------+---+-------+-------+------+"#]],
    );
}

#[test]
fn a_number_that_fits_no_int64_is_passed_through_as_text() {
    check(
        "user_id,shop,label_time,big\nu,1,2026-11-21T10:00:00Z,99999999999999999999\n",
        expect![[r#"
            +---------+------+----------------------+----------------------+
            | user_id | shop | label_time           | big                  |
            +---------+------+----------------------+----------------------+
            | u       | 1    | 2026-11-21T10:00:00Z | 99999999999999999999 |
            +---------+------+----------------------+----------------------+"#]],
    );
}

#[test]
fn a_csv_column_that_a_type_would_write_otherwise_is_passed_through_as_text() {
    check(
        "user_id,shop,label_time,code,version,flag,at,price,kept\n\
         u,1,2026-11-21T10:00:00Z,12E5,1.10,TRUE,2026-11-21T10:00:00+02:00,2.50,2026-11-21T10:00:00\n\
         u,1,2026-11-21T10:00:00Z,34E2,1.20,false,2026-11-21T10:00:00Z,3,2026-11-21T11:00:00\n",
        expect![[r#"
            +---------+------+----------------------+------+---------+-------+---------------------------+-------+---------------------+
            | user_id | shop | label_time           | code | version | flag  | at                        | price | kept                |
            +---------+------+----------------------+------+---------+-------+---------------------------+-------+---------------------+
            | u       | 1    | 2026-11-21T10:00:00Z | 12E5 | 1.10    | TRUE  | 2026-11-21T10:00:00+02:00 | 2.50  | 2026-11-21T10:00:00 |
            | u       | 1    | 2026-11-21T10:00:00Z | 34E2 | 1.20    | false | 2026-11-21T10:00:00Z      | 3     | 2026-11-21T11:00:00 |
            +---------+------+----------------------+------+---------+-------+---------------------------+-------+---------------------+"#]],
    );
}

#[test]
fn a_table_without_rows_has_its_columns_and_must_have_those_of_a_spine() {
    let columns = |csv: &'static [u8]| {
        let batches = read_as(Bytes::from_static(csv), Format::Csv, LIMITS)?;
        let names = batches[0].schema().fields().iter().map(|it| it.name().clone()).collect::<Vec<_>>().join(" ");
        Ok::<_, TableError>((names, batches[0].num_rows(), batches[0].column(1).data_type().clone()))
    };
    let whole = columns(b"user_id,shop,label_time,note\n").expect("read");
    assert_eq!(whole, ("user_id shop label_time note".to_owned(), 0, DataType::Int64));
    assert_eq!(columns(b"user_id,label_time\n").expect_err("no shop").column.as_deref(), Some("shop"));
    let none = RecordBatch::new_empty(Arc::new(Schema::new(vec![Field::new("user_id", DataType::Utf8, true)])));
    let parquet = Bytes::from(parquet_file::encode(&none).expect("encoded"));
    assert!(read_as(parquet, Format::Parquet, LIMITS).is_err(), "it lacks columns");
}

#[test]
fn mistakes_name_row_and_column() {
    check(
        "user_id,shop,label_time\nu,1,2026-11-21T10:00:00Z\nu,1,yesterday\n",
        expect![[r#"
            row 2, column `label_time`: `yesterday` is not a time
              help: write `2026-11-21T10:00:00Z`, or `2026-11-21 10:00:00` for UTC"#]],
    );
    check(
        "user_id,shop,label_time\nu,1,\n",
        expect![[r#"
            row 1, column `label_time`: a row needs a label time, and this one is null
              help: write `2026-11-21T10:00:00Z`, or `2026-11-21 10:00:00` for UTC"#]],
    );
    check(
        "user_id,shop,label_time\nu,1.5,2026-11-21T10:00:00Z\n",
        expect!["row 1, column `shop`: `1.5` is not an int64"],
    );
    check(
        "user_id,label_time\nu,2026-11-21T10:00:00Z\n",
        expect![[r#"
            column `shop`: the spine has no such column
              help: it needs every entity key and the label time; it has `user_id`, `label_time`"#]],
    );
    check(
        "user_id,shop,label_time,shop\nu,1,2026-11-21T10:00:00Z,2\n",
        expect![[r#"
            column `shop`: the name stands twice
              help: name each column differently"#]],
    );
    check(
        "user_id,shop,label_time\nu,1,2026-11-21T10:00:00Z\nu,1\n",
        expect![[r#"not a CSV table: Csv error: incorrect number of fields for line 3, expected 3 got 2"#]],
    );
    check(
        "",
        expect![[r#"
            the table has no header line
              help: name the columns in the first line"#]],
    );
}

#[test]
fn a_label_time_is_of_its_offset_or_of_utc_and_never_of_a_zone_that_was_not_looked_at() {
    let micros = |text: &str| parse_time(text).map(EventTime::micros);
    let text = |text: &str| parse_time(text).map(|time| time.to_string());
    assert_eq!(text("2026-11-21T10:00:00+02:00[Europe/Berlin]").as_deref(), Ok("2026-11-21T08:00:00Z"));
    assert_eq!(text("2026-11-21").as_deref(), Ok("2026-11-21T00:00:00Z"));
    assert_eq!(micros("9999-12-31 23:59:59.9999999"), Ok(EventTime::MAX.micros()));
    assert_eq!(micros("0001-01-01T00:00:00"), Ok(EventTime::MIN.micros()));
    for (wrong, what) in [
        ("2026-11-21T10:00:00[Europe/Berlin]", "names a time zone, and no offset"),
        ("0001-01-01T00:00:00+02:00", "is outside the years 0001 to 9999"),
        ("0000-12-31T23:59:59", "is outside the years 0001 to 9999"),
        ("tomorrow", "is not a time"),
    ] {
        assert!(parse_time(wrong).expect_err(wrong).ends_with(what), "{wrong}");
    }
}

#[test]
fn the_label_time_is_no_entity_key() {
    let keys = [("user_id".parse().expect("a name"), ValueType::String)];
    let columns = SpineColumns { keys: &keys, label_time: "user_id" };
    let csv = Bytes::from_static(b"user_id\n2026-01-01T00:00:00Z\n");
    let refused = read(csv, SpineFormat::Table(Format::Csv), columns, LIMITS).expect_err("refused");
    assert_eq!(refused.column.as_deref(), Some("user_id"), "{refused}");
}

#[test]
fn the_row_of_a_mistake_counts_from_the_start_of_the_table() {
    let mut csv = "user_id,shop,label_time\n".to_owned();
    csv.extend(std::iter::repeat_n("u,1,2026-11-21T10:00:00Z\n", 20_000));
    csv.push_str("u,1,?\n");
    let error = read_as(Bytes::from(csv), Format::Csv, LIMITS).expect_err("the last row is wrong");
    assert_eq!(error.row, Some(20_001));
}

#[test]
fn parquet_takes_narrow_keys_and_naive_times_of_any_unit_and_refuses_other_kinds() {
    let spine = |shop: ArrayRef, nanos: Vec<Option<i64>>| {
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("shop", shop, true),
            ("user_id", Arc::new(StringArray::from(vec![Some("u"), None])) as ArrayRef, true),
            ("label_time", Arc::new(TimestampNanosecondArray::from(nanos)), true),
        ]);
        Bytes::from(parquet_file::encode(&batch.expect("a batch")).expect("encoded"))
    };
    let shops = || Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef;
    let read = read_as(spine(shops(), vec![Some(-1), Some(1_999)]), Format::Parquet, LIMITS).expect("read");
    assert_eq!(read[0].column(0).data_type(), &DataType::Int64);
    assert_eq!(read[0].column(0).null_count(), 1);
    let times = read[0].column(2).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values(), &[-1, 1], "floored, before 1970 too");
    let null = read_as(spine(shops(), vec![Some(0), None]), Format::Parquet, LIMITS).expect_err("a null time");
    assert!(null.to_string().starts_with("row 2, column `label_time`"), "{null}");
    let floats = Arc::new(arrow::array::Float64Array::from(vec![1.0, 2.0]));
    let float = read_as(spine(floats, vec![Some(0); 2]), Format::Parquet, LIMITS).expect_err("a float key");
    assert_eq!(float.to_string(), "column `shop`: it is Float64, and the key is int64");
}

#[test]
fn keys_that_share_one_large_value_are_refused_and_not_written_out() {
    let refused = |users: ArrayRef| {
        let rows = users.len();
        let times = TimestampNanosecondArray::from(vec![0; rows]);
        let columns: [(&str, ArrayRef); 3] =
            [("user_id", users), ("shop", Arc::new(Int32Array::from(vec![1; rows]))), ("label_time", Arc::new(times))];
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
        writer.write(&batch).expect("written");
        let file = Bytes::from(writer.into_inner().expect("ended"));
        read_as(file, Format::Arrow, LIMITS).expect_err("300 MB")
    };
    let (large, rows) = ("x".repeat(1 << 20), 300);
    let dictionary = Int32Array::from(vec![0; rows]);
    let values = Arc::new(StringArray::from(vec![large.as_str()]));
    let dictionary = DictionaryArray::<Int32Type>::try_new(dictionary, values).expect("a dictionary");
    let mut views = StringViewBuilder::new().with_deduplicate_strings();
    (0..rows).for_each(|_| views.append_value(&large));
    for refused in [refused(Arc::new(dictionary)), refused(Arc::new(views.finish()))] {
        assert!(refused.what.starts_with("the table has more than"), "{refused}");
    }
}

#[test]
fn columns_of_list_views_and_of_runs_are_passed_through_and_can_be_written() {
    let lists: ArrayRef = Arc::new(ListViewArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![Some(2)]),
    ]));
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2, 3]), &StringArray::from(vec!["a", "b"]));
    let columns: [(&str, ArrayRef); 5] = [
        ("user_id", Arc::new(StringArray::from(vec!["u"; 3]))),
        ("shop", Arc::new(Int32Array::from(vec![1; 3]))),
        ("label_time", Arc::new(TimestampNanosecondArray::from(vec![0; 3]))),
        ("lists", lists),
        ("runs", Arc::new(runs.expect("runs"))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)));
    let batch = batch.expect("a batch");
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
    writer.write(&batch).expect("written");
    let file = Bytes::from(writer.into_inner().expect("ended"));
    let read = read_as(file, Format::Arrow, LIMITS).expect("read");
    let columns = read[0].slice(1, 2).project(&[3, 4]).expect("they are there");
    let written = Bytes::from(parquet_file::encode(&columns).expect("encoded"));
    let written: Vec<RecordBatch> =
        parquet_file::read(written).expect("a file").collect::<Result<_, _>>().expect("read again");
    expect![[r#"
        +-------+------+
        | lists | runs |
        +-------+------+
        |       | a    |
        | [2]   | b    |
        +-------+------+"#]]
    .assert_eq(&pretty_format_batches(&written).expect("printed").to_string());
}

#[test]
fn a_csv_may_end_its_lines_as_it_likes() {
    for end in ["\n", "\r\n", "\r"] {
        let csv = format!("user_id,shop,label_time{end}") + &format!("u,1,2026-11-21T10:00:00Z{end}").repeat(5_000);
        let read = read_as(Bytes::from(csv), Format::Csv, LIMITS).expect("read");
        assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 5_000, "{end:?}");
    }
}

#[test]
fn a_table_of_nothing_but_columns_is_refused() {
    let refused = |csv: String| read_as(Bytes::from(csv), Format::Csv, LIMITS).expect_err("not a spine").what;
    for before in ["", "\n", "\r", "a\"", "\"a\nb\""] {
        let too_many = refused(format!("{before}{}\n", ",".repeat(MOST_COLUMNS)));
        assert_eq!(too_many, "the table has more than 10000 columns", "{before:?}");
    }
    assert_eq!(refused(",".repeat(MOST_COLUMNS - 1)), "the name stands twice");
    let wide_row = refused(format!("user_id,shop,label_time\n{}\n", ",".repeat(1_000_000)));
    assert!(wide_row.ends_with("for line 2, expected 3 got more than 24576"), "{wide_row}");
}

#[test]
fn no_room_is_made_for_more_cells_of_a_wide_csv_than_it_may_have_at_once() {
    let (columns, rows) = (MOST_COLUMNS, 500);
    let csv = Bytes::from(format!("{}\n", ",".repeat(columns - 1)).repeat(1 + rows));
    let batches = table::decode(csv, Format::Csv, &|_| false, LIMITS).expect("read");
    let batches: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(batches, [419, 81]);
}

#[test]
fn a_table_beyond_the_limits_is_refused() {
    let csv = Bytes::from_static(b"user_id,shop,label_time\nu,1,2026-11-21T10:00:00Z\nu,1,2026-11-21T10:00:00Z\n");
    let one_row = Limits { rows: 1, ..LIMITS };
    let refused = read_as(csv, Format::Csv, one_row).expect_err("two rows");
    assert!(refused.what.starts_with("the table has more than 1 rows"), "{refused}");
}
