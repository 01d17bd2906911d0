"""The asyncio transports."""
