#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at /metrics and /openapi.json through other people's eyes.

promtool (Debian's prometheus package) checks the Prometheus text and its naming rules, the parser
of Debian's python3-prometheus-client reads the OpenMetrics text, and its python3-jsonschema checks
the schemas of the OpenAPI document. None is installed: tools/fetch-deb unpacks them. Prints TAP;
what cannot be had is skipped with the reason.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(os.environ.get("SOURCE_ROOT", "."))
count = 0


def report(ok, name, comment=""):
    global count
    count += 1
    for line in comment.splitlines():
        print("# " + line)
    print(f"{'ok' if ok else 'not ok'} {count} - {name}")
    return ok


def skip(name, reason):
    global count
    count += 1
    print(f"ok {count} - {name} # SKIP {reason}")


def fetch(package):
    """The directory a package was unpacked to, or None."""
    run = subprocess.run(
        [ROOT / "tools" / "fetch-deb", package], capture_output=True, text=True, timeout=240
    )
    return pathlib.Path(run.stdout.strip()) if run.returncode == 0 else None


def check_promtool(directory):
    name = "promtool check metrics"
    tree = fetch("prometheus")
    if not tree or not (tree / "usr/bin/promtool").exists():
        skip(name, "the prometheus package cannot be downloaded")
        return
    text = (directory / "metrics.prom").read_bytes()
    run = subprocess.run(
        [tree / "usr/bin/promtool", "check", "metrics"], input=text, capture_output=True
    )
    report(
        run.returncode == 0 and not run.stderr,
        name,
        (run.stdout + run.stderr).decode(errors="replace"),
    )
    broken = text.replace(b"agentcore_ticks_total", b"agentcore_ticks")
    run = subprocess.run(
        [tree / "usr/bin/promtool", "check", "metrics"], input=broken, capture_output=True
    )
    report(run.returncode != 0 or run.stderr, "promtool sees a counter without _total")


def check_openmetrics(directory):
    name = "OpenMetrics parser"
    tree, decorator = fetch("python3-prometheus-client"), fetch("python3-decorator")
    if not tree or not decorator:
        skip(name, "the python3-prometheus-client package cannot be downloaded")
        return
    sys.path[:0] = [str(t / "usr/lib/python3/dist-packages") for t in (tree, decorator)]
    from prometheus_client.openmetrics import parser

    text = (directory / "metrics.openmetrics").read_text()
    try:
        families = list(parser.text_string_to_metric_families(text))
    except ValueError as error:
        report(False, name, str(error))
        return
    values = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}
    report(
        values.get(("agentcore_machine_cpu_capacity_cores", ())) == 4.0
        and values.get(("agentcore_agents_running", (("philosophy", "react"),))) == 1.0,
        name,
        f"{len(families)} families, {len(values)} samples",
    )
    try:
        list(parser.text_string_to_metric_families(text.replace("# EOF\n", "")))
        report(False, "the parser sees a missing end")
    except ValueError:
        report(True, "the parser sees a missing end")


def check_openapi(directory):
    document = json.loads((directory / "openapi.json").read_text())
    schemas = document["components"]["schemas"]
    report(len(schemas) > 20, "openapi.json has its components", f"{len(schemas)} schemas")
    name = "the components are JSON Schema 2020-12"
    trees = [fetch(package) for package in ("python3-jsonschema", "python3-attr", "python3-pyrsistent")]
    if None in trees:
        skip(name, "the python3-jsonschema package cannot be downloaded")
        return
    sys.path[:0] = [str(tree / "usr/lib/python3/dist-packages") for tree in trees]
    from jsonschema import Draft202012Validator, SchemaError

    try:
        for schema in schemas.values():
            Draft202012Validator.check_schema(schema)
        report(True, name)
    except SchemaError as error:
        report(False, name, str(error))
    # A body that the daemon takes fits its schema, and one that it refuses does not.
    body = {"components": document["components"], "$ref": "#/components/schemas/AgentRegistration"}
    fits = Draft202012Validator(body).is_valid
    report(
        fits({"pid": 77, "limits": {"max_memory_mb": None}, "labels": {"a": "b"}})
        and not fits({"pid": 0})
        and not fits({"pidd": 1})
        and not fits({"philosophy": "React"})
        and not fits({"limits": {"max_memory_mb": -1}}),
        "requests are judged alike",
    )


def main():
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        subprocess.run([sys.argv[1], "--write", name], check=True)
        check_promtool(directory)
        check_openmetrics(directory)
        check_openapi(directory)
    print(f"1..{count}")


main()
