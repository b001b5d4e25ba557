//! `0:7,1:9`: offsets by partition, as a text.

use crate::registry::Offsets;

pub(super) fn text_of(offsets: &Offsets) -> String {
    let places: Vec<String> = offsets.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
    places.join(",")
}

pub(super) fn offsets_of(text: &str) -> Option<Offsets> {
    let place = |text: &str| {
        let (partition, offset) = text.split_once(':')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    text.split(',').filter(|it| !it.is_empty()).map(place).collect()
}
