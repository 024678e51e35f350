"""What few schedules ask for, in the JSON of one column: whoever asks for nothing has none."""

from __future__ import annotations

from datetime import timedelta  # noqa: TC003 - msgspec looks at it
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from taskscheduler.domain.rule import Fold, Gap  # noqa: TC001 - msgspec looks at them

if TYPE_CHECKING:
    from taskscheduler.domain.schedule import NewSchedule


class Options(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The fields of ``NewSchedule`` that are kept so, by their names."""

    crons: tuple[str, ...] = ()
    gap: Gap | None = None
    fold: Fold | None = None
    jitter: timedelta | None = None
    catch_up_window: timedelta | None = None
    catch_up_max: int | None = None
    pause_after_failures: int | None = None
    rrule: str | None = None
    except_: tuple[str, ...] = ()
    group: str | None = None
    tags: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return them as they are given to ``NewSchedule``."""
        return {name: getattr(self, name) for name in self.__struct_fields__}


NONE: Final = Options()
_decode: Final = msgspec.json.Decoder(Options).decode


def options_of(text: str | None) -> Options:
    """Return what a row holds. Raises ValueError: this program does not understand it."""
    return NONE if text is None else _decode(text)


def text_of_options(definition: NewSchedule) -> str | None:
    """Return what is written of ``definition``."""
    options = Options(**{name: getattr(definition, name) for name in Options.__struct_fields__})
    return None if options == NONE else msgspec.json.encode(options).decode()
