"""The page of the command line, from the parsers themselves."""

import argparse
import re
from collections.abc import Iterator

from vos_jax.cli import make_parser

PAGE = "command-line"

_INTRODUCTION = """\
# Command line

Everything that `vos-jax` can do, as `--help` says it. `python -m vos_jax` is the same.

Options may be written with `-` or `_`. A command ends with 0 on full success alone, 2
for bad usage or input, with one line that says what is wrong, and 130 when it was
interrupted. What stands in round brackets behind an explanation is the default.
"""


def page() -> str:
    """The page, Markdown for Sphinx."""
    parser = make_parser()
    commands = list(_commands(parser))
    summaries = _subparsers(parser)
    assert summaries is not None
    rows = [
        f"| [`vos-jax {choice.dest}`](#vos-jax-{choice.dest}) | {_prose(choice.help)} |"
        for choice in summaries._choices_actions
    ]
    table = "\n".join(["| command | |", "| --- | --- |", *rows])
    return "\n".join([_INTRODUCTION, table, "", *commands])


def command_names(parser: argparse.ArgumentParser) -> list[str]:
    """What is typed for each command that there is, such as `vos-jax bench read`."""
    subparsers = _subparsers(parser)
    if subparsers is None:
        return [parser.prog]
    children = _unique(subparsers)
    return [name for child in children for name in command_names(child)]


def _subparsers(
    parser: argparse.ArgumentParser,
) -> "argparse._SubParsersAction[argparse.ArgumentParser] | None":
    return next(
        (x for x in parser._actions if isinstance(x, argparse._SubParsersAction)), None
    )


def _unique(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> list[argparse.ArgumentParser]:
    return list(dict.fromkeys(subparsers.choices.values()))


def _commands(parser: argparse.ArgumentParser, level: int = 2) -> Iterator[str]:
    subparsers = _subparsers(parser)
    assert subparsers is not None
    helps = {x.dest: x.help for x in subparsers._choices_actions}
    for name, child in subparsers.choices.items():
        yield f"{'#' * level} {child.prog}\n"
        yield _prose(child.description or helps.get(name)) + "\n"
        if _subparsers(child) is not None:
            yield _example(child)
            yield from _commands(child, level + 1)
        else:
            yield from _command(child)


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"```text\n{_usage(parser)}\n```\n"
    yield _example(parser)
    yield f"```{{program}} {parser.prog}\n```\n"
    for group in parser._action_groups:
        # Help is the same everywhere.
        actions = [x for x in group._group_actions if x.dest != "help" and _shown(x)]
        if group.title not in (None, "options", "positional arguments") and actions:
            yield f"**{group.title}**\n"
            if group.description:
                yield _prose(group.description) + "\n"
        for action in actions:
            yield _option(parser, action)


def _usage(parser: argparse.ArgumentParser) -> str:
    """The usage, as wide as a page whatever the terminal is."""
    formatter = parser.formatter_class(prog=parser.prog, width=88)
    groups = parser._mutually_exclusive_groups
    formatter.add_usage(parser.usage, parser._actions, groups, prefix="")
    return formatter.format_help().strip()


def _shown(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    if action.option_strings:
        metavar = formatter._get_default_metavar_for_optional(action)
    else:
        metavar = formatter._get_default_metavar_for_positional(action)
    words = formatter._format_args(action, metavar) if action.nargs != 0 else ""
    if action.option_strings:
        names = [f"{x} {words}".rstrip() for x in action.option_strings]
    else:
        names = [words]
    text = _prose(formatter._expand_help(action)) if action.help else ""
    said = [text] if text else []
    if not text and action.default not in (None, argparse.SUPPRESS):
        values = (
            action.default if isinstance(action.default, list) else [action.default]
        )
        said.append(f"`{' '.join(map(str, values))}` by default.")
    if action.required and action.option_strings:
        said.append("(required)")
    return "\n".join(
        [f":::::{{option}} {', '.join(names)}", "", " ".join(said), "", ":::::", ""]
    )


def _example(parser: argparse.ArgumentParser) -> str:
    epilog = parser.epilog or ""
    before, found, command = epilog.partition("example: ")
    if not found:
        return _prose(epilog)
    return f"{_prose(before)}\n\nFor example:\n\n```sh\n{_folded(command)}\n```\n"


def _folded(command: str, width: int = 78) -> str:
    """A long command on several lines, broken before options."""
    lines = [""]
    for word in command.split(" "):
        longer = f"{lines[-1]} {word}".lstrip() if lines[-1] else word
        if len(longer) > width and word.startswith("-"):
            lines[-1] += " \\"
            lines.append(f"    {word}")
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return "\n".join(lines)


def _prose(text: str | None) -> str:
    """Text of a terminal as a sentence of a page."""
    text = " ".join((text or "").split())
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [re.sub(r"([\\`*_<>\[\]$|#{}])", r"\\\1", x) for x in parts[::2]]
    text = "".join(parts)
    return text[:1].upper() + text[1:]
