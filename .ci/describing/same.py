#!/usr/bin/env python3
"""Checks that src/gateway/openapi.json says the same as docs/openapi.yaml.

    same.py               fails if it doesn't
    same.py --write       makes it anew
    same.py --served URL  fails if what is served there doesn't
"""

import json
import pathlib
import sys
import urllib.request

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCE = REPOSITORY / "docs/openapi.yaml"
COPY = REPOSITORY / "src/gateway/openapi.json"


def main(arguments):
    text = json.dumps(yaml.safe_load(SOURCE.read_text()), indent=1, ensure_ascii=False) + "\n"
    if arguments == ["--write"]:
        COPY.write_text(text)
    elif arguments[:1] == ["--served"]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(arguments[1], timeout=10) as answer:
            if json.load(answer) != json.loads(text):
                sys.exit(f"{arguments[1]} isn't what {SOURCE.name} says")
    elif not COPY.is_file() or COPY.read_text() != text:
        sys.exit(f"{COPY.relative_to(REPOSITORY)} isn't what docs/openapi.yaml says: run .ci/openapi --write")


main(sys.argv[1:])
