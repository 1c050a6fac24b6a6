"""What only a shared server can do to a cache: go away, come back, refuse; and what its users owe one another."""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from pathlib import Path

import pytest
from tests.cache.test_cache_behaviour import answers, key
from tests.commands import Ended
from tests.postgres_server import PASSWORD, QUOTED, PostgresServer

from clucert.cache import CacheUrl, open_cache
from clucert.cache.location import cache_location, redact_argument
from clucert.cache.outbox import cache_folder
from clucert.config import Config
from clucert.errors import CacheError, InputError
from clucert.evaluate.plan import make_plan
from clucert.evaluate.runconfig import load_config, print_config
from clucert.types import Answer


@pytest.fixture(autouse=True)
def outbox(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def database(postgres):
    return postgres.new_database()


@pytest.fixture
def url(postgres: PostgresServer, database):
    return postgres.url(database)


def safe(text: str) -> str:
    assert PASSWORD not in text
    assert QUOTED not in text
    return text


def one_line(error: pytest.ExceptionInfo[CacheError]) -> str:
    text = safe(str(error.value))
    assert "\n" not in text
    safe("".join(traceback.format_exception(error.value)))
    return text


def test_the_password_is_never_shown(tmp_path):
    written = "postgresql://me:s%23cret%40x@db.example:5433/answers?sslmode=require&lease=5&patience=7"
    location = cache_location(written)
    assert isinstance(location, CacheUrl)
    assert (location.password, location.patience, location.options) == ("s#cret@x", 7.0, {"sslmode": "require"})
    shown = "postgresql+psycopg://me:***@db.example:5433/answers?patience=7&sslmode=require"
    config = Config.of(cache=written)
    (tmp_path / "data.csv").write_text("text,label\nfine,positive\n")
    study = load_config(None, {"cache": written, "task": "sst2", "data": str(tmp_path / "data.csv")})
    plan = make_plan(study, ["clucert", "evaluate", "--cache", written, f"--cache={written}"])
    for text in (
        *(str(location), repr(location), repr(config), str(config), config.model_dump_json()),
        *(str(config.model_dump()), print_config(study), repr(study), plan.manifest.model_dump_json(indent=1)),
        *(
            redact_argument(written),
            redact_argument(f"--cache={written}"),
            location.scrub(f"no: s%23cret%40x or\n{location.password}"),
        ),
    ):
        assert "cret" not in text
        assert "***" in text
    assert plan.manifest.config["cache"] == shown
    assert plan.manifest.command[3:] == [shown, f"--cache={shown}"]
    # Read back, it has no password: PGPASSWORD or ~/.pgpass supplies it.
    again = load_config(None, {"cache": plan.manifest.config["cache"]}).cache
    assert isinstance(again, CacheUrl)
    assert again.password is None
    assert again.user == "me"


@pytest.mark.parametrize(
    "wrong",
    [
        *("mysql://me:hunter2@host/db", "postgresql://me:hun/ter2@host/db", "postgresql://me:hunter2@host"),
        *(
            "postgresql://me:hunter2@host:port/db",
            "postgresql://me:hunter2@host/db?patience=never",
            "sqlite:///hunter2",
        ),
        *("postgresql://me:hunter2@host/db?patience=-1", "postgresql://me:hun?ter2@host/db"),
        *("host=db.local dbname=answers password=hunter2", "password = hunter2 host=db"),  # libpq's, not a file's name
    ],
)
def test_a_url_that_cannot_be_used_is_not_repeated(wrong):
    for make in (cache_location, lambda url: Config.of(cache=url), lambda url: load_config(None, {"cache": url})):
        with pytest.raises(InputError, match="postgresql\\+psycopg://user@host/database") as error:
            make(wrong)
        assert "ter2" not in "".join(traceback.format_exception(error.value))


def test_a_wrong_password_a_missing_database_and_a_missing_server_say_so_at_once(postgres, database, caplog):
    caplog.set_level(logging.DEBUG)
    for wrong, said in (
        (postgres.url(database, password="hunter2hunter2"), "password authentication failed.*PGPASSWORD"),
        (postgres.url("nowhere"), "does not exist.*createdb"),
        ("postgresql://me:hunter2hunter2@127.0.0.1:1/db", "cannot be reached"),
    ):
        with pytest.raises(CacheError, match=said) as error:
            open_cache(wrong)
        assert "hunter2" not in one_line(error)
        assert "***" in str(error.value)
    assert "hunter2" not in caplog.text
    safe(caplog.text)


def test_the_password_may_come_from_the_environment(postgres, database, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("CLUCERT_CACHE", f"postgresql://clucert@127.0.0.1:{postgres.port}/{database}")
    with open_cache() as cache:
        cache.put_many(answers(0, 2), model="m")
        assert cache.get_many([key(1)]) == answers(1, 2)


def test_another_schema_and_a_damaged_entry_say_what_to_do(postgres, database, url):
    with open_cache(url) as cache:
        cache.put_many(answers(0, 2), model="m")
        postgres.execute("UPDATE clucert_answers SET answer = '{}' WHERE id = 1", database)
        with pytest.raises(CacheError, match="clucert cache clear") as error:
            cache.get_many([key(0), key(1)])
        one_line(error)
    postgres.execute("UPDATE clucert_schema SET version = 99", database)
    with pytest.raises(CacheError, match="schema 99, this clucert reads 1: update clucert") as error:
        open_cache(url)
    one_line(error)


def test_a_user_who_may_not_create_tables_is_told_and_one_who_may_write_suffices(postgres, database, url):
    reader = f"writer_{database}"
    postgres.execute(f"CREATE ROLE {reader} LOGIN PASSWORD 'hunter2hunter2'")
    theirs = url.replace(f"clucert:{QUOTED}", f"{reader}:hunter2hunter2")
    with pytest.raises(CacheError, match=r"permission denied.*let this user create tables") as error:
        open_cache(theirs)
    assert "hunter2" not in one_line(error)
    open_cache(url).close()
    postgres.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {reader}", database)
    postgres.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {reader}", database)
    with open_cache(theirs) as cache:
        cache.put_many(answers(0, 3), model="m")
        assert cache.clear() == 3


def test_the_answers_in_an_error_are_not_shown(postgres, database, url):
    with open_cache(url) as cache:
        postgres.execute("ALTER TABLE clucert_answers ADD CHECK (answer NOT LIKE '%verysecret%')", database)
        with pytest.raises(CacheError) as error:
            cache.put_many({key(0): Answer("a verysecret answer")}, model="m")
        assert "verysecret" not in str(error.value).replace("~~ '%verysecret%'", "")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_in_the_middle_is_waited_for_and_loses_nothing(postgres, url, mode):
    """A writer and a reader go on through a restart, orderly or by a crash, as if nothing had been."""
    with open_cache(url) as cache:
        failures: list[BaseException] = []
        written = 0
        ended = threading.Event()

        def write() -> None:
            nonlocal written
            try:
                while not ended.is_set():
                    cache.put_many(answers(written, written + 5), model="m")
                    written += 5
                    assert len(cache.get_many([key(i) for i in range(written)])) == written
            except (CacheError, AssertionError) as error:
                failures.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(2):
            before = written
            while written < before + 50 and not failures:
                time.sleep(0.005)
            postgres.stop(mode)
            time.sleep(0.2)
            postgres.start()
        before = written
        while written < before + 50 and not failures:
            time.sleep(0.005)
        ended.set()
        writer.join()
        assert not failures
        assert cache.stats().entries == written


def test_a_server_that_stays_away_is_one_line_and_the_answers_wait_on_the_disk(postgres, database, url):
    patient = postgres.url(database, patience=1)
    with open_cache(patient) as cache:
        cache.put_many(answers(0, 5), model="m")
        postgres.stop()
        try:
            with pytest.raises(CacheError, match=r"was away for 1 s.*5 answers wait in") as error:
                cache.put_many(answers(5, 10), model="m")
            one_line(error)
            # It is not waited for again: what comes in late is written down at once.
            with pytest.raises(CacheError, match="2 answers wait in"):
                cache.put_many(answers(10, 12), model="n")
            with pytest.raises(CacheError, match="was away"):
                cache.get_many([key(0)])
        finally:
            postgres.start()
        files = list((cache_folder() / "unsent").glob("*/*"))
        assert len(files) == 2
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
        safe("".join(path.read_text() for path in files))
    with open_cache(patient) as cache:
        assert cache.get_many([key(i) for i in range(12)]) == answers(0, 12)
        assert dict(cache.stats().models) == {"m": 10, "n": 2}
    assert not list((cache_folder() / "unsent").glob("*/*"))


def test_what_waits_on_the_disk_is_stored_as_soon_as_the_server_is_back(postgres, database):
    with open_cache(postgres.url(database, patience=0.3)) as cache:
        postgres.stop()
        try:
            with pytest.raises(CacheError, match="1 answers wait"):
                cache.put_many(answers(0, 1), model="m")
        finally:
            postgres.start()
        cache.put_many(answers(1, 2), model="m")
        assert cache.get_many([key(0), key(1)]) == answers(0, 2)


def test_a_cache_of_an_earlier_version_is_used_as_it_is(postgres, database, url):
    """Earlier versions kept claims beside the answers; whatever they left there is in nobody's way."""
    with open_cache(url) as cache:
        cache.put_many(answers(0, 2), model="m")
    postgres.execute("CREATE TABLE clucert_claims (key bytea PRIMARY KEY, owner uuid NOT NULL)", database)
    postgres.execute("CREATE TABLE clucert_workers (id uuid PRIMARY KEY, expires timestamptz NOT NULL)", database)
    postgres.execute(f"INSERT INTO clucert_claims VALUES (decode('{key(2)}', 'hex'), gen_random_uuid())", database)
    with open_cache(postgres.url(database, lease=5)) as cache:
        cache.put_many(answers(1, 4), model="m")
        assert cache.get_many([key(i) for i in range(4)]) == answers(0, 4)
        assert cache.stats().entries == 4


def test_the_first_of_two_answers_to_one_question_stays(url):
    with open_cache(url) as one, open_cache(url) as two:
        one.put_many(answers(0, 3, "first "), model="m")
        two.put_many(answers(2, 5, "second "), model="n")
        assert two.get_many([key(i) for i in range(5)]) == answers(0, 3, "first ") | answers(3, 5, "second ")


def test_a_restart_with_every_pooled_connection_in_use(postgres, url):
    """All connections of the pool are dead at once; each is found out, and none loses an answer."""
    with open_cache(url) as cache:
        failures: list[BaseException] = []

        def work(me: int) -> None:
            try:
                for i in range(100):
                    cache.put_many(answers(me * 1000 + i, me * 1000 + i + 1), model="m")
            except CacheError as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        postgres.stop("immediate")
        postgres.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert cache.stats().entries == 800


def test_the_cache_commands(postgres, url, tmp_path: Path, run_cli):
    with open_cache(url) as cache:
        cache.put_many(answers(0, 3), model="m")

    def clucert(*arguments: object) -> Ended:
        done = run_cli("cache", *arguments, "--cache", url)
        safe(done.out + done.err)
        return done

    stats = json.loads(clucert("stats", "--json").out)
    assert (stats["entries"], stats["models"]) == (3, {"m": 3})
    assert "***" in stats["location"]
    out = tmp_path / "all.jsonl"
    assert clucert("export", "-o", out).code == 0
    assert len(out.read_text().splitlines()) == 3
    assert "3 answers deleted" in clucert("clear", "--yes").err
    postgres.stop()
    try:
        away = clucert("stats")
    finally:
        postgres.start()
    assert away.code == 1
    assert "cannot be reached" in away.err
    assert len(away.err.splitlines()) == 1
