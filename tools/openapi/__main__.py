"""Write the files."""

import json
import pathlib
import tomllib
from collections.abc import Mapping

from tools.generate.contract import read_contract
from tools.openapi.document import openapi_document
from tools.openapi.page import docs_page

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTRACT = ROOT / "src" / "mistralwire" / "v1"
GATEWAY = ROOT / "src" / "mistralwire" / "gateway"


def written_files() -> Mapping[str, str]:
    """Return the text of each file, by its name in the gateway's package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    contract = read_contract(CONTRACT / "descriptor_set.binpb", CONTRACT / "json_options_pb2.py")
    document = openapi_document(contract, project["version"])
    text = json.dumps(document, ensure_ascii=False, indent=2)
    return {"openapi.json": f"{text}\n", "docs.html": f"{docs_page(document)}\n"}


if __name__ == "__main__":
    for name, text in written_files().items():
        (GATEWAY / name).write_text(text, encoding="utf-8")
