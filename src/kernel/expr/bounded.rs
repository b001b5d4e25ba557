//! `levenshtein`, of strings that are not too long: its work grows with the product of their lengths, and two fields of one
//! event, each nearly as long as a record may be, would hold a worker up for hours. Beyond the bound it fails, so that the
//! value is null and counted.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Int64Type};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use datafusion_functions::string::levenshtein as unbounded;

/// The most that the lengths may multiply to: two strings of 4,096 bytes.
const MOST_STEPS: i64 = 1 << 24;

pub(super) fn levenshtein() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Bounded(unbounded())))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded(Arc<ScalarUDF>);

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut steps = vec![1_i64; args.number_rows];
        for argument in &args.args {
            let bytes = cast(&length(&argument.to_array(args.number_rows)?)?, &DataType::Int64)?;
            let bytes = bytes.as_primitive::<Int64Type>().values();
            steps.iter_mut().zip(bytes).for_each(|(steps, bytes)| *steps = steps.saturating_mul(*bytes));
        }
        match steps.iter().any(|steps| *steps > MOST_STEPS) {
            true => exec_err!("`levenshtein` compares strings of at most {MOST_STEPS} bytes times bytes"),
            false => self.0.invoke_with_args(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::Field;
    use datafusion_common::ScalarValue;
    use datafusion_common::config::ConfigOptions;

    use super::*;

    fn distance(one: &str, other: &str) -> Result<ColumnarValue> {
        let column = ColumnarValue::Array(Arc::new(StringArray::from(vec![one])));
        let text = Arc::new(Field::new("text", DataType::Utf8, true));
        levenshtein().invoke_with_args(ScalarFunctionArgs {
            args: vec![column, ColumnarValue::Scalar(ScalarValue::Utf8(Some(other.to_owned())))],
            arg_fields: vec![text.clone(), text],
            number_rows: 1,
            return_field: Arc::new(Field::new("distance", DataType::Int32, true)),
            config_options: Arc::new(ConfigOptions::default()),
        })
    }

    #[test]
    fn strings_whose_comparison_would_take_too_long_are_refused() {
        let steps = |one: usize, other: usize| distance(&"a".repeat(one), &"b".repeat(other));
        assert!(steps(1 << 20, 16).is_ok() && steps(16, 1 << 20).is_ok());
        let refused = steps(1 << 20, 17).expect_err("one step too many");
        assert!(refused.to_string().contains("compares strings of at most"), "{refused}");
    }
}
