"""Prometheus' query API, and the variables of Grafana in the queries of dashboards."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

REQUEST_TIMEOUT_S = 30


def expand(query: str, window_s: float, range_s: float, variables: Mapping[str, str]) -> str:
    """Return ``query`` with the values of Grafana's variables in it."""
    known = {
        "__rate_interval": f"{window_s:.0f}s",
        "__range": f"{range_s:.0f}s",
        "__range_s": f"{range_s:.0f}",
        **variables,
    }
    return re.sub(r"\$(\w+)", lambda found: known[found[1]], query)


def get(address: str, path: str, **parameters: Any) -> Any:
    """Return the data of a request to the API at ``address``; ValueError for one that is not valid."""
    try:
        with urlopen(f"{address}/api/v1/{path}?{urlencode(parameters)}", timeout=REQUEST_TIMEOUT_S) as response:
            return json.loads(response.read())["data"]
    except HTTPError as error:
        raise ValueError(f"{path} {parameters}: {json.loads(error.read()).get('error')}") from error
