"""The template as `sam package` would hand it in: code and nested templates uploaded, their places written in.

Three things are fitted to an endpoint that is no AWS, and nothing else: limits of concurrency are numbers, a bucket
may be spoken to without TLS, and actions on batches have names of their own (`EMULATED_ACTIONS`).
"""

import json
import re
import subprocess
from pathlib import Path

import yaml

# What one CreateStack takes in its body; larger ones are uploaded.
BODY_MAX = 51_200


# AWS checks a batch under the action for one message; the emulator asks for a name that AWS does not know.
EMULATED_ACTIONS = {"sqs:SendMessage": "sqs:SendMessageBatch", "sqs:DeleteMessage": "sqs:DeleteMessageBatch",
                    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch"}


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, read as the long ones."""


def _intrinsic(loader, tag, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _intrinsic)
# A version such as 2012-10-17 is a text, quoted or not.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()}


def read(path):
    """A template as plain data."""
    return yaml.load(Path(path).read_text(), _Loader)


def binary_of(logical, resource):
    """Which program a function runs: what its metadata names, else its own name; one serves all lanes."""
    named = resource.get("Metadata", {}).get("BuildProperties", {}).get("Binary")
    if named:
        return named
    kebab = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", logical).lower()
    return "deliver" if kebab.startswith("deliver") else kebab


class Package:
    """Uploads into a bucket."""

    def __init__(self, s3, bucket, bootstraps):
        self.s3, self.bucket, self.bootstraps = s3, bucket, bootstraps
        self._uploaded = {}

    def template(self, path, chosen):
        """`TemplateBody` or `TemplateURL` of a packaged template; `chosen` are its parameters as they will be."""
        text = json.dumps(_fitted(self._packaged(Path(path)), chosen))
        if len(text) <= BODY_MAX:
            return {"TemplateBody": text}
        return {"TemplateURL": self._url(self._put(f"{Path(path).stem}.json", text.encode()))}

    def parameters(self, path, wanted):
        """The template's parameters, as wanted or by default; what it does not ask for is dropped."""
        asked = read(path).get("Parameters", {})
        return {name: str(wanted.get(name, about.get("Default", ""))) for name, about in asked.items()}

    def _packaged(self, path):
        template = read(path)
        for logical, resource in template["Resources"].items():
            properties = resource.get("Properties", {})
            if resource["Type"] == "AWS::Serverless::Function":
                name = binary_of(logical, resource)
                properties["CodeUri"] = {"Bucket": self.bucket, "Key": self._code(name)}
                resource.pop("Metadata", None)
            elif resource["Type"] == "AWS::CloudFormation::Stack" and isinstance(properties.get("TemplateURL"), str):
                nested = path.parent / properties["TemplateURL"]
                key = self._put(f"nested-{nested.stem}.json", json.dumps(self._packaged(nested)).encode())
                properties["TemplateURL"] = self._url(key)
            elif resource["Type"] == "AWS::Serverless::Application" and isinstance(properties.get("Location"), str):
                nested = path.parent / properties["Location"]
                key = self._put(f"nested-{nested.stem}.json", json.dumps(self._packaged(nested)).encode())
                properties["Location"] = self._url(key)
        return template

    def _code(self, name):
        if name not in self._uploaded:
            self._uploaded[name] = self._put(f"{name}.zip", self.bootstraps.zipped(name))
        return self._uploaded[name]

    def _put(self, key, octets):
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=octets)
        return key

    def _url(self, key):
        return f"{self.s3.meta.endpoint_url}/{self.bucket}/{key}"


def _fitted(node, chosen):
    """What the module's head says."""
    if isinstance(node, list):
        return [_fitted(each, chosen) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _fitted(value, chosen) for key, value in node.items() if not _wants_tls(value)}
    limit = node.get("MaximumConcurrency")
    if isinstance(limit, dict) and limit.get("Ref") in chosen:
        node["MaximumConcurrency"] = int(chosen[limit["Ref"]])
    if "Action" in node and "Effect" in node:
        actions = node["Action"] if isinstance(node["Action"], list) else [node["Action"]]
        node["Action"] = actions + [EMULATED_ACTIONS[action] for action in actions if action in EMULATED_ACTIONS]
    return node


def _wants_tls(resource):
    """Whether that is a bucket's policy about TLS."""
    return (isinstance(resource, dict) and resource.get("Type") == "AWS::S3::BucketPolicy"
            and "aws:SecureTransport" in json.dumps(resource))


def host_architecture():
    """The machine's, in Lambda's words: the emulator runs the programs as they are."""
    return "arm64" if subprocess.run(["uname", "-m"], capture_output=True, text=True,
                                     check=True).stdout.strip() in ("aarch64", "arm64") else "x86_64"
