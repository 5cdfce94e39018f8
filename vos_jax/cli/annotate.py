"""`vos-jax annotate`: a page to draw masks on, and to correct what is tracked."""

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from vos_jax.cli import options
from vos_jax.errors import InputError

SUMMARY = "Draw first masks and correct what is tracked, in a page in your browser."
EXAMPLE = "vos-jax annotate my.mp4 --method stm --weights stm.safetensors --size 480"

_DEFAULT_METHOD = "hmmn-tiny"
_MOST_GB = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "video", type=Path, metavar="VIDEO", help="video file or folder of frames"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the project, which is gone on with if it is there; by default"
        " NAME_annotation here, after the video's name",
    )
    parser.add_argument(
        "--mask",
        type=Path,
        metavar="PATH",
        help="begin a new project with these masks: one of the first frame, or a folder"
        " of masks named like frames",
    )
    options.add_model_options(parser, default=_DEFAULT_METHOD)
    parser.add_argument(
        "--state-memory",
        type=float,
        default=2.0,
        metavar="GB",
        help="memory for states from which a correction goes on (2)",
    )
    parser.add_argument(
        "--port",
        type=int,
        metavar="N",
        help="of this machine (the project's of before, or any that is free)",
    )
    parser.add_argument(
        "--browser",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="open the page in the browser (the default)",
    )
    options.add_damaged_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Serves the page until it is interrupted."""
    options.positive(args, "size")
    if not 0 <= args.state_memory <= _MOST_GB:
        raise InputError(f"--state-memory {args.state_memory}: use 0 or more, in GB")
    from vos_jax.app.address import HOST, listen, page_file
    from vos_jax.app.open_project import AnnotateJob, check_packages, opened
    from vos_jax.app.server import serve
    from vos_jax.media import video_name

    check_packages()
    model = options.load_model_of(args)
    job = AnnotateJob(
        video=args.video,
        out=args.out or Path(f"{video_name(args.video)}_annotation"),
        mask=args.mask,
        inputs=args.inputs,
        size=args.size,
        flip=args.flip,
        allow_damaged=args.allow_damaged,
        state_bytes=int(args.state_memory * 1e9),
        title=model.title,
        weights_id=model.weights_id,
    )
    with opened(model.method, model.variables, job) as session:
        listening, token = listen(job.out, args.port)
        address = f"http://{HOST}:{listening.getsockname()[1]}/{token}/"
        # An interrupt is how a server ends.
        with suppress(KeyboardInterrupt):
            print(f"annotate: open {address}", flush=True)
            print(
                "annotate: all is saved as it happens; Ctrl-C ends the server",
                file=sys.stderr,
                flush=True,
            )
            if args.browser:
                _open(page_file(job.out, address).resolve().as_uri())
            serve(session, listening, token)


def _open(address: str) -> None:
    """Opens the page in a browser, where there is one."""
    import threading
    import webbrowser

    # Some browsers do not return before they are closed.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
