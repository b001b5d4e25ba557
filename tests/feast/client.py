"""Feast's own client against a running Freshet: `FRESHET_API_KEY=… python client.py URL`.

Declares the views of `definitions.yaml` in a local registry of Feast whose online store is Freshet, asks for them as
a program of Feast's users would, and compares each value with what `POST /v1/online-features` answers just before
and just after. Exits 1 and says what is different.

Two values have another form by the nature of Feast: an instant is whole seconds, and an empty list is no value.
"""

import json
import os
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal as Number
from pathlib import Path

import numpy
import pandas
import requests
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig
from feast.errors import (
    FeastEntityDFMissingColumnsError,
    FeastError,
    FeatureNameCollisionError,
    FeatureServiceNotFoundException,
    FeatureViewNotFoundException,
)
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type
from feast.types import Array, Bool, Bytes, Decimal, Float32, Float64, Int32, Int64, String, UnixTimestamp
from feast.value_type import ValueType

# Feast has no type of a day: it is text.
VIEWS = {
    "types": (["user"], {
        "flag": Bool, "small": Int32, "big": Int64, "ratio": Float32, "price": Float64, "label": String,
        "blob": Bytes, "seen": UnixTimestamp, "day": String, "amount": Decimal,
    }),
    "lists": (["user"], {
        "flags": Array(Bool), "smalls": Array(Int32), "bigs": Array(Int64), "ratios": Array(Float32),
        "prices": Array(Float64), "labels": Array(String), "blobs": Array(Bytes), "sightings": Array(UnixTimestamp),
        "days": Array(String), "amounts": Array(Decimal),
    }),
    "aggregates": (["user"], {
        "readings_10m": Int64, "readings_365d": Int64, "total": Int64, "worth": Decimal, "spend": Float64,
        "average": Float64, "spread": Float64, "least": Float64, "latest": UnixTimestamp, "labels_seen": Int64,
        "idle": Float64,
    }),
    "recent": (["user"], {"recent_readings": Int64}),
    "popularity": (["item"], {"readers": Int64, "last_label": String}),
    "pairs": (["user", "item"], {"times": Int64, "best": Float64}),
    "profile": (["user"], {"tier": String, "age": Int64, "score": Float64, "joined": UnixTimestamp}),
}
SERVICES = {
    "everything": ["types", "lists", "aggregates", "recent", "popularity", "pairs"],
    "by_user": ["types", "lists", "aggregates", "recent"],
}
KEY = {"Authorization": f"Bearer {os.environ['FRESHET_API_KEY']}"}
USERS = ["u1", "u2", "u3", "", "Überuser/ü:1", "u4", "nobody", "u1"]
ITEMS = [1, 1, 9223372036854775807, -1, 0, 3, 404, 2]

different, compared = [], 0


def check(what, found, expected):
    global compared
    compared += 1
    # True is 1, and 1 is 1.0, but not to a model.
    if type(found) is not type(expected) or found != expected:
        different.append(f"{what}: Feast's client has {found!r}, and {expected!r} was expected")


def open_store(url, folder):
    """A repository of Feast as its users have it, without a line about Freshet but the address and the key."""
    config = RepoConfig(
        project="default", provider="local", registry=str(Path(folder) / "registry.db"),
        online_store={"type": "remote", "path": url}, entity_key_serialization_version=3,
        auth={"type": "oidc", "token_env_var": "FRESHET_API_KEY"},
    )
    entities = {
        "user": Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING),
        "item": Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64),
    }
    history = FileSource(name="history", path=str(Path(folder) / "none.parquet"), timestamp_field="event_timestamp")
    profiles = PushSource(name="profiles", batch_source=history)
    keys = {"user": Field(name="user_id", dtype=String), "item": Field(name="item_id", dtype=Int64)}
    views = {}
    for name, (of, features) in VIEWS.items():
        schema = [keys[entity] for entity in of] + [Field(name=it, dtype=dtype) for it, dtype in features.items()]
        source = profiles if name == "profile" else history
        views[name] = FeatureView(
            name=name, entities=[entities[entity] for entity in of], schema=schema, source=source, ttl=timedelta(0),
        )
    services = [FeatureService(name=name, features=[views[it] for it in of]) for name, of in SERVICES.items()]
    store = FeatureStore(config=config)
    store.apply([*entities.values(), *views.values(), *services])
    return store


def native(url, wanted, entities):
    """(value, status, newest event time) by name and row, as Freshet's own API has it."""
    body = {**wanted, "entities": entities, "include": ["statuses", "event_times"]}
    answer = requests.post(f"{url}/v1/online-features", json=body, headers=KEY)
    answer.raise_for_status()
    columns = [column for column in answer.json()["columns"] if ":" in column["name"]]
    return {it["name"]: list(zip(it["values"], it["statuses"], it["event_times"])) for it in columns}


def seconds(text):
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() // 1)


def in_feast(dtype, value):
    """A native value as Feast's JSON has it."""
    if value is None or value == []:
        return None
    if dtype == UnixTimestamp:
        return seconds(value)
    if dtype == Array(UnixTimestamp):
        return [seconds(item) for item in value]
    return value


def typed(dtype, value):
    """A native value as Feast's client has it where it knows the type."""
    if isinstance(value, list) and value:
        return [typed(dtype.base_type, item) for item in value]
    if value is None or value == []:
        return None
    if dtype == UnixTimestamp:
        return datetime.fromtimestamp(seconds(value), tz=timezone.utc)
    if dtype == Float32:
        return float(numpy.float32(value))
    return Number(value) if dtype == Decimal else value


def compare(store, url, wanted, features, entities, full=False, by_row=False):
    """One question, asked both ways."""
    asked = [dict(zip(entities, row)) for row in zip(*entities.values())] if by_row else entities
    before = native(url, wanted, entities)
    response = store.get_online_features(features=features, entity_rows=asked, full_feature_names=full)
    after = native(url, wanted, entities)
    answer, names = response.to_dict(), list(response.proto.metadata.feature_names.val)
    check("names", names, [*entities, *(called(name, full) for name in before)])
    for key, values in entities.items():
        check(key, answer[key], values)
    for name, rows in before.items():
        view, feature = name.split(":")
        dtype = VIEWS[view][1][feature]
        statuses = response.proto.results[names.index(called(name, full))].statuses
        for row, (value, status, _) in enumerate(rows):
            where, found = f"{name} of row {row}", answer[called(name, full)][row]
            if value == after[name][row][0]:
                check(where, found, in_feast(dtype, value))
            else:  # it grows with the time of the lookup
                check(where, value <= found <= after[name][row][0], True)
            check(f"status of {where}", FieldStatus.Name(statuses[row]), status)


def called(name, full):
    return name.replace(":", "__") if full else name.split(":")[1]


def compare_typed(store, url, name):
    """As clients read that ask view by view: one key, and each value as the type that the registry has."""
    view = store.get_feature_view(name)
    key, values = ("item_id", ITEMS) if VIEWS[name][0] == ["item"] else ("user_id", USERS)
    # Bytes are text in JSON, which the client takes for no bytes, from Feast's own server too.
    features = [it for it, dtype in VIEWS[name][1].items() if dtype not in (Bytes, Array(Bytes)) and it != "idle"]
    field = "int64_val" if key == "item_id" else "string_val"
    keys = [EntityKey(join_keys=[key], entity_values=[Value(**{field: value})]) for value in values]
    rows = store._get_provider().online_read(store.config, view, keys, features)
    expected = native(url, {"features": [f"{name}:{feature}" for feature in features]}, {key: values})
    for row, (_, found) in enumerate(rows):
        for feature in features:
            value, status, _ = expected[f"{name}:{feature}"][row]
            value = typed(VIEWS[name][1][feature], value) if status == "PRESENT" else None
            check(f"{name}:{feature} of {values[row]!r}", feast_value_type_to_python_type(found[feature]), value)


def compare_times(url):
    """On the wire alone: this client leaves event times out."""
    body = {"features": ["types:flag"], "entities": {"user_id": USERS}}
    vectors = requests.post(f"{url}/get-online-features", data=json.dumps(body), headers=KEY).json()["results"]
    for row, (_, _, newest) in enumerate(native(url, body, body["entities"])["types:flag"]):
        check(f"event time of row {row}", vectors[1]["event_timestamps"][row], newest or "1970-01-01T00:00:00Z")


def raises(error, message, ask):
    try:
        ask()
    except FeastError as raised:
        check(f"class of {raised}", type(raised), error)
        check("message", message in str(raised), True)
    else:
        check(f"{error.__name__} was raised", False, True)


def compare_errors(store):
    def ask(features, **entities):
        return lambda: store.get_online_features(features=features, entity_rows=entities)

    unknown = FeatureService(name="nowhere", features=[])
    raises(FeatureServiceNotFoundException, "nowhere", ask(unknown, user_id=["u1"]))
    raises(FeatureViewNotFoundException, "tipes", ask(["tipes:flag"], user_id=["u1"]))
    raises(FeastEntityDFMissingColumnsError, "item_id", ask(["popularity:readers"], user_id=["u1"]))
    raises(FeatureNameCollisionError, "flag", ask(["types:flag", "types:flag"], user_id=["u1"]))
    raises(FeastError, "seven", ask(["popularity:readers"], item_id=["seven"]))


def compare_writes(store, url):
    """The client's own push, whose rows become events, seen by both."""
    joined = datetime(2020, 2, 29, 12, 0, 1, tzinfo=timezone.utc)
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
    rows = [
        ("w1", "gold", 41, 0.1, joined, at),
        ("w1", "silver", 40, 0.2, joined, at - timedelta(days=1)),
        ("w2", "none", 0, -1.0, joined, at),
    ]
    columns = ["user_id", "tier", "age", "score", "joined", "event_timestamp"]
    store.push("profiles", pandas.DataFrame(rows, columns=columns))
    wanted = {"features": [f"profile:{feature}" for feature in VIEWS["profile"][1]]}
    entities = {"user_id": ["w1", "w2", "w3"]}
    until(lambda: [status for _, status, _ in native(url, wanted, entities)["profile:tier"][:2]] == ["PRESENT"] * 2)
    compare(store, url, wanted, wanted["features"], entities)
    answer = store.get_online_features(features=wanted["features"], entity_rows=entities).to_dict()
    check("tier", answer["tier"], ["gold", "none", None])
    check("joined", answer["joined"], [int(joined.timestamp())] * 2 + [None])


def compare_push(url):
    """As programs push without a client."""
    wanted, entities = {"features": ["aggregates:readings_365d"]}, {"user_id": ["pushed"]}
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    df = pandas.DataFrame({"user_id": ["pushed"] * 2, "item_id": [1, 2], "event_timestamp": [now] * 2})
    for table in (df.to_dict(orient="list"), df.to_dict()):
        pushed = {"push_source_name": "readings", "df": table, "to": "online"}
        answer = requests.post(f"{url}/push", json=pushed, headers=KEY)
        check("push", answer.status_code, 200)
    until(lambda: native(url, wanted, entities)["aggregates:readings_365d"][0][0] == 4)


def until(ready):
    for _ in range(600):
        if ready():
            return
        time.sleep(0.05)
    check("what was written is seen", False, True)


def main(url):
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(url, folder)
        both = {"user_id": USERS, "item_id": ITEMS}
        everything = store.get_feature_service("everything")
        compare(store, url, {"service": "everything"}, everything, both)
        compare(store, url, {"service": "everything"}, everything, both, full=True, by_row=True)
        compare(store, url, {"service": "by_user"}, store.get_feature_service("by_user"), {"user_id": USERS})
        for name, (of, features) in VIEWS.items():
            references = [f"{name}:{feature}" for feature in features]
            keys = {f"{entity}_id": both[f"{entity}_id"] for entity in of}
            compare(store, url, {"features": references}, references, keys)
            if len(of) == 1:
                compare_typed(store, url, name)
        # Infinities have no JSON: both say null.
        references = ["types:price", "types:ratio", "aggregates:spend"]
        compare(store, url, {"features": references}, references, {"user_id": ["u5"]})
        compare_times(url)
        compare_errors(store)
        compare_writes(store, url)
        compare_push(url)
    print("\n".join([*different, f"{compared} compared, {len(different)} different"]))
    return 1 if different or compared < 1000 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
