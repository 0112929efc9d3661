"""Blocking, thread-based clients for the WebSocket APIs of exchanges."""
