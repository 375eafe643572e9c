"""Environment variables of a scheduled job: those written into it, and the secrets it lacks.

cron and systemd start a job without the variables of a login shell. Plain variables are written
into the crontab line or unit; secrets never are, so a warning says how to provide them.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ragctl.catalog import Backend, BackendConfig
from ragctl.environment import PATH, PDF_PASSWORD, SERVER_KEYS, VARIABLES, Variable
from ragctl.errors import UsageError
from ragctl.pipeline import DEFAULT_MODEL, Pipeline, read_pipeline, with_env_file
from ragctl.schedule.job import absolute_path
from ragctl.stores import is_server

CRON_PATH = "/usr/bin:/bin"  # the PATH that cron sets


def carried_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `environ` to write into a job, with absolute paths."""
    return {
        variable.name: _absolute_value(variable, value)
        for variable in VARIABLES
        if variable.carried and (value := variable.value(environ))
    }


def _absolute_value(variable: Variable, value: str) -> str:
    if variable.kind == "paths":
        parts = (part for part in value.split(os.pathsep) if part)
        return os.pathsep.join(str(absolute_path(Path(part))) for part in parts)
    if variable.kind == "path" or (variable.kind == "location" and not is_server(value)):
        return str(absolute_path(Path(value)))
    return value


def read_as_job(path: Path, variables: Mapping[str, str], env_file: Path | None) -> Pipeline:
    """Return the pipeline as the scheduled job will read it, without this shell's variables.

    Raises UsageError, for example for a ${NAME} that the job does not know.
    """
    known = {"HOME": str(Path.home()), PATH.name: CRON_PATH, **variables}
    try:
        return read_pipeline(path, with_env_file(known, env_file) if env_file else known)
    except UsageError as error:
        raise UsageError(
            f"{error}; a scheduled job knows only the variables in env_file or --env-file"
        ) from error


def missing_secrets(pipeline: Pipeline, environ: Mapping[str, str]) -> list[str]:
    """Return a warning for each secret that is set in `environ` and unknown to the job.

    `pipeline` is the result of `read_as_job`. No value of a secret is in a warning.
    """
    return [
        f"{in_shell} is set in this shell only and is never written to a crontab or unit: put it "
        "into a file that only you can read, and name that file with --env-file or env_file"
        for names in _secrets(pipeline)
        if (in_shell := next((name for name in names if environ.get(name)), None))
        and not any(pipeline.environ.get(name) for name in names)
    ]


def _secrets(pipeline: Pipeline) -> list[Sequence[str]]:
    """Return the secrets that the job may need: for each, the variables that may hold it."""
    secrets: list[Sequence[str]] = [
        backend.keys for backend in _backends(pipeline) if not backend.key_command
    ]
    if is_server(pipeline.store):
        secrets.append([variable.name for variable in SERVER_KEYS])
    return [*secrets, [PDF_PASSWORD.name]]


def needs_shell_path(pipeline: Pipeline, environ: Mapping[str, str]) -> bool:
    """Return whether a key command is found on the PATH of `environ` but not on cron's."""
    commands = [backend.key_command[0] for backend in _backends(pipeline) if backend.key_command]
    here = PATH.value(environ) or None
    return any(
        shutil.which(command, path=here) and not shutil.which(command, path=CRON_PATH)
        for command in commands
    )


def _backends(pipeline: Pipeline) -> list[Backend]:
    """Return the backends of the pipeline, each with the pipeline's own settings."""
    model = pipeline.embedding.model or DEFAULT_MODEL
    configs = pipeline.embedding.backends or (BackendConfig(),)
    return [config.resolve(pipeline.catalog, model, pipeline.embedding.task) for config in configs]
