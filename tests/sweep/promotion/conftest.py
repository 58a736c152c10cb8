"""What tests of promotion share: a look into the database."""

import sqlite3
from collections.abc import Callable

import pytest


@pytest.fixture
def database(storage_url: str) -> Callable[[], list[str]]:
    """Reads all that the database holds, to say that nothing changed."""

    def dump() -> list[str]:
        connection = sqlite3.connect(storage_url.removeprefix("sqlite:///"))
        try:
            return list(connection.iterdump())
        finally:
            connection.close()

    return dump
