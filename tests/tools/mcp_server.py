"""An MCP server with two tools, for tests."""

from mcp.server import MCPServer

server = MCPServer("test")


@server.tool()
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("broken on purpose")


if __name__ == "__main__":
    server.run("stdio")
