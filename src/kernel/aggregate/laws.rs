//! The laws of every aggregate, on seeded random events: any order, any grouping and any split give the same partial
//! and the same bytes; the identity changes nothing; bytes read back. And sums, means and variances against
//! fractions computed here by other means.

use std::collections::BTreeMap;

use fastrand::Rng;
use num_bigint::BigInt;

use super::*;
use crate::kernel::key::Origin;

/// What `function` with its default parameters makes of `values`, one event each.
pub fn finalized(function: &str, argument: ValueType, values: &[Value]) -> Finalized {
    let function = lookup(function).expect("the test names a function that exists");
    let call = Call { function, argument: Some(argument), parameters: BTreeMap::new() };
    let events: Vec<Event> =
        (0..).zip(values).map(|(offset, value)| (Some(value.clone()), stamp_in_log(0, offset))).collect();
    (function.finalize)(&call, &fold(&call, &events), EventTime::MAX)
}

pub fn numbers<T: Copy>(numbers: &[T], value: fn(T) -> Value) -> Vec<Value> {
    numbers.iter().copied().map(value).collect()
}

type Event = (Option<Value>, Stamp);

fn stamp_in_log(micros: i64, offset: u64) -> Stamp {
    Stamp { event_time: EventTime::unchecked(micros), origin: Origin::Log { partition: 0, offset } }
}

fn update(partial: &mut Partial, (value, stamp): &Event) {
    partial.update(value.as_ref().and_then(Value::scalar), *stamp);
}

fn fold<'a>(call: &Call, events: impl IntoIterator<Item = &'a Event>) -> Partial {
    let mut partial = (call.function.identity)(call);
    events.into_iter().for_each(|event| update(&mut partial, event));
    partial
}

fn merged(mut one: Partial, other: &Partial) -> Partial {
    one.merge(other);
    one
}

fn bytes(partial: &Partial) -> Vec<u8> {
    let mut out = Vec::new();
    partial.encode(&mut out);
    out
}

fn types() -> Vec<ValueType> {
    let scalars =
        "bool int32 int64 float32 float64 string bytes timestamp date decimal(4,2) decimal(38,0) decimal(38,38)";
    scalars.split(' ').map(|text| text.parse().expect("a type")).collect()
}

/// Every call of a function that the laws are tried on: all columns it accepts, parameters small enough to matter.
fn calls(function: &'static Function) -> Vec<Call> {
    let without = (function.column != Arity::Always).then_some(None);
    let with = types().into_iter().filter(|value_type| (function.accepts)(value_type)).map(Some);
    let arguments = without.into_iter().chain(with.filter(|_| function.column != Arity::Never));
    let mut choices: Vec<BTreeMap<&'static str, Parameter>> = vec![BTreeMap::new()];
    for rule in function.parameters {
        let values = match rule.kind {
            ParameterKind::Count { least, .. } => [least, 4, 30].map(Parameter::Count).to_vec(),
            ParameterKind::Flag => [false, true].map(Parameter::Flag).to_vec(),
        };
        let with = |choice: &BTreeMap<_, _>, value| {
            let mut choice = choice.clone();
            choice.insert(rule.name, value);
            choice
        };
        choices = choices.iter().flat_map(|choice| values.iter().map(move |value| with(choice, *value))).collect();
    }
    let with_each = |argument: Option<ValueType>| {
        let call = move |parameters: &BTreeMap<_, _>| Call {
            function,
            argument: argument.clone(),
            parameters: parameters.clone(),
        };
        choices.iter().map(call).collect::<Vec<_>>()
    };
    arguments.flat_map(with_each).collect()
}

fn random_float(random: &mut Rng, infinities: bool) -> f64 {
    let sign = if random.bool() { 1.0 } else { -1.0 };
    let magnitude = match random.u8(..10) {
        0 => 0.0,
        1 => f64::from_bits(random.u64(1..1 << 52)),
        2 => f64::from_bits(1),
        3 => f64::MAX,
        4 => f64::from_bits(random.u64(..0x7ff << 52)),
        5 if infinities => f64::INFINITY,
        _ => f64::from(random.i32(0..1_000_000)) / 100.0,
    };
    sign * magnitude
}

fn random_decimal(random: &mut Rng, precision: u8) -> i128 {
    let bound = 10_i128.pow(u32::from(precision)) - 1;
    match random.u8(..4) {
        0 => bound,
        1 => -bound,
        _ => random.i128(-bound..=bound) >> random.u32(..100),
    }
}

fn random_text(random: &mut Rng) -> String {
    match random.u8(..6) {
        0 => String::new(),
        1 => "ü".repeat(LONGEST_KEPT_BYTES / 2),
        _ => random.u8(..40).to_string(),
    }
}

fn random_value(random: &mut Rng, value_type: &ValueType, infinities: bool) -> Value {
    match value_type {
        ValueType::Bool => Value::Bool(random.bool()),
        ValueType::Int32 => Value::Int(i64::from(random.i32(..) >> random.u32(..32))),
        ValueType::Int64 => Value::Int(match random.u8(..6) {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => random.i64(..) >> random.u32(..64),
        }),
        ValueType::Float32 => match f64::from(random_float(random, infinities) as f32) {
            overflow if overflow.is_infinite() && !infinities => Value::Float(f64::from(f32::MAX)),
            float => Value::Float(float),
        },
        ValueType::Float64 => Value::Float(random_float(random, infinities)),
        ValueType::String => Value::Text(random_text(random).into()),
        ValueType::Bytes => Value::Bytes(random_text(random).into_bytes().into()),
        ValueType::Timestamp => Value::Time(EventTime::unchecked(random.i64(-9..9) * 1_000_000)),
        ValueType::Date => Value::Date(random.i32(-9..9)),
        ValueType::Decimal { precision, .. } => Value::Decimal(random_decimal(random, *precision)),
        ValueType::List(_) => unreachable!("no aggregate accepts a list"),
    }
}

/// Up to sixty events with many ties in time, in a random order, no two from one place.
fn random_events(random: &mut Rng, argument: Option<&ValueType>, count: u64) -> Vec<Event> {
    let infinities = random.u8(..4) == 0;
    let event = |random: &mut Rng, position: u64| {
        let place = random.u32(..3);
        let origin = match random.bool() {
            true => Origin::History { file: place, row: position },
            false => Origin::Log { partition: place, offset: position },
        };
        let stamp = Stamp { event_time: EventTime::unchecked(random.i64(-5..5)), origin };
        (argument.map(|value_type| random_value(random, value_type, infinities)), stamp)
    };
    let mut events: Vec<Event> = (0..count).map(|position| event(random, position)).collect();
    random.shuffle(&mut events);
    events
}

/// The events cut into random groups, and the groups merged two by two in a random order.
fn fold_in_groups(random: &mut Rng, call: &Call, events: &[Event]) -> Partial {
    let mut groups = vec![(call.function.identity)(call); random.usize(1..8)];
    for event in events {
        let group = random.usize(..groups.len());
        update(&mut groups[group], event);
    }
    while groups.len() > 1 {
        let other = groups.swap_remove(random.usize(..groups.len()));
        let into = random.usize(..groups.len());
        groups[into].merge(&other);
    }
    groups.swap_remove(0)
}

/// Runs `law` on random events for every call of every function; a failure prints the call and the seed.
fn for_every_call(law: fn(&mut Rng, &Call, &[Event])) {
    for call in FUNCTIONS.iter().copied().flat_map(calls) {
        for seed in 0..24 {
            let mut random = Rng::with_seed(seed);
            let count = if seed == 0 { 0 } else { random.u64(1..60) };
            let events = random_events(&mut random, call.argument.as_ref(), count);
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| law(&mut random, &call, &events)));
            assert!(
                ran.is_ok(),
                "{} of {:?} with {:?}, seed {seed}",
                call.function.name,
                call.argument,
                call.parameters
            );
        }
    }
}

#[test]
fn order_and_grouping_do_not_matter() {
    for_every_call(|random, call, events| {
        let expected = fold(call, events);
        let mut shuffled = events.to_vec();
        random.shuffle(&mut shuffled);
        for other in [fold(call, &shuffled), fold_in_groups(random, call, &shuffled)] {
            assert_eq!(other, expected);
            assert_eq!(bytes(&other), bytes(&expected));
            let value = |partial| format!("{:?}", (call.function.finalize)(call, partial, EventTime::MAX));
            assert_eq!(value(&other), value(&expected));
        }
    });
}

#[test]
fn merge_is_associative_and_commutative_at_every_split() {
    for_every_call(|random, call, events| {
        let at = random.usize(..=events.len());
        let (left, rest) = events.split_at(at);
        let (middle, right) = rest.split_at(random.usize(..=rest.len()));
        let [left, middle, right] = [left, middle, right].map(|events| fold(call, events));
        let leftwards = merged(merged(left.clone(), &middle), &right);
        let rightwards = merged(left.clone(), &merged(middle.clone(), &right));
        assert_eq!(bytes(&leftwards), bytes(&rightwards));
        assert_eq!(bytes(&merged(left.clone(), &right)), bytes(&merged(right, &left)));
        assert_eq!(leftwards, fold(call, events));
    });
}

#[test]
fn the_identity_changes_nothing_and_only_no_events_are_the_identity() {
    for_every_call(|_, call, events| {
        let (identity, partial) = ((call.function.identity)(call), fold(call, events));
        assert_eq!(merged(partial.clone(), &identity), partial);
        assert_eq!(merged(identity.clone(), &partial), partial);
        assert_eq!(partial.is_identity(), events.is_empty());
        assert_eq!(partial == identity, events.is_empty());
        let empty = matches!((call.function.finalize)(call, &partial, EventTime::MAX), Finalized::Empty(_));
        assert_eq!(empty, events.is_empty());
    });
}

#[test]
fn partials_read_back_and_go_on_as_if_they_had_never_been_stored() {
    for_every_call(|random, call, events| {
        let (before, after) = events.split_at(random.usize(..=events.len()));
        let (identity, stored) = ((call.function.identity)(call), fold(call, before));
        let encoded = [bytes(&stored), vec![0xaa]].concat();
        let mut input = encoded.as_slice();
        let mut read = identity.decode(&mut input).expect("what was encoded is decoded");
        assert_eq!(input, [0xaa], "and no byte more");
        assert_eq!(read, stored);
        after.iter().for_each(|event| update(&mut read, event));
        assert_eq!(bytes(&read), bytes(&fold(call, events)));
    });
}

#[test]
fn absorbing_bytes_is_merging_what_they_are_and_skipping_them_reads_as_many() {
    for_every_call(|random, call, events| {
        let (before, after) = events.split_at(random.usize(..=events.len()));
        let (mut absorbing, stored) = (fold(call, before), fold(call, after));
        let encoded = [bytes(&stored), vec![0xaa]].concat();
        let (mut absorbed, mut skipped) = (encoded.as_slice(), encoded.as_slice());
        absorbing.absorb(&mut absorbed).expect("what was encoded is absorbed");
        stored.skip(&mut skipped).expect("what was encoded is skipped");
        assert_eq!((absorbed, skipped), (&[0xaa][..], &[0xaa][..]));
        assert_eq!(absorbing, fold(call, events));
        assert_eq!(bytes(&absorbing), bytes(&fold(call, events)));
        assert!(stored.inputs().is_none_or(|inputs| inputs == after.len() as u64));
    });
}

#[test]
fn damaged_bytes_are_refused_or_read_as_some_partial_but_never_panic() {
    for_every_call(|random, call, events| {
        let (identity, encoded) = ((call.function.identity)(call), bytes(&fold(call, events)));
        for length in 0..encoded.len() {
            assert_eq!(identity.decode(&mut &encoded[..length]), None, "cut off after {length} bytes");
        }
        for _ in 0..40 {
            let mut damaged = encoded.clone();
            let at = random.usize(..damaged.len());
            damaged[at] = random.u8(..);
            // Whatever they are, this has to end.
            fold(call, events).absorb(&mut damaged.as_slice());
            if let Some(partial) = identity.decode(&mut damaged.as_slice()) {
                let mut rest = damaged.as_slice();
                assert_eq!(partial.skip(&mut rest), Some(()), "what decodes can be skipped");
                let again = bytes(&partial);
                assert_eq!(again, damaged[..again.len()], "a partial has one form");
            }
        }
    });
}

#[test]
fn functions_have_names_of_their_own_and_are_found_by_them() {
    for function in FUNCTIONS {
        assert!(lookup(function.name).is_some_and(|found| std::ptr::eq(found, *function)), "{}", function.name);
    }
    assert!(lookup("median").is_none());
}

#[test]
fn nan_and_what_is_too_long_to_keep_are_not_admitted() {
    let long = "x".repeat(LONGEST_KEPT_BYTES + 1);
    assert_eq!(admit(false, ValueRef::Float(-f64::NAN)).err(), Some(Skip::NaN));
    assert_eq!(admit(true, ValueRef::Text(&long)).err(), Some(Skip::TooLong));
    assert!(admit(false, ValueRef::Text(&long)).is_ok(), "a count does not keep it");
    assert!(admit(true, ValueRef::Bytes(&long.as_bytes()[1..])).is_ok());
    assert!(admit(true, ValueRef::Float(f64::INFINITY)).is_ok());
}

/// Values as integers over one denominator.
fn over_common_denominator(value_type: &ValueType, events: &[Event]) -> (Vec<BigInt>, BigInt) {
    let integer = |(value, _): &Event| match value {
        Some(Value::Float(float)) => times_2_to_1074(*float),
        Some(Value::Int(int)) => BigInt::from(*int),
        Some(Value::Decimal(unscaled)) => BigInt::from(*unscaled),
        other => panic!("{other:?} is not a number"),
    };
    let denominator = match value_type {
        ValueType::Decimal { scale, .. } => BigInt::from(10).pow(*scale as u32),
        float if float.is_float() => BigInt::from(1) << 1_074,
        _ => BigInt::from(1),
    };
    (events.iter().map(integer).collect(), denominator)
}

fn times_2_to_1074(float: f64) -> BigInt {
    let (field, stored) = ((float.to_bits() >> 52) & 0x7ff, float.to_bits() & ((1 << 52) - 1));
    let magnitude = match field {
        0 => BigInt::from(stored),
        // Where the next number would be: what rounds to infinity is nearer to it than to the largest that there is.
        0x7ff => BigInt::from(1) << (1_024 + 1_074),
        field => BigInt::from(stored | 1 << 52) << (field - 1),
    };
    if float.is_sign_negative() { -magnitude } else { magnitude }
}

/// Whether no double is nearer to the fraction, and an even one was chosen of two.
fn is_nearest(float: f64, numerator: &BigInt, denominator: &BigInt) -> bool {
    let target: BigInt = numerator << 1_074;
    let distance = |float: f64| (times_2_to_1074(float) * denominator - &target).magnitude().clone();
    let own = distance(float);
    // An infinity has one neighbour, the largest number.
    let neighbours = [float.next_up(), float.next_down()].into_iter().filter(|neighbour| *neighbour != float);
    neighbours.map(distance).all(|other| own < other || (own == other && float.to_bits() & 1 == 0))
}

#[test]
fn sums_means_and_variances_are_the_nearest_doubles() {
    for value_type in types().into_iter().filter(ValueType::is_number) {
        for seed in 0..60 {
            let mut random = Rng::with_seed(seed);
            let count = random.u64(2..40);
            let mut events = random_events(&mut random, Some(&value_type), count);
            events.retain(|(value, _)| !matches!(value, Some(Value::Float(float)) if float.is_infinite()));
            let n = BigInt::from(events.len());
            let (integers, denominator) = over_common_denominator(&value_type, &events);
            let sum: BigInt = integers.iter().sum();
            let squares: BigInt = integers.iter().map(|integer| integer * integer).sum();
            let spread = &n * squares - &sum * &sum;
            let squared = &denominator * &denominator;
            check(&value_type, seed, &events, "sum", (&sum, &denominator));
            check(&value_type, seed, &events, "mean", (&sum, &(&n * &denominator)));
            check(&value_type, seed, &events, "var_pop", (&spread, &(&n * &n * &squared)));
            check(&value_type, seed, &events, "var_samp", (&spread, &(&n * (&n - 1) * &squared)));
        }
    }
}

fn check(value_type: &ValueType, seed: u64, events: &[Event], function: &str, expected: (&BigInt, &BigInt)) {
    let function = lookup(function).expect("a function of numbers");
    let call = Call { function, argument: Some(value_type.clone()), parameters: BTreeMap::new() };
    let context = format!("{} of {value_type}, seed {seed}", function.name);
    let (numerator, denominator) = expected;
    match (function.finalize)(&call, &fold(&call, events), EventTime::MAX) {
        Finalized::Value(Value::Float(float)) => assert!(is_nearest(float, numerator, denominator), "{context}"),
        Finalized::Value(Value::Int(int)) => assert_eq!(BigInt::from(int), *numerator, "{context}"),
        Finalized::Value(Value::Decimal(unscaled)) => assert_eq!(BigInt::from(unscaled), *numerator, "{context}"),
        Finalized::Overflow => assert!(numerator.bits() > 63, "{context}: {numerator} fits"),
        // One finite value may be left of several; its sample has no variance.
        Finalized::Undefined | Finalized::Empty(_) => assert!(events.len() < 2, "{context}"),
        Finalized::Value(other) => panic!("{context}: {other:?}"),
    }
}
