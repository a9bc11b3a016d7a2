"""The client API and the MCP tools: their functions, and the checks of what they are sent."""
