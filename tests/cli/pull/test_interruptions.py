"""Downloads that end early go on where they were; what is damaged is refused."""

from __future__ import annotations

import re
import shutil
import signal
import threading
import time
from contextlib import contextmanager

import pytest

from ramify.cli.models import DownloadProgress
from ramify.engine.library.catalog import list_user_models
from ramify.engine.library.hub.client import HubClient, Interrupted
from ramify.engine.library.hub.reference import parse_reference

from .hub_server import COMMIT, FILE, REPO, kept


def test_a_connection_that_breaks_is_taken_up_where_it_ended(ramify, hub, folder, model):
    hub.cuts = [100_000]
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert [each.range for each in hub.contents()] == [None, "bytes=100000-"]
    assert (folder / FILE).read_bytes() == model


def test_a_download_that_failed_goes_on_at_the_next_try(ramify, hub, folder, model):
    hub.cuts = [100_000, *[0] * 50]
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 3
    assert "the 100,000 bytes that came are kept; run the same command again to go on" in result.err
    assert [path.read_bytes() for path in kept(folder)] == [model[:100_000]]
    assert list_user_models() == []
    hub.cuts.clear()
    hub.requests.clear()
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 0
    assert "0.1 MB are there from an earlier try" in result.err
    assert [each.range for each in hub.contents()] == ["bytes=100000-"]
    assert (folder / FILE).read_bytes() == model
    assert kept(folder) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_pull_that_is_killed_leaves_no_model_and_goes_on_later(ramify, start, hub, folder, model, number, code):
    hub.cuts, hub.hold = [200_000], threading.Event()
    child = start("models", "pull", f"hf:{REPO}/{FILE}")
    try:
        while not any(path.stat().st_size for path in kept(folder)):
            assert child.poll() is None, child.communicate()
            time.sleep(0.01)
        child.send_signal(number)
        out, err = child.communicate()
    finally:
        hub.hold.set()
    assert (child.returncode, out) == (code, ""), err
    assert "Traceback" not in err
    assert list_user_models() == []
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert re.fullmatch(r"bytes=[1-9]\d*-", hub.contents()[-1].range or "")
    assert (folder / FILE).read_bytes() == model


def test_progress_is_told_in_lines_where_there_is_no_terminal(capsys):
    now_s = [0.0]
    progress = DownloadProgress(clock=lambda: now_s[0])
    progress.begin("m.gguf", 4_000_000_000)
    for now_s[0], have_bytes in ((0.0, 0), (1.0, 100_000_000), (5.0, 1_000_000_000), (6.0, 1_100_000_000)):
        progress.advance(have_bytes)
    progress.clear()
    assert capsys.readouterr().err.splitlines() == [
        "fetching m.gguf (4.0 GB)",
        "m.gguf: 1.0 GB of 4.0 GB · 25% · 200.0 MB/s · 15 s left",
    ]


def test_a_server_that_sends_all_instead_of_the_rest_is_understood(ramify, hub, folder, model):
    hub.cuts, hub.ignore_ranges = [100_000], True
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert (folder / FILE).read_bytes() == model


def test_large_files_are_asked_for_in_windows(ramify, hub, folder, model, monkeypatch):
    monkeypatch.setattr("ramify.engine.library.hub.download.WINDOW_BYTES", 200_000)
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert [each.range for each in hub.contents()] == ["bytes=0-199999", "bytes=200000-"]
    assert (folder / FILE).read_bytes() == model


def test_what_an_earlier_version_left_is_not_mixed_in(ramify, hub, folder, model):
    hub.files[FILE] = model[:-1] + b"?"
    hub.cuts = [100_000, *[0] * 50]
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 3
    hub.files[FILE] = model
    hub.cuts.clear()
    hub.requests.clear()
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert [each.range for each in hub.contents()] == [None]


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"?", lambda data: data + b"?"])
def test_damaged_content_is_refused_and_removed(ramify, hub, folder, model, damage):
    hub.sent[FILE] = damage(model)
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert (result.code, result.out) == (3, "")
    assert f"error: {FILE} arrived damaged" in result.err
    assert kept(folder) == []
    assert list_user_models() == []


def test_what_is_no_model_is_refused_though_it_is_as_the_hub_has_it(ramify, hub, folder):
    hub.files[FILE] = b"GGUF but nothing behind it, as in a file that was cut before it was published"
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 3
    assert "is as the hub has it, but no model" in result.err
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_noticed_before_the_download(ramify, hub, folder, model, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 3
    assert f"needs {len(model):,} bytes more and {folder} has 1,000 free" in result.error
    assert hub.contents() == []


def test_a_disk_that_fills_up_keeps_what_came(ramify, hub, folder, model, monkeypatch):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert result.code == 3
    assert "is full" in result.err
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert int(re.fullmatch(r"bytes=(\d+)-", hub.contents()[-1].range or "")[1]) > 0
    assert (folder / FILE).read_bytes() == model


def test_an_interrupt_is_not_lost_where_closing_the_connection_fails(hub, model, monkeypatch):
    """The HTTP library may raise an error of its own while an interrupt is on its way out."""
    client = HubClient()
    ref = parse_reference(f"hf:{REPO}/{FILE}")
    session = client._hub.get_session()

    @contextmanager
    def stream(*arguments, **options):
        with whole(*arguments, **options) as response:
            try:
                yield response
            finally:
                raise errors.HfHubHTTPError.__bases__[0]("the connection is in no state to be closed")

    errors, whole = client._errors, session.stream
    monkeypatch.setattr(session, "stream", stream)
    with pytest.raises(KeyboardInterrupt), client.stream(ref, COMMIT, FILE, 0, None):
        raise KeyboardInterrupt
    with pytest.raises(Interrupted), client.stream(ref, COMMIT, FILE, 0, None):
        pass
