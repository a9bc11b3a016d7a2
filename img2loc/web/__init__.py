"""The Gradio page, the client API and the MCP tools."""
