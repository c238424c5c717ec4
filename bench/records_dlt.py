"""The same pages of records into PostgreSQL with dlt, as its documentation has it; run by a Python with dlt.

    python records_dlt.py < '{"url": …, "cookie": …, "requests": […], "dsn": …, "folder": …}'

prints the seconds of the pipeline and the rows that it loaded.
"""

import http.client
import json
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import dlt  # type: ignore[import-not-found, unused-ignore]

given = json.load(sys.stdin)
parts = urlsplit(given["url"])


@dlt.resource(name="records", primary_key="id", write_disposition="replace")  # type: ignore[untyped-decorator, unused-ignore]
def records() -> Iterator[list[dict[str, Any]]]:
    """The pages."""
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    headers = {"Content-Type": "application/json", "Cookie": given["cookie"]}
    for request in given["requests"]:
        body = json.dumps({"jsonrpc": "2.0", "method": "call", "params": request})
        connection.request("POST", "/web/dataset/call_kw", body, headers)
        yield json.loads(connection.getresponse().read())["result"]


pipeline = dlt.pipeline(
    pipeline_name="bench",
    pipelines_dir=given["folder"],
    destination=dlt.destinations.postgres(given["dsn"]),
    dataset_name="with_dlt",
)
began = time.perf_counter()
pipeline.run(records())
seconds = time.perf_counter() - began
with pipeline.sql_client() as client:
    ((rows,),) = client.execute_sql("SELECT count(*) FROM records") or ((0,),)
print(json.dumps({"seconds": seconds, "rows": rows}))
