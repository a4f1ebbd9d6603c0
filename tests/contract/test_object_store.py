"""What every object store must do, run on each of them."""

from __future__ import annotations

import errno
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.adapters.objects import LocalStore, MemoryStore, WatchableStore, open_store, under
from infra.adapters.objects_s3 import S3Store
from infra.core.errors import InputError, UnavailableError
from tests.s3_server import new_bucket, s3_server, s3_store


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=["memory", "local", "view", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> WatchableStore:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    if request.param == "view":
        return under(LocalStore(tmp_path / "store"), "sites/here")
    url = request.getfixturevalue("endpoint")
    return s3_store(url, new_bucket(url), "some/root")


def test_what_was_put_is_there(store: WatchableStore) -> None:
    store.put("a/b/c.bin", b"\x00\xff" * 10)
    assert store.get("a/b/c.bin") == b"\x00\xff" * 10
    assert store.exists("a/b/c.bin")
    assert store.size("a/b/c.bin") == 20
    store.put("a/b/c.bin", b"")
    assert store.get("a/b/c.bin") == b""
    assert store.size("a/b/c.bin") == 0


def test_what_was_not_put_is_not_there(store: WatchableStore) -> None:
    store.put("a/b", b"1")
    for key in ("nothing", "a", "a/b/c", "a/bc"):
        assert not store.exists(key)
        for read in (store.get, store.size, store.fingerprint):
            with pytest.raises(UnavailableError) as caught:
                read(key)
            assert caught.value.code == "NOT_FOUND"
        store.delete(key)
    assert store.get("a/b") == b"1"


def test_put_new_has_one_winner(store: WatchableStore) -> None:
    assert store.put_new("claims/1", b"first")
    assert not store.put_new("claims/1", b"second")
    assert not store.put_new("claims/1", b"first")
    assert store.get("claims/1") == b"first"
    store.delete("claims/1")
    assert store.put_new("claims/1", b"third")


def test_put_new_has_one_winner_among_threads(store: WatchableStore) -> None:
    start, wins = threading.Barrier(6), []

    def claim(number: int) -> None:
        start.wait()
        if store.put_new("claims/raced", b"%d" % number):
            wins.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert store.get("claims/raced") == b"%d" % wins[0]


def test_list_gives_what_is_under_a_folder_sorted(store: WatchableStore) -> None:
    for key in ("runs/10/a", "runs/1/b", "runs/1/a", "runs/1/a-b/c", "run"):
        store.put(key, b"x")
    assert store.list("runs/1") == ["runs/1/a", "runs/1/a-b/c", "runs/1/b"]
    assert store.list("runs/1/") == store.list("runs/1")
    assert store.list("") == ["run", "runs/1/a", "runs/1/a-b/c", "runs/1/b", "runs/10/a"]
    assert store.list("run") == []
    assert store.list("nothing/here") == []
    store.delete("runs/1/a")
    assert store.list("runs/1") == ["runs/1/a-b/c", "runs/1/b"]


def test_unusual_names_are_only_names(store: WatchableStore) -> None:
    for key in ("a b/ü#%20?x=[1]*.txt", "a b/~$(x) & 'q'", "run--stage/…", ".hidden/.file", "a b/..x"):
        store.put(key, key.encode())
        assert store.get(key) == key.encode()
        assert key in store.list(key.split("/")[0])


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/etc/passwd", "..", "../x", "a/../x", "a/..", "./a", "a//b", "a/", "a\\b", "a\x00b", "a\nb"),
        *("x" * 300, "/".join(["x" * 200] * 6), "a/.tmp-1", "\ud800"),
    ],
)
def test_a_key_cannot_leave_the_root_or_mean_two_things(store: WatchableStore, key: str) -> None:
    calls = (store.get, store.exists, store.size, store.delete, store.fingerprint)
    writes = (lambda: store.put(key, b"x"), lambda: store.put_new(key, b"x"))
    for call in (*writes, *(lambda call=call: call(key) for call in calls)):
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == "BAD_KEY"
    if key not in ("", "a/"):
        with pytest.raises(InputError):
            store.list(key)


def test_fingerprint_changes_with_the_content(store: WatchableStore) -> None:
    store.put("f", b"one")
    first = store.fingerprint("f")
    assert store.fingerprint("f") == first
    store.put("f", b"two")
    assert store.fingerprint("f") != first


def test_a_reader_never_sees_a_part(store: WatchableStore) -> None:
    sizes = (300_000, 5)
    store.put("raced", b"0" * sizes[0])
    done = threading.Event()

    def write() -> None:
        for number in range(12):
            store.put("raced", b"%d" % (number % 10) * sizes[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        data = store.get("raced")
        assert len(data) in sizes
        assert len(set(data)) == 1
    writer.join()


def test_a_view_sees_its_part_only(store: WatchableStore) -> None:
    store.put("sites/b/x", b"b")
    view = under(store, "sites/a")
    view.put("x", b"a")
    assert store.get("sites/a/x") == b"a"
    assert view.list("") == ["x"]
    with pytest.raises(InputError):
        view.get("../b/x")
    assert view.uri.endswith("/sites/a")


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("write", ["put", "put_new"])
def test_a_full_disk_leaves_the_old_object_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    store = LocalStore(tmp_path)
    store.put("old", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for key in ("old", "new") if write == "put" else ("new",):
        with pytest.raises(UnavailableError) as caught:
            getattr(store, write)(key, b"x" * 1000)
        assert caught.value.code == "STORE_FULL"
        assert caught.value.remedy
    assert _files(tmp_path) == [tmp_path / "old"]
    assert store.get("old") == b"old"


def test_links_out_of_a_local_store_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    store = LocalStore(tmp_path / "store")
    store.put("folder/x", b"x")
    (tmp_path / "store/folder/link").symlink_to(tmp_path / "secret")
    (tmp_path / "store/out").symlink_to(tmp_path)
    for key in ("folder/link", "out/secret"):
        with pytest.raises(InputError):
            store.get(key)
        with pytest.raises(InputError):
            store.put(key, b"x")
    assert store.list("") == ["folder/x"]
    assert (tmp_path / "secret").read_text() == "secret"


def test_an_object_and_a_folder_of_one_name(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"1")
    for write in (store.put, store.put_new):
        with pytest.raises(InputError) as caught:
            write("a/b", b"2")
        assert caught.value.code == "BAD_KEY"
    assert _files(tmp_path) == [tmp_path / "a"]


def test_a_denied_directory_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(source: object, target: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", denied)
    with pytest.raises(UnavailableError) as caught:
        LocalStore(tmp_path).put("a", b"1")
    assert caught.value.code == "STORE_DENIED"
    assert _files(tmp_path) == []


def test_sweep_removes_what_dead_writers_left(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/kept", b"1")
    left = tmp_path / "a/.tmp-1-dead"
    left.write_bytes(b"half")
    written_at = left.stat().st_mtime
    assert store.list("") == ["a/kept"]
    assert store.sweep(60.0, written_at + 59.0) == 0
    assert store.sweep(60.0, written_at + 61.0) == 1
    assert _files(tmp_path) == [tmp_path / "a/kept"]


def test_open_store_by_url(tmp_path: Path) -> None:
    local = open_store((tmp_path / "with space").as_uri())
    assert local == LocalStore(tmp_path / "with space")
    assert local.uri == (tmp_path / "with space").as_uri()
    assert isinstance(open_store("memory://"), MemoryStore)
    remote = open_store("s3://bucket/some/prefix/", key="AKIA", secret="hidden", endpoint="http://127.0.0.1:9")
    assert isinstance(remote, S3Store)
    assert remote.uri == "s3://bucket/some/prefix"
    assert "hidden" not in repr(remote)
    assert "AKIA" not in repr(remote)
    assert pickle.loads(pickle.dumps(remote)) == remote


@pytest.mark.parametrize(
    "url", ["", "ftp://x/y", "s3:///x", "s3://key:secret@bucket/x", "s3://b/../x", "file://host/x"]
)
def test_a_bad_store_url_is_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(InputError) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_credentials_for_a_local_store_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        open_store(tmp_path.as_uri(), key="k", secret="s")
