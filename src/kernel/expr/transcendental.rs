//! Logarithms, exponentials, powers and angles over float64, from the `libm` crate. DataFusion's own call the
//! system's library, whose last bits differ between machines: a value would depend on where it was computed.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::compute::{binary, unary};
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    let unary = UNARY.into_iter().map(|(name, apply)| Transcendental::new(name, &[], Apply::Unary(apply)));
    let power = Transcendental::new("power", &["pow"], Apply::Binary(libm::pow));
    let angle = Transcendental::new("atan2", &[], Apply::Binary(libm::atan2));
    unary.chain([power, angle]).map(|function| Arc::new(ScalarUDF::new_from_impl(function)))
}

type OfOne = fn(f64) -> f64;

const UNARY: [(&str, OfOne); 11] = [
    ("acos", libm::acos),
    ("asin", libm::asin),
    ("atan", libm::atan),
    ("cos", libm::cos),
    ("exp", libm::exp),
    ("ln", libm::log),
    ("log10", libm::log10),
    ("log2", libm::log2),
    ("radians", f64::to_radians),
    ("sin", libm::sin),
    ("tan", libm::tan),
];

#[derive(Debug)]
struct Transcendental {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    apply: Apply,
}

#[derive(Debug)]
enum Apply {
    Unary(OfOne),
    Binary(fn(f64, f64) -> f64),
}

impl Transcendental {
    fn new(name: &'static str, aliases: &[&str], apply: Apply) -> Transcendental {
        let arguments = match apply {
            Apply::Unary(_) => vec![DataType::Float64],
            Apply::Binary(_) => vec![DataType::Float64; 2],
        };
        let aliases = aliases.iter().map(|alias| alias.to_string()).collect();
        Transcendental { name, aliases, signature: Signature::exact(arguments, Volatility::Immutable), apply }
    }
}

/// A name stands for one function here.
impl PartialEq for Transcendental {
    fn eq(&self, other: &Transcendental) -> bool {
        self.name == other.name
    }
}

impl Eq for Transcendental {}

impl std::hash::Hash for Transcendental {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Transcendental {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays: Vec<ArrayRef> =
            args.args.into_iter().map(|value| value.into_array(args.number_rows)).collect::<Result<_>>()?;
        let column = |index: usize| arrays[index].as_primitive::<Float64Type>();
        let result: Float64Array = match self.apply {
            Apply::Unary(apply) => unary(column(0), apply),
            Apply::Binary(apply) => binary(column(0), column(1), apply)?,
        };
        Ok(ColumnarValue::Array(Arc::new(result)))
    }
}
