"""Kontext Edit: an MCP server that edits pictures in plain language."""
