"""Reads the templates with CloudFormation's tags, and packages template.yaml for a deployment without SAM's own command.

`sam build && sam deploy` does the same for people. A test that has its bootstraps already, and an endpoint instead of
an account, needs only the exchange of local paths for places in a bucket.
"""

import copy
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SHORT_FORMS = {"Ref": "Ref", "Condition": "Condition"}


class Loader(yaml.SafeLoader):
    """SafeLoader that reads `!Ref x` as `{"Ref": x}` and `!Sub x` as `{"Fn::Sub": x}`."""


def _short_form(loader, tag, node):
    name = SHORT_FORMS.get(tag, f"Fn::{tag}")
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if tag == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {name: value}


Loader.add_multi_constructor("!", _short_form)
# Dates stay strings: "2012-10-17" is a version, not a day.
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path):
    """The template at `path`, its short forms written out."""
    return yaml.load(Path(path).read_text(), Loader)


def binary(function):
    """Name of the binary a function resource runs."""
    return function["Metadata"]["BuildProperties"]["Binary"]


def package(template, code_of, url_of):
    """`template` with each function's code at `code_of(binary)` (`s3://bucket/key`) and each nested template at
    `url_of(path)`. Global code is dropped, so that a function that was forgotten fails.

    Concurrency is written out as the number that is its parameter's default: an emulator passes parameters on as strings,
    and its event sources stop at one."""
    packaged = copy.deepcopy(template)
    packaged["Globals"]["Function"].pop("CodeUri")
    for resource in packaged["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = code_of(binary(resource))
            for event in resource["Properties"].get("Events", {}).values():
                scaling = event["Properties"].get("ScalingConfig", {})
                limit = scaling.get("MaximumConcurrency")
                if isinstance(limit, dict):
                    scaling["MaximumConcurrency"] = template["Parameters"][limit["Ref"]]["Default"]
        if resource["Type"] == "AWS::CloudFormation::Stack":
            resource["Properties"]["TemplateURL"] = url_of(ROOT / resource["Properties"]["TemplateURL"])
    return packaged
