"""The command line: a plain client of the local API; imports neither aiohttp nor rich before it must."""
