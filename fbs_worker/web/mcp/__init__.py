"""MCP (Model Context Protocol): the catalogue and the jobs for MCP clients, read-only. It needs the extra `mcp`.

`fbs mcp` serves it on stdin and stdout, `fbs api` at `/mcp` (`fbs_worker.web.api.mcp`).
"""
