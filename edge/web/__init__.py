"""The page on the device: snapshots from the analysis, shown to people by a thread of its own."""


def lacks(error: ImportError) -> str:
    """The message for *error*, raised by an import of this package's parts."""
    return f"web.enabled: {error}; there is no page; install the extra: pip install 'emotion-edge[web]'"
