"""What crosses the wire, written down: the methods, errors and events of each contract, and the gateway's OpenAPI."""

import json
from pathlib import Path

from chassis.described import described
from chassis.openapi import openapi_document
from gateway import VERSION, GatewayService
from tests.contract.services import SERVICES, api

FOLDER = Path(__file__).resolve().parent / "snapshots"


def current() -> dict[str, str]:
    """File name -> the text that it must have, the same for the same code."""
    files = {f"{service}.json": described(api(service)) for service in SERVICES}
    files["openapi.json"] = openapi_document(GatewayService, "Rialto", VERSION)
    return {name: json.dumps(document, indent=1, ensure_ascii=False) + "\n" for name, document in files.items()}
