"""How often visitors may ask at the operator's expense: each in an hour, and all together."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from img2loc.errors import Img2LocError

HOUR_S = 3600.0


class LimitError(Img2LocError):
    """A visitor, or all of them, asked more than the operator pays for.

    Args:
        message: What a person should know.
        retry_after_s: Seconds until the next request is taken.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Limits:
    """Counts requests in a sliding window; safe to use from many threads at once.

    What is kept of a visitor is a hash with a salt that this process alone knows, for no longer than the window.

    Args:
        per_visitor: Requests a window for each visitor; None for no bound.
        total: Requests a window for all together; None for no bound.
        window_s: The window, in seconds.
        clock: Seconds from any start that never go back.
    """

    def __init__(
        self,
        per_visitor: int | None = None,
        total: int | None = None,
        *,
        window_s: float = HOUR_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds = per_visitor, total
        self._window_s = window_s
        self._clock = clock
        self._salt = secrets.token_bytes(16)
        self._counted: deque[tuple[float, bytes]] = deque()  # when, and for whom; the oldest first
        self._lock = threading.Lock()
        self._sweeping = False

    def count(self, address: str, times: int = 1) -> None:
        """Count a request, unless it is one too many.

        Args:
            address: Whom it comes from, as `client_address` has it.
            times: For how many it counts.

        Raises:
            LimitError: It is; the message says when to come again.
        """
        per_visitor, total = self._bounds
        if per_visitor is None and total is None:
            return
        visitor = hashlib.blake2b(address.encode(), key=self._salt, digest_size=16).digest()
        with self._lock:
            now = self._clock()
            self._forget(now)
            own = [when for when, whose in self._counted if whose == visitor]
            if per_visitor is not None and len(own) + times > per_visitor:
                sent = f"You have sent {len(own)} photos to a model"
                several = f", and this one counts as {times}: more than all" if times > 1 else ""
                raise self._refusal(sent + several, own[0] - now if own else 0.0)
            if total is not None and len(self._counted) + times > total:
                since_s = self._counted[0][0] - now if self._counted else 0.0
                raise self._refusal("This site's visitors have sent all the photos", since_s)
            self._counted.extend([(now, visitor)] * times)
            if not self._sweeping:
                self._sweep_in(self._window_s)

    def _refusal(self, who: str, since_s: float) -> LimitError:
        wait_s = self._window_s + since_s
        minutes = math.ceil(wait_s / 60)
        return LimitError(
            f"{who} that the operator pays for in an hour. Try again in {minutes} minute{'s' * (minutes > 1)}, "
            "give a key of your own, or take the vote, which is free.",
            retry_after_s=wait_s,
        )

    def _forget(self, now: float) -> None:
        while self._counted and self._counted[0][0] <= now - self._window_s:
            self._counted.popleft()

    def _sweep_in(self, seconds: float) -> None:
        """Forget the past even if nobody comes to ask again."""
        self._sweeping = True
        timer = threading.Timer(seconds, self._sweep)
        timer.daemon = True
        timer.start()

    def _sweep(self) -> None:
        with self._lock:
            now = self._clock()
            self._forget(now)
            if self._counted:
                self._sweep_in(max(self._counted[0][0] + self._window_s - now, 0.01))
            else:
                self._sweeping = False


def client_address(peer: str, forwarded: Iterable[str], *, on_space: bool) -> str:
    """Say where a request comes from, such that whoever sends it can't choose.

    Anybody can write an X-Forwarded-For header, but on a Space the proxies add to its end the address that they were
    asked from. So the last public address in it is the visitor's, and what stands before it is hearsay. Elsewhere
    there may be no proxy, and the header is not read at all: uvicorn itself does, where the operator tells it by
    FORWARDED_ALLOW_IPS which proxies to trust.

    Args:
        peer: The other end of the connection.
        forwarded: Each X-Forwarded-For header of the request, in order.
        on_space: Whether this is a Space.

    Returns:
        An IPv4 address, or the /64 network of an IPv6 address, all of which one visitor may own; the peer as it is
        where it has no address.
    """
    if on_space:
        for entry in reversed(",".join(forwarded).split(",")):
            address = _parsed(entry)
            if address is None:
                break
            if address.is_global:
                return _network(address)
    address = _parsed(peer)
    return peer if address is None else _network(address)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address that may be followed by a port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
