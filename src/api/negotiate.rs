//! What a client accepts (RFC 9110, 12.5): the first of what is offered that it likes best.

/// Of `offered`, in the order of our own preference, by the values of an `Accept` or `Accept-Encoding` header. No header:
/// anything will do. `None`: nothing of it will.
pub(super) fn preferred<'o>(header: Option<&str>, offered: &[&'o str]) -> Option<&'o str> {
    let Some(header) = header.filter(|header| !header.trim().is_empty()) else { return offered.first().copied() };
    let mut best = None;
    for offer in offered {
        let quality = quality(header, offer);
        if quality > best.map_or(0, |(quality, _)| quality) {
            best = Some((quality, *offer));
        }
    }
    best.map(|(_, offer)| offer)
}

/// In thousandths, by the range that says most precisely what the offer is; 0: it is not wanted.
fn quality(header: &str, offer: &str) -> u32 {
    let ranges = header.split(',').filter_map(|range| {
        let mut pieces = range.split(';').map(str::trim);
        let precision = precision(pieces.next()?, offer)?;
        let weight = pieces.find_map(|piece| piece.strip_prefix("q=").or_else(|| piece.strip_prefix("Q=")));
        Some((precision, weight.map_or(1_000, thousandths)))
    });
    ranges.max_by_key(|(precision, _)| *precision).map_or(0, |(_, quality)| quality)
}

/// How precisely a range names the offer: as it is, by its kind, or as anything at all.
fn precision(range: &str, offer: &str) -> Option<u8> {
    let kind = |text: &str| text.split_once('/').map(|(kind, _)| kind.to_ascii_lowercase());
    match range {
        _ if range.eq_ignore_ascii_case(offer) => Some(2),
        "*" | "*/*" => Some(0),
        _ if range.ends_with("/*") && kind(range) == kind(offer) => Some(1),
        _ => None,
    }
}

/// What is no number is taken for 1, as if it had been left out.
fn thousandths(weight: &str) -> u32 {
    weight.parse::<f32>().map_or(1_000, |weight| (weight.clamp(0.0, 1.0) * 1_000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";
    const ARROW: &str = "application/vnd.apache.arrow.stream";

    fn chosen(header: &str) -> Option<&'static str> {
        preferred(Some(header), &[JSON, ARROW])
    }

    #[test]
    fn the_first_offer_is_taken_where_the_client_does_not_care() {
        assert_eq!(preferred(None, &[JSON, ARROW]), Some(JSON));
        for header in ["", "*/*", "application/*", "text/html, */*;q=0.8", "APPLICATION/JSON"] {
            assert_eq!(chosen(header), Some(JSON), "{header}");
        }
    }

    #[test]
    fn the_client_chooses_by_name_and_by_weight() {
        for header in
            [ARROW, "application/json;q=0.5, application/vnd.apache.arrow.stream", "*/*, application/json;q=0"]
        {
            assert_eq!(chosen(header), Some(ARROW), "{header}");
        }
        assert_eq!(chosen("application/vnd.apache.arrow.stream; q=0.1, application/*;q=0.2"), Some(JSON));
    }

    #[test]
    fn what_is_not_offered_is_not_chosen() {
        for header in ["text/csv", "application/json;q=0", "text/*, application/vnd.apache.parquet"] {
            assert_eq!(chosen(header), None, "{header}");
        }
        assert_eq!(preferred(Some("br, deflate"), &["gzip"]), None);
        assert_eq!(preferred(Some("br;q=1.0, gzip;q=0.8, *;q=0.1"), &["gzip"]), Some("gzip"));
    }
}
