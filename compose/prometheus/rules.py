#!/usr/bin/env python3
"""Print the rules of the cluster as a plain rule file, for a Prometheus without its operator. Needs PyYAML.

.venv/bin/python compose/prometheus/rules.py > compose/prometheus/rules.yml
"""

import sys
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parents[2] / ".k8s" / "components" / "monitoring" / "prometheus"
HEADER = "# Made by rules.py from the PrometheusRules in .k8s/components/monitoring/prometheus; a test compares them.\n"


class Block(yaml.SafeDumper):
    """Strings of several lines as blocks, and nothing by reference: people read this file."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True

    def text(self, value: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


Block.add_representer(str, Block.text)


def rule_file() -> str:
    """All groups of all PrometheusRules that the folder's kustomization lists, in its order."""
    files = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    things = [yaml.safe_load((FOLDER / file).read_text(encoding="utf-8")) for file in files]
    groups = [group for thing in things if thing["kind"] == "PrometheusRule" for group in thing["spec"]["groups"]]
    return HEADER + yaml.dump({"groups": groups}, Dumper=Block, sort_keys=False, width=120)


if __name__ == "__main__":
    sys.stdout.write(rule_file())
