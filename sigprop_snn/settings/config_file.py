"""Reading the settings of a run from a file, such as the `config.json` of an earlier run."""

from __future__ import annotations

import json
import math
import os
import reprlib
import types
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.settings.train_config import TrainConfig

_KINDS: dict[object, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    type(None): "null",
}
_UNFIT = object()


def read_config(path: Path) -> TrainConfig:
    """Return the configuration in a file.

    Raises:
        SigpropError: if the file is missing or damaged, has no data set, or has an unknown key or a
            value of the wrong type.
    """
    return config_of(read_settings(path), f"config file {str(path)!r}")


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a file as arguments of `TrainConfig`.

    Raises:
        SigpropError: as `read_config`, except that the data set may be missing.
    """
    place = f"config file {str(path)!r}"
    return settings_of(read_json(path, place), place)


def config_of(settings: Mapping[str, Any], place: str) -> TrainConfig:
    """Return the configuration with some settings.

    Args:
        settings: arguments of `TrainConfig`.
        place: the source of the settings, for errors.

    Raises:
        SigpropError: if there is no data set.
    """
    if "dataset" not in settings:
        raise SigpropError(f"{place} has no 'dataset'; expected the name of a data set")
    return TrainConfig(**settings)


def settings_of(content: object, place: str) -> dict[str, Any]:
    """Return the content of a JSON file as arguments of `TrainConfig`.

    Args:
        content: the content.
        place: the source of the content, for errors.

    Raises:
        SigpropError: if the content is no object, or has an unknown key or a value of the wrong
            type.
    """
    if not isinstance(content, dict):
        raise SigpropError(f"{place} holds {reprlib.repr(content)}; expected an object of settings")
    hints = get_type_hints(TrainConfig)
    known = [f.name for f in fields(TrainConfig)]
    settings = {}
    for key, value in content.items():
        if key not in known:
            raise UnknownNameError(f"key in {place}:", str(key), known)
        settings[key] = _fitting(value, hints[key])
        if settings[key] is _UNFIT:
            raise SigpropError(
                f"{place}: {key} is {reprlib.repr(value)}; expected {_expected(hints[key])}"
            )
    return settings


def read_json(path: Path, place: str) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        place: its name for errors, such as "config file 'run/config.json'".

    Raises:
        SigpropError: if the file is missing or damaged, or is not JSON.
    """
    try:
        return json.loads(
            path.read_text(encoding="utf-8-sig"),  # some editors begin a file with a mark
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except FileNotFoundError as error:
        raise SigpropError(f"{place} does not exist; expected a file of a training run") from error
    except OSError as error:
        raise SigpropError(f"{place} can't be read ({error.strerror}); expected a file") from error
    except (ValueError, RecursionError) as error:
        # Raised by json, by the text decoder, and for a path with a zero byte.
        raise SigpropError(f"{place} is damaged ({error}); expected a whole JSON file") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {double!r} appears twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _fitting(value: Any, hint: Any) -> Any:
    """Return a value converted to a type, or `_UNFIT` if it has another type."""
    arms = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        fits = (_fitting(value, arm) for arm in arms)
        return next((found for found in fits if found is not _UNFIT), _UNFIT)
    if get_origin(hint) is Literal:
        return value if type(value) is str and value in arms else _UNFIT
    if get_origin(hint) is dict:
        return _fitting_dict(value, *arms)
    if hint is Path:
        return _fitting_path(value)
    if hint is float:
        return _fitting_float(value)
    return value if type(value) is hint else _UNFIT


def _fitting_dict(value: Any, key_hint: Any, hint: Any) -> Any:
    if type(value) is not dict:
        return _UNFIT
    found = {_fitting(key, key_hint): _fitting(entry, hint) for key, entry in value.items()}
    return _UNFIT if _UNFIT in [*found, *found.values()] else found


def _fitting_float(value: Any) -> Any:
    if type(value) not in (int, float):
        return _UNFIT
    try:
        number = float(value)
    except OverflowError:
        return _UNFIT
    return number if math.isfinite(number) else _UNFIT


def _fitting_path(value: Any) -> Any:
    if type(value) is not str or "\0" in value:
        return _UNFIT
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return _UNFIT
    return Path(value).expanduser()


def _expected(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_expected(arm) for arm in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(repr(name) for name in get_args(hint))
    if get_origin(hint) is dict:
        return f"an object whose values are each {_expected(get_args(hint)[1])}"
    return _KINDS[hint]
