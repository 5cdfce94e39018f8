"""What other libraries say about a damaged file, made fit for one line."""


def one_line(text: str, limit: int = 120) -> str:
    """Returns `text` on one line and cut at `limit` characters.

    Such a text can quote bytes of the file, and those could steer a terminal.
    """
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
