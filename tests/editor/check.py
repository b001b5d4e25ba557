"""Checks definition files as an editor does: check.py SCHEMA FILE…"""

import json
import sys

import jsonschema_rs
import yaml


class Loader(yaml.SafeLoader):
    """YAML 1.2, as editors read it: a time is text."""

    yaml_implicit_resolvers = {
        first: [it for it in resolvers if it[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


with open(sys.argv[1]) as schema:
    validator = jsonschema_rs.validator_for(json.load(schema))
mistakes = []
for path in sys.argv[2:]:
    with open(path) as file:
        for document in yaml.load_all(file, Loader):
            mistakes += [f"{path}: {it.message} at {it.instance_path}" for it in validator.iter_errors(document)]
sys.exit("\n".join(mistakes) or 0)
