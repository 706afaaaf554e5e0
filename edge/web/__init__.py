"""The page on the device: snapshots from the analysis, shown to people by a thread of its own."""


def lacks(error: ImportError) -> str:
    """What *error*, of an import of this package's parts, says to who configured the page."""
    return f"web.enabled: {error}; there is no page; install the extra: pip install 'emotion-edge[web]'"
