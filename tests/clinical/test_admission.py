"""Places go to callers that send: neither those who only hold one nor those who only connect keep others out."""

from __future__ import annotations

import math
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from pynetdicom import AE, evt

from makers.dicom import dicom, radiograph
from makers.pacs import note_of, send, until
from osteon.clinical import incoming
from osteon.clinical.address import Address
from osteon.clinical.admission import GRACE, Admission, Caller, Stay
from osteon.clinical.node import DicomNode, NodeSettings

IMAGE = dicom(radiograph(size=(8, 8)))


def settings(**address: object) -> NodeSettings:
    return NodeSettings(address=Address(port=0, **address), quiet=60.0, min_free=0)


def test_a_sender_on_a_poor_line_is_sure_of_its_place_and_one_that_drips_is_not():
    now = Mock(return_value=0.0)
    slow, drips, silent = (Stay(clock=now) for _ in range(3))
    for second in range(1, 601):  # 30 MB at 50 kB/s, the last seconds of each ten without a byte
        now.return_value = float(second)
        drips.moved(100)
        if second % 10 < 7:
            slow.moved(50_000)
        assert slow.left() > 0
        assert (silent.left() < 0) == (second > GRACE)
    assert silent.left() < drips.left() < -50
    now.return_value += GRACE
    assert slow.left() <= 0, "what it sent long ago does not count"
    now.return_value += 3600
    drips.moved(400_000)
    assert drips.left() > 0, "nor what it did not send long ago"


def test_time_that_the_node_takes_is_not_counted():
    now = Mock(return_value=0.0)
    stay = Stay(clock=now)
    now.return_value = 2.0
    stay.asked()
    now.return_value = 100.0
    assert stay.left() == math.inf
    stay.answered()
    assert stay.left() == pytest.approx(GRACE - 2)


def caller(left: float, address: str = "10.0.0.1") -> Caller:
    association: Any = Mock()
    association.dul.state_machine.current_state = "Sta3"
    return Caller(association, address, SimpleNamespace(left=lambda: left, begin=lambda: None))


def test_the_idlest_makes_room_and_nobody_who_sends():
    lost: list[Any] = []
    admission = Admission(3, lost.append)
    sends, idle, idler = caller(4.0), caller(-1.0), caller(-2.0)
    assert all(admission.admit(one) for one in (sends, idle, idler))
    assert lost == []
    assert admission.admit(caller(5.0))
    assert admission.admit(caller(5.0))
    assert lost == [idler.association, idle.association]
    assert not admission.admit(caller(5.0), 0.1)
    sends.association.is_alive.return_value = False
    assert admission.admit(caller(5.0))
    assert len(lost) == 2


def test_one_address_leaves_a_quarter_of_the_places_to_others():
    lost: list[Any] = []
    admission = Admission(4, lost.append)
    there = [caller(5.0) for _ in range(3)]
    assert all(admission.admit(one) for one in there)
    assert not admission.admit(caller(5.0), 0.1)
    there[1] = idle = caller(-1.0, "10.0.0.2")
    assert admission.admit(idle)
    assert not admission.admit(caller(5.0), 0.1), "it makes room only among its own"
    assert lost == []
    assert admission.admit(caller(5.0, "10.0.0.3"))
    assert lost == [idle.association]


def test_who_waits_comes_in_the_order_of_coming_and_who_hangs_up_waits_no_longer():
    admission = Admission(1, Mock())
    inside, gone, first, second = (caller(5.0) for _ in range(4))
    assert admission.admit(inside)
    first.association.dul.state_machine.current_state = "Sta2"  # just before the library enters state 3
    gone.association.dul.state_machine.current_state = "Sta1"
    assert not admission.admit(gone)
    came: list[Caller] = []
    threads = [
        threading.Thread(target=lambda one=one: admission.admit(one, 20) and came.append(one))
        for one in (first, second)
    ]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        until(lambda number=number: len(admission._waiting) == number)
    inside.association.is_alive.return_value = False
    threads[0].join(20)
    assert came == [first]
    first.association.is_alive.return_value = False
    threads[1].join(20)
    assert came == [first, second]


class Holder:
    """A caller that holds an association, and sends nothing by itself."""

    def __init__(self, port: int, called: str = "OSTEON") -> None:
        entity = AE(ae_title="HOLDER")
        entity.add_requested_context("1.2.840.10008.1.1")
        self.association = entity.associate("127.0.0.1", port, ae_title=called)

    def holds(self) -> bool:
        return bool(self.association.is_established)


def test_callers_that_say_nothing_or_drip_whole_pdus_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(incoming, "Stay", lambda: Stay(0.5))
    with DicomNode(tmp_path, note_of, None, settings(associations=2)) as node:
        silent, pings = Holder(node.port), Holder(node.port)
        for _ in range(4):  # few, for the library's caller loses one answer in thousands
            time.sleep(0.2)
            assert pings.association.send_c_echo().Status == 0
        start = time.monotonic()
        assert send([IMAGE], node.port) == [0]
        assert time.monotonic() - start < 15
        until(lambda: not silent.holds())
        assert silent.association.is_aborted, "it is told"
        more = Holder(node.port)
        assert more.holds()
        assert Holder(node.port).holds()
        until(lambda: not pings.holds())


def test_who_finds_no_place_is_told_so_and_costs_nobody_his(tmp_path, monkeypatch, caplog):
    entered, go = threading.Event(), threading.Event()
    monkeypatch.setattr(incoming, "Stay", lambda: Stay(0.0))
    monkeypatch.setattr(Admission.admit, "__defaults__", (0.2,))
    with DicomNode(tmp_path, note_of, None, settings(associations=1)) as node:
        node._receiver._server.bind(evt.EVT_C_ECHO, lambda _: (entered.set(), go.wait(60), 0)[-1])
        busy = Holder(node.port)
        status: list[Any] = []
        echo = threading.Thread(target=lambda: status.append(busy.association.send_c_echo().Status))
        echo.start()
        assert entered.wait(20)
        assert not Holder(node.port).holds()
        go.set()
        echo.join(20)
        assert status == [0], "the node itself had it wait"
        assert not Holder(node.port, "SOMEBODY").holds()
        assert busy.holds(), "a caller of another title is refused anyway"
    refused = "An association from 127.0.0.1 was refused: "
    assert f"{refused}local limit exceeded" in caplog.text
    assert f"{refused}called AE title not recognised" in caplog.text


def test_connections_that_ask_for_nothing_make_room(tmp_path):
    with DicomNode(tmp_path, note_of, None, settings(associations=1)) as node:
        mute = [socket.create_connection(("127.0.0.1", node.port), 20) for _ in range(3)]
        start = time.monotonic()
        assert send([IMAGE], node.port) == [0]
        assert time.monotonic() - start < 15
        assert mute[0].recv(1) == b"", "the oldest"
        for connection in mute:
            connection.close()
        until(lambda: not node._receiver._server.active_associations)


def test_connections_that_come_and_go_leave_nothing_behind(tmp_path):
    """As a load balancer makes them every second, to see whether the node is there."""
    with DicomNode(tmp_path, note_of, None, settings(associations=1)) as node:
        for _ in range(6):
            socket.create_connection(("127.0.0.1", node.port), 20).close()
        until(lambda: not node._receiver._server.active_associations)
        assert send([IMAGE], node.port) == [0]
