"""Auth callbacks that cannot answer when they are called."""

from collections.abc import AsyncIterator, Iterator


async def coroutine() -> bool:
    return False


async def async_generator() -> AsyncIterator[bool]:
    yield False


def generator() -> Iterator[bool]:
    yield False
