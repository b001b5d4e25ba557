"""What is asked of every engine: the windows and aggregates of `benches/offline.rs`, and what their columns are called."""

# Length and hop, in seconds. A window begins at T - W floored to the hop, and every hop divides its length.
HOPS = {"1h": (3_600, 60), "24h": (86_400, 900), "7d": (604_800, 3_600)}


def columns(service: str) -> list[str]:
    names = ["n", "spend", "dearest", *(["items"] if service == "distinct" else [])]
    return [f"{name}_{window}" for name in names for window in HOPS]
