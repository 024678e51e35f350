"""Looking up names: bounded, apart from everybody else's, and each name once at a time.

The operating system's resolver blocks, for half a minute where a name server is silent. On the
event loop's own threads, few dead names would hold up all other look-ups of the process, those of
the database among them. So each look-up has a thread of its own here, which ends with it; how many
there are is bounded, in all and for each domain, so that one domain's silence is its own.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOOKUP_S: Final = 10.0
LOOKUPS_MAX: Final = 64
LOOKUPS_PER_DOMAIN_MAX: Final = 8

Found = list[str] | OSError


def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses of ``host``, as the operating system knows them. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(str(error)) from error
    return list(dict.fromkeys(str(answer[4][0]) for answer in found))


def domain_of(host: str) -> str:
    """Return what is taken for the domain of ``host``: its last two labels."""
    return ".".join(host.lower().rstrip(".").split(".")[-2:])


class LookUps:
    """Looks names up for all calls of a process."""

    def __init__(
        self,
        ask: Callable[[str, int], list[str]] = addresses_of,
        *,
        seconds: float = LOOKUP_S,
        at_once: int = LOOKUPS_MAX,
        per_domain: int = LOOKUPS_PER_DOMAIN_MAX,
    ) -> None:
        """Let ``ask``, which blocks, answer.

        A caller waits for ``seconds``; the thread goes on until it has its answer, and counts so
        long among the ``at_once``, of which a domain has ``per_domain``.
        """
        self._ask = ask
        self._seconds = seconds
        self._at_once = at_once
        self._per_domain = per_domain
        self._asked: dict[tuple[str, int], asyncio.Future[Found]] = {}
        self._domains: Counter[str] = Counter()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of ``host``. Raises OSError: there are none, or not in time."""
        key = host, port
        answer = self._asked.get(key)
        if answer is None:
            answer = self._begin(key)
        # Shielded: one who gives up must not end it for the others who wait for the same name.
        done, _ = await asyncio.wait([asyncio.shield(answer)], timeout=self._seconds)
        if not done:
            message = f"no name server answered within {self._seconds:g} s"
            raise OSError(message)
        found = answer.result()
        if isinstance(found, OSError):
            raise OSError(found.strerror or str(found)) from found
        return found

    def _begin(self, key: tuple[str, int]) -> asyncio.Future[Found]:
        domain = domain_of(key[0])
        if len(self._asked) >= self._at_once or self._domains[domain] >= self._per_domain:
            message = "too many look-ups of names wait for an answer already"
            raise OSError(message)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()

        def end(found: Found) -> None:
            del self._asked[key]
            self._domains[domain] -= 1
            if not self._domains[domain]:
                del self._domains[domain]
            if not answer.done():
                answer.set_result(found)

        def ask() -> None:
            found: Found
            try:
                found = self._ask(*key)
            except OSError as error:
                found = error
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it
                found = OSError(str(error))
            try:
                loop.call_soon_threadsafe(end, found)
            except RuntimeError:
                return  # the loop has ended meanwhile, and nobody waits any more

        self._asked[key] = answer
        self._domains[domain] += 1
        try:
            threading.Thread(target=ask, name=f"look-up of {key[0]}", daemon=True).start()
        except RuntimeError as error:
            end(OSError(str(error)))
        return answer
