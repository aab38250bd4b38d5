"""FastMCP's client begins an edit as a task, or finishes one from before, in an environment of its own.

`begin COMMAND ARGUMENTS` prints the handle; `finish COMMAND` reads one, waits, and prints the result.
"""
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# FastMCP is not among the packages that this project is checked with.

import asyncio
import json
import os
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp_tasks import ToolTask, call_tool_task
from fastmcp_tasks.client_models import ClientCreateTaskResult


async def begin(client: Client, arguments: str) -> str:
    """Call `edit_image`, and go away with its handle."""
    task = await call_tool_task(client, "edit_image", json.loads(arguments))
    return task.create_result.model_dump_json(by_alias=True)


async def finish(client: Client) -> str:
    """Poll a task from before until it has its result."""
    handle = ClientCreateTaskResult.model_validate_json(sys.stdin.read())
    result = await ToolTask(client, "edit_image", handle).result()
    return json.dumps(result.structured_content)


async def main(what: str, python: str, *arguments: str) -> None:
    """Do what the command line says with a server process of its own."""
    server = StdioTransport(python, ["-m", "kontext_edit"], env=dict(os.environ), keep_alive=False)
    async with Client(server) as client:
        print(await {"begin": begin, "finish": finish}[what](client, *arguments))  # noqa: T201 - the answer


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
