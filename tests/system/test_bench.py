"""The benchmarks' instruments: they run, and figures are put together as said. No figure counts."""

import json
import random
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.measuring import percentile
from tests.bench.open_loop import schedule
from tests.bench.story.figures import RATIOS, Figure, Ratio, Story, plot
from tests.support.cuttable import cuttable_network
from tests.support.real_mesh import held_ports

OURS, THEIRS = Figure("ours", "p50", "ms"), Figure("theirs", "p50", "ms")


def test_a_percentile_is_the_smallest_value_that_so_many_are_no_greater_than() -> None:
    values = list(range(100, 0, -1))
    assert [percentile(values, percent) for percent in (0, 50, 99, 99.9, 100)] == [
        1,
        50,
        99,
        100,
        100,
    ]
    assert percentile([7.0], 50) == 7
    with pytest.raises(ValueError, match="expected at least one value"):
        percentile([], 50)


@pytest.mark.parametrize("rate", [0.5, 200, 3_333.3])
def test_orders_are_due_at_the_rate_whatever_becomes_of_them(rate: float) -> None:
    due_s, orders = schedule(rate, 10, 100.0, seed=1)
    assert due_s == sorted(due_s)
    assert due_s[0] >= 100
    assert due_s[-1] < 110.001
    assert len(due_s) * orders == pytest.approx(rate * 10, rel=0.01)


def test_a_ratio_is_of_figures_of_the_same_round() -> None:
    story = Story([Ratio("ours to theirs", OURS, THEIRS)])
    for ours, theirs in ((10, 5), (30, 10)):
        story.begin_round()
        story.add(OURS, ours)
        story.add(THEIRS, theirs)
    story.begin_round()  # the other was left out of this one
    story.add(OURS, 100)
    sections = story.sections()
    assert list(sections) == [RATIOS, "ours", "theirs"]
    assert sections[RATIOS] == {Figure(RATIOS, "ours to theirs", "x"): [2, 3]}
    told = json.loads(story.as_json({"machine": "this"}))
    assert told["machine"] == "this"
    assert told["figures"][0]["median"] == 2.5


def test_a_plot_is_a_picture_with_a_bar_for_each_figure() -> None:
    picture = ElementTree.fromstring(plot("a < b", {OURS: [1.0, 2.0, 6.0], THEIRS: [3.0]}))
    assert len(picture.findall("{http://www.w3.org/2000/svg}rect")) == 2


def test_a_slow_link_keeps_the_order() -> None:
    sent = b"".join(n.to_bytes(2, "big") for n in range(200))
    rng = random.Random(1)
    with held_ports(2) as ports, socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", ports[1]))
        server.listen()
        with cuttable_network([[port] for port in ports]) as network:
            with socket.create_connection((network.address(0, 1), ports[1]), 20) as client:
                there, _ = server.accept()
                for place in range(0, len(sent), 2):
                    network.slow(1, rng.choice((0, 0.01, 0.002)))
                    client.sendall(sent[place : place + 2])
            with there:
                there.settimeout(20)
                got = b"".join(iter(lambda: there.recv(1 << 16), b""))
    assert got == sent


@pytest.mark.timeout(300)
def test_one_slow_peer_is_measured_in_three_ways() -> None:
    command = [sys.executable, "-m", "tests.bench.bench_gray", "--rate", "30", "--seconds", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr + done.stdout
    for fault in ("link", "processor", "syncs"):
        assert fault in done.stdout
        assert done.stdout.count("itself") == 3


@pytest.mark.timeout(300)
def test_followers_cost_the_members_what_the_benchmark_says() -> None:
    """It runs, and reports both."""
    command = [sys.executable, "-m", "tests.bench.bench_followers", "--followers", "1"]
    command += ["--orders", "8", "--rate", "20", "--idle", "0.2", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    for text in ("0 followers: final after", "1 followers: final after", "ms an order"):
        assert text in done.stdout


@pytest.mark.timeout(300)
def test_peers_far_apart_are_measured() -> None:
    command = [sys.executable, "-m", "tests.bench.bench_wide", "--one-way-ms", "20"]
    command += ["--orders", "3", "--rate", "20", "--seconds", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "one-way delays" in done.stdout
    assert "bytes an order" in done.stdout


@pytest.mark.timeout(300)
def test_books_with_ever_more_orders_are_measured() -> None:
    command = [sys.executable, "-m", "tests.bench.bench_resting", "--bulk", "30", "--lone", "2"]
    command += ["--random", "40,90", "--queue", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr + done.stdout
    for text in ("at random prices", "at one price a side", " 40 ", " 90 ", " 0 "):
        assert text in done.stdout


def test_the_costs_of_answers_about_a_book_are_measured() -> None:
    command = [sys.executable, "-m", "tests.bench.bench_views", "--orders", "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.count("place in a queue") == 2


def test_the_costs_of_more_members_are_measured() -> None:
    command = [sys.executable, "-m", "tests.bench.bench_scale", "--members", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "verify" in done.stdout


@pytest.mark.timeout(300)
def test_make_bench_tells_a_story_of_every_part_it_measures(tmp_path: Path) -> None:
    parts = ("latency", "limits", "disk", "http")
    command = [sys.executable, "-m", "tests.bench.story", "--quick", "--rounds", "1"]
    command += ["--json", str(tmp_path / "bench.json"), "--plots", str(tmp_path)]
    for part in parts:
        command += ["--only", part]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "NO FIGURE COUNTS" in done.stdout
    told = json.loads((tmp_path / "bench.json").read_text())
    assert (told["failed"], told["left_out"]) == ({}, {})
    sections = {figure["section"] for figure in told["figures"]}
    assert len(sections) == 1 + len(parts)  # and the ratios
    assert all(figure["median"] > 0 for figure in told["figures"])
    assert list(tmp_path.glob("*.svg"))
